#include <CLI/CLI.hpp>

#include <cstdio>

#include "base/config.h"
#include "base/log.h"
#include "cli/api.h"
#include "cloud/serve.h"

namespace virga::cli {
namespace {

void print(const Config& config, bool as_json) {
  log::open("routes", "", "warn");  // what is printed is for programs
  const json::array routes = cloud::list_routes(config);
  if (as_json) {
    std::printf("%s\n", json::serialize(routes).c_str());
    return;
  }
  for (const auto& entry : routes) {
    const json::object& r = entry.as_object();
    const std::string min = find_string(r, "min"), max = find_string(r, "max");
    std::printf("%s\t%s\t%s\t%s\t%s\n", find_string(r, "service").c_str(), find_string(r, "method").c_str(), find_string(r, "path").c_str(),
                (min.empty() && max.empty() ? std::string("-") : min + "-" + max).c_str(), find_string(r, "policy").c_str());
  }
}

}  // namespace

void add_routes_command(CLI::App& app, Shared& shared) {
  auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("routes", "every route that exists: service, method, path, microversions, policy")->group("");
  command->add_flag("--json", *as_json);
  command->callback([&shared, as_json] { print(shared.load(), *as_json); });
}

}  // namespace virga::cli
