// `virga explain port`: where a port stands, and what keeps it from being ACTIVE.

#include <fmt/format.h>

#include "network/service.h"

namespace virga::network {
namespace {

struct Reason {
  std::string cause, hint;
};

/// Why a port is not ACTIVE, from what is wanted of it; OVN's word comes last.
Reason why_down(const Object& port) {
  const std::string host = text_of(port, "binding:host_id"), device = text_of(port, "device_id");
  if (text_of(port, "status") == "ACTIVE") return {};
  if (!find_bool(port, "admin_state_up", true)) return {"It is administratively down.", "openstack port set --enable PORT"};
  if (device.empty()) return {"Nothing uses it.", "openstack server create --port PORT, or openstack router add port ROUTER PORT"};
  if (host.empty()) return {fmt::format("Its device {} has not been given to a host.", device), "virga explain server SERVER says why."};
  return {fmt::format("OVN has not reported it up on {}.", host), "The server must run, and ovn-controller on that host: virga service status ovn"};
}

std::string joined(const Objects& records, const char* key) {
  std::string out;
  for (const auto& r : records) out += (out.empty() ? "" : ", ") + text_of(r, key);
  return out.empty() ? "none" : out;
}

json::object explain_port(NetworkService& s, db::Tx& tx, const std::string& id) {
  Object port = find_any(tx, s.ports(), id);
  const Object network = find_any(tx, s.networks(), text_of(port, "network_id"));
  std::string addresses;
  for (const auto& ip : port.at("fixed_ips").as_array()) addresses += (addresses.empty() ? "" : ", ") + text_of(ip.as_object(), "ip_address");
  const Objects groups = select_records(tx, s.groups(), "id IN (SELECT security_group_id FROM network_port_groups WHERE port_id = ?)", id);
  const Objects floating = select_records(tx, s.floating_ips(), "port_id = ?", id);
  const std::string owner = text_of(port, "device_owner"), host = text_of(port, "binding:host_id");
  const Reason reason = why_down(port);
  std::string text = fmt::format("port {} \"{}\": {} on network {} ({})\n", id, text_of(port, "name"), text_of(port, "status"), text_of(network, "name"), text_of(network, "id"));
  text += fmt::format("  {}  {}\n", text_of(port, "mac_address"), addresses.empty() ? "no address" : addresses);
  text += fmt::format("  used by: {}\n", owner.empty() ? "nothing" : owner + " " + text_of(port, "device_id"));
  text += fmt::format("  host: {}\n  security groups: {}\n  floating IPs: {}\n", host.empty() ? "none" : host,
                      find_bool(port, "port_security_enabled", true) ? joined(groups, "name") : "port security is off", joined(floating, "floating_ip_address"));
  if (!reason.cause.empty()) text += "  cause: " + reason.cause + "\n  next:  " + reason.hint + "\n";
  return {{"port", std::move(port)}, {"cause", reason.cause}, {"hint", reason.hint}, {"text", std::move(text)}};
}

}  // namespace

void NetworkService::add_explain_route() {
  service_.routes.push_back({"GET", "/virga/explain/port/{id}", "virga:explain_port", [this](api::Call& call) {
    return api::reply(200, database_.read([&](db::Tx& tx) { return explain_port(*this, tx, call.param("id")); }));
  }});
}

}  // namespace virga::network
