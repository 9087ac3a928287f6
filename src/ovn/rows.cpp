#include "ovn/rows.h"

#include <algorithm>

#include "base/crypto.h"
#include "base/fault.h"

namespace virga::ovn {
namespace {

constexpr TableInfo kTables[] = {
    {"Logical_Switch", "", ""},
    {"Logical_Switch_Port", "Logical_Switch", "ports"},
    {"Logical_Router", "", ""},
    {"Logical_Router_Port", "Logical_Router", "ports"},
    {"Logical_Router_Static_Route", "Logical_Router", "static_routes"},
    {"NAT", "Logical_Router", "nat"},
    {"Gateway_Chassis", "Logical_Router_Port", "gateway_chassis"},
    {"Port_Group", "", ""},
    {"ACL", "Port_Group", "acls"},
    {"DHCP_Options", "", ""},
    {"Address_Set", "", ""},
};

DesiredRow make(std::string table, std::string key, std::string parent, int64_t revision,
                TextMap external_ids) {
  external_ids[std::string(kIdMark)] = key;
  if (!parent.empty()) external_ids[std::string(kParentMark)] = parent;
  if (revision > 0) external_ids[std::string(kRevisionMark)] = std::to_string(revision);
  DesiredRow row{std::move(table), std::move(key), std::move(parent), revision, {}, {}};
  row.columns["external_ids"] = Datum::text_map(external_ids);
  return row;
}

Datum optional_boolean(std::optional<bool> v) {
  return v ? Datum::boolean(*v) : Datum();
}
Datum reference(std::string_view table, const std::string& key) {
  return key.empty() ? Datum() : Datum::uuids({row_uuid(table, key)});
}

DesiredRow row_of(const LogicalSwitch& s) {
  DesiredRow row = make("Logical_Switch", s.id, "", s.revision, s.external_ids);
  row.columns["name"] = Datum::text(s.name.empty() ? s.id : s.name);
  row.columns["other_config"] = Datum::text_map(s.other_config);
  return row;
}

DesiredRow row_of(const LogicalSwitchPort& p) {
  DesiredRow row = make("Logical_Switch_Port", p.id, p.logical_switch, p.revision, p.external_ids);
  row.columns["name"] = Datum::text(p.id);
  row.columns["type"] = Datum::text(p.type);
  row.columns["addresses"] = Datum::text_set(p.addresses);
  row.columns["port_security"] = Datum::text_set(p.port_security);
  row.columns["enabled"] = optional_boolean(p.enabled);
  row.columns["tag"] = p.tag ? Datum::integer(*p.tag) : Datum();
  row.columns["options"] = Datum::text_map(p.options);
  row.columns["dhcpv4_options"] = reference("DHCP_Options", p.dhcpv4_options);
  row.columns["dhcpv6_options"] = reference("DHCP_Options", p.dhcpv6_options);
  row.port_groups = p.port_groups;
  return row;
}

DesiredRow row_of(const LogicalRouter& r, const LogicalRouterPort& p) {
  DesiredRow row = make("Logical_Router_Port", p.id, r.id, 0, p.external_ids);
  row.columns["name"] = Datum::text(p.id);
  row.columns["mac"] = Datum::text(p.mac);
  row.columns["networks"] = Datum::text_set(p.networks);
  row.columns["enabled"] = optional_boolean(p.enabled);
  row.columns["options"] = Datum::text_map(p.options);
  row.columns["ipv6_ra_configs"] = Datum::text_map(p.ipv6_ra_configs);
  return row;
}

DesiredRow row_of(const LogicalRouter& r, const LogicalRouterPort& p, const GatewayChassis& g) {
  const std::string name = p.id + "_" + g.chassis;
  DesiredRow row = make("Gateway_Chassis", name, p.id, 0, {});
  row.columns["name"] = Datum::text(name);
  row.columns["chassis_name"] = Datum::text(g.chassis);
  row.columns["priority"] = Datum::integer(g.priority);
  return row;
}

DesiredRow row_of(const LogicalRouter& r, const StaticRoute& s) {
  const std::string key = fmt::format("{} {} {} {}", r.id, s.policy, s.ip_prefix, s.nexthop);
  DesiredRow row = make("Logical_Router_Static_Route", key, r.id, 0, s.external_ids);
  row.columns["ip_prefix"] = Datum::text(s.ip_prefix);
  row.columns["nexthop"] = Datum::text(s.nexthop);
  row.columns["output_port"] = Datum::optional_text(s.output_port);
  row.columns["policy"] = Datum::optional_text(s.policy);
  return row;
}

DesiredRow row_of(const LogicalRouter& r, const Nat& n) {
  const std::string key = fmt::format("{} {} {} {}", r.id, n.type, n.external_ip, n.logical_ip);
  DesiredRow row = make("NAT", key, r.id, 0, n.external_ids);
  row.columns["type"] = Datum::text(n.type);
  row.columns["external_ip"] = Datum::text(n.external_ip);
  row.columns["logical_ip"] = Datum::text(n.logical_ip);
  row.columns["logical_port"] = Datum::optional_text(n.logical_port);
  row.columns["external_mac"] = Datum::optional_text(n.external_mac);
  row.columns["gateway_port"] = reference("Logical_Router_Port", n.gateway_port);
  row.columns["options"] = Datum::text_map(n.options);
  return row;
}

DesiredRow row_of(const PortGroup& g, const Acl& a) {
  DesiredRow row = make("ACL", g.id + " " + a.id, g.id, 0, a.external_ids);
  row.columns["name"] = Datum::optional_text(a.name);
  row.columns["direction"] = Datum::text(a.direction);
  row.columns["priority"] = Datum::integer(a.priority);
  row.columns["match"] = Datum::text(a.match);
  row.columns["action"] = Datum::text(a.action);
  row.columns["log"] = Datum::boolean(a.log);
  row.columns["severity"] = Datum::optional_text(a.severity);
  row.columns["meter"] = Datum::optional_text(a.meter);
  return row;
}

std::vector<DesiredRow> rows_of(const LogicalRouter& r) {
  DesiredRow row = make("Logical_Router", r.id, "", r.revision, r.external_ids);
  row.columns["name"] = Datum::text(r.name.empty() ? r.id : r.name);
  row.columns["enabled"] = optional_boolean(r.enabled);
  row.columns["options"] = Datum::text_map(r.options);
  std::vector<DesiredRow> rows{std::move(row)};
  for (const auto& p : r.ports) {
    rows.push_back(row_of(r, p));
    for (const auto& g : p.gateway_chassis) rows.push_back(row_of(r, p, g));
  }
  for (const auto& s : r.static_routes) rows.push_back(row_of(r, s));
  for (const auto& n : r.nats) rows.push_back(row_of(r, n));
  return rows;
}

std::vector<DesiredRow> rows_of(const PortGroup& g) {
  DesiredRow row = make("Port_Group", g.id, "", g.revision, g.external_ids);
  row.columns["name"] = Datum::text(g.id);
  std::vector<DesiredRow> rows{std::move(row)};
  for (const auto& a : g.acls) rows.push_back(row_of(g, a));
  return rows;
}

DesiredRow row_of(const DhcpOptions& d) {
  DesiredRow row = make("DHCP_Options", d.id, "", d.revision, d.external_ids);
  row.columns["cidr"] = Datum::text(d.cidr);
  row.columns["options"] = Datum::text_map(d.options);
  return row;
}

DesiredRow row_of(const AddressSet& a) {
  DesiredRow row = make("Address_Set", a.id, "", a.revision, a.external_ids);
  row.columns["name"] = Datum::text(a.id);
  row.columns["addresses"] = Datum::text_set(a.addresses);
  return row;
}

}  // namespace

const TableInfo& table_info(std::string_view table) {
  for (const auto& info : kTables)
    if (info.table == table) return info;
  throw Fault(FaultKind::internal, fmt::format("{} is not a table we write.", table));
}

std::vector<std::pair<std::string, std::string>> owned_children(std::string_view table) {
  std::vector<std::pair<std::string, std::string>> out;
  if (table == "Logical_Switch") return out;  // its ports come and go one by one
  for (const auto& info : kTables)
    if (info.parent_table == table) out.emplace_back(info.parent_column, info.table);
  return out;
}

std::string row_uuid(std::string_view table, std::string_view key) {
  std::string hex = to_hex(sha256(fmt::format("virga/{}/{}", table, key))).substr(0, 32);
  hex[12] = '8';  // RFC 9562 version 8: vendor-specific, here a hash
  hex[16] = "89ab"[hex[16] & 3];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20, 12));
}

