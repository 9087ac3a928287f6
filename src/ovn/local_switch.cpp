#include "ovn/api.h"
#include "ovn/client.h"

namespace virga::ovn {
namespace {

json::array where_uuid(const std::string& uuid) {
  return json::array{json::array{"_uuid", "==", json::array{"uuid", uuid}}};
}

json::object update(std::string_view table, const std::string& uuid, json::object columns) {
  return {{"op", "update"}, {"table", table}, {"where", where_uuid(uuid)}, {"row", std::move(columns)}};
}

json::object mutate(std::string_view table, const std::string& uuid, json::array mutations) {
  return {
      {"op", "mutate"}, {"table", table}, {"where", where_uuid(uuid)}, {"mutations", std::move(mutations)}};
}

/// Keys of a map column set or (no value) removed, the others kept.
json::array map_mutations(std::string_view name,
                          const std::map<std::string, std::optional<std::string>>& keys) {
  json::array remove, insert;
  for (const auto& [key, value] : keys) {
    remove.emplace_back(key);
    if (value) insert.push_back(json::array{key, *value});
  }
  json::array out;
  if (!remove.empty()) out.push_back(json::array{name, "delete", json::array{"set", std::move(remove)}});
  if (!insert.empty()) out.push_back(json::array{name, "insert", json::array{"map", std::move(insert)}});
  return out;
}

std::map<std::string, std::optional<std::string>> changed_keys(const Row* row, std::string_view name,
                                                               const TextMap& wanted) {
  const TextMap have = row ? column(*row, name).as_text_map() : TextMap();
  std::map<std::string, std::optional<std::string>> out;
  for (const auto& [k, v] : wanted)
    if (const auto it = have.find(k); it == have.end() || it->second != v) out[k] = v;
  return out;
}

void add_map_changes(json::array& operations, std::string_view table, const std::string& uuid, const Row& row,
                     std::string_view name, const TextMap& wanted) {
  const auto keys = changed_keys(&row, name, wanted);
  if (!keys.empty()) operations.push_back(mutate(table, uuid, map_mutations(name, keys)));
}

/// The one row of Open_vSwitch, as a reference; its insertion if `ovs-vsctl init` never ran.
json::array root_of(const Replica& replica, json::array& operations) {
  const auto& table = replica.table("Open_vSwitch");
  if (!table.empty()) return json::array{"uuid", table.begin()->first};
  operations.push_back(json::object{
      {"op", "insert"}, {"table", "Open_vSwitch"}, {"uuid-name", "root"}, {"row", {{"next_cfg", 1}}}});
  return json::array{"named-uuid", "root"};
}

json::object mutate_root(const json::array& root, json::array mutations) {
  return {{"op", "mutate"},
          {"table", "Open_vSwitch"},
          {"where", {json::array{"_uuid", "==", root}}},
          {"mutations", std::move(mutations)}};
}

json::array insert_port(json::array& operations, const LocalSwitch::Port& port) {
  operations.push_back(json::object{{"op", "insert"},
                                    {"table", "Interface"},
                                    {"uuid-name", "interface"},
                                    {"row",
                                     {{"name", port.name},
                                      {"type", port.type},
                                      {"external_ids", Datum::text_map(port.external_ids).to_json()}}}});
  operations.push_back(
      json::object{{"op", "insert"},
                   {"table", "Port"},
                   {"uuid-name", "port"},
                   {"row", {{"name", port.name}, {"interfaces", {"named-uuid", "interface"}}}}});
  return json::array{"named-uuid", "port"};
}

std::string bridge_of(const Replica& replica, const std::string& port_uuid) {
  for (const auto& [uuid, row] : replica.table("Bridge"))
    if (column(row, "ports").has_uuid(port_uuid)) return uuid;
  return {};
}

json::array plan_bridge(const Replica& replica, const LocalSwitch::Bridge& b) {
  json::array operations;
  const auto [uuid, row] = replica.find_by_name("Bridge", b.name);
  if (row) {
    json::object columns;
    if (column(*row, "datapath_type").as_text() != b.datapath_type)
      columns["datapath_type"] = b.datapath_type;
    if (column(*row, "fail_mode").as_text() != b.fail_mode)
      columns["fail_mode"] = Datum::optional_text(b.fail_mode).to_json();
    if (!columns.empty()) operations.push_back(update("Bridge", uuid, std::move(columns)));
    add_map_changes(operations, "Bridge", uuid, *row, "other_config", b.other_config);
    add_map_changes(operations, "Bridge", uuid, *row, "external_ids", b.external_ids);
    return operations;
  }
  const json::array root = root_of(replica, operations);
  const json::array port = insert_port(operations, {.name = b.name, .bridge = b.name, .type = "internal"});
  operations.push_back(json::object{{"op", "insert"},
                                    {"table", "Bridge"},
                                    {"uuid-name", "bridge"},
                                    {"row",
                                     {{"name", b.name},
                                      {"datapath_type", b.datapath_type},
                                      {"fail_mode", Datum::optional_text(b.fail_mode).to_json()},
                                      {"ports", port},
                                      {"other_config", Datum::text_map(b.other_config).to_json()},
                                      {"external_ids", Datum::text_map(b.external_ids).to_json()}}}});
  operations.push_back(mutate_root(
      root, {json::array{"bridges", "insert", json::array{"set", {json::array{"named-uuid", "bridge"}}}}}));
  return operations;
}

json::array plan_port(const Replica& replica, const LocalSwitch::Port& p) {
  json::array operations;
  const auto [bridge, bridge_row] = replica.find_by_name("Bridge", p.bridge);
  if (!bridge_row)
    throw Fault(FaultKind::not_found, fmt::format("There is no bridge {} to put {} on.", p.bridge, p.name));
  const auto [port, port_row] = replica.find_by_name("Port", p.name);
  if (!port_row) {
    const json::array made = insert_port(operations, p);
    operations.push_back(
        mutate("Bridge", bridge, {json::array{"ports", "insert", json::array{"set", {made}}}}));
    return operations;
  }
  const json::array set{"set", {json::array{"uuid", port}}};
  if (const std::string now = bridge_of(replica, port); now != bridge) {
    if (!now.empty()) operations.push_back(mutate("Bridge", now, {json::array{"ports", "delete", set}}));
    operations.push_back(mutate("Bridge", bridge, {json::array{"ports", "insert", set}}));
  }
  const auto [interface, interface_row] = replica.find_by_name("Interface", p.name);
  if (!interface_row) return operations;
  if (column(*interface_row, "type").as_text() != p.type)
    operations.push_back(update("Interface", interface, {{"type", p.type}}));
  add_map_changes(operations, "Interface", interface, *interface_row, "external_ids", p.external_ids);
  return operations;
}

}  // namespace

LocalSwitch::LocalSwitch(Options options) : options_(std::move(options)) {
  client_ = std::make_unique<Client>(ClientOptions{
      .remote = options_.remote,
      .database = "Open_vSwitch",
      .monitors = {
          {"Open_vSwitch",
           {"bridges", "external_ids", "ovs_version", "datapath_types", "next_cfg", "cur_cfg"}},
          {"Bridge", {"name", "ports", "datapath_type", "fail_mode", "other_config", "external_ids"}},
          {"Port", {"name", "interfaces"}},
          {"Interface", {"name", "type", "external_ids", "ofport", "error"}}}});
}
LocalSwitch::~LocalSwitch() = default;

bool LocalSwitch::wait_connected(std::chrono::milliseconds timeout) const {
  return client_->wait_ready(timeout);
}

/// Plans, sends, and waits until ovs-vswitchd has caught up (cur_cfg). Others write this database too
/// (libvirt, by ovs-vsctl): a lost race is planned again.
void LocalSwitch::commit(const std::function<json::array(const Replica&)>& plan) {
  for (int attempt = 1;; ++attempt) {
    json::array operations;
    client_->read([&](const Replica& replica) {
      operations = plan(replica);
      if (operations.empty() || replica.table("Open_vSwitch").empty()) return;
      const json::array root{"uuid", replica.table("Open_vSwitch").begin()->first};
      operations.push_back(mutate_root(root, {json::array{"next_cfg", "+=", 1}}));
    });
    if (operations.empty()) break;
    try {
      client_->transact(std::move(operations));
      break;
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::conflict || attempt == 3) throw;
    }
  }
  if (options_.apply_timeout.count() == 0) return;
  int64_t wanted = -1;
  const bool applied = client_->wait_for(options_.apply_timeout, [&](const Replica& replica) {
    if (replica.table("Open_vSwitch").empty()) return true;
    const Row& root = replica.table("Open_vSwitch").begin()->second;
    if (wanted < 0) wanted = column(root, "next_cfg").as_integer();
    return column(root, "cur_cfg").as_integer() >= wanted;
  });
  if (!applied)
    throw Fault(FaultKind::timeout, "ovs-vswitchd has not applied the change.",
                "Is ovs-vswitchd running? See its log.");
}

