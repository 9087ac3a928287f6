#include "network/snapshot.h"

#include <fmt/format.h>

#include "base/log.h"

namespace virga::network {
namespace {

using Ids = std::set<std::string>;
constexpr size_t kInOneStatement = 500;

/// Rows of "SELECT … WHERE …" whose `column` is one of `ids`; all rows if `ids` is null.
template <class F>
void each_row(db::Tx& tx, const std::string& sql, std::string_view column, const Ids* ids,
              std::string_view order, F f) {
  if (!ids) {
    for (const auto& row : tx.query(fmt::format("{} {}", sql, order), std::vector<db::Value>{})) f(row);
    return;
  }
  std::vector<db::Value> some;
  const auto flush = [&] {
    if (some.empty()) return;
    for (const auto& row : tx.query(
             fmt::format("{} AND {} IN ({}) {}", sql, column, db::placeholders(some.size()), order), some))
      f(row);
    some.clear();
  };
  for (const auto& id : *ids) {
    some.emplace_back(id);
    if (some.size() == kInOneStatement) flush();
  }
  flush();
}

/// Stored JSON was validated when it was written; a damaged row must not stop everything else.
json::array list_of(const std::string& text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (!error && value.is_array()) return std::move(value.as_array());
  if (!text.empty()) log::warn("a stored list is no JSON array: {}", text.substr(0, 80));
  return {};
}

std::vector<Snapshot::Route> routes_of(const std::string& text) {
  std::vector<Snapshot::Route> out;
  for (const auto& entry : list_of(text))
    if (entry.is_object())
      out.push_back(
          {find_string(entry.get_object(), "destination"), find_string(entry.get_object(), "nexthop")});
  return out;
}

std::vector<std::string> texts_of(const std::string& text) {
  std::vector<std::string> out;
  for (const auto& entry : list_of(text))
    if (entry.is_string()) out.push_back(str(entry));
  return out;
}

template <class Map>
Ids keys_of(const Map& map) {
  Ids out;
  for (const auto& [id, value] : map) out.insert(id);
  return out;
}

class Reader {
 public:
  explicit Reader(db::Tx& tx) : tx_(tx) {}

  void networks(const Ids* ids) {
    each_row(tx_,
             "SELECT id, name, network_type, physical_network, segmentation_id, mtu, external FROM "
             "network_networks WHERE 1 = 1",
             "id", ids, "", [&](const db::Row& r) {
               out.networks[r.text(0)] = {r.text(0),          r.text(1),    r.text(2),   r.text(3),
                                          r.maybe_integer(4), r.integer(5), r.boolean(6)};
             });
  }

  void subnets(const Ids* networks) {
    each_row(tx_,
             "SELECT id, network_id, cidr, gateway_ip, ip_version, enable_dhcp, ipv6_address_mode, "
             "ipv6_ra_mode, dns_nameservers, host_routes FROM network_subnets WHERE 1 = 1",
             "network_id", networks, "", [&](const db::Row& r) {
               out.subnets[r.text(0)] = {
                   r.text(0),    r.text(1), r.text(2), r.text(3),           static_cast<int>(r.integer(4)),
                   r.boolean(5), r.text(6), r.text(7), texts_of(r.text(8)), routes_of(r.text(9))};
             });
  }

  void ports(std::string_view condition, std::string_view column, const Ids* ids) {
    each_row(tx_,
             fmt::format("SELECT id, network_id, name, mac_address, device_id, device_owner, host_id, "
                         "admin_state_up, port_security_enabled, allowed_address_pairs, extra_dhcp_opts, also_host_id "
                         "FROM network_ports WHERE {}",
                         condition),
             column, ids, "", [&](const db::Row& r) { out.ports[r.text(0)] = port(r); });
  }

  void port_details(const Ids* ports) {
    each_row(tx_, "SELECT port_id, subnet_id, address FROM network_addresses WHERE 1 = 1", "port_id", ports,
             "ORDER BY port_id, position, address", [&](const db::Row& r) {
               if (const auto it = out.ports.find(r.text(0)); it != out.ports.end())
                 it->second.addresses.push_back({r.text(1), r.text(2)});
             });
    each_row(tx_, "SELECT port_id, security_group_id FROM network_port_groups WHERE 1 = 1", "port_id", ports,
             "ORDER BY port_id, security_group_id", [&](const db::Row& r) {
               if (const auto it = out.ports.find(r.text(0)); it != out.ports.end())
                 it->second.groups.push_back(r.text(1));
             });
  }

  void routers(const Ids* ids) {
    each_row(tx_,
             "SELECT id, name, gateway_port_id, admin_state_up, enable_snat, routes FROM network_routers "
             "WHERE 1 = 1",
             "id", ids, "", [&](const db::Row& r) {
               Snapshot::Router router;
               router.id = r.text(0);
               router.name = r.text(1);
               router.gateway_port = r.text(2);
               router.up = r.boolean(3);
               router.snat = r.boolean(4);
               router.routes = routes_of(r.text(5));
               out.routers[r.text(0)] = std::move(router);
             });
    for (const auto& [id, p] : out.ports)
      if (const auto it = is_router_port(p) ? out.routers.find(p.device_id) : out.routers.end();
          it != out.routers.end())
        it->second.ports.push_back(id);
    each_row(tx_,
             "SELECT f.router_id, f.id, f.floating_ip_address, f.fixed_ip_address, f.port_id, p.mac_address "
             "FROM network_floating_ips f "
             "LEFT JOIN network_ports p ON p.id = f.floating_port_id WHERE f.port_id IS NOT NULL AND "
             "f.fixed_ip_address IS NOT NULL",
             "f.router_id", ids, "ORDER BY f.id", [&](const db::Row& r) {
               const auto it = out.routers.find(r.text(0));
               if (it != out.routers.end())
                 it->second.floating_ips.push_back({r.text(1), r.text(2), r.text(3), r.text(4), r.text(5)});
             });
  }

