// `virga service`: the openstack-service of this cloud.

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <set>

#include "base/config.h"
#include "base/fault.h"
#include "base/json.h"
#include "cli/api.h"
#include "cli/cloud_client.h"
#include "cli/service_table.h"
#include "cloud/bring_up.h"
#include "cloud/serve.h"
#include "http/api.h"

namespace virga::cli {
namespace {

/// OpenStack's service names and groups to the APIs that `serve` holds.
const std::map<std::string, std::string>& api_names() {
  static const std::map<std::string, std::string> names{
      {"keystone", "keystone"},    {"openstack-keystone", "keystone"}, {"glance", "glance"},           {"glance-api", "glance"},   {"placement", "placement"},
      {"placement-api", "placement"}, {"neutron", "neutron"},          {"neutron-server", "neutron"},  {"nova", "nova"},           {"nova-api", "nova"},
      {"nova-conductor", "nova"},  {"nova-scheduler", "nova"},         {"nova-consoleproxy", "consoles"}, {"nova-novncproxy", "consoles"}, {"consoles", "consoles"}};
  return names;
}

std::string uptime(double seconds) {
  const auto s = static_cast<int64_t>(seconds);
  if (s >= 86400) return fmt::format("{}d{}h", s / 86400, s % 86400 / 3600);
  if (s >= 3600) return fmt::format("{}h{}m", s / 3600, s % 3600 / 60);
  return s >= 60 ? fmt::format("{}m{}s", s / 60, s % 60) : fmt::format("{}s", s);
}

void print_apis(const Config& config) {
  const json::value answer = ask_serve(config, "GET", "/");
  for (const auto& entry : answer.at("services").as_array()) {
    const json::object& s = entry.as_object();
    std::printf("%-16s %-9s within serve: %s\n", find_string(s, "name").c_str(), find_bool(s, "enabled") ? "ready" : "stopped", find_string(s, "type").c_str());
  }
}

void show(const Config& config, const std::string& only) {
  json::object status = cloud::supervisor_status(config);
  if (only.empty()) {
    print_service_table(status);
    if (config.has_control()) print_apis(config);
    print_problems(problems(config));
    return;
  }
  json::array kept;
  for (const auto& entry : *find_array(status, "services")) {
    const json::object& s = entry.as_object();
    bool meant = find_string(s, "name") == only;
    for (const auto& alias : *find_array(s, "aliases")) meant |= str(alias) == only;
    if (meant) kept.push_back(entry);
  }
  const auto api = api_names().find(only);
  if (kept.empty() && api == api_names().end()) throw Fault(FaultKind::not_found, fmt::format("There is no service {}.", only), "`virga service status` lists them.");
  if (!kept.empty()) {
    status["services"] = std::move(kept);
    print_service_table(status);
  }
  if (api == api_names().end()) return;
  const json::value answer = ask_serve(config, "GET", "/");
  for (const auto& entry : answer.at("services").as_array())
    if (str(entry.at("name")) == api->second) std::printf("%-16s %-9s within serve\n", only.c_str(), entry.at("enabled").as_bool() ? "ready" : "stopped");
}

void change(const Config& config, const std::string& verb, const std::string& name) {
  const auto api = api_names().find(name);
  if (api != api_names().end()) {
    if (verb != "start") ask_serve(config, "POST", fmt::format("/{}/stop", api->second));
    if (verb != "stop") ask_serve(config, "POST", fmt::format("/{}/start", api->second));
  }
  bool supervised = false;
  const json::object status = cloud::supervisor_status(config);
  for (const auto& entry : *find_array(status, "services")) {
    const json::object& s = entry.as_object();
    supervised |= find_string(s, "name") == name;
    for (const auto& alias : *find_array(s, "aliases")) supervised |= str(alias) == name;
  }
  if (supervised) cloud::service_command(config, verb, name);
  else if (api == api_names().end()) throw Fault(FaultKind::not_found, fmt::format("There is no service {}.", name), "`virga service status` lists them.");
  std::printf("%s: %s done\n", name.c_str(), verb.c_str());
}

}  // namespace

void print_service_table(const json::object& status) {
  std::printf("%-16s %-9s %9s %9s %8s  %s\n", "service", "state", "uptime", "memory", "restarts", "");
  int64_t total_kib = 0;
  for (const auto& entry : *find_array(status, "services")) {
    const json::object& s = entry.as_object();
    const json::value* up = s.if_contains("uptime_s");
    const double seconds = up && up->is_number() ? up->to_number<double>() : 0;
    const int64_t kib = find_int(s, "memory_kib");
    total_kib += kib;
    std::printf("%-16s %-9s %9s %6lld MB %8lld  %s\n", find_string(s, "name").c_str(), find_string(s, "state").c_str(), uptime(seconds).c_str(), static_cast<long long>(kib / 1024),
                static_cast<long long>(find_int(s, "restarts")), find_string(s, "problem").c_str());
  }
  std::printf("%-16s %-9s %9s %6lld MB\n", "all together", "", "", static_cast<long long>(total_kib / 1024));
}

json::array problems(const Config& config) {
  try {
    return ask_serve(config, "GET", "/").at("problems").as_array();
  } catch (const std::exception&) {
    return {};  // the table says that serve is away
  }
}

void print_problems(const json::array& problems) {
  for (const auto& entry : problems) {
    const json::object& p = entry.as_object();
    std::printf("PROBLEM %s: %s (for %s)\n", find_string(p, "where").c_str(), find_string(p, "what").c_str(), uptime(static_cast<double>(find_int(p, "for_s"))).c_str());
  }
}

void add_service_commands(CLI::App& app, Shared& shared) {
  app.add_subcommand("metrics", "what Prometheus would read: requests, durations, memory")->callback([&shared] {
    std::fputs(ask_serve_text(shared.load(), "GET", "/metrics").c_str(), stdout);
  });
  auto* group = app.add_subcommand("service", "the services of this cloud: APIs, workers, OVN, OVS, libvirt");
  group->require_subcommand(1);
  auto name = std::make_shared<std::string>();
  auto* status = group->add_subcommand("status", "one line a service");
  status->add_option("name", *name, "a service or group (nova, keystone, ovn, libvirt, …)");
  status->callback([&shared, name] { show(shared.load(), *name); });
  for (const char* verb : {"start", "stop", "restart"}) {
    auto* command = group->add_subcommand(verb, std::string(verb) + " a service or group");
    command->add_option("name", *name, "a service or group (nova, keystone, ovn, libvirt, …)")->required();
    command->callback([&shared, name, verb] { change(shared.load(), verb, *name); });
  }
}

}  // namespace virga::cli
