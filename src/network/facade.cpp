// What compute asks of networks: ports of servers, made, bound, released and shown.

#include <fmt/format.h>

#include <set>

#include "base/ids.h"
#include "network/port_reader.h"
#include "network/service.h"

namespace virga::network {
namespace {

constexpr std::string_view kOwnerCompute = "compute:";

Fault refused(std::string message) {
  return Fault(FaultKind::bad_request, std::move(message));
}

/// Whether ports of the network have security groups. Throws Fault if the caller may not attach servers to it.
bool need_attachable(NetworkService& s, db::Tx& tx, const api::Caller& caller, const std::string& id) {
  const auto net = find_visible_row(tx, s.networks(), caller, id,
                                    "external, shared, port_security_enabled, EXISTS (SELECT 1 FROM network_subnets s WHERE s.network_id = "
                                    "network_networks.id)");
  if (!net) throw refused(fmt::format("Network {} could not be found.", id));
  if (net->boolean(0) && !net->boolean(1) && !caller.is_admin())
    throw Fault(FaultKind::forbidden,
                fmt::format("It is not allowed to create an interface on external network {}", id),
                "Boot on a tenant network and give the server a floating IP.");
  if (!net->boolean(3)) throw refused(fmt::format("Network {} requires a subnet in order to boot instances on.", id));
  return net->boolean(2);
}

/// Quota faults as nova words them.
void take_port_quota(NetworkService& s, db::Tx& tx, const std::string& project, int64_t count) {
  try {
    s.use_quota(tx, project, "port", count);
  } catch (const Fault& fault) {
    if (fault.type != "OverQuota") throw;
    throw Fault(FaultKind::forbidden, "Maximum number of ports exceeded",
                "Delete unused ports, or ask for a larger quota.");
  }
}

/// Whom ports are made for, and where it is going to be.
struct Owner {
  const api::Caller& caller;
  const ServerId& server;
  std::string device_owner, hostname;
};

Object new_port(const NetworkService& s, const Owner& owner, const std::string& network, size_t index) {
  Object port;
  for (const auto& a : port_resource().attributes)
    if (a.fallback) port[a.name] = *a.fallback;
  port["id"] = new_uuid();
  port["project_id"] = owner.caller.project_id;
  port["network_id"] = network;
  port["device_id"] = owner.server.str();
  port["device_owner"] = owner.device_owner;
  port["binding:host_id"] = owner.hostname;
  port["status"] = s.status_unheard(owner.hostname);
  port["made_by_compute"] = true;
  // The order in which interfaces were asked for is the order of their ports' times.
  port["created_at"] = port["updated_at"] = to_iso_us(s.clock().now() + std::chrono::microseconds(index));
  port["revision_number"] = 1;
  return port;
}

void make_port(NetworkService& s, db::Tx& tx, const Owner& owner, const NicRequest& request, const json::array& groups,
               bool groups_asked, size_t index) {
  const bool secure = need_attachable(s, tx, owner.caller, request.network_id);
  if (!secure && groups_asked)
    throw refused(
        "Network requires port_security_enabled and subnet associated in order to apply security groups.");
  Object port = new_port(s, owner, request.network_id, index);
  port["port_security_enabled"] = secure;
  port["security_groups"] = secure ? groups : json::array();
  if (!request.fixed_ip.empty()) port["fixed_ips"] = json::array{Object{{"ip_address", request.fixed_ip}}};
  try {
    s.insert_port(tx, std::move(port), &owner.caller);
  } catch (const Fault& fault) {
    if (fault.type == "IpAddressAlreadyAllocated")
      throw refused(fmt::format("Fixed IP address {} is already in use.", request.fixed_ip));
    if (fault.type == "InvalidIpForNetwork")
      throw refused(fmt::format("Fixed IP {} is not a valid ip address for network {}.", request.fixed_ip,
                                request.network_id));
    throw;
  }
}

void take_port(NetworkService& s, db::Tx& tx, const Owner& owner, const std::string& id) {
  Object port;
  try {
    port = find_visible(tx, s.ports(), owner.caller, id);
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::not_found) throw;
    throw refused(fmt::format("Port id {} could not be found.", id));
  }
  if (!owner.caller.is_admin() && text_of(port, "project_id") != owner.caller.project_id)
    throw refused(fmt::format("Port {} not usable for instance {}.", id, owner.server.str()));
  const json::array* addresses = find_array(port, "fixed_ips");
  if (!addresses || addresses->empty())
    throw refused(fmt::format("Port {} requires a FixedIP in order to be used.", id));
  // The condition decides, not the row read above: two servers may want the port at once.
  const auto taken = tx.exec(
      "UPDATE network_ports SET device_id = ?, device_owner = ?, host_id = ?, also_host_id = '', status = ?, updated_at = ?, "
      "revision_number = revision_number + 1 WHERE id = ? AND device_id = ''",
      owner.server, owner.device_owner, owner.hostname, s.status_unheard(owner.hostname), s.clock().now(), id);
  if (taken != 1)
    throw Fault(FaultKind::conflict, fmt::format("Port {} is still in use.", id),
                "Detach it from its server first, or boot on another port.");
  s.touch(tx, Dirty::Kind::port, id);
}

struct BoundPort {
  std::string id, host, also_host, status;
  bool made = false;
};

std::vector<BoundPort> ports_of(db::Tx& tx, const ServerId& server) {
  std::vector<BoundPort> out;
  for (const auto& r : tx.query("SELECT id, host_id, also_host_id, status, made_by_compute FROM network_ports WHERE "
                                "device_id = ? AND device_owner LIKE 'compute:%' ORDER BY created_at, id",
                                server))
    out.push_back({r.text(0), r.text(1), r.text(2), r.text(3), r.boolean(4)});
  return out;
}

}  // namespace