std::vector<std::vector<DesiredRow>> rows_of(const Northbound& n) {
  std::vector<std::vector<DesiredRow>> out;
  for (const auto& s : n.switches) out.push_back({row_of(s)});
  for (const auto& d : n.dhcp_options) out.push_back({row_of(d)});
  for (const auto& a : n.address_sets) out.push_back({row_of(a)});
  for (const auto& g : n.port_groups) out.push_back(rows_of(g));
  for (const auto& r : n.routers) out.push_back(rows_of(r));
  for (const auto& p : n.ports) out.push_back({row_of(p)});
  return out;
}

std::string port_group_name(const std::string& security_group_id) {
  std::string name = "pg_" + security_group_id;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c) && c != '.'; }, '_');
  return name;
}

PortGroup drop_group() {
  PortGroup group{.id = kDropGroup};
  group.acls.push_back({.id = "out",
                        .direction = "from-lport",
                        .priority = 1001,
                        .match = "inport == @pg_drop && ip",
                        .action = "drop"});
  group.acls.push_back({.id = "in",
                        .direction = "to-lport",
                        .priority = 1001,
                        .match = "outport == @pg_drop && ip",
                        .action = "drop"});
  return group;
}

LogicalSwitchPort localnet_port(std::string id, std::string logical_switch,
                                const std::string& physical_network, std::optional<int64_t> vlan) {
  LogicalSwitchPort port{
      .id = std::move(id), .logical_switch = std::move(logical_switch), .type = "localnet"};
  port.addresses = {"unknown"};
  port.tag = vlan;
  port.options = {
      {"network_name", physical_network}, {"mcast_flood", "false"}, {"mcast_flood_reports", "true"}};
  return port;
}

LogicalSwitchPort router_peer_port(std::string id, std::string logical_switch, const std::string& router_port,
                                   bool external) {
  LogicalSwitchPort port{.id = std::move(id), .logical_switch = std::move(logical_switch), .type = "router"};
  port.addresses = {"router"};
  port.options = {{"router-port", router_port}};
  if (external) {
    port.options["nat-addresses"] = "router";
    port.options["exclude-lb-vips-from-garp"] = "true";
  }
  return port;
}

LogicalSwitchPort metadata_port(std::string id, std::string logical_switch, const std::string& mac,
                                const std::vector<std::string>& addresses) {
  LogicalSwitchPort port{
      .id = std::move(id), .logical_switch = std::move(logical_switch), .type = "localport"};
  std::string text = mac;
  for (const auto& a : addresses) text += " " + a;
  port.addresses = {text};
  return port;
}

}  // namespace virga::ovn
