// `virga token`, `join`, `leave` and `host`: machines that become hosts of a cloud, and what an operator does with them.

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <map>

#include "base/config.h"
#include "base/crypto.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/process.h"
#include "cli/api.h"
#include "cli/cloud_client.h"
#include "cli/drain.h"
#include "cli/lifecycle.h"
#include "cloud/doctor.h"
#include "cloud/engines.h"
#include "cloud/fencing.h"
#include "cloud/join.h"
#include "cloud/kvm_verdict.h"
#include "cloud/tls.h"

namespace virga::cli {
namespace {

struct TokenWords {
  std::string host, id;
  int expires = 0;
  bool controller = false, as_json = false;
};

void create_token(const Config& config, const TokenWords& w) {
  json::object wanted{{"kind", w.controller ? "controller" : "host"}};
  if (w.expires) wanted["expires_in"] = w.expires;
  if (!w.host.empty()) wanted["hostname"] = w.host;
  cloud::JoinToken printed;
  printed.key_fingerprint = cloud::served_key_fingerprint(config);
  if (w.controller) {
    const std::string key = new_secret();
    if (std::string sealed = cloud::sealed_api_ca(config, key); !sealed.empty()) wanted["sealed"] = std::move(sealed), printed.sealing_key = key;
  }
  const json::value made = admin_client(config).post("/enrolment/v1/tokens", {{"token", std::move(wanted)}});
  const json::object& token = made.at("token").as_object();
  printed.secret = find_string(token, "secret");
  const std::string text = cloud::to_text(printed);
  const std::string url = fmt::format("https://{}:{}", config.hosts_address(), config.cloud.api_port);
  if (w.as_json) {
    std::printf("%s\n", json::serialize(json::object{{"id", find_string(token, "id")},
                                                     {"url", url},
                                                     {"token", text},
                                                     {"expires_at", find_string(token, "expires_at")}})
                            .c_str());
    return;
  }
  if (w.controller)
    std::printf("Who has this line before %s gets the cloud: its database, and the key to what is sealed in it. One machine becomes "
                "a controller with it, as root (virga token revoke %s takes it back):\n\nvirga join --controller %s --token %s\n",
                find_string(token, "expires_at").c_str(), find_string(token, "id").c_str(), url.c_str(), text.c_str());
  else
    std::printf("Until %s one machine may join with this, as root (virga token revoke %s takes it back):\n\nvirga join %s --token %s\n",
                find_string(token, "expires_at").c_str(), find_string(token, "id").c_str(), url.c_str(), text.c_str());
}

void list_tokens(const Config& config, bool as_json) {
  const json::value answer = admin_client(config).get("/enrolment/v1/tokens");
  if (as_json) {
    std::printf("%s\n", json::serialize(answer.at("tokens")).c_str());
    return;
  }
  for (const auto& entry : answer.at("tokens").as_array()) {
    const json::object& t = entry.as_object();
    const std::string kind = find_string(t, "kind");
    std::printf("%s  until %s  for %s%s\n", find_string(t, "id").c_str(), find_string(t, "expires_at").c_str(),
                kind == "controller" ? "a controller" : find_string(t, "hostname", "any host").c_str(),
                has_value(t, "used_at") ? fmt::format(", used at {}", find_string(t, "used_at")).c_str() : "");
  }
}

/// What would keep it from being that; warnings are for a person to weigh.
void examine(const Config& config, const char* what) {
  const auto host = cloud::this_host(config, [&config]() -> std::optional<std::string> {
    const qemu::KvmProbe probe = cloud::kvm_verdict(config);
    return probe.usable ? std::nullopt : std::optional(probe.reason);
  });
  const auto rows = cloud::run_doctor(config, host);
  if (cloud::worst(rows) != cloud::Health::fail) return;
  std::fputs(cloud::render_rows(rows).c_str(), stdout);
  throw Fault(FaultKind::conflict, fmt::format("This machine cannot be a {} yet.", what), "`virga doctor` shows each check again; --force joins all the same.");
}

std::string kept_file(const std::string& path) {
  return path + ".before-join";
}

struct JoinWords : cloud::JoinRequest {
  bool controller = false, force = false;
};

/// Interfaces that the line names.
void take_interfaces(Config& config, const JoinWords& w) {
  if (!w.underlay_interface.empty()) config.network.underlay_interface = w.underlay_interface;
  if (w.external_interface.empty()) return;
  config.network.external_interface = w.external_interface;
  // A host that joined without one has none of these either (cloud/join.cpp).
  if (config.network.bridge_mappings.empty()) config.network.bridge_mappings = Config().network.bridge_mappings;
}

/// The same line once more, after it was broken off late or with other words: nothing is asked of the controller again.
void go_on(Shared& shared, Config config, const JoinWords& w) {
  take_interfaces(config, w);
  check_config(config, shared.path());
  write_file(shared.path(), commented_config(config), 0600);
  std::printf("This machine belongs to that cloud already.\n");
  up(shared, false);
}

void join(Shared& shared, JoinWords w) {
  require_root();
  w.url = cloud::url_with_port(w.url);
  const std::string path = shared.path().empty() ? kDefaultConfig : shared.path();
  const bool is_there = access(path.c_str(), F_OK) == 0;
  const Config base = shared.load();
  if (is_there && cloud::is_member(base, w.url)) return go_on(shared, base, w);
  if (!w.force && base.compute.hypervisor != "fake") {
    Config as_member = base;
    as_member.network.mode = "host";
    as_member.cloud.role = w.controller ? "controller" : "compute";
    take_interfaces(as_member, w);
    examine(as_member, w.controller ? "controller" : "host");
  }
  const Config joined = w.controller ? cloud::join_as_controller(base, w) : cloud::join(base, w);
  std::filesystem::create_directories(std::filesystem::absolute(path).parent_path());
  if (is_there && access(kept_file(path).c_str(), F_OK) != 0) write_file(kept_file(path), read_file(path), 0600);
  write_file(path, commented_config(joined), 0600);
  if (w.controller) cloud::joined_as_controller(joined);
  std::printf("%s at %s; %s written.\n", w.controller ? "A controller" : "Enrolled", w.url.c_str(), path.c_str());
  shared.config_path = path;
  up(shared, false);
}

void leave(const Shared& shared, bool force) {
  require_root();
  const Config config = shared.load();
  if (config.has_control())
    throw Fault(FaultKind::conflict, "This machine is a controller, and no host of another cloud.", "`virga down --purge` removes its cloud.");
  if (const int64_t servers = find_int(cloud::agent_status(config), "servers"); servers > 0 && !force)
    throw Fault(FaultKind::conflict, fmt::format("{} servers run here, and their disks are here.", servers),
                "Delete them or move them to other hosts first. --force ends them and removes their disks.");
  const std::string path = shared.path(), name = cloud::compute_host_name(config);
  down(shared, true);
  const std::string kept = kept_file(path);
  if (access(kept.c_str(), F_OK) == 0) std::filesystem::rename(kept, path);
  else unlink(path.c_str());
  std::printf("On a controller, so that the cloud forgets it too: virga host remove %s\n", name.c_str());
}

// ---- host ----

struct HostWords {
  std::string name, reason;
  int at_once = 2;
  bool cold = false;
  bool off = false, fenced = false, as_json = false;
};

void list_hosts(const Config& config, bool as_json) {
  cloud::RestClient client = compute_client(config);
  const json::value services = client.get("/compute/v2.1/os-services?binary=nova-compute"),
                    hypervisors = client.get("/compute/v2.1/os-hypervisors/detail?with_servers=true"),
                    enrolled = client.get("/enrolment/v1/hosts");
  std::map<std::string, json::object> facts, proofs;
  for (const auto& h : hypervisors.at("hypervisors").as_array()) facts[str(h.at("hypervisor_hostname"))] = h.as_object();
  for (const auto& h : enrolled.at("hosts").as_array()) proofs[str(h.at("hostname"))] = h.as_object();
  json::array all;
  const auto add = [&](const std::string& name, std::string_view state, std::string_view status, std::string_view zone) {
    const json::array* servers = find_array(facts[name], "servers");
    all.push_back(json::object{{"name", name},
                               {"state", state},
                               {"status", status},
                               {"zone", zone},
                               {"address", find_string(facts[name], "host_ip", find_string(proofs[name], "address"))},
                               {"servers", servers ? servers->size() : 0},
                               {"certificate_expires_at", find_string(proofs[name], "certificate_expires_at")}});
  };
  for (const auto& entry : services.at("services").as_array()) {
    const json::object& s = entry.as_object();
    add(find_string(s, "host"), find_string(s, "state"), find_bool(s, "forced_down") ? "fenced" : find_string(s, "status"), find_string(s, "zone"));
  }
  for (const auto& [name, proof] : proofs)
    if (!facts.count(name)) add(name, "never connected", "enrolled", "");
  if (as_json) {
    std::printf("%s\n", json::serialize(all).c_str());
    return;
  }
  std::printf("%-24s %-16s %-9s %-12s %-16s %7s  %s\n", "HOST", "STATE", "STATUS", "ZONE", "ADDRESS", "SERVERS", "CERTIFICATE UNTIL");
  for (const auto& entry : all) {
    const json::object& h = entry.as_object();
    const std::string until = find_string(h, "certificate_expires_at");
    std::printf("%-24s %-16s %-9s %-12s %-16s %7lld  %s\n", find_string(h, "name").c_str(), find_string(h, "state").c_str(),
                find_string(h, "status").c_str(), find_string(h, "zone").c_str(), find_string(h, "address").c_str(),
                static_cast<long long>(find_int(h, "servers")), until.empty() ? "(a controller's own host)" : until.c_str());
  }
}

void list_controllers(const Config& config, bool as_json) {
  const json::value answer = admin_client(config).get("/enrolment/v1/controllers");
  const json::array& all = answer.at("controllers").as_array();
  if (as_json) {
    std::printf("%s\n", json::serialize(all).c_str());
    return;
  }
  if (all.empty()) std::printf("One: its database is a file. (database.url is for several.)\n");
  else std::printf("%-24s %-6s %-10s %-22s %s\n", "CONTROLLER", "STATE", "VERSION", "LINK", "API");
  for (const auto& entry : all) {
    const json::object& c = entry.as_object();
    std::printf("%-24s %-6s %-10s %-22s %s\n", find_string(c, "name").c_str(), find_string(c, "state").c_str(), find_string(c, "version").c_str(),
                find_string(c, "link").c_str(), find_string(c, "api").c_str());
  }
}

void maintenance(const Config& config, const HostWords& w) {
  cloud::RestClient client = compute_client(config);
  const std::string id = find_string(service_of(client, w.name), "id");
  json::object change{{"status", w.off ? "enabled" : "disabled"}};
  if (w.off) change["forced_down"] = false;
  if (!w.off) change["disabled_reason"] = w.reason.empty() ? "maintenance" : w.reason;
  client.put("/compute/v2.1/os-services/" + id, change);
  std::printf(w.off ? "%s takes new servers again.\n" : "%s takes no new servers; those it has run on.\n", w.name.c_str());
}

/// What an operator does about a host that is lost: fence it, say so, have its servers built again elsewhere.
void evacuate(const Config& config, const HostWords& w) {
  cloud::RestClient client = compute_client(config);
  const json::object service = service_of(client, w.name);
  if (!find_bool(service, "forced_down")) {
    if (find_string(service, "state") == "up")
      throw Fault(FaultKind::conflict, fmt::format("{} is up.", w.name), "Only the servers of a lost host are built again elsewhere.");
    if (!config.ha.fence_command.empty()) {
      const json::value answer = client.get("/compute/v2.1/os-hypervisors/detail?hypervisor_hostname_pattern=" + http::percent_encode(w.name));
      cloud::fence(config, w.name, str(answer.at("hypervisors").as_array().front().at("host_ip")));
    } else if (!w.fenced) {
      throw Fault(FaultKind::conflict, fmt::format("{} is silent. That does not say that it is off: its guests may still run.", w.name),
                  "Make sure that it is off, and say so with --fenced; or set ha.fence_command.");
    }
    client.put("/compute/v2.1/os-services/" + find_string(service, "id"), json::object{{"forced_down", true}});
  }
  const json::value answer = client.get("/compute/v2.1/servers?all_tenants=1&host=" + http::percent_encode(w.name));
  int failed = 0;
  for (const auto& entry : answer.at("servers").as_array()) {
    const std::string id = str(entry.at("id")), name = str(entry.at("name"));
    try {
      client.post(fmt::format("/compute/v2.1/servers/{}/action", id), {{"evacuate", json::object()}});
      std::printf("%s (%s): is built again elsewhere\n", name.c_str(), id.c_str());
    } catch (const Fault& fault) {
      ++failed;
      std::printf("%s (%s): %s %s\n", name.c_str(), id.c_str(), fault.message.c_str(), fault.hint.c_str());
    }
  }
  std::printf("When %s is back, it removes what it has of them; it takes servers again after: virga host maintenance %s --off\n",
              w.name.c_str(), w.name.c_str());
  if (failed) throw CLI::RuntimeError(1);
}

void drain(const Config& config, const HostWords& w) {
  const int left = drain_host(config, w.name, w.reason, w.at_once, w.cold);
  if (left) throw Fault(FaultKind::conflict, fmt::format("{} servers are still on {}.", left, w.name), "It takes no new ones; run this again once what is in the way is gone.");
  std::printf("%s is empty; it takes servers again after: virga host maintenance %s --off\n", w.name.c_str(), w.name.c_str());
}

void remove_host(const Config& config, const std::string& name) {
  cloud::RestClient client = compute_client(config);
  const json::object service = service_of(client, name);
  try {
    client.remove("/compute/v2.1/os-services/" + find_string(service, "id"));
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::conflict) throw;
    throw Fault(fault.kind, fault.message, fmt::format("If it is gone for good, with what was on its disks: virga host evacuate {} --fenced; or delete its servers.", name));
  }
  std::printf("%s is no host of this cloud any more; its certificate is good for nothing.\n", name.c_str());
}

void add_token_commands(CLI::App& app, Shared& shared) {
  auto w = std::make_shared<TokenWords>();
  auto* token = app.add_subcommand("token", "one-time tokens with which machines join this cloud");
  token->require_subcommand(1);
  auto* create = token->add_subcommand("create", "make one, and print what to run on the new machine");
  create->add_option("--expires", w->expires, "how long it may be used, seconds (default 3600; 600 with --controller)")->check(CLI::Range(1, 604800));
  create->add_flag("--controller", w->controller, "for a machine that becomes another controller (needs database.url)");
  create->add_option("--host", w->host, "for a machine of this name only");
  create->add_flag("--json", w->as_json);
  create->callback([&shared, w] { create_token(shared.load(), *w); });
  auto* list = token->add_subcommand("list", "those that were made, without their secrets");
  list->add_flag("--json", w->as_json);
  list->callback([&shared, w] { list_tokens(shared.load(), w->as_json); });
  auto* revoke = token->add_subcommand("revoke", "take one back");
  revoke->add_option("id", w->id)->required();
  revoke->callback([&shared, w] {
    admin_client(shared.load()).remove("/enrolment/v1/tokens/" + w->id);
    std::printf("Nobody joins with it any more.\n");
  });
}

void add_join_commands(CLI::App& app, Shared& shared) {
  auto w = std::make_shared<JoinWords>();
  auto* command = app.add_subcommand("join", "make this machine a compute host of a cloud (virga token create prints the line)");
  command->add_option("url", w->url, "a controller: https://ADDRESS:5000")->required();
  command->add_option("--token", w->token)->required();
  command->add_option("--name", w->name, "name of this host (default: the machine's)");
  command->add_option("--address", w->address, "address of this host's tunnels (default: the one with which it reaches the controller)");
  command->add_option("--external-interface", w->external_interface, "interface without addresses that leads to the external network (default: other hosts lead there)");
  command->add_option("--underlay-interface", w->underlay_interface, "with Open vSwitch's userspace datapath: the interface that tunnels leave by");
  command->add_flag("--controller", w->controller, "as another controller (virga token create --controller prints that line)");
  command->add_flag("--force", w->force, "although virga doctor objects");
  command->callback([&shared, w] { join(shared, *w); });
  auto force = std::make_shared<bool>(false);
  auto* leave_command = app.add_subcommand("leave", "this machine is a host no more: everything of Virga goes");
  leave_command->add_flag("--force", *force, "although servers run here; they end, and their disks go");
  leave_command->callback([&shared, force] { leave(shared, *force); });
}

}  // namespace

