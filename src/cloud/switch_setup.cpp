// What stands in Open vSwitch for this cloud: bridges, the external interface, what OVN must know about this host. And
// how it goes again.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/fault.h"
#include "base/netns.h"
#include "cloud/distribution.h"
#include "cloud/engines.h"
#include "cloud/purge.h"
#include "cloud/switch_database.h"
#include "cloud/underlay.h"

namespace virga::cloud {
namespace {

constexpr const char* kMark = "virga";  // in external_ids of a port, or a bridge for tunnels, that is ours

/// A row that refers to others must be inserted in the transaction that refers to it.
void insert_bridge(json::array& operations, const std::string& name, const std::string& datapath, bool secure,
                   const json::object& columns = {}) {
  const std::string tag = std::to_string(operations.size());
  json::object bridge = {{"name", name},
                         {"datapath_type", datapath},
                         {"ports", json::array{"set", json::array{json::array{"named-uuid", "port" + tag}}}}};
  if (secure) bridge["fail_mode"] = "secure";
  for (const auto& column : columns) bridge[column.key()] = column.value();
  operations.push_back({{"op", "insert"}, {"table", "Interface"}, {"uuid-name", "interface" + tag},
                        {"row", {{"name", name}, {"type", "internal"}}}});
  operations.push_back({{"op", "insert"}, {"table", "Port"}, {"uuid-name", "port" + tag},
                        {"row", {{"name", name}, {"interfaces", json::array{"named-uuid", "interface" + tag}}}}});
  operations.push_back({{"op", "insert"}, {"table", "Bridge"}, {"uuid-name", "bridge" + tag}, {"row", bridge}});
  json::object add = {{"op", "mutate"}, {"table", "Open_vSwitch"}, {"where", json::array()}};
  add["mutations"] = json::array{json::array{"bridges", "insert", json::array{"set", json::array{json::array{"named-uuid", "bridge" + tag}}}}};
  operations.push_back(std::move(add));
}

/// Puts a device of the host on a bridge. `role` ("uplink", "underlay") is kept with it.
void insert_uplink(json::array& operations, const std::string& bridge, const std::string& device, const std::string& role) {
  const json::array mark = {"map", json::array{json::array{kMark, role}}};
  operations.push_back({{"op", "insert"}, {"table", "Interface"}, {"uuid-name", role + "_if"}, {"row", {{"name", device}}}});
  operations.push_back({{"op", "insert"}, {"table", "Port"}, {"uuid-name", role},
                        {"row", {{"name", device}, {"interfaces", json::array{"named-uuid", role + "_if"}}, {"external_ids", mark}}}});
  json::object add = {{"op", "mutate"}, {"table", "Bridge"}, {"where", json::array{json::array{"name", "==", bridge}}}};
  add["mutations"] = json::array{json::array{"ports", "insert", json::array{"set", json::array{json::array{"named-uuid", role}}}}};
  operations.push_back(std::move(add));
}

std::string bridge_of(const std::string& mapping) { return mapping.substr(mapping.find(':') + 1); }

std::string external_bridge(const Config& c) {
  for (const std::string& m : c.network.bridge_mappings)
    if (m.rfind(c.network.physical_network + ":", 0) == 0) return bridge_of(m);
  return "br-ex";
}

std::map<std::string, std::string> chassis_settings(const Config& c, const Engines& e) {
  std::string mappings;
  for (const std::string& m : c.network.bridge_mappings) mappings += (mappings.empty() ? "" : ",") + m;
  return {{"system-id", e.chassis},
          {"hostname", compute_host_name(c)},
          {"ovn-remote", e.chassis_remote},
          {"ovn-encap-type", "geneve"},
          {"ovn-encap-ip", c.network.encap_ip},
          {"ovn-bridge-mappings", mappings},
          {"ovn-bridge-datapath-type", e.userspace_datapath ? "netdev" : "system"}};
}

json::object next_configuration(json::array mutations = {}) {
  mutations.push_back(json::array{"next_cfg", "+=", 1});
  return {{"op", "mutate"}, {"table", "Open_vSwitch"}, {"where", json::array()}, {"mutations", std::move(mutations)}};
}

/// Sets keys of external_ids; a key without a value goes.
json::array set_external_ids(const std::map<std::string, std::optional<std::string>>& wanted) {
  json::array keys, pairs;
  for (const auto& [key, value] : wanted) {
    keys.push_back(json::value(key));
    if (value) pairs.push_back(json::array{key, *value});
  }
  return {json::array{"external_ids", "delete", json::array{"set", keys}},
          json::array{"external_ids", "insert", json::array{"map", pairs}}};
}

json::object remove_members(const char* table, const json::array& where, const char* column, const json::array& members) {
  json::object operation = {{"op", "mutate"}, {"table", table}, {"where", where}};
  operation["mutations"] = json::array{json::array{column, "delete", json::array{"set", members}}};
  return operation;
}

/// Takes the ports off their bridges for which `goes` says so.
template <class F>
void remove_ports(SwitchDatabase& database, json::array& operations, F&& goes) {
  const json::array found = database.transact({select_all("Port", {"_uuid", "name", "external_ids"})});
  json::array members;
  for (const json::value& row : found.at(0).at("rows").as_array()) {
    const json::array& ids = row.at("external_ids").at(1).as_array();
    const bool ours = std::any_of(ids.begin(), ids.end(), [](const json::value& pair) { return pair.at(0) == kMark; });
    if (goes(str(row.at("name")), ours)) members.push_back(row.at("_uuid"));
  }
  if (!members.empty()) operations.push_back(remove_members("Bridge", {}, "ports", members));
}

/// Before the first change: what is there, so that a purge can bring it back; and whether this host is someone else's.
SwitchBefore remember_switch(const Config& c, const Engines& e, SwitchDatabase& database) {
  Distribution choice = chosen_distribution(c).value_or(Distribution{});
  if (choice.before) return *choice.before;
  SwitchBefore before;
  before.external_ids = database.external_ids();
  const auto remote = before.external_ids.find("ovn-remote");
  if (remote != before.external_ids.end() && remote->second != e.chassis_remote)
    throw Fault(FaultKind::conflict,
                fmt::format("This host's Open vSwitch belongs to another OVN: its ovn-remote is {}.", remote->second),
                "If nobody needs that: ovs-vsctl remove open_vswitch . external_ids ovn-remote");
  const json::array bridges = database.transact({select_all("Bridge", {"name", "datapath_type", "external_ids"})});
  for (const json::value& row : bridges.at(0).at("rows").as_array())
    before.bridges[str(row.at("name"))] = {str(row.at("datapath_type")), text_map(row.at("external_ids"))};
  for (const std::string& name : database.names("Port")) before.ports.push_back(name);
  choice.before = before;
  keep_distribution(c, choice);
  return before;
}

/// br-phy with the underlay's interface; its MAC is the interface's, so that neighbours need not learn anything.
void insert_underlay(json::array& operations, const std::string& device, const std::set<std::string>& bridges, const std::set<std::string>& ports) {
  const std::string mac = netns::find_link("", device)->mac;
  if (!bridges.count(kUnderlayBridge))
    insert_bridge(operations, kUnderlayBridge, "netdev", false, {{"other_config", map_value({{"hwaddr", mac}})}, {"external_ids", map_value({{kMark, device}})}});
  if (!ports.count(device)) insert_uplink(operations, kUnderlayBridge, device, "underlay");
}

/// Open vSwitch makes it promiscuous and does not undo that when it is ended by a signal.
void remember_uplink(const Config& c) {
  const auto link = netns::find_link("", c.network.external_interface);
  if (!link->promiscuous) remember_made(c, "promiscuous:" + link->name);
  if (!link->up) remember_made(c, "up:" + link->name);
}

bool contains(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// A bridge that was there before, as it was: OVN's controller may have changed its datapath, and keeps books in it.
json::object put_back(const std::string& name, const SwitchBefore::Bridge& was) {
  return {{"op", "update"},
          {"table", "Bridge"},
          {"where", json::array{json::array{"name", "==", name}}},
          {"row", {{"datapath_type", was.datapath_type}, {"external_ids", map_value(was.external_ids)}}}};
}

/// The settings name another interface than br-phy stands for, or none: it goes, and that one gets back what it had.
void leave_underlay(const Config& c, SwitchDatabase& database) {
  json::array rows;
  const json::array found = database.transact({select_all("Bridge", {"_uuid", "external_ids"})});
  for (const json::value& row : found.at(0).at("rows").as_array()) {
    const auto ids = text_map(row.at("external_ids"));
    const auto mark = ids.find(kMark);
    if (mark != ids.end() && mark->second != c.network.underlay_interface) rows.push_back(row.at("_uuid"));
  }
  if (!rows.empty()) {
    database.transact({remove_members("Open_vSwitch", {}, "bridges", rows), next_configuration()});
    database.wait_applied();
  }
  if (taken_underlay(c) != c.network.underlay_interface) give_underlay_back(c);
}

/// The gateway's address lies on this host if nothing else can have it: in a trial, and without an external interface,
/// as in packstack's demo. A bridge that was there before has an outside of its own; a compute host's is its controller.
bool is_gateway(const Config& c, const SwitchBefore& before) {
  if (!c.has_control()) return false;
  return c.trial() || (c.network.external_interface.empty() && !before.bridges.count(external_bridge(c)));
}

}  // namespace

void check_uplink(const Config& c) {
  check_underlay(c);
  const std::string& uplink = c.network.external_interface;
  if (c.trial() || uplink.empty()) return;
  if (!netns::find_link("", uplink))
    throw Fault(FaultKind::not_found, fmt::format("network.external_interface {} is not an interface of this host.", uplink),
                "`ip link` lists them.");
  const std::vector<std::string> addresses = netns::addresses("", uplink);
  if (addresses.empty()) return;
  throw Fault(FaultKind::conflict,
              fmt::format("network.external_interface {} has the address {}, which would answer no more once it is a port of {}.",
                          uplink, addresses.front(), external_bridge(c)),
              "Use an interface without addresses; or let the distribution's Open vSwitch own the bridge with interface and "
              "address, and leave network.external_interface empty.");
}

void set_up_switch(const Config& c, const Engines& e) {
  SwitchDatabase database(e.ovs_socket);
  if (database.transact({select_all("Open_vSwitch", {"cur_cfg"})}).at(0).at("rows").as_array().empty())
    database.transact({json::object{{"op", "insert"}, {"table", "Open_vSwitch"}, {"row", json::object()}}});
  const SwitchBefore before = e.own_ovs ? SwitchBefore{} : remember_switch(c, e, database);
  leave_underlay(c, database);
  const std::set<std::string> have = database.names("Bridge");
  const std::string datapath = e.userspace_datapath ? "netdev" : "system";
  json::array operations;
  if (!have.count("br-int")) insert_bridge(operations, "br-int", datapath, true);
  std::set<std::string> bridges;
  for (const std::string& mapping : c.network.bridge_mappings)
    if (const std::string bridge = bridge_of(mapping); bridges.insert(bridge).second && !have.count(bridge))
      insert_bridge(operations, bridge, datapath, false);
  const std::string& uplink = c.network.external_interface;
  const std::string& underlay = c.network.underlay_interface;
  remove_ports(database, operations, [&](const std::string& name, bool ours) { return ours && name != uplink && name != underlay; });
  const std::set<std::string> ports = database.names("Port");
  if (!underlay.empty()) {
    check_underlay(c);
    insert_underlay(operations, underlay, have, ports);
  }
  if (!uplink.empty() && !ports.count(uplink)) {
    check_uplink(c);
    remember_uplink(c);
    insert_uplink(operations, external_bridge(c), uplink, "uplink");
  }
  std::map<std::string, std::optional<std::string>> settings;
  for (const auto& [key, value] : chassis_settings(c, e)) settings[key] = value;
  operations.push_back(next_configuration(set_external_ids(settings)));
  database.transact(std::move(operations));
  database.wait_applied();
  if (!uplink.empty()) {
    if (const std::string error = database.interface_error(uplink); !error.empty())
      throw Fault(FaultKind::internal, fmt::format("Open vSwitch could not take {}: {}.", uplink, error));
    netns::set_up("", uplink);
  }

  if (!underlay.empty()) {
    if (const std::string error = database.interface_error(underlay); !error.empty())
      throw Fault(FaultKind::internal, fmt::format("Open vSwitch could not take {}: {}.", underlay, error));
    take_underlay(c);
  }

  const std::string space = c.data_namespace();
  for (const std::string& bridge : bridges) netns::set_up(space, bridge);
  if (is_gateway(c, before)) {
    const std::string prefix = c.network.external_cidr.substr(c.network.external_cidr.find('/'));
    netns::add_address(space, external_bridge(c), c.network.external_gateway + prefix);
  }
  if (c.trial()) netns::add_address(space, "lo", c.network.encap_ip + "/32");
}

void restore_switch(const Config& c, const Engines& e) {
  const std::optional<Distribution> choice = chosen_distribution(c);
  if (!e.own_ovs && (!choice || !choice->before)) return;  // nothing was changed yet
  const SwitchBefore before = e.own_ovs ? SwitchBefore{} : *choice->before;
  std::set<std::string> used = {"br-int"};
  for (const std::string& mapping : c.network.bridge_mappings) used.insert(bridge_of(mapping));
  SwitchDatabase database(e.ovs_socket);

  // First what ovn-controller reads: it then leaves the bridges alone.
  std::map<std::string, std::optional<std::string>> settings;
  for (const auto& [key, value] : chassis_settings(c, e)) {
    const auto was = before.external_ids.find(key);
    settings[key] = was == before.external_ids.end() ? std::nullopt : std::optional(was->second);
  }
  database.transact({next_configuration(set_external_ids(settings))});
  database.wait_applied();

  json::array operations, ours;
  const json::array found = database.transact({select_all("Bridge", {"_uuid", "name", "external_ids"})});
  for (const json::value& row : found.at(0).at("rows").as_array()) {
    const std::string name = str(row.at("name"));
    const auto was = before.bridges.find(name);
    if (!used.count(name) && !text_map(row.at("external_ids")).count(kMark)) continue;
    if (was == before.bridges.end()) ours.push_back(row.at("_uuid"));
    else operations.push_back(put_back(name, was->second));
  }
  remove_ports(database, operations, [&](const std::string& name, bool marked) { return marked && !contains(before.ports, name); });
  if (!ours.empty()) operations.push_back(remove_members("Open_vSwitch", {}, "bridges", ours));
  operations.push_back(next_configuration());
  database.transact(std::move(operations));
  database.wait_applied();
  give_underlay_back(c);
}

}  // namespace virga::cloud
