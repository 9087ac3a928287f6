// add_router_interface and remove_router_interface: a router's ports on tenant networks.

#include <fmt/format.h>

#include "network/revision_match.h"
#include "network/row_policy.h"
#include "network/service.h"

namespace virga::network {
namespace {

struct Wanted {
  std::string subnet_id, port_id;
};

Wanted read(api::Call& call) {
  Wanted w{find_string(call.body(), "subnet_id"), find_string(call.body(), "port_id")};
  if (w.subnet_id.empty() && w.port_id.empty()) throw bad_request("Bad router request: Either subnet_id or port_id must be specified.", "BadRequest");
  return w;
}

Object owned_router(NetworkService& s, db::Tx& tx, api::Call& call) {
  check_revision(tx, s.routers(), call, call.param("id"));
  Object router = find_visible(tx, s.routers(), call.caller(), call.param("id"));
  call.require(target_of(tx, router));
  return router;
}

/// No two networks of a router may overlap.
void check_overlap(db::Tx& tx, const std::string& router, const Object& subnet) {
  const Cidr cidr = *parse_cidr(text_of(subnet, "cidr"));
  for (const auto& r : tx.query("SELECT s.id, s.cidr FROM network_ports p JOIN network_addresses a ON a.port_id = p.id JOIN network_subnets s ON s.id = a.subnet_id WHERE p.device_id = ?", router)) {
    if (r.text(0) == text_of(subnet, "id")) throw bad_request(fmt::format("Bad router request: Router already has a port on subnet {}.", r.text(0)), "BadRequest");
    if (parse_cidr(r.text(1))->overlaps(cidr))
      throw bad_request(fmt::format("Bad router request: Cidr {} of subnet {} overlaps with cidr {} of subnet {}.", cidr.str(), text_of(subnet, "id"), r.text(1), r.text(0)), "BadRequest");
  }
}

Object info(const Object& router, const Object& port) {
  json::array subnets;
  for (const auto& ip : port.at("fixed_ips").as_array()) subnets.push_back(ip.at("subnet_id"));
  return {{"id", text_of(router, "id")},
          {"tenant_id", text_of(router, "project_id")},
          {"project_id", text_of(router, "project_id")},
          {"port_id", text_of(port, "id")},
          {"network_id", text_of(port, "network_id")},
          {"subnet_id", subnets.empty() ? json::value(nullptr) : subnets.front()},
          {"subnet_ids", subnets},
          {"tags", router.contains("tags") ? router.at("tags") : json::value(json::array())}};
}

Object attach_subnet(NetworkService& s, db::Tx& tx, api::Call& call, const Object& router, const std::string& subnet_id) {
  const Object subnet = find_visible(tx, s.subnets(), call.caller(), subnet_id);
  if (!has_value(subnet, "gateway_ip")) throw bad_request(fmt::format("Bad router request: Subnet for router interface must have a gateway IP."), "BadRequest");
  check_overlap(tx, text_of(router, "id"), subnet);
  const std::string gateway = text_of(subnet, "gateway_ip");
  if (const auto holder = tx.first("SELECT port_id FROM network_addresses WHERE subnet_id = ? AND address = ?", subnet_id, gateway))
    throw conflict(fmt::format("Unable to complete operation for network {}. The IP address {} is in use.", text_of(subnet, "network_id"), gateway), "IpAddressInUse");
  json::array ips{Object{{"subnet_id", subnet_id}, {"ip_address", gateway}}};
  s.use_quota(tx, text_of(router, "project_id"), "port", 1);
  return s.make_own_port(tx, text_of(subnet, "network_id"), text_of(router, "project_id"), std::string(kOwnerInterface), text_of(router, "id"), std::move(ips));
}

Object attach_port(NetworkService& s, db::Tx& tx, api::Call& call, const Object& router, const std::string& port_id) {
  const Object port = find_visible(tx, s.ports(), call.caller(), port_id);
  if (!text_of(port, "device_id").empty())
    throw conflict(fmt::format("Unable to complete operation on port {} for network {}. Port already has an attached device {}.", port_id, text_of(port, "network_id"), text_of(port, "device_id")), "PortInUse");
  if (port.at("fixed_ips").as_array().empty()) throw bad_request("Bad router request: Router port must have at least one fixed IP.", "BadRequest");
  for (const auto& ip : port.at("fixed_ips").as_array()) check_overlap(tx, text_of(router, "id"), find_any(tx, s.subnets(), str(ip.at("subnet_id"))));
  tx.exec("DELETE FROM network_port_groups WHERE port_id = ?", port_id);
  tx.exec("UPDATE network_ports SET device_owner = ?, device_id = ?, status = 'ACTIVE', port_security_enabled = 0, revision_number = revision_number + 1 WHERE id = ?",
          kOwnerInterface, text_of(router, "id"), port_id);
  s.touch(tx, Dirty::Kind::port, port_id);
  return find_any(tx, s.ports(), port_id);
}

http::Response attach(NetworkService& s, api::Call& call) {
  const Wanted wanted = read(call);
  if (!wanted.subnet_id.empty() && !wanted.port_id.empty()) throw bad_request("Bad router request: Cannot specify both subnet-id and port-id.", "BadRequest");
  return api::reply(200, s.database().write([&](db::Tx& tx) {
    const Object router = owned_router(s, tx, call);
    const Object port = wanted.port_id.empty() ? attach_subnet(s, tx, call, router, wanted.subnet_id) : attach_port(s, tx, call, router, wanted.port_id);
    s.touch(tx, Dirty::Kind::router, text_of(router, "id"));
    s.touch(tx, Dirty::Kind::network, text_of(port, "network_id"));
    return info(router, port);
  }));
}

void check_unused(db::Tx& tx, const Object& router, const Object& port) {
  for (const auto& ip : port.at("fixed_ips").as_array()) {
    const auto used = tx.first("SELECT f.id FROM network_floating_ips f JOIN network_addresses a ON a.port_id = f.port_id AND a.address = f.fixed_ip_address WHERE f.router_id = ? AND a.subnet_id = ?",
                               text_of(router, "id"), str(ip.at("subnet_id")));
    if (used)
      throw conflict(fmt::format("Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more floating IPs.", str(ip.at("subnet_id")), text_of(router, "id")),
                     "RouterInterfaceInUseByFloatingIP");
  }
}

http::Response detach(NetworkService& s, api::Call& call) {
  const Wanted wanted = read(call);
  return api::reply(200, s.database().write([&](db::Tx& tx) {
    const Object router = owned_router(s, tx, call);
    const std::string id = text_of(router, "id");
    std::string port_id = wanted.port_id;
    if (port_id.empty()) {
      const auto found = tx.first("SELECT p.id FROM network_ports p JOIN network_addresses a ON a.port_id = p.id WHERE p.device_id = ? AND p.device_owner = ? AND a.subnet_id = ?", id, kOwnerInterface, wanted.subnet_id);
      if (!found) throw Fault(FaultKind::not_found, fmt::format("Router {} has no interface on subnet {}", id, wanted.subnet_id), "", "RouterInterfaceNotFoundForSubnet");
      port_id = found->text(0);
    } else if (!tx.first("SELECT 1 FROM network_ports WHERE id = ? AND device_id = ? AND device_owner = ?", port_id, id, kOwnerInterface)) {
      throw Fault(FaultKind::not_found, fmt::format("Router {} does not have an interface with id {}", id, port_id), "", "RouterInterfaceNotFound");
    }
    const Object port = find_any(tx, s.ports(), port_id);
    check_unused(tx, router, port);
    const Object answer = info(router, port);
    s.delete_port(tx, port);
    s.use_quota(tx, text_of(port, "project_id"), "port", -1);
    s.touch(tx, Dirty::Kind::router, id);
    s.touch(tx, Dirty::Kind::network, text_of(port, "network_id"));
    return answer;
  }));
}

}  // namespace

void NetworkService::add_router_actions() {
  service_.routes.push_back({"PUT", "/v2.0/routers/{id}/add_router_interface", "add_router_interface", [this](api::Call& c) { return attach(*this, c); }});
  service_.routes.push_back({"PUT", "/v2.0/routers/{id}/remove_router_interface", "remove_router_interface", [this](api::Call& c) { return detach(*this, c); }});
}

}  // namespace virga::network