json::array group_ids(db::Tx& tx, const std::string& project, const std::vector<std::string>& groups) {
  std::set<std::string> ids;
  for (const auto& group : groups) {
    const auto rows = tx.query(
        "SELECT id FROM network_security_groups WHERE project_id = ? AND (id = ? OR name = ?) ORDER BY CASE "
        "WHEN id = ? THEN 0 ELSE 1 END",
        project, group, group, group);
    if (rows.empty()) throw refused(fmt::format("Unable to find security_group with name or id '{}'", group));
    if (rows.size() > 1 && rows.front().text(0) != group)
      throw Fault(
          FaultKind::conflict,
          fmt::format("Multiple security groups found matching '{}'. Use an ID to be more specific.", group));
    ids.insert(rows.front().text(0));
  }
  json::array out;
  for (const auto& id : ids) out.push_back(json::value(id));
  return out;
}

std::vector<NetworkId> NetworkService::available(db::Tx& tx, const api::Caller& caller) {
  std::vector<NetworkId> out;
  for (const auto& r : tx.query("SELECT n.id FROM network_networks n WHERE (n.project_id = ? OR n.shared = "
                                "1) AND n.external = 0 AND n.admin_state_up = 1 "
                                "AND EXISTS (SELECT 1 FROM network_subnets s WHERE s.network_id = n.id) "
                                "ORDER BY n.created_at, n.id",
                                caller.project_id))
    out.push_back(NetworkId(r.text(0)));
  return out;
}

std::string NetworkService::status_unheard(const std::string& hostname) const {
  return options_.northbound.empty() && !hostname.empty() ? "ACTIVE" : "DOWN";
}

void NetworkService::create_server_ports(db::Tx& tx, const api::Caller& caller, const ServerId& server,
                                         const std::string& zone, const std::string& hostname,
                                         const std::vector<NicRequest>& requests,
                                         const std::vector<std::string>& security_groups) {
  if (requests.empty()) return;
  const std::string standard = ensure_default_group(tx, caller.project_id);
  const bool asked = !security_groups.empty() && security_groups != std::vector<std::string>{"default"};
  const json::array groups = asked ? group_ids(tx, caller.project_id, security_groups) : json::array{json::value(standard)};
  const Owner owner{caller, server, std::string(kOwnerCompute) + zone, hostname};
  int64_t made = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!requests[i].port_id.empty()) {
      take_port(*this, tx, owner, requests[i].port_id);
    } else {
      make_port(*this, tx, owner, requests[i], groups, asked, i);
      ++made;
    }
  }
  // Last, since it is one row for all of the project's boots, which wait here for each other.
  if (made > 0) take_port_quota(*this, tx, caller.project_id, made);
}

void NetworkService::bind_server_ports(db::Tx& tx, const ServerId& server, const std::string& hostname) {
  for (const auto& port : ports_of(tx, server)) {
    if (port.host == hostname && port.also_host.empty()) continue;
    // Bound there already, or still: what is known of it holds.
    const bool known = port.also_host == hostname || port.host == hostname;
    tx.exec(
        "UPDATE network_ports SET host_id = ?, also_host_id = '', status = ?, updated_at = ?, revision_number = revision_number "
        "+ 1 WHERE id = ?",
        hostname, known ? port.status : status_unheard(hostname), clock_.now(), port.id);
    touch(tx, Dirty::Kind::port, port.id);
  }
}

