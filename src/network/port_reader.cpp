#include "network/port_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "network/service.h"

namespace virga::network {
namespace {

constexpr size_t kInOneStatement = 1000;

template <class F>
void each_row(db::Tx& tx, const std::string& before, const std::vector<std::string>& ids,
              const std::string& after, F f) {
  for (size_t from = 0; from < ids.size(); from += kInOneStatement) {
    const size_t n = std::min(kInOneStatement, ids.size() - from);
    const std::vector<db::Value> some(ids.begin() + static_cast<long>(from),
                                      ids.begin() + static_cast<long>(from + n));
    for (const auto& row : tx.query(fmt::format("{} IN ({}) {}", before, db::placeholders(n), after), some))
      f(row);
  }
}

}  // namespace

std::vector<std::vector<PortInfo>> PortReader::read(const std::vector<ServerId>& servers) {
  std::vector<std::vector<PortInfo>> out(servers.size());
  std::vector<std::string> ids;
  ids.reserve(servers.size());
  for (const auto& server : servers) {
    ids.push_back(server.str());
    server_at_[server.str()] = ids.size() - 1;
  }
  read_ports(ids);
  if (found_.empty()) return out;
  if (detail_ != PortDetail::shown) read_subnets();
  for (auto& found : found_) finish(found);
  if (detail_ != PortDetail::wiring) {
    read_floating_ips();
    read_groups();
  }
  if (detail_ != PortDetail::shown) read_metadata_ports();
  // Sorted here and not in SQL: a server has one port or a few, a list has a thousand.
  std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
    return std::tie(a.server, a.created_at, a.info.id) < std::tie(b.server, b.created_at, b.info.id);
  });
  for (auto& found : found_) out[found.server].push_back(std::move(found.info));
  return out;
}

void PortReader::read_ports(const std::vector<std::string>& servers) {
  std::unordered_map<std::string, size_t> seen;
  each_row(tx_,
           "SELECT p.device_id, p.id, p.network_id, p.mac_address, p.status, p.made_by_compute, p.created_at, "
           "a.position, a.subnet_id, a.address, n.name, n.mtu FROM network_ports p JOIN network_networks n ON n.id = p.network_id "
           "LEFT JOIN network_addresses a ON a.port_id = p.id WHERE p.device_owner LIKE 'compute:%' AND "
           "p.device_id",
           servers, "", [&](const db::Row& r) {
             const auto [at, is_new] = seen.try_emplace(r.text(1), found_.size());
             if (is_new) {
               Found& found = found_.emplace_back();
               found.server = server_at_.at(r.view(0));
               found.info.id = PortId(r.text(1));
               found.info.network_id = NetworkId(r.text(2));
               found.info.mac = r.text(3);
               found.info.status = r.text(4);
               found.info.made_by_compute = r.boolean(5);
               found.created_at = r.text(6);
               found.info.network_name = r.text(10);
               found.info.mtu = static_cast<int>(r.integer(11));
               if (!networks_.contains(r.view(2))) networks_.insert(r.text(2));
             }
             if (!r.is_null(9))
               found_[at->second].addresses.push_back({r.integer(7), r.text(8), r.text(9)});
           });
  port_ids_.reserve(found_.size());
  for (const auto& found : found_) port_ids_.push_back(found.info.id.str());
  for (size_t i = 0; i < port_ids_.size(); ++i) port_at_[port_ids_[i]] = i;
}

void PortReader::read_subnets() {
  each_row(tx_,
           "SELECT id, ip_version, cidr, gateway_ip, dns_nameservers, host_routes, enable_dhcp FROM "
           "network_subnets WHERE network_id",
           network_ids(), "", [&](const db::Row& r) {
             FixedIp ip{.subnet_id = r.text(0),
                        .address = {},
                        .version = static_cast<int>(r.integer(1)),
                        .cidr = r.text(2),
                        .gateway = r.text(3),
                        .dns_servers = {},
                        .host_routes = {}};
             const json::value servers = json::parse(r.text(4)), routes = json::parse(r.text(5));
             for (const auto& server : servers.as_array()) ip.dns_servers.push_back(str(server));
             if (ip.dns_servers.empty())
               for (const auto& server : options_.dns_servers)
                 if (const auto address = parse_ip(server); address && address->family == ip.version)
                   ip.dns_servers.push_back(server);
             for (const auto& route : routes.as_array())
               ip.host_routes.push_back({find_string(route.as_object(), "destination"),
                                         find_string(route.as_object(), "nexthop")});
             if (r.boolean(6) && ip.version == 4) dhcp_.insert(ip.subnet_id);
             subnets_[ip.subnet_id] = std::move(ip);
           });
}

void PortReader::finish(Found& found) {
  PortInfo& port = found.info;
  std::sort(found.addresses.begin(), found.addresses.end(), [](const Address& a, const Address& b) {
    return std::tie(a.position, a.address) < std::tie(b.position, b.address);
  });
  for (auto& address : found.addresses) {
    FixedIp& ip = port.fixed_ips.emplace_back();
    if (detail_ != PortDetail::shown) {
      ip = subnets_.at(address.subnet);
      port.dhcp |= dhcp_.contains(address.subnet);
    } else {
      ip.version = address.address.find(':') == std::string::npos ? 4 : 6;
      ip.subnet_id = std::move(address.subnet);
    }
    ip.address = std::move(address.address);
  }
}

void PortReader::read_floating_ips() {
  each_row(tx_,
           "SELECT port_id, floating_ip_address, fixed_ip_address FROM network_floating_ips WHERE port_id",
           port_ids_, "ORDER BY created_at, id", [&](const db::Row& r) {
             found_[port_at_.at(r.view(0))].info.floating_ips.push_back({r.text(1), r.text(2)});
           });
}

void PortReader::read_groups() {
  each_row(tx_,
           "SELECT u.port_id, g.name FROM network_port_groups u JOIN network_security_groups g ON g.id = "
           "u.security_group_id WHERE u.port_id",
           port_ids_, "", [&](const db::Row& r) {
             found_[port_at_.at(r.view(0))].info.security_group_names.push_back(r.text(1));
           });
  for (auto& found : found_)
    std::sort(found.info.security_group_names.begin(), found.info.security_group_names.end());
}

void PortReader::read_metadata_ports() {
  struct Metadata {
    std::string id, mac;
    std::map<std::string, std::string> addresses;  ///< by subnet
  };
  std::map<std::string, Metadata> by_network;
  each_row(tx_,
           fmt::format("SELECT p.network_id, p.id, p.mac_address, a.subnet_id, a.address FROM "
                       "network_ports p LEFT JOIN network_addresses a ON a.port_id = p.id "
                       "WHERE p.device_owner = '{}' AND p.network_id",
                       kOwnerMetadata),
           network_ids(), "", [&](const db::Row& r) {
             Metadata& m = by_network[r.text(0)];
             m.id = r.text(1);
             m.mac = r.text(2);
             if (!r.is_null(3)) m.addresses[r.text(3)] = r.text(4);
           });
  for (auto& found : found_) {
    PortInfo& port = found.info;
    const auto it = by_network.find(port.network_id.str());
    if (it == by_network.end()) continue;
    port.metadata_port = PortId(it->second.id);
    port.metadata_mac = it->second.mac;
    for (const auto& ip : port.fixed_ips) {
      const auto address = it->second.addresses.find(ip.subnet_id);
      const auto slash = ip.cidr.find('/');
      if (address == it->second.addresses.end() || slash == std::string::npos) continue;
      port.metadata_cidr = address->second + ip.cidr.substr(slash);
      break;
    }
  }
}

}  // namespace virga::network