std::string LocalSwitch::version() const {
  std::string out;
  client_->read([&](const Replica& replica) {
    for (const auto& [uuid, row] : replica.table("Open_vSwitch")) out = column(row, "ovs_version").as_text();
  });
  return out;
}

std::vector<std::string> LocalSwitch::datapath_types() const {
  std::vector<std::string> out;
  client_->read([&](const Replica& replica) {
    for (const auto& [uuid, row] : replica.table("Open_vSwitch"))
      out = column(row, "datapath_types").as_texts();
  });
  return out;
}

std::vector<std::string> LocalSwitch::ports(const std::string& bridge) const {
  std::vector<std::string> out;
  client_->read([&](const Replica& replica) {
    const auto [uuid, row] = replica.find_by_name("Bridge", bridge);
    if (!row) return;
    for (const auto& port : column(*row, "ports").as_texts())
      if (const Row* p = replica.find("Port", port)) out.push_back(column(*p, "name").as_text());
  });
  return out;
}

void LocalSwitch::configure(const std::map<std::string, std::optional<std::string>>& external_ids) {
  commit([&](const Replica& replica) {
    json::array operations;
    const auto& table = replica.table("Open_vSwitch");
    const TextMap have =
        table.empty() ? TextMap() : column(table.begin()->second, "external_ids").as_text_map();
    std::map<std::string, std::optional<std::string>> changed;
    for (const auto& [key, value] : external_ids) {
      const auto it = have.find(key);
      if (value ? it == have.end() || it->second != *value : it != have.end()) changed[key] = value;
    }
    if (changed.empty()) return operations;
    const json::array root = root_of(replica, operations);
    operations.push_back(mutate_root(root, map_mutations("external_ids", changed)));
    return operations;
  });
}

