#include <fmt/format.h>

#include "network/service.h"

namespace virga::network {
namespace {

struct Association {
  json::value port_id = nullptr, fixed = nullptr, router_id = nullptr;
};

/// The router that joins the port's subnet to the floating network.
std::string router_between(db::Tx& tx, const std::string& subnet, const std::string& external) {
  const auto row = tx.first("SELECT r.id FROM network_routers r JOIN network_ports p ON p.device_id = r.id AND p.device_owner = ? JOIN network_addresses a ON a.port_id = p.id "
                            "WHERE a.subnet_id = ? AND r.gateway_network_id = ?",
                            kOwnerInterface, subnet, external);
  return row ? row->text(0) : "";
}

Association associate(NetworkService& s, db::Tx& tx, const api::Caller& caller, const Object& floating, const std::string& port_id, const std::string& wanted_fixed) {
  const Object port = find_visible(tx, s.ports(), caller, port_id);
  std::string fixed, subnet;
  for (const auto& entry : port.at("fixed_ips").as_array()) {
    const std::string address = str(entry.at("ip_address"));
    if (parse_ip(address)->family != 4) continue;
    if (!wanted_fixed.empty() && address != wanted_fixed) continue;
    if (wanted_fixed.empty() && !fixed.empty())
      throw bad_request(fmt::format("Bad floatingip request: Port {} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a floating IP.", port_id), "BadRequest");
    fixed = address;
    subnet = str(entry.at("subnet_id"));
  }
  if (fixed.empty() && !wanted_fixed.empty()) throw bad_request(fmt::format("Bad floatingip request: Port {} does not have fixed ip {}.", port_id, wanted_fixed), "BadRequest");
  if (fixed.empty()) throw bad_request(fmt::format("Bad floatingip request: Cannot add floating IP to port {} that has no fixed IPv4 addresses.", port_id), "BadRequest");
  const std::string external = text_of(floating, "floating_network_id"), router = router_between(tx, subnet, external);
  if (router.empty())
    throw Fault(FaultKind::not_found, fmt::format("External network {} is not reachable from subnet {}. Therefore, cannot associate Port {} with a Floating IP.", external, subnet, port_id),
                "Connect both with a router: openstack router set --external-gateway; openstack router add subnet.", "ExternalGatewayForFloatingIPNotFound");
  const auto other = tx.first("SELECT floating_ip_address, id FROM network_floating_ips WHERE port_id = ? AND fixed_ip_address = ?", port_id, fixed);
  if (other && other->text(1) != text_of(floating, "id"))
    throw conflict(fmt::format("Cannot associate floating IP {} with port {} using fixed IP {}, as that fixed IP already has a floating IP on external network {}.", text_of(floating, "floating_ip_address"), port_id, fixed, external),
                   "FloatingIPPortAlreadyAssociated");
  return {json::value(port_id), json::value(fixed), json::value(router)};
}

void put(Object& into, const Association& a) {
  into["port_id"] = a.port_id;
  into["fixed_ip_address"] = a.fixed;
  into["router_id"] = a.router_id;
  into["status"] = a.port_id.is_null() ? "DOWN" : "ACTIVE";
}

json::array wanted_addresses(const Object& floating) {
  Object entry;
  if (has_value(floating, "subnet_id")) entry["subnet_id"] = floating.at("subnet_id");
  if (has_value(floating, "floating_ip_address")) entry["ip_address"] = floating.at("floating_ip_address");
  return entry.empty() ? json::array() : json::array{std::move(entry)};
}

Object create_floating_ip(NetworkService& s, db::Tx& tx, api::Call& call, Object floating) {
  const std::string id = text_of(floating, "id"), network_id = text_of(floating, "floating_network_id");
  const Object net = find_visible(tx, s.networks(), call.caller(), network_id);
  if (!find_bool(net, "router:external")) throw bad_request(fmt::format("Bad floatingip request: Network {} is not a valid external network.", network_id), "BadRequest");
  const Object port = s.make_own_port(tx, network_id, "", std::string(kOwnerFloating), id, wanted_addresses(floating));
  for (const auto& ip : port.at("fixed_ips").as_array())
    if (parse_ip(std::string_view(ip.at("ip_address").as_string()))->family == 4) floating["floating_ip_address"] = ip.at("ip_address");
  if (!has_value(floating, "floating_ip_address")) throw bad_request(fmt::format("Bad floatingip request: Network {} does not contain any IPv4 subnet.", network_id), "BadRequest");
  floating["floating_port_id"] = text_of(port, "id");
  Association association;
  if (has_value(floating, "port_id")) association = associate(s, tx, call.caller(), floating, text_of(floating, "port_id"), text_of(floating, "fixed_ip_address"));
  put(floating, association);
  api::insert_record(tx, s.floating_ips().resource, s.floating_ips().table, floating);
  if (!association.router_id.is_null()) s.touch(tx, Dirty::Kind::router, str(association.router_id));
  return floating;
}

void update_floating_ip(NetworkService& s, db::Tx& tx, api::Call& call, const Object& current, Object changes) {
  if (changes.contains("port_id") || changes.contains("fixed_ip_address")) {
    const json::value port = changes.contains("port_id") ? changes.at("port_id") : current.at("port_id");
    const bool leaves = port.is_null() || str(port).empty();
    const std::string fixed = text_of(changes, "fixed_ip_address");
    if (leaves && !fixed.empty()) throw bad_request("Bad floatingip request: fixed_ip_address cannot be specified without a port_id.", "BadRequest");
    put(changes, leaves ? Association{} : associate(s, tx, call.caller(), current, str(port), fixed));
    for (const Object* o : std::initializer_list<const Object*>{&current, &changes})
      if (!text_of(*o, "router_id").empty()) s.touch(tx, Dirty::Kind::router, text_of(*o, "router_id"));
  }
  api::update_record(tx, s.floating_ips().resource, s.floating_ips().table, text_of(current, "id"), changes, s.clock().now());
}

void decorate_floating_ips(db::Tx& tx, Objects& rows) {
  for (auto& row : rows) {
    row["port_details"] = nullptr;
    row["qos_policy_id"] = nullptr;
    row["port_forwardings"] = json::array();
    const std::string port = text_of(row, "port_id");
    if (port.empty()) continue;
    if (const auto r = tx.first("SELECT name, network_id, mac_address, admin_state_up, status, device_id, device_owner FROM network_ports WHERE id = ?", port))
      row["port_details"] = Object{{"name", r->text(0)},           {"network_id", r->text(1)}, {"mac_address", r->text(2)}, {"admin_state_up", r->boolean(3)},
                                   {"status", r->text(4)},         {"device_id", r->text(5)},  {"device_owner", r->text(6)}};
  }
}

}  // namespace

void NetworkService::delete_floating_ip(db::Tx& tx, const Object& current) {
  tx.exec("DELETE FROM network_floating_ips WHERE id = ?", text_of(current, "id"));
  delete_port(tx, find_any(tx, *ports_, text_of(current, "floating_port_id")));
  if (!text_of(current, "router_id").empty()) touch(tx, Dirty::Kind::router, text_of(current, "router_id"));
}

void NetworkService::define_floating_ips() {
  floating_ips_ = std::make_unique<Collection>(Collection{.resource = floating_ip_resource(),
                                                          .table = "network_floating_ips",
                                                          .path = "/v2.0/floatingips",
                                                          .quota = "floatingip",
                                                          .not_found = "FloatingIPNotFound",
                                                          .title = "Floating IP",
                                                          .hidden = {"floating_port_id"}});
  floating_ips_->create = [this](db::Tx& tx, api::Call& call, Object floating) { return create_floating_ip(*this, tx, call, std::move(floating)); };
  floating_ips_->update = [this](db::Tx& tx, api::Call& call, const Object& current, Object changes) { update_floating_ip(*this, tx, call, current, std::move(changes)); };
  floating_ips_->remove = [this](db::Tx& tx, api::Call&, const Object& current) { delete_floating_ip(tx, current); };
  floating_ips_->decorate = decorate_floating_ips;
  add_collection(service_, environment_, *floating_ips_);
}

}  // namespace virga::network
