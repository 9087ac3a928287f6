#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>

#include "base/config.h"
#include "base/json.h"
#include "cli/api.h"
#include "cli/cloud_client.h"

namespace virga::cli {
namespace {

void explain(const Config& config, const std::string& kind, const std::string& id, bool as_json) {
  cloud::RestClient client = admin_client(config);
  const std::string root = kind == "port" ? "/network/virga/explain/port/" : fmt::format("/compute/virga/explain/{}/", kind);
  const json::value answer = client.get(root + (kind == "server" ? server_id(client, id) : id));
  if (as_json) {
    std::printf("%s\n", json::serialize(answer).c_str());
    return;
  }
  std::fputs(find_string(answer.as_object(), "text").c_str(), stdout);
}

}  // namespace

void add_explain_command(CLI::App& app, Shared& shared) {
  auto kind = std::make_shared<std::string>(), id = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("explain", "what happened to a server, port or operation, step by step, with causes");
  command->add_option("kind", *kind, "server, port or operation")->required()->check(CLI::IsMember({"server", "port", "operation"}));
  command->add_option("id", *id, "its id (or a server's name, or the request id of the call that began an operation)")->required();
  command->add_flag("--json", *as_json);
  command->callback([&shared, kind, id, as_json] { explain(shared.load(), *kind, *id, *as_json); });
}

}  // namespace virga::cli