void NetworkService::bind_server_ports_also(db::Tx& tx, const ServerId& server, const std::string& hostname) {
  for (const auto& port : ports_of(tx, server)) {
    if (port.also_host == hostname) continue;
    tx.exec("UPDATE network_ports SET also_host_id = ?, updated_at = ?, revision_number = revision_number + 1 WHERE id = ?", hostname,
            clock_.now(), port.id);
    touch(tx, Dirty::Kind::port, port.id);
  }
}

void NetworkService::release_server_ports(db::Tx& tx, const ServerId& server) {
  for (const auto& port : ports_of(tx, server)) {
    if (port.made) {
      const Object record = find_any(tx, *ports_, port.id);
      delete_port(tx, record);
      tx.exec("DELETE FROM network_tags WHERE resource_id = ?", port.id);
      use_quota(tx, text_of(record, "project_id"), "port", -1);
      continue;
    }
    tx.exec(
        "UPDATE network_ports SET device_id = '', device_owner = '', host_id = '', also_host_id = '', status = 'DOWN', "
        "updated_at = ?, revision_number = revision_number + 1 WHERE id = ?",
        clock_.now(), port.id);
    touch(tx, Dirty::Kind::port, port.id);
  }
}

void NetworkService::add_fixed_ip(db::Tx& tx, const ServerId& server, const std::string& network) {
  for (const auto& held : ports_of(tx, server)) {
    const Object port = find_any(tx, *ports_, held.id);
    if (text_of(port, "network_id") != network) continue;
    // The subnets that the port is on already, in order, until one has room.
    for (const auto& have : port.at("fixed_ips").as_array()) {
      json::array wanted = port.at("fixed_ips").as_array();
      wanted.push_back(Object{{"subnet_id", text_of(have.as_object(), "subnet_id")}});
      try {
        update_addresses(tx, port, wanted);
      } catch (const Fault& fault) {
        if (fault.type != "IpAddressGenerationFailure") throw;
        continue;
      }
      return touch(tx, Dirty::Kind::port, held.id);
    }
  }
  throw refused(fmt::format("No more IP addresses available on network {}, or instance {} has no port there.", network, server.str()));
}

void NetworkService::remove_fixed_ip(db::Tx& tx, const ServerId& server, const std::string& address) {
  const auto ip = parse_ip(address);
  for (const auto& held : ports_of(tx, server)) {
    const Object port = find_any(tx, *ports_, held.id);
    json::array kept;
    for (const auto& have : port.at("fixed_ips").as_array())
      if (!ip || text_of(have.as_object(), "ip_address") != ip->str()) kept.push_back(have);
    if (kept.size() == port.at("fixed_ips").as_array().size()) continue;
    update_addresses(tx, port, kept);
    return touch(tx, Dirty::Kind::port, held.id);
  }
  throw refused(fmt::format("Fixed IP {} not found for instance {}.", address, server.str()));
}

std::vector<PortInfo> NetworkService::server_ports(db::Tx& tx, const ServerId& server) {
  return std::move(PortReader(tx, options_, PortDetail::all).read({server}).front());
}

std::vector<std::vector<PortInfo>> NetworkService::server_ports(db::Tx& tx,
                                                                const std::vector<ServerId>& servers,
                                                                PortDetail detail) {
  return PortReader(tx, options_, detail).read(servers);
}

bool NetworkService::server_ports_active(db::Tx& tx, const ServerId& server) {
  return !tx.first("SELECT 1 FROM network_ports WHERE device_id = ? AND device_owner LIKE 'compute:%' AND status <> 'ACTIVE' LIMIT 1", server);
}

std::optional<ServerId> NetworkService::server_by_address(db::Tx& tx, const NetworkId& network,
                                                          const std::string& address) {
  const auto ip = parse_ip(address);
  if (!ip) return std::nullopt;
  const auto row = tx.first(
      "SELECT p.device_id FROM network_subnets s JOIN network_addresses a ON a.subnet_id = s.id JOIN "
      "network_ports p ON p.id = a.port_id "
      "WHERE s.network_id = ? AND a.address = ? AND p.device_owner LIKE 'compute:%'",
      network, ip->str());
  if (!row || row->text(0).empty()) return std::nullopt;
  return ServerId(row->text(0));
}

}  // namespace virga::network