void add_host_commands(CLI::App& app, Shared& shared) {
  add_token_commands(app, shared);
  add_join_commands(app, shared);
  auto w = std::make_shared<HostWords>();
  auto* host = app.add_subcommand("host", "the compute hosts of this cloud");
  host->require_subcommand(1);
  auto* list = host->add_subcommand("list", "each host, its state, its servers and its certificate");
  list->add_flag("--json", w->as_json);
  list->callback([&shared, w] { list_hosts(shared.load(), w->as_json); });
  auto* controller = app.add_subcommand("controller", "the controllers of this cloud");
  controller->require_subcommand(1);
  auto* controllers = controller->add_subcommand("list", "each one, and whether it lives");
  controllers->add_flag("--json", w->as_json);
  controllers->callback([&shared, w] { list_controllers(shared.load(), w->as_json); });
  auto* pause = host->add_subcommand("maintenance", "no new servers on a host");
  pause->add_option("name", w->name)->required();
  pause->add_option("--reason", w->reason, "what `openstack compute service list --long` shows");
  pause->add_flag("--off", w->off, "it takes servers again, and is no longer declared off");
  pause->callback([&shared, w] { maintenance(shared.load(), *w); });
  auto* empty = host->add_subcommand("drain", "move a host's servers to others, those that run as they run; no new ones on it");
  empty->add_option("name", w->name)->required();
  empty->add_option("--reason", w->reason, "what `openstack compute service list --long` shows");
  empty->add_flag("--cold", w->cold, "stop those that run, and start them where they go");
  empty->add_option("--at-once", w->at_once, "how many move at the same time (default 2)")->check(CLI::Range(1, 64));
  empty->callback([&shared, w] { drain(shared.load(), *w); });
  auto* lost = host->add_subcommand("evacuate", "build the servers of a lost host again on others, from their images");
  lost->add_option("name", w->name)->required();
  lost->add_flag("--fenced", w->fenced, "I have made sure that the host is off");
  lost->callback([&shared, w] { evacuate(shared.load(), *w); });
  auto* remove = host->add_subcommand("remove", "forget a host that has no servers");
  remove->add_option("name", w->name)->required();
  remove->callback([&shared, w] { remove_host(shared.load(), w->name); });
}

}  // namespace virga::cli
