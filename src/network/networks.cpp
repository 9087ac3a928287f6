#include <fmt/format.h>

#include "network/service.h"

namespace virga::network {
namespace {

int64_t next_segment(db::Tx& tx) {
  tx.exec("UPDATE network_segment_counters SET next_value = next_value + 1 WHERE name = 'geneve'");
  return tx.first("SELECT next_value FROM network_segment_counters WHERE name = 'geneve'")->integer(0) - 1;
}

void check_provider(const Options& options, Object& net) {
  const std::string type = text_of(net, "provider:network_type"), physical = text_of(net, "provider:physical_network");
  const bool segment = has_value(net, "provider:segmentation_id");
  if (type == "flat" || type == "vlan") {
    if (physical.empty()) throw bad_request(fmt::format("Invalid input for operation: physical_network required for {} provider network.", type), "InvalidInput");
    if (std::find(options.physical_networks.begin(), options.physical_networks.end(), physical) == options.physical_networks.end())
      throw bad_request(fmt::format("Invalid input for operation: physical_network '{}' unknown for {} provider network.", physical, type), "InvalidInput");
    if (type == "flat" && segment) throw bad_request("Invalid input for operation: segmentation_id prohibited for flat provider network.", "InvalidInput");
    if (type == "vlan" && !segment) throw bad_request("Invalid input for operation: segmentation_id required for VLAN provider network.", "InvalidInput");
    if (type == "vlan" && net.at("provider:segmentation_id").as_int64() > 4094)
      throw bad_request("Invalid input for operation: segmentation_id out of range (1 through 4094).", "InvalidInput");
    if (type == "flat") net["provider:segmentation_id"] = 0;  // so that the unique key holds one flat network a physical one
  } else if (!physical.empty()) {
    throw bad_request(fmt::format("Invalid input for operation: provider:physical_network specified for {} network.", type), "InvalidInput");
  }
}

Object create_network(NetworkService& s, db::Tx& tx, Object net) {
  const bool given = net.contains("provider:network_type");
  if (!given) net["provider:network_type"] = "geneve";
  check_provider(s.options(), net);
  const std::string type = text_of(net, "provider:network_type");
  if (type == "geneve" && !has_value(net, "provider:segmentation_id")) net["provider:segmentation_id"] = next_segment(tx);
  if (!has_value(net, "mtu") || net.at("mtu").as_int64() == 0)
    net["mtu"] = type == "flat" || type == "vlan" ? s.options().external_mtu : s.options().mtu;
  net["status"] = "ACTIVE";
  try {
    api::insert_record(tx, s.networks().resource, s.networks().table, net);
  } catch (const db::UniqueViolation&) {
    throw conflict(fmt::format("Unable to create the {} network. Physical network {} is in use.", type, text_of(net, "provider:physical_network")), "FlatNetworkInUse");
  }
  s.touch(tx, Dirty::Kind::network, text_of(net, "id"));
  return net;
}

void update_network(NetworkService& s, db::Tx& tx, const Object& current, Object changes) {
  const std::string id = text_of(current, "id");
  if (changes.contains("shared") && !find_bool(changes, "shared") && find_bool(current, "shared")) {
    const auto foreign = tx.first("SELECT 1 FROM network_ports WHERE network_id = ? AND project_id <> ? AND project_id <> ''", id, text_of(current, "project_id"));
    if (foreign) throw conflict(fmt::format("Unable to reconfigure sharing settings for network {}. Multiple tenants are using it.", id), "InvalidSharedSetting");
  }
  if (changes.contains("router:external") && !find_bool(changes, "router:external") && find_bool(current, "router:external") &&
      tx.first("SELECT 1 FROM network_ports WHERE network_id = ? AND device_owner IN (?, ?)", id, kOwnerGateway, kOwnerFloating))
    throw conflict(fmt::format("External network {} cannot be updated to be made non-external, since it has existing gateway ports.", id), "ExternalNetworkInUse");
  api::update_record(tx, s.networks().resource, s.networks().table, id, changes, s.clock().now());
  s.touch(tx, Dirty::Kind::network, id);
}

/// Floating IPs that serve no port do not hold their network.
void remove_idle_floating_ips(NetworkService& s, db::Tx& tx, const std::string& network_id) {
  for (const Object& floating : select_records(tx, s.floating_ips(), "floating_network_id = ? AND port_id IS NULL", network_id)) {
    s.delete_floating_ip(tx, floating);
    s.use_quota(tx, text_of(floating, "project_id"), "floatingip", -1);
  }
}

void remove_network(NetworkService& s, db::Tx& tx, const Object& current) {
  const std::string id = text_of(current, "id");
  remove_idle_floating_ips(s, tx, id);
  for (const Object& port : select_records(tx, s.ports(), "network_id = ?", id)) {
    const std::string owner = text_of(port, "device_owner");
    if (owner != kOwnerMetadata)
      throw conflict(fmt::format("Unable to complete operation on network {}. There are one or more ports still in use on the network, id: {}.", id, text_of(port, "id")),
                     "NetworkInUse");
    s.delete_port(tx, port);
  }
  for (const Object& subnet : s.subnets_of(tx, id)) s.use_quota(tx, text_of(subnet, "project_id"), "subnet", -1);
  tx.exec("DELETE FROM network_subnets WHERE network_id = ?", id);
  tx.exec("DELETE FROM network_networks WHERE id = ?", id);
  s.touch(tx, Dirty::Kind::network, id);
}

void decorate_networks(db::Tx& tx, Objects& rows) {
  std::map<std::string, Object*> by_id;
  std::vector<db::Value> ids;
  for (auto& row : rows) {
    row["subnets"].emplace_array();
    row["availability_zone_hints"] = json::array();
    row["availability_zones"] = json::array{"nova"};
    row["ipv4_address_scope"] = nullptr;
    row["ipv6_address_scope"] = nullptr;
    row["l2_adjacency"] = true;
    if (text_of(row, "provider:network_type") == "flat") row["provider:segmentation_id"] = nullptr;
    if (!find_bool(row, "router:external")) row.erase("is_default");
    by_id[text_of(row, "id")] = &row;
    ids.emplace_back(text_of(row, "id"));
  }
  if (ids.empty()) return;
  for (const auto& r : tx.query(fmt::format("SELECT network_id, id FROM network_subnets WHERE network_id IN ({}) ORDER BY created_at", db::placeholders(ids.size())), ids))
    by_id.at(r.text(0))->at("subnets").as_array().push_back(json::value(r.text(1)));
}

}  // namespace

void NetworkService::define_networks() {
  networks_ = std::make_unique<Collection>(Collection{
      .resource = network_resource(),
      .table = "network_networks",
      .path = "/v2.0/networks",
      .quota = "network",
      .not_found = "NetworkNotFound",
      .title = "Network",
      .also_visible = "shared = 1 OR external = 1"});
  networks_->create = [this](db::Tx& tx, api::Call&, Object net) { return create_network(*this, tx, std::move(net)); };
  networks_->update = [this](db::Tx& tx, api::Call&, const Object& current, Object changes) { update_network(*this, tx, current, std::move(changes)); };
  networks_->remove = [this](db::Tx& tx, api::Call&, const Object& current) { remove_network(*this, tx, current); };
  networks_->decorate = decorate_networks;
  add_collection(service_, environment_, *networks_);
}

}  // namespace virga::network
