#include <fmt/format.h>

#include "network/service.h"

namespace virga::network {
namespace {

void detach_gateway(NetworkService& s, db::Tx& tx, const Object& router) {
  const std::string id = text_of(router, "id"), port = text_of(router, "gateway_port_id");
  if (port.empty()) return;
  if (tx.first("SELECT 1 FROM network_floating_ips WHERE router_id = ?", id))
    throw conflict(fmt::format("Gateway cannot be updated for router {}, since a gateway to external network {} is required by one or more floating IPs.", id, text_of(router, "gateway_network_id")),
                   "RouterExternalGatewayInUseByFloatingIp");
  tx.exec("UPDATE network_routers SET gateway_network_id = NULL, gateway_port_id = NULL WHERE id = ?", id);
  s.delete_port(tx, find_any(tx, s.ports(), port));
}

/// {"network_id": …, "enable_snat": …, "external_fixed_ips": […]} or null.
void set_gateway(NetworkService& s, db::Tx& tx, const api::Caller& caller, const Object& router, const json::value& info) {
  const std::string id = text_of(router, "id");
  if (info.is_null() || (info.is_object() && info.get_object().empty())) return detach_gateway(s, tx, router);
  const Object& wanted = info.as_object();
  const std::string network_id = find_string(wanted, "network_id");
  for (const auto& [name, value] : wanted)
    if (name != "network_id" && name != "enable_snat" && name != "external_fixed_ips")
      throw bad_request(fmt::format("Invalid input for external_gateway_info. Reason: '{}' is not known.", std::string_view(name)));
  if (network_id.empty()) throw bad_request("Invalid input for external_gateway_info. Reason: Validation of dictionary's keys failed. Expected keys: {'network_id'}.");
  const Object net = find_visible(tx, s.networks(), caller, network_id);
  if (!find_bool(net, "router:external"))
    throw bad_request(fmt::format("Bad router request: Network {} is not an external network.", network_id), "BadRequest");
  tx.exec("UPDATE network_routers SET enable_snat = ? WHERE id = ?", find_bool(wanted, "enable_snat", true), id);
  const json::array* ips = find_array(wanted, "external_fixed_ips");
  if (text_of(router, "gateway_network_id") == network_id && !ips) return;
  if (text_of(router, "gateway_network_id") == network_id && ips) {
    const Object port = find_any(tx, s.ports(), text_of(router, "gateway_port_id"));
    s.give_back_addresses(tx, text_of(port, "id"));
    s.take_addresses(tx, port, ips->empty() ? nullptr : ips);
    s.touch(tx, Dirty::Kind::port, text_of(port, "id"));
    return;
  }
  detach_gateway(s, tx, router);
  if (s.subnets_of(tx, network_id).empty()) throw bad_request(fmt::format("Bad router request: No eligible subnets on external network {}.", network_id), "BadRequest");
  const Object port = s.make_own_port(tx, network_id, "", std::string(kOwnerGateway), id, ips ? *ips : json::array());
  tx.exec("UPDATE network_routers SET gateway_network_id = ?, gateway_port_id = ? WHERE id = ?", network_id, text_of(port, "id"), id);
}

Object create_router(NetworkService& s, db::Tx& tx, api::Call& call, Object router) {
  for (const char* name : {"ha", "distributed"})
    if (find_bool(router, name)) throw bad_request(fmt::format("{} routers are not offered: OVN moves a gateway between hosts by itself.", name), "InvalidInput");
  router["status"] = "ACTIVE";
  router["enable_snat"] = true;
  router["routes"] = json::array();
  const json::value info = router.contains("external_gateway_info") ? router.at("external_gateway_info") : json::value(nullptr);
  api::insert_record(tx, s.routers().resource, s.routers().table, router);
  if (!info.is_null()) set_gateway(s, tx, call.caller(), router, info);
  s.touch(tx, Dirty::Kind::router, text_of(router, "id"));
  return router;
}

/// Each route's next hop must lie on one of the router's subnets and be none of its own addresses.
void check_routes(db::Tx& tx, const Object& router, const json::array& routes) {
  std::vector<Cidr> reachable;
  std::vector<std::string> own;
  for (const auto& r : tx.query("SELECT s.cidr, a.address FROM network_ports p JOIN network_addresses a ON a.port_id = p.id JOIN network_subnets s ON s.id = a.subnet_id WHERE p.device_id = ?",
                                text_of(router, "id"))) {
    reachable.push_back(*parse_cidr(r.text(0)));
    own.push_back(r.text(1));
  }
  for (const auto& route : routes) {
    const bool shaped = route.is_object() && parse_cidr(find_string(route.get_object(), "destination")) && parse_ip(find_string(route.get_object(), "nexthop"));
    if (!shaped) throw bad_request("Invalid input for routes. Reason: each route needs a destination and a nexthop.");
    const std::string hop = find_string(route.get_object(), "nexthop");
    const bool near = std::any_of(reachable.begin(), reachable.end(), [&](const Cidr& c) { return c.contains(*parse_ip(hop)); });
    if (!near) throw bad_request(fmt::format("Invalid format for routes: {}, the nexthop is not connected with router", json::serialize(routes)), "InvalidRoutes");
    if (std::find(own.begin(), own.end(), hop) != own.end()) throw bad_request(fmt::format("Invalid format for routes: {}, the nexthop is used by router", json::serialize(routes)), "InvalidRoutes");
  }
}

void update_router(NetworkService& s, db::Tx& tx, api::Call& call, const Object& current, Object changes) {
  const std::string id = text_of(current, "id");
  for (const char* name : {"ha", "distributed"})
    if (find_bool(changes, name)) throw bad_request(fmt::format("{} routers are not offered: OVN moves a gateway between hosts by itself.", name), "InvalidInput");
  if (changes.contains("routes") && changes["routes"].is_null()) changes["routes"] = json::array();
  if (const json::array* routes = find_array(changes, "routes")) check_routes(tx, current, *routes);
  if (changes.contains("external_gateway_info")) set_gateway(s, tx, call.caller(), current, changes.at("external_gateway_info"));
  api::update_record(tx, s.routers().resource, s.routers().table, id, changes, s.clock().now());
  s.touch(tx, Dirty::Kind::router, id);
}

void remove_router(NetworkService& s, db::Tx& tx, const Object& current) {
  const std::string id = text_of(current, "id");
  if (tx.first("SELECT 1 FROM network_ports WHERE device_id = ? AND device_owner = ?", id, kOwnerInterface))
    throw conflict(fmt::format("Router {} still has ports", id), "RouterInUse");
  detach_gateway(s, tx, current);
  tx.exec("DELETE FROM network_routers WHERE id = ?", id);
  s.touch(tx, Dirty::Kind::router, id);
}

void decorate_routers(db::Tx& tx, Objects& rows) {
  for (auto& row : rows) {
    const std::string network = text_of(row, "gateway_network_id"), port = text_of(row, "gateway_port_id");
    row["external_gateway_info"] = nullptr;
    if (!network.empty()) {
      json::array ips;
      for (const auto& r : tx.query("SELECT subnet_id, address FROM network_addresses WHERE port_id = ? ORDER BY position", port))
        ips.push_back(Object{{"subnet_id", r.text(0)}, {"ip_address", r.text(1)}});
      row["external_gateway_info"] = Object{{"network_id", network}, {"enable_snat", find_bool(row, "enable_snat", true)}, {"external_fixed_ips", std::move(ips)}};
    }
    row["availability_zone_hints"] = json::array();
    row["availability_zones"] = json::array{"nova"};
    row["ha"] = false;
    row["distributed"] = false;
    row["flavor_id"] = nullptr;
  }
}

}  // namespace

void NetworkService::define_routers() {
  routers_ = std::make_unique<Collection>(Collection{.resource = router_resource(),
                                                     .table = "network_routers",
                                                     .path = "/v2.0/routers",
                                                     .quota = "router",
                                                     .not_found = "RouterNotFound",
                                                     .title = "Router",
                                                     .hidden = {"gateway_network_id", "gateway_port_id", "enable_snat"}});
  routers_->create = [this](db::Tx& tx, api::Call& call, Object router) { return create_router(*this, tx, call, std::move(router)); };
  routers_->update = [this](db::Tx& tx, api::Call& call, const Object& current, Object changes) { update_router(*this, tx, call, current, std::move(changes)); };
  routers_->remove = [this](db::Tx& tx, api::Call&, const Object& current) { remove_router(*this, tx, current); };
  routers_->decorate = decorate_routers;
  add_collection(service_, environment_, *routers_);
}

}  // namespace virga::network
