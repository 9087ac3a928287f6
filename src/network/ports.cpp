#include <fmt/format.h>

#include "base/ids.h"
#include "network/service.h"

namespace virga::network {
namespace {

void add_groups(NetworkService& s, db::Tx& tx, const std::string& port_id, const json::array& groups) {
  for (const auto& g : groups) {
    const std::string id = g.is_string() ? str(g) : "";
    try {
      tx.exec("INSERT INTO network_port_groups (port_id, security_group_id) VALUES (?, ?)", port_id, id);
    } catch (const db::UniqueViolation&) {
      // named twice: once is enough
    } catch (const db::ForeignKeyViolation&) {
      throw Fault(FaultKind::not_found, fmt::format("Security group {} does not exist", id), "", "SecurityGroupNotFound");
    }
    s.touch(tx, Dirty::Kind::security_group, id);
  }
}

void change_groups(NetworkService& s, db::Tx& tx, const Object& port, const json::array& groups) {
  const std::string port_id = text_of(port, "id");
  for (const auto& r : tx.query("SELECT security_group_id FROM network_port_groups WHERE port_id = ?", port_id)) s.touch(tx, Dirty::Kind::security_group, r.text(0));
  tx.exec("DELETE FROM network_port_groups WHERE port_id = ?", port_id);
  add_groups(s, tx, port_id, groups);
}

void check_pairs(const Object& port) {
  const json::array* pairs = find_array(port, "allowed_address_pairs");
  if (!pairs || pairs->empty()) return;
  if (!find_bool(port, "port_security_enabled", true)) throw conflict("Port Security must be enabled in order to have allowed address pairs on a port.", "AddressPairAndPortSecurityRequired");
  for (const auto& pair : *pairs) {
    if (!pair.is_object() || !parse_cidr(find_string(pair.get_object(), "ip_address")))
      throw bad_request("Invalid input for allowed_address_pairs. Reason: each pair needs an ip_address.");
    const std::string mac = find_string(pair.get_object(), "mac_address");
    if (!mac.empty() && !api::is_mac(mac)) throw bad_request(fmt::format("Invalid input for allowed_address_pairs. Reason: '{}' is not a valid MAC address.", mac));
  }
}

/// The pairs as neutron shows them: without a mac, the port's own.
void complete_pairs(Object& port, const std::string& mac) {
  if (!port.contains("allowed_address_pairs")) return;
  if (port["allowed_address_pairs"].is_null()) port["allowed_address_pairs"] = json::array();
  for (auto& pair : port["allowed_address_pairs"].as_array())
    if (pair.is_object() && !has_value(pair.get_object(), "mac_address")) pair.get_object()["mac_address"] = mac;
}


void decorate_ports(db::Tx& tx, Objects& rows) {
  std::map<std::string, Object*> by_id;
  std::vector<db::Value> ids;
  for (auto& row : rows) {
    row["fixed_ips"].emplace_array();
    row["security_groups"].emplace_array();
    row["dns_assignment"] = json::array();
    const bool bound = !text_of(row, "binding:host_id").empty();
    row["binding:vif_type"] = bound ? "ovs" : "unbound";
    row["binding:vif_details"] = bound ? json::object{{"port_filter", true}, {"connectivity", "l2"}, {"bound_drivers", {{"0", "ovn"}}}} : json::object{};
    by_id[text_of(row, "id")] = &row;
    ids.emplace_back(text_of(row, "id"));
  }
  if (ids.empty()) return;
  const std::string in = db::placeholders(ids.size());
  for (const auto& r : tx.query(fmt::format("SELECT port_id, subnet_id, address FROM network_addresses WHERE port_id IN ({}) ORDER BY port_id, position", in), ids))
    by_id.at(r.text(0))->at("fixed_ips").as_array().push_back(Object{{"subnet_id", r.text(1)}, {"ip_address", r.text(2)}});
  for (const auto& r : tx.query(fmt::format("SELECT port_id, security_group_id FROM network_port_groups WHERE port_id IN ({}) ORDER BY security_group_id", in), ids))
    by_id.at(r.text(0))->at("security_groups").as_array().push_back(json::value(r.text(1)));
}

Object create_port(NetworkService& s, db::Tx& tx, api::Call& call, Object port) {
  const Object net = find_visible(tx, s.networks(), call.caller(), text_of(port, "network_id"));
  if (find_bool(net, "router:external") && !call.caller().is_admin() && text_of(net, "project_id") != call.caller().project_id && !find_bool(net, "shared")) {
    Fault refusal = api::policy_refusal(api::FaultStyle::neutron, "create_port");
    refusal.hint = "An external network takes floating IPs and router gateways only.";
    throw refusal;
  }
  return s.insert_port(tx, std::move(port), &call.caller());
}

void update_port(NetworkService& s, db::Tx& tx, api::Call& call, const Object& current, Object changes) {
  const std::string id = text_of(current, "id");
  Object merged = current;
  for (const auto& [name, value] : changes) merged[name] = value;
  check_pairs(merged);
  complete_pairs(changes, text_of(merged, "mac_address"));
  if (changes.contains("mac_address") && text_of(changes, "mac_address") != text_of(current, "mac_address") && !text_of(current, "binding:host_id").empty())
    throw conflict(fmt::format("Unable to complete operation on port {}, port is already bound, port type: ovs, old_mac {}, new_mac {}.", id, text_of(current, "mac_address"), text_of(changes, "mac_address")), "PortBound");
  if (const json::array* ips = find_array(changes, "fixed_ips")) s.update_addresses(tx, current, *ips);
  const bool secure = find_bool(merged, "port_security_enabled", true);
  if (changes.contains("security_groups") || (changes.contains("port_security_enabled") && !secure)) {
    const json::array* groups = find_array(merged, "security_groups");
    if (!secure && groups && !groups->empty())
      throw conflict(fmt::format("Port has security group associated. Cannot disable port security or IP address until security group is removed: {}", id), "PortSecurityPortHasSecurityGroup");
    change_groups(s, tx, current, groups ? *groups : json::array());
  }
  for (const char* name : {"binding:profile", "extra_dhcp_opts"})
    if (changes.contains(name) && changes[name].is_null()) changes[name] = std::string_view(name) == "extra_dhcp_opts" ? json::value(json::array()) : json::value(json::object());
  if (changes.contains("binding:host_id") && changes["binding:host_id"].is_null()) changes["binding:host_id"] = "";
  if (changes.contains("binding:host_id") && text_of(changes, "binding:host_id") != text_of(current, "binding:host_id")) changes["status"] = "DOWN";
  try {
    api::update_record(tx, s.ports().resource, s.ports().table, id, changes, s.clock().now());
  } catch (const db::UniqueViolation&) {
    throw conflict(fmt::format("Unable to complete operation for network {}. The mac address {} is in use.", text_of(current, "network_id"), text_of(changes, "mac_address")), "MacAddressInUse");
  }
  s.touch(tx, Dirty::Kind::port, id);
}

void remove_port(NetworkService& s, db::Tx& tx, const Object& current) {
  const std::string owner = text_of(current, "device_owner");
  if (owner == kOwnerGateway || owner == kOwnerInterface || owner == kOwnerFloating)
    throw conflict(fmt::format("Port {} cannot be deleted directly via the port API: has device owner {}.", text_of(current, "id"), owner), "ServicePortInUse");
  const std::string device = text_of(current, "device_id");
  if (owner.starts_with("compute:") && !device.empty() && !text_of(current, "binding:host_id").empty())
    // Neutron would have nova take the interface out of the guest, which is not built: the guest would keep one that leads nowhere.
    throw Fault(FaultKind::conflict, fmt::format("Port {} is in use by server {}: an interface cannot be taken out of a server yet.", text_of(current, "id"), device),
                "Delete the server first.", "PortInUse");
  s.delete_port(tx, current);
}

bool filter_ports(const std::string& name, const std::vector<std::string>& values, api::Where& where) {
  if (name == "security_groups") {
    where.add("id IN (SELECT g.port_id FROM network_port_groups g WHERE g.security_group_id = ?)", values.front());
    return true;
  }
  if (name != "fixed_ips") return false;
  for (const auto& v : values) {  // fixed_ips=ip_address=10.0.0.3, fixed_ips=subnet_id=…, fixed_ips=ip_address_substr=…
    const size_t sign = v.find('=');
    const std::string key = v.substr(0, sign), value = sign == std::string::npos ? "" : v.substr(sign + 1);
    if (key == "subnet_id") where.add("id IN (SELECT a.port_id FROM network_addresses a WHERE a.subnet_id = ?)", value);
    else if (key == "ip_address_substr") where.add("id IN (SELECT a.port_id FROM network_addresses a WHERE a.address LIKE ?)", "%" + value + "%");
    else if (const auto ip = parse_ip(value)) where.add("id IN (SELECT a.port_id FROM network_addresses a WHERE a.address = ?)", ip->str());
    else where.add("1 = 0");
  }
  return true;
}

/// Inserts the port's row. A MAC that nobody asked for is drawn again while another port of the network has it: with
/// some thousand ports, two draws of 2^24 often meet.
void insert_with_mac(NetworkService& s, db::Tx& tx, Object& port) {
  constexpr int kDraws = 64;
  const json::value* given = port.if_contains("allowed_address_pairs");
  const json::value pairs = given ? *given : json::value();  // as asked: each draw completes them with its own MAC
  const bool asked = has_value(port, "mac_address");
  std::string mac = asked ? text_of(port, "mac_address") : s.draw_mac();
  std::transform(mac.begin(), mac.end(), mac.begin(), ::tolower);
  for (int draws = 1;; ++draws) {
    port["mac_address"] = mac;
    complete_pairs(port, mac);
    try {
      return api::insert_record(tx, s.ports().resource, s.ports().table, port);
    } catch (const db::UniqueViolation&) {
      const std::string network = text_of(port, "network_id");
      if (asked)
        throw conflict(fmt::format("Unable to complete operation for network {}. The mac address {} is in use.", network, mac), "MacAddressInUse");
      if (draws == kDraws)
        throw Fault(FaultKind::unavailable, fmt::format("Unable to generate unique mac on network {}.", network), "Ask again, or name a mac_address.", "MacAddressGenerationFailure");
    }
    if (given) port["allowed_address_pairs"] = pairs;
    mac = s.draw_mac();
  }
}

}  // namespace

void NetworkService::update_addresses(db::Tx& tx, const Object& current, const json::array& wanted) {
  // Addresses that stay keep their row: floating IPs refer to them.
  const std::string id = text_of(current, "id");
  std::vector<std::string> keep;
  json::array fresh;
  for (const auto& entry : wanted) {
    bool same = false;
    for (const auto& have : current.at("fixed_ips").as_array()) {
      const Object& h = have.as_object();
      const bool hit = entry.is_object() && (has_value(entry.get_object(), "ip_address") ? find_string(entry.get_object(), "ip_address") == text_of(h, "ip_address")
                                                                                        : find_string(entry.get_object(), "subnet_id") == text_of(h, "subnet_id"));
      if (hit && std::find(keep.begin(), keep.end(), text_of(h, "ip_address")) == keep.end()) {
        keep.push_back(text_of(h, "ip_address"));
        same = true;
        break;
      }
    }
    if (!same) fresh.push_back(entry);
  }
  for (const auto& have : current.at("fixed_ips").as_array()) {
    const std::string address = text_of(have.as_object(), "ip_address");
    if (std::find(keep.begin(), keep.end(), address) != keep.end()) continue;
    tx.exec("DELETE FROM network_addresses WHERE port_id = ? AND address = ?", id, address);
    for (const auto& r : tx.query("SELECT router_id FROM network_floating_ips WHERE port_id = ? AND fixed_ip_address = ? AND router_id IS NOT NULL", id, address)) touch(tx, Dirty::Kind::router, r.text(0));
    tx.exec("UPDATE network_floating_ips SET port_id = NULL, fixed_ip_address = NULL, router_id = NULL, status = 'DOWN' WHERE port_id = ? AND fixed_ip_address = ?", id, address);
  }
  if (!fresh.empty()) take_addresses(tx, current, &fresh);
}

void NetworkService::write_port_groups(db::Tx& tx, const Object& port, const json::array& groups) {
  change_groups(*this, tx, port, groups);
  tx.exec("UPDATE network_ports SET updated_at = ?, revision_number = revision_number + 1 WHERE id = ?", clock_.now(), text_of(port, "id"));
  touch(tx, Dirty::Kind::port, text_of(port, "id"));
}

Object NetworkService::insert_port(db::Tx& tx, Object port, const api::Caller* caller) {
  const std::string id = text_of(port, "id"), network_id = text_of(port, "network_id"), project = text_of(port, "project_id");
  const bool own = text_of(port, "device_owner").rfind("network:", 0) == 0;
  if (!port.contains("port_security_enabled")) {
    const auto net = tx.first("SELECT port_security_enabled FROM network_networks WHERE id = ?", network_id);
    if (!net) throw Fault(FaultKind::not_found, fmt::format("Network {} could not be found.", network_id), "", "NetworkNotFound");
    port["port_security_enabled"] = !own && net->boolean(0);
  }
  const bool secure = find_bool(port, "port_security_enabled");
  check_pairs(port);
  if (!has_value(port, "binding:host_id")) port["binding:host_id"] = "";
  if (!has_value(port, "binding:profile")) port["binding:profile"] = json::object();
  if (!has_value(port, "extra_dhcp_opts")) port["extra_dhcp_opts"] = json::array();
  if (!port.contains("made_by_compute")) port["made_by_compute"] = false;
  if (own) port["status"] = text_of(port, "device_owner") == kOwnerFloating ? "N/A" : "ACTIVE";
  else if (!find_bool(port, "made_by_compute")) port["status"] = "DOWN";
  insert_with_mac(*this, tx, port);
  take_addresses(tx, port, find_array(port, "fixed_ips"));
  const json::array* groups = find_array(port, "security_groups");
  if (groups && !groups->empty() && !secure)
    throw bad_request("Port security must be enabled and port must have an IP address in order to use security groups.", "PortSecurityAndIPRequiredForSecurityGroups");
  if (groups) {
    add_groups(*this, tx, id, *groups);
  } else if (secure && !own && caller) {
    add_groups(*this, tx, id, json::array{json::value(ensure_default_group(tx, project))});
  }
  touch(tx, Dirty::Kind::port, id);
  return port;
}

Object NetworkService::make_own_port(db::Tx& tx, const std::string& network_id, const std::string& project_id, const std::string& owner, const std::string& device,
                                     json::array fixed_ips, const std::string& name) {
  Object port;
  for (const auto& a : port_resource().attributes)
    if (a.fallback) port[a.name] = *a.fallback;
  port["id"] = new_uuid();
  port["project_id"] = project_id;
  port["network_id"] = network_id;
  port["name"] = name;
  port["device_owner"] = owner;
  port["device_id"] = device;
  port["created_at"] = port["updated_at"] = now();
  port["revision_number"] = 1;
  if (!fixed_ips.empty()) port["fixed_ips"] = std::move(fixed_ips);
  const std::string id = text_of(insert_port(tx, port, nullptr), "id");
  return find_any(tx, *ports_, id);
}

void NetworkService::delete_port(db::Tx& tx, const Object& port) {
  const std::string id = text_of(port, "id");
  for (const auto& r : tx.query("SELECT router_id FROM network_floating_ips WHERE port_id = ? AND router_id IS NOT NULL", id)) touch(tx, Dirty::Kind::router, r.text(0));
  for (const auto& r : tx.query("SELECT security_group_id FROM network_port_groups WHERE port_id = ?", id)) touch(tx, Dirty::Kind::security_group, r.text(0));
  tx.exec("UPDATE network_floating_ips SET port_id = NULL, fixed_ip_address = NULL, router_id = NULL, status = 'DOWN' WHERE port_id = ?", id);
  tx.exec("DELETE FROM network_ports WHERE id = ?", id);  // addresses and group membership go with it
  touch(tx, Dirty::Kind::port, id);
}

std::string NetworkService::set_port_up(db::Tx& tx, const std::string& port_id, bool up) {
  const auto row = tx.first("SELECT status, device_owner, device_id FROM network_ports WHERE id = ?", port_id);
  if (!row || row->text(1).rfind("network:", 0) == 0) return "";
  const std::string status = up ? "ACTIVE" : "DOWN";
  if (row->text(0) == status) return "";
  tx.exec("UPDATE network_ports SET status = ?, updated_at = ?, revision_number = revision_number + 1 WHERE id = ?", status, clock_.now(), port_id);
  return row->text(1).rfind("compute:", 0) == 0 ? row->text(2) : "";
}

void NetworkService::define_ports() {
  ports_ = std::make_unique<Collection>(Collection{
      .resource = port_resource(),
      .table = "network_ports",
      .path = "/v2.0/ports",
      .quota = "port",
      .not_found = "PortNotFound",
      .title = "Port",
      .computed = {"binding:vif_type", "binding:vif_details"},
      .hidden = {"made_by_compute"},
      .also_visible = "network_id IN (SELECT n.id FROM network_networks n WHERE n.project_id = ?)"});
  ports_->filter = filter_ports;
  ports_->find_parent = [this](db::Tx& tx, const api::Caller& caller, const Object& port) { find_visible(tx, *networks_, caller, text_of(port, "network_id")); };
  ports_->create = [this](db::Tx& tx, api::Call& call, Object port) { return create_port(*this, tx, call, std::move(port)); };
  ports_->update = [this](db::Tx& tx, api::Call& call, const Object& current, Object changes) { update_port(*this, tx, call, current, std::move(changes)); };
  ports_->remove = [this](db::Tx& tx, api::Call&, const Object& current) { remove_port(*this, tx, current); };
  ports_->decorate = decorate_ports;
  add_collection(service_, environment_, *ports_);
}

}  // namespace virga::network