void LocalSwitch::ensure_bridge(const Bridge& bridge) {
  commit([&](const Replica& replica) { return plan_bridge(replica, bridge); });
}

void LocalSwitch::delete_bridge(const std::string& name) {
  commit([&](const Replica& replica) {
    json::array operations;
    const auto [uuid, row] = replica.find_by_name("Bridge", name);
    if (row)
      operations.push_back(
          mutate_root(root_of(replica, operations),
                      {json::array{"bridges", "delete", json::array{"set", {json::array{"uuid", uuid}}}}}));
    return operations;
  });
}

void LocalSwitch::ensure_port(const Port& port) {
  commit([&](const Replica& replica) { return plan_port(replica, port); });
  if (options_.apply_timeout.count() == 0) return;
  std::string error;
  client_->read([&](const Replica& replica) {
    if (const Row* row = replica.find_by_name("Interface", port.name).second)
      error = column(*row, "error").as_text();
  });
  if (!error.empty())
    throw Fault(FaultKind::internal, fmt::format("Open vSwitch could not add {}: {}.", port.name, error));
}

void LocalSwitch::delete_port(const std::string& name) {
  commit([&](const Replica& replica) {
    json::array operations;
    const auto [uuid, row] = replica.find_by_name("Port", name);
    const std::string bridge = row ? bridge_of(replica, uuid) : "";
    if (!bridge.empty())
      operations.push_back(
          mutate("Bridge", bridge,
                 {json::array{"ports", "delete", json::array{"set", {json::array{"uuid", uuid}}}}}));
    return operations;
  });
}

size_t LocalSwitch::delete_ports(const std::string& bridge,
                                 const std::function<bool(const std::string& name)>& doomed) {
  size_t count = 0;
  commit([&](const Replica& replica) {
    json::array operations, set;
    const auto [uuid, row] = replica.find_by_name("Bridge", bridge);
    if (!row) return operations;
    for (const auto& port : column(*row, "ports").as_texts())
      if (const Row* p = replica.find("Port", port); p && doomed(column(*p, "name").as_text()))
        set.push_back(json::array{"uuid", port});
    count = set.size();
    if (count)
      operations.push_back(
          mutate("Bridge", uuid, {json::array{"ports", "delete", json::array{"set", std::move(set)}}}));
    return operations;
  });
  return count;
}

}  // namespace virga::ovn