  void groups(const Ids* ids) {
    each_row(tx_, "SELECT id, name, stateful FROM network_security_groups WHERE 1 = 1", "id", ids, "",
             [&](const db::Row& r) {
               out.groups[r.text(0)] = {r.text(0), r.text(1), r.boolean(2), {}};
             });
    each_row(tx_,
             "SELECT security_group_id, id, direction, ethertype, protocol, remote_ip_prefix, "
             "remote_group_id, port_range_min, port_range_max "
             "FROM network_security_group_rules WHERE 1 = 1",
             "security_group_id", ids, "ORDER BY id", [&](const db::Row& r) {
               const auto it = out.groups.find(r.text(0));
               const auto cidr = parse_cidr(r.text(5));
               if (it != out.groups.end())
                 it->second.rules.push_back({r.text(1), r.text(2), r.text(3), r.text(4),
                                             cidr ? cidr->str() : r.text(5), r.text(6),
                                             r.maybe_integer(7), r.maybe_integer(8)});
             });
  }

  static bool is_router_port(const Snapshot::Port& p) {
    return p.owner == kOwnerInterface || p.owner == kOwnerGateway;
  }

  Snapshot out;

 private:
  static Snapshot::Port port(const db::Row& r) {
    Snapshot::Port p;
    p.id = r.text(0);
    p.network_id = r.text(1);
    p.name = r.text(2);
    p.mac = r.text(3);
    p.device_id = r.text(4);
    p.owner = r.text(5);
    p.host = r.text(6);
    p.up = r.boolean(7);
    p.secure = r.boolean(8);
    for (const auto& pair : list_of(r.text(9)))
      if (pair.is_object())
        p.pairs.push_back(
            {find_string(pair.get_object(), "mac_address"), find_string(pair.get_object(), "ip_address")});
    for (const auto& option : list_of(r.text(10)))
      if (option.is_object() && has_value(option.get_object(), "opt_value"))
        p.dhcp_options.push_back({find_string(option.get_object(), "opt_name"),
                                  find_string(option.get_object(), "opt_value"),
                                  static_cast<int>(find_int(option.get_object(), "ip_version", 4))});
    p.also_host = r.text(11);
    return p;
  }

  db::Tx& tx_;
};

}  // namespace

void DirtySet::add(const Dirty& dirty) {
  switch (dirty.kind) {
    case Dirty::Kind::network:
      networks.insert(dirty.id);
      break;
    case Dirty::Kind::port:
      ports.insert(dirty.id);
      break;
    case Dirty::Kind::router:
      routers.insert(dirty.id);
      break;
    case Dirty::Kind::security_group:
      groups.insert(dirty.id);
      break;
  }
}

void DirtySet::add(const DirtySet& other) {
  networks.insert(other.networks.begin(), other.networks.end());
  ports.insert(other.ports.begin(), other.ports.end());
  routers.insert(other.routers.begin(), other.routers.end());
  groups.insert(other.groups.begin(), other.groups.end());
}

Snapshot read_everything(db::Tx& tx) {
  Reader reader(tx);
  reader.networks(nullptr);
  reader.subnets(nullptr);
  reader.ports("1 = 1", "id", nullptr);
  reader.port_details(nullptr);
  reader.routers(nullptr);
  reader.groups(nullptr);
  return std::move(reader.out);
}

Snapshot read_part(db::Tx& tx, const DirtySet& dirty) {
  Reader reader(tx);
  Ids networks = dirty.networks, routers = dirty.routers, groups = dirty.groups;
  reader.ports("1 = 1", "id", &dirty.ports);
  // A metadata port's address stands in its network's DHCP options, hence in what the network's other ports
  // get.
  for (const auto& [id, p] : reader.out.ports)
    if (p.owner == kOwnerMetadata) networks.insert(p.network_id);
  reader.ports("1 = 1", "network_id", &networks);
  for (const auto& [id, p] : reader.out.ports)
    if (Reader::is_router_port(p)) routers.insert(p.device_id);
  reader.ports(fmt::format("device_owner IN ('{}', '{}')", kOwnerInterface, kOwnerGateway), "device_id",
               &routers);
  for (const auto& [id, p] : reader.out.ports) networks.insert(p.network_id);
  reader.networks(&networks);
  reader.subnets(&networks);
  reader.ports(fmt::format("device_owner = '{}'", kOwnerMetadata), "network_id", &networks);
  const Ids ports = keys_of(reader.out.ports);
  reader.port_details(&ports);
  reader.routers(&routers);
  for (const auto& [id, p] : reader.out.ports) groups.insert(p.groups.begin(), p.groups.end());
  reader.groups(&groups);
  return std::move(reader.out);
}

}  // namespace virga::network
