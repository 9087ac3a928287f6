#include "compute/hosts.h"

#include "compute/aggregates.h"
#include "compute/moves.h"
#include "compute/prefetch.h"
#include "compute/remains.h"

namespace virga::compute {
namespace {

HostRow host_from(const db::Row& r) {
  HostRow h;
  h.id = r.text(0);
  h.hostname = r.text(1);
  h.zone = r.text(2);
  h.enabled = r.boolean(3);
  h.forced_down = r.boolean(4);
  h.disabled_reason = r.maybe_text(5);
  std::string* texts[] = {&h.address,   &h.chassis,  &h.hypervisor, &h.virt_type,
                          &h.cpu_model, &h.cpu_arch, &h.last_seen};
  for (size_t i = 0; i < std::size(texts); ++i) *texts[i] = r.text(6 + i);
  int64_t* numbers[] = {&h.number, &h.hypervisor_version, &h.vcpus, &h.memory_mb, &h.disk_gb};
  for (size_t i = 0; i < std::size(numbers); ++i) *numbers[i] = r.integer(13 + i);
  return h;
}

bool is_up(const Core& core, const HostRow& h) {
  return !h.forced_down && core.is_up(HostId(h.id), h.last_seen);
}

placement::Inventory inventory(std::string name, int64_t total, int64_t reserved, double ratio) {
  placement::Inventory i;
  i.resource_class = std::move(name);
  i.total = std::max<int64_t>(total, 1);
  i.reserved = std::min(reserved, i.total - 1);
  i.max_unit = i.total;
  i.allocation_ratio = ratio;
  return i;
}

json::value number_or_uuid(const api::Call& call, const HostRow& h) {
  return call.since(2, 53) ? json::value(h.id) : json::value(h.number);
}

std::string seen_text(const Core& core, const HostRow& h) {
  std::string text = last_seen(core, HostId(h.id), h.last_seen);
  if (text.size() > 10) text[10] = 'T';
  return text;
}

json::value reason_of(const HostRow& h) {
  return h.disabled_reason ? json::value(*h.disabled_reason) : json::value(nullptr);
}

json::object service_view(const Core& core, const api::Call& call, const HostRow& h) {
  json::object view{{"id", number_or_uuid(call, h)},
                    {"binary", "nova-compute"},
                    {"host", h.hostname},
                    {"zone", h.zone},
                    {"status", h.enabled ? "enabled" : "disabled"},
                    {"state", is_up(core, h) ? "up" : "down"},
                    {"updated_at", seen_text(core, h)},
                    {"disabled_reason", reason_of(h)}};
  if (call.since(2, 11)) view["forced_down"] = h.forced_down;
  return view;
}

/// A controller's own workers: threads of its process, so they are up whenever it answers.
json::object control_view(const api::Call& call, std::string_view binary, const controllers::Controller& c, int number) {
  std::string seen = c.seen_at;
  if (seen.size() > 10) seen[10] = 'T';
  json::object view{{"binary", binary},      {"host", c.name},
                    {"zone", "internal"},    {"status", "enabled"},
                    {"state", c.alive ? "up" : "down"}, {"updated_at", seen},
                    {"disabled_reason", nullptr}};
  view["id"] = call.since(2, 53) ? json::value(fmt::format("00000000-0000-4000-8000-{:012d}", number))
                                 : json::value(1000000 + number);
  if (call.since(2, 11)) view["forced_down"] = false;
  return view;
}

/// Without a table of them (one on SQLite): this one, which answers.
std::vector<controllers::Controller> all_controllers(Core& core) {
  if (core.options.controllers) return core.database.read([&](db::Tx& tx) { return core.options.controllers->all(tx); });
  controllers::Controller me;
  me.name = "virga";
  me.seen_at = to_db(core.clock.now());
  me.alive = true;
  return {me};
}

http::Response list_services(Core& core, api::Call& call) {
  const auto wanted_host = call.request.query_value("host"),
             wanted_binary = call.request.query_value("binary");
  const auto wanted = [&](std::string_view host, std::string_view binary) {
    return (!wanted_host || *wanted_host == host) && (!wanted_binary || *wanted_binary == binary);
  };
  json::array all;
  int number = 1;
  for (const auto& controller : all_controllers(core))
    for (const char* binary : {"nova-scheduler", "nova-conductor"}) {
      if (wanted(controller.name, binary)) all.push_back(control_view(call, binary, controller, number));
      ++number;
    }
  for (const auto& h : core.database.read([](db::Tx& tx) { return all_hosts(tx); }))
    if (wanted(h.hostname, "nova-compute")) all.push_back(service_view(core, call, h));
  return api::reply(200, json::object{{"services", std::move(all)}});
}

HostRow need_host(db::Tx& tx, const std::string& key, bool by_name) {
  for (auto& h : all_hosts(tx))
    if (by_name ? h.hostname == key : (h.id == key || std::to_string(h.number) == key)) return h;
  throw Fault(FaultKind::not_found, by_name
                                        ? fmt::format("Could not find binary nova-compute on host {}.", key)
                                        : fmt::format("Service {} could not be found.", key));
}

/// As nova does, placement learns of it by a trait, so that it need not offer the host to the scheduler.
void tell_placement(Core& core, db::Tx& tx, const std::string& host, bool enabled) {
  core.placement.set_trait(tx, host, "COMPUTE_STATUS_DISABLED", !enabled);
}

/// Whom to wake after the commit.
std::vector<ServerId> set_status(Core& core, db::Tx& tx, const HostRow& h) {
  tx.exec("UPDATE hosts SET enabled = ?, disabled_reason = ?, forced_down = ?, updated_at = ? WHERE id = ?",
          h.enabled, h.disabled_reason, h.forced_down, core.clock.now(), h.id);
  tell_placement(core, tx, h.id, h.enabled);
  return h.forced_down ? give_up_destination(core, tx, HostId(h.id)) : std::vector<ServerId>{};
}

std::string need_text(const json::object& body, std::string_view key) {
  const std::string text = find_string(body, key);
  if (text.empty() || text.size() > 255)
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Invalid input for field/attribute {}. It must be text of 1 to 255 characters.", key));
  return text;
}

/// PUT /os-services/enable, /disable, /disable-log-reason, /force-down (before 2.53), by host and binary.
http::Response change_by_name(Core& core, api::Call& call) {
  const std::string verb = call.param("id");
  const auto& body = call.body();
  const std::string host = need_text(body, "host"), binary = need_text(body, "binary");
  if (binary != "nova-compute")
    throw Fault(FaultKind::not_found, fmt::format("Could not find binary {} on host {}.", binary, host));
  std::vector<ServerId> wake;
  const auto h = core.database.write([&](db::Tx& tx) {
    auto row = need_host(tx, host, true);
    if (verb == "enable")
      row.enabled = true, row.disabled_reason.reset();
    else if (verb == "disable")
      row.enabled = false, row.disabled_reason.reset();
    else if (verb == "disable-log-reason")
      row.enabled = false, row.disabled_reason = need_text(body, "disabled_reason");
    else if (verb == "force-down" && call.since(2, 11))
      row.forced_down = find_bool(body, "forced_down");
    else
      throw Fault(FaultKind::not_found, "Unknown action");
    wake = set_status(core, tx, row);
    return row;
  });
  for (const auto& id : wake) core.wake(id);
  json::object view{{"host", h.hostname}, {"binary", binary}};
  if (verb == "force-down")
    view["forced_down"] = h.forced_down;
  else
    view["status"] = h.enabled ? "enabled" : "disabled";
  if (verb == "disable-log-reason") view["disabled_reason"] = reason_of(h);
  return api::reply(200, json::object{{"service", std::move(view)}});
}

http::Response change_by_id(Core& core, api::Call& call) {
  const auto& body = call.body();
  const std::string status = find_string(body, "status");
  for (const auto& [key, value] : body)
    if (key != "status" && key != "disabled_reason" && key != "forced_down")
      throw Fault(
          FaultKind::bad_request,
          fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
  if (body.empty() || (body.contains("status") && status != "enabled" && status != "disabled"))
    throw Fault(FaultKind::bad_request,
                "Invalid input for field/attribute status. It is not one of ['enabled', 'disabled'].");
  if (body.contains("disabled_reason") && status != "disabled")
    throw Fault(FaultKind::bad_request, "Specifying disabled_reason requires that status is disabled.");
  if (!looks_like_uuid(call.param("id")))
    throw Fault(FaultKind::bad_request, fmt::format("Invalid uuid {}", call.param("id")));
  std::vector<ServerId> wake;
  const auto h = core.database.write([&](db::Tx& tx) {
    auto row = need_host(tx, call.param("id"), false);
    if (!status.empty()) {
      row.enabled = status == "enabled";
      row.disabled_reason = row.enabled || !has_value(body, "disabled_reason")
                                ? std::nullopt
                                : std::optional(find_string(body, "disabled_reason"));
    }
    if (body.contains("forced_down")) row.forced_down = find_bool(body, "forced_down");
    wake = set_status(core, tx, row);
    return row;
  });
  for (const auto& id : wake) core.wake(id);
  return api::reply(200, json::object{{"service", service_view(core, call, h)}});
}

/// nova's way to take a compute host out of the cloud. A tombstone still needs the host, to remove a domain.
http::Response remove_service(Core& core, api::Call& call) {
  const std::string key = call.param("id");
  if (call.since(2, 53) && !looks_like_uuid(key)) throw Fault(FaultKind::bad_request, fmt::format("Invalid uuid {}", key));
  const HostId removed = core.database.write([&](db::Tx& tx) {
    const HostRow h = need_host(tx, key, false);
    // A host that is off may be off for good: what it has of deleted servers goes if it ever comes back.
    if (h.forced_down) {
      for (const auto& server : tx.query("SELECT id FROM servers WHERE host_id = ? AND deleted = 1 AND tombstone = 1", h.id))
        leave_remains(tx, *find_server(tx, server.id<ServerId>(0)), h.id, core.clock.now());
      tx.exec("UPDATE servers SET tombstone = 0 WHERE host_id = ? AND deleted = 1", h.id);
    }
    const auto left = tx.first("SELECT COUNT(*), SUM(deleted) FROM servers WHERE host_id = ? AND (deleted = 0 OR tombstone = 1)", h.id);
    if (const int64_t servers = left->integer(0); servers > 0)
      throw Fault(FaultKind::conflict, "Unable to delete compute service that is hosting instances. Migrate or delete all instances first.",
                  fmt::format("On {}: {} servers, of which {} are deleted and wait for it.", h.hostname, servers, left->integer(1)));
    core.placement.remove_provider(tx, h.id);
    tx.exec("DELETE FROM aggregate_hosts WHERE host_id = ?", h.id);
    give_up_prefetches(core, tx, HostId(h.id), "The host was removed.");
    tx.exec("DELETE FROM hosts WHERE id = ?", h.id);
    if (core.options.forget_host) core.options.forget_host(tx, HostId(h.id));
    return HostId(h.id);
  });
  core.liveness.refused(removed);
  if (auto* hub = core.hub.load()) hub->disconnect(removed, "This host was removed from the cloud.");
  core.tell_others("host", removed.str());
  return api::reply(204);
}

json::object hypervisor_brief(const Core& core, const api::Call& call, const HostRow& h) {
  return {{"id", number_or_uuid(call, h)},
          {"hypervisor_hostname", h.hostname},
          {"state", is_up(core, h) ? "up" : "down"},
          {"status", h.enabled ? "enabled" : "disabled"}};
}

json::array servers_on(db::Tx& tx, const HostRow& h) {
  json::array all;
  for (const auto& row : tx.query("SELECT id, name FROM servers WHERE host_id = ? AND deleted = 0", h.id))
    all.push_back(json::object{{"uuid", row.text(0)}, {"name", row.text(1)}});
  return all;
}

/// Attributes that 2.88 took away, as numbers of one host or summed over all.
json::object capacity_view(const HostRow& h) {
  return {{"vcpus", h.vcpus},
          {"vcpus_used", h.vcpus_used},
          {"memory_mb", h.memory_mb},
          {"memory_mb_used", h.memory_used},
          {"free_ram_mb", h.memory_mb - h.memory_used},
          {"local_gb", h.disk_gb},
          {"local_gb_used", h.disk_used},
          {"free_disk_gb", h.disk_gb - h.disk_used},
          {"disk_available_least", h.disk_gb - h.disk_used},
          {"running_vms", h.servers},
          {"current_workload", 0}};
}

json::object hypervisor_full(const Core& core, const api::Call& call, const HostRow& h) {
  json::object view = hypervisor_brief(core, call, h);
  const json::object cpu{{"arch", h.cpu_arch},
                         {"model", h.cpu_model},
                         {"vendor", ""},
                         {"features", json::array()},
                         {"topology", json::object{{"cores", h.vcpus}, {"threads", 1}, {"sockets", 1}}}};
  if (!call.since(2, 88)) {
    view["cpu_info"] = call.since(2, 28) ? json::value(cpu) : json::value(json::serialize(cpu));
    for (const auto& [key, value] : capacity_view(h)) view[key] = value;
  } else {
    view["uptime"] = "";  // not known; openstackclient fails on null
  }
  view["host_ip"] = h.address.empty() ? "127.0.0.1" : h.address;
  view["hypervisor_type"] = h.hypervisor;
  view["hypervisor_version"] = h.hypervisor_version;
  view["service"] =
      json::object{{"host", h.hostname}, {"id", number_or_uuid(call, h)}, {"disabled_reason", reason_of(h)}};
  return view;
}

http::Response list_hypervisors(Core& core, api::Call& call, bool detail) {
  const auto pattern =
      call.since(2, 53) ? call.request.query_value("hypervisor_hostname_pattern") : std::nullopt;
  const bool with_servers =
      call.since(2, 53) &&
      api::parse_bool(call.request.query_value("with_servers").value_or("false")).value_or(false);
  json::array all;
  core.database.read([&](db::Tx& tx) {
    for (const auto& h : all_hosts(tx)) {
      if (pattern && h.hostname.find(*pattern) == std::string::npos) continue;
      auto view = detail ? hypervisor_full(core, call, h) : hypervisor_brief(core, call, h);
      if (with_servers) view["servers"] = servers_on(tx, h);
      all.push_back(std::move(view));
    }
  });
  if (pattern && all.empty())
    throw Fault(FaultKind::not_found, fmt::format("No hypervisor matching '{}' could be found.", *pattern));
  return api::reply(200, json::object{{"hypervisors", std::move(all)}});
}

Fault no_hypervisor(const std::string& id) {
  return Fault(FaultKind::not_found, fmt::format("Hypervisor with ID '{}' could not be found.", id));
}

HostRow need_hypervisor(db::Tx& tx, const std::string& id) {
  for (auto& h : all_hosts(tx))
    if (h.id == id || std::to_string(h.number) == id) return h;
  throw no_hypervisor(id);
}

void add_hypervisor_routes(Routes& routes, Core& core) {
  routes.add("GET", "/os-hypervisors", "os-hypervisors:list",
             [&core](api::Call& call) { return list_hypervisors(core, call, false); });
  routes.add("GET", "/os-hypervisors/detail", "os-hypervisors:list-detail",
             [&core](api::Call& call) { return list_hypervisors(core, call, true); });
  routes.add("GET", "/os-hypervisors/statistics", "os-hypervisors:statistics",
             [&core](api::Call&) {
               HostRow sum;
               int64_t count = 0;
               for (const auto& h : core.database.read([](db::Tx& tx) { return all_hosts(tx); })) {
                 ++count;
                 for (const auto member :
                      {&HostRow::vcpus, &HostRow::vcpus_used, &HostRow::memory_mb, &HostRow::memory_used,
                       &HostRow::disk_gb, &HostRow::disk_used, &HostRow::servers})
                   sum.*member += h.*member;
               }
               auto view = capacity_view(sum);
               view["count"] = count;
               return api::reply(200, json::object{{"hypervisor_statistics", std::move(view)}});
             },
             {}, {2, 87});
  routes.add("GET", "/os-hypervisors/{id}", "os-hypervisors:show", [&core](api::Call& call) {
    json::object view;
    core.database.read([&](db::Tx& tx) {
      const auto h = need_hypervisor(tx, call.param("id"));
      view = hypervisor_full(core, call, h);
      if (call.since(2, 53) && call.request.query_value("with_servers")) view["servers"] = servers_on(tx, h);
    });
    return api::reply(200, json::object{{"hypervisor", std::move(view)}});
  });
  routes.add("GET", "/os-hypervisors/{id}/uptime", "os-hypervisors:uptime",
             [&core](api::Call& call) {
               auto view = hypervisor_brief(core, call, core.database.read([&](db::Tx& tx) {
                 return need_hypervisor(tx, call.param("id"));
               }));
               view["uptime"] = "";
               return api::reply(200, json::object{{"hypervisor", std::move(view)}});
             },
             {}, {2, 87});
  const auto by_name = [&core](api::Call& call, bool servers) {
    json::array all;
    core.database.read([&](db::Tx& tx) {
      for (const auto& h : all_hosts(tx)) {
        if (h.hostname.find(call.param("id")) == std::string::npos) continue;
        auto view = hypervisor_brief(core, call, h);
        if (auto on = servers ? servers_on(tx, h) : json::array(); !on.empty())
          view["servers"] = std::move(on);
        all.push_back(std::move(view));
      }
    });
    if (all.empty())
      throw Fault(FaultKind::not_found,
                  fmt::format("No hypervisor matching '{}' could be found.", call.param("id")));
    return api::reply(200, json::object{{"hypervisors", std::move(all)}});
  };
  routes.add("GET", "/os-hypervisors/{id}/search", "os-hypervisors:search",
             [by_name](api::Call& call) { return by_name(call, false); }, {}, {2, 52});
  routes.add("GET", "/os-hypervisors/{id}/servers", "os-hypervisors:servers",
             [by_name](api::Call& call) { return by_name(call, true); }, {}, {2, 52});
}

http::Response zones(Core& core, api::Call&, bool detail) {
  std::map<std::string, json::object> hosts_of;
  std::map<std::string, bool> available;
  for (const auto& h : core.database.read([](db::Tx& tx) { return all_hosts(tx); })) {
    const bool up = h.enabled && is_up(core, h);
    available[h.zone] = available[h.zone] || up;
    hosts_of[h.zone][h.hostname] =
        json::object{{"nova-compute", json::object{{"available", is_up(core, h)},
                                                   {"active", h.enabled},
                                                   {"updated_at", seen_text(core, h)}}}};
  }
  if (available.empty()) available[std::string(kDefaultZone)] = false;
  json::array all;
  if (detail)
    all.push_back(json::object{
        {"zoneName", "internal"},
        {"zoneState", json::object{{"available", true}}},
        {"hosts",
         json::object{
             {"virga", json::object{{"nova-scheduler",
                                     json::object{{"available", true},
                                                  {"active", true},
                                                  {"updated_at", to_iso_us_no_zone(core.clock.now())}}}}}}}});
  for (const auto& [name, up] : available)
    all.push_back(json::object{{"zoneName", name},
                               {"zoneState", json::object{{"available", up}}},
                               {"hosts", detail ? json::value(hosts_of[name]) : json::value(nullptr)}});
  return api::reply(200, json::object{{"availabilityZoneInfo", std::move(all)}});
}

}  // namespace

std::string last_seen(const Core& core, const HostId& host, const std::string& in_row) {
  const auto heard = core.liveness.last_seen(host);
  return heard ? std::max(to_db(*heard), in_row) : in_row;
}

std::vector<HostRow> all_hosts(db::Tx& tx) {
  std::vector<HostRow> all;
  for (const auto& row :
       tx.query("SELECT id, hostname, zone, enabled, forced_down, disabled_reason, address, chassis, "
                "hypervisor, virt_type, cpu_model, cpu_arch, last_seen, "
                "number, hypervisor_version, vcpus, memory_mb, disk_gb FROM hosts ORDER BY number"))
    all.push_back(host_from(row));
  std::map<std::string, HostRow*> by_id;
  for (auto& h : all) by_id[h.id] = &h;
  for (const auto& row : tx.query("SELECT provider_uuid, resource_class, used FROM inventories")) {
    const auto it = by_id.find(row.text(0));
    if (it == by_id.end()) continue;
    if (row.text(1) == "VCPU") it->second->vcpus_used = row.integer(2);
    if (row.text(1) == "MEMORY_MB") it->second->memory_used = row.integer(2);
    if (row.text(1) == "DISK_GB") it->second->disk_used = row.integer(2);
  }
  for (const auto& row : tx.query(
           "SELECT host_id, COUNT(*) FROM servers WHERE deleted = 0 AND power_state = 1 GROUP BY host_id"))
    if (const auto it = by_id.find(row.text(0)); it != by_id.end()) it->second->servers = row.integer(1);
  return all;
}

void register_host(Core& core, db::Tx& tx, const link::HostFacts& f) {
  const Time now = core.clock.now();
  if (const auto other = tx.first("SELECT id FROM hosts WHERE hostname = ? AND id <> ?", f.hostname, f.id))
    throw Fault(FaultKind::forbidden,
                fmt::format("A host named {} is enrolled with another id, {}.", f.hostname, other->text(0)),
                "Give this host another name, or keep its state directory when it is installed again.");
  const int64_t changed = tx.exec(
      "UPDATE hosts SET hostname = ?, address = ?, chassis = ?, hypervisor = ?, virt_type = ?, "
      "hypervisor_version = ?, cpu_model = ?, cpu_arch = ?, "
      "vcpus = ?, memory_mb = ?, disk_gb = ?, link_minor = ?, last_seen = ?, updated_at = ? WHERE id = ?",
      f.hostname, f.address, f.chassis, f.hypervisor, f.virt_type, f.hypervisor_version, f.cpu_model,
      f.cpu_arch, f.vcpus, f.memory.count, f.disk.count, f.link_minor, now, now, f.id);
  if (changed == 0)
    tx.exec(
        "INSERT INTO hosts (id, number, hostname, zone, enabled, forced_down, address, chassis, hypervisor, "
        "virt_type, hypervisor_version, cpu_model, cpu_arch, vcpus, "
        "memory_mb, disk_gb, link_minor, last_seen, created_at, updated_at) VALUES (?, ?, ?, ?, 1, 0, ?, ?, ?, ?, "
        "?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        f.id, next_number(tx, "host"), f.hostname, kDefaultZone, f.address, f.chassis, f.hypervisor, f.virt_type,
        f.hypervisor_version, f.cpu_model, f.cpu_arch, f.vcpus, f.memory.count, f.disk.count, f.link_minor, now, now, now);
  const auto& o = core.options;
  core.placement.ensure_provider(tx, f.id.str(), f.hostname,
                                 {inventory("VCPU", f.vcpus, 0, o.cpu_allocation_ratio),
                                  inventory("MEMORY_MB", static_cast<int64_t>(f.memory.count),
                                            o.reserved_host_memory_mb, o.ram_allocation_ratio),
                                  inventory("DISK_GB", static_cast<int64_t>(f.disk.count),
                                            o.reserved_host_disk_gb, o.disk_allocation_ratio)});
  // A provider that somebody took away through the Placement API has lost what it knew of its host.
  tell_placement(core, tx, f.id.str(), tx.first("SELECT enabled FROM hosts WHERE id = ?", f.id)->boolean(0));
  if (f.link_minor >= link::kTraitsMinor) core.placement.report_traits(tx, f.id.str(), f.traits);
  follow_aggregates(core, tx, f.id.str());
}

void add_host_routes(Routes& routes, Core& core) {
  routes.add("GET", "/os-services", "os-services:list",
             [&core](api::Call& call) { return list_services(core, call); });
  routes.add("PUT", "/os-services/{id}", "os-services:update", [&core](api::Call& call) {
    return call.since(2, 53) ? change_by_id(core, call) : change_by_name(core, call);
  });
  routes.add("DELETE", "/os-services/{id}", "os-services:delete",
             [&core](api::Call& call) { return remove_service(core, call); });
  routes.add("GET", "/os-availability-zone", "os-availability-zone:list",
             [&core](api::Call& call) { return zones(core, call, false); });
  routes.add("GET", "/os-availability-zone/detail", "os-availability-zone:detail",
             [&core](api::Call& call) { return zones(core, call, true); });
  add_hypervisor_routes(routes, core);
}

}  // namespace virga::compute
