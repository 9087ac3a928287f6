#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>

#include "base/config.h"
#include "base/json.h"
#include "cli/api.h"
#include "cli/cloud_client.h"

namespace virga::cli {
namespace {

void print_operation(const json::object& operation) {
  std::printf("%s  %s %s: %s\n", find_string(operation, "started_at").c_str(), find_string(operation, "kind").c_str(), find_string(operation, "id").c_str(),
              find_string(operation, "state").c_str());
  if (const json::array* steps = find_array(operation, "steps"))
    for (const auto& entry : *steps) {
      const json::object& step = entry.as_object();
      std::printf("    %s  %-18s %s  %s%s\n", find_string(step, "at").c_str(), find_string(step, "step").c_str(), find_bool(step, "ok", true) ? "ok    " : "FAILED",
                  find_string(step, "host").c_str(), fmt::format("  {}", find_string(step, "message")).c_str());
    }
  if (has_value(operation, "message")) std::printf("    cause: %s\n", find_string(operation, "message").c_str());
  if (!find_string(operation, "hint").empty()) std::printf("    next:  %s\n", find_string(operation, "hint").c_str());
}

void explain(const Config& config, const std::string& kind, const std::string& id, bool as_json) {
  cloud::RestClient client = admin_client(config);
  const std::string root = kind == "port" ? "/network/virga/explain/port/" : fmt::format("/compute/virga/explain/{}/", kind);
  const json::value answer = client.get(root + (kind == "server" ? server_id(client, id) : id));
  if (as_json) {
    std::printf("%s\n", json::serialize(answer).c_str());
    return;
  }
  const json::object& body = answer.as_object();
  if (const json::value* summary = body.if_contains("summary"); summary && summary->is_array())
    for (const auto& line : summary->get_array()) std::printf("%s\n", std::string(line.as_string()).c_str());
  if (const json::array* operations = find_array(body, "operations"))
    for (const auto& operation : *operations) print_operation(operation.as_object());
}

}  // namespace

void add_explain_command(CLI::App& app, Shared& shared) {
  auto kind = std::make_shared<std::string>(), id = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("explain", "what happened to a server, port or operation, step by step, with causes");
  command->add_option("kind", *kind, "server, port or operation")->required()->check(CLI::IsMember({"server", "port", "operation"}));
  command->add_option("id", *id, "its id (or a server's name)")->required();
  command->add_flag("--json", *as_json);
  command->callback([&shared, kind, id, as_json] { explain(shared.load(), *kind, *id, *as_json); });
}

}  // namespace virga::cli
