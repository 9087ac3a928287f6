#include <fmt/format.h>

#include "base/ids.h"
#include "network/service.h"

namespace virga::network {
namespace {

Ip require_ip(std::string_view text, std::string_view what, int family) {
  const auto ip = parse_ip(text);
  if (!ip) throw bad_request(fmt::format("Invalid input for {}. Reason: '{}' is not a valid IP address.", what, text));
  if (family && ip->family != family) throw bad_request(fmt::format("Invalid input for operation: {} '{}' does not match the ip_version '{}'.", what, text, family), "InvalidInput");
  return *ip;
}

json::array render(const std::vector<Pool>& pools) {
  json::array out;
  for (const auto& p : pools) out.push_back(Object{{"start", p.start.str()}, {"end", p.end.str()}});
  return out;
}

std::vector<Pool> read_pools(const json::array& given, const Cidr& cidr) {
  std::vector<Pool> pools;
  for (const auto& entry : given) {
    if (!entry.is_object()) throw bad_request("Invalid input for allocation_pools. Reason: each pool needs start and end.");
    const Pool pool{require_ip(find_string(entry.get_object(), "start"), "allocation_pools", cidr.network.family), require_ip(find_string(entry.get_object(), "end"), "allocation_pools", cidr.network.family)};
    if (pool.end < pool.start) throw bad_request(fmt::format("The allocation pool {}-{} is not valid.", pool.start.str(), pool.end.str()), "InvalidAllocationPool");
    if (!cidr.contains(pool.start) || !cidr.contains(pool.end))
      throw bad_request(fmt::format("The allocation pool {}-{} spans beyond the subnet cidr {}.", pool.start.str(), pool.end.str(), cidr.str()), "OutOfBoundsAllocationPool");
    for (const auto& other : pools)
      if (pool.start <= other.end && other.start <= pool.end)
        throw conflict(fmt::format("Found overlapping allocation pools: {}-{} {}-{} for subnet {}.", other.start.str(), other.end.str(), pool.start.str(), pool.end.str(), cidr.str()), "OverlappingAllocationPools");
    pools.push_back(pool);
  }
  return pools;
}

void check_lists(const Object& subnet, int family) {
  if (const json::array* dns = find_array(subnet, "dns_nameservers"))
    for (const auto& server : *dns) require_ip(server.is_string() ? std::string_view(server.get_string()) : "", "dns_nameservers", 0);
  if (const json::array* routes = find_array(subnet, "host_routes"))
    for (const auto& route : *routes) {
      if (!route.is_object() || !parse_cidr(find_string(route.get_object(), "destination")))
        throw bad_request("Invalid input for host_routes. Reason: each route needs a destination and a nexthop.");
      require_ip(find_string(route.get_object(), "nexthop"), "host_routes", family);
    }
}

void check_ipv6_modes(const Object& subnet, const Cidr& cidr) {
  const std::string ra = text_of(subnet, "ipv6_ra_mode"), address = text_of(subnet, "ipv6_address_mode");
  if (cidr.network.family == 4) {
    if (!ra.empty() || !address.empty()) throw bad_request("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is set to 4.", "InvalidInput");
    return;
  }
  if (!find_bool(subnet, "enable_dhcp", true) && (!ra.empty() || !address.empty()))
    throw bad_request("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.", "InvalidInput");
  if (!ra.empty() && !address.empty() && ra != address)
    throw bad_request(fmt::format("Invalid input for operation: ipv6_ra_mode set to '{}' with ipv6_address_mode set to '{}' is not valid.", ra, address), "InvalidInput");
  if ((ra == "slaac" || address == "slaac" || ra == "dhcpv6-stateless" || address == "dhcpv6-stateless") && cidr.prefix != 64)
    throw bad_request("Invalid CIDR " + cidr.str() + " for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64.", "InvalidInput");
}

/// The range to use: given, or cut from a subnet pool.
Cidr choose_cidr(NetworkService&, db::Tx& tx, Object& subnet) {
  const int version = static_cast<int>(subnet.at("ip_version").as_int64());
  if (version != 4 && version != 6) throw bad_request(fmt::format("Invalid input for ip_version. Reason: '{}' is not in [4, 6].", version));
  const std::string pool_id = text_of(subnet, "subnetpool_id");
  if (has_value(subnet, "cidr")) {
    const std::string text = text_of(subnet, "cidr");
    const auto cidr = parse_cidr(text);
    if (!cidr || text.find('/') == std::string::npos) throw bad_request(fmt::format("Invalid input for cidr. Reason: '{}' is not a valid IP subnet.", text));
    if (cidr->network.family != version) throw bad_request(fmt::format("Invalid input for operation: cidr '{}' does not match the ip_version '{}'.", text, version), "InvalidInput");
    if (cidr->prefix == 0) throw bad_request("Invalid input for operation: 0 is not allowed as CIDR prefix length.", "InvalidInput");
    return *cidr;
  }
  if (pool_id.empty()) throw bad_request("Bad subnets request: a subnetpool must be specified in the absence of a cidr.", "BadRequest");
  const auto pool = tx.first("SELECT prefixes, default_prefixlen, min_prefixlen, max_prefixlen, ip_version FROM network_subnet_pools WHERE id = ?", pool_id);
  if (!pool) throw Fault(FaultKind::not_found, fmt::format("Subnet pool {} could not be found.", pool_id), "", "SubnetPoolNotFound");
  if (pool->integer(4) != version) throw bad_request("Invalid input for operation: Cannot allocate requested subnet from the available set of prefixes: the pool's ip_version differs.", "InvalidInput");
  const int length = static_cast<int>(find_int(subnet, "prefixlen", pool->integer(1)));
  if (length < pool->integer(2) || length > pool->integer(3))
    throw bad_request(fmt::format("Unable to allocate subnet with prefix length {}, allowed is {} to {}.", length, pool->integer(2), pool->integer(3)), "PrefixLenOutOfRange");
  std::vector<Cidr> taken;
  for (const auto& r : tx.query("SELECT cidr FROM network_subnets WHERE subnetpool_id = ?", pool_id)) taken.push_back(*parse_cidr(r.text(0)));
  const json::value prefixes = json::parse(pool->text(0));
  for (const auto& prefix : prefixes.as_array()) {
    const Cidr range = *parse_cidr(std::string_view(prefix.as_string()));
    if (length < range.prefix) continue;
    const Number step = Number(1) << ((version == 4 ? 32 : 128) - length);
    for (Cidr c{range.network, length}; range.contains(c); c.network.value += step) {
      const auto hit = std::find_if(taken.begin(), taken.end(), [&](const Cidr& t) { return t.overlaps(c); });
      if (hit == taken.end()) return c;
    }
  }
  throw conflict("Failed to allocate subnet: Insufficient prefix space to allocate subnet size /" + std::to_string(length), "SubnetAllocationError");
}

void check_gateway(const std::string& gateway, const Cidr& cidr, const std::vector<Pool>& pools) {
  const Ip ip = require_ip(gateway, "gateway_ip", cidr.network.family);
  if (cidr.contains(ip) && cidr.network.family == 4 && cidr.prefix < 31 && (ip == cidr.first() || ip == cidr.last()))
    throw bad_request("Invalid input for operation: Gateway is not valid on subnet.", "InvalidInput");
  for (const auto& p : pools)
    if (ip >= p.start && ip <= p.end)
      throw conflict(fmt::format("Gateway ip {} conflicts with allocation pool {}-{}.", gateway, p.start.str(), p.end.str()), "GatewayConflictWithAllocationPools");
}

Object create_subnet(NetworkService& s, db::Tx& tx, api::Call& call, Object subnet) {
  const std::string network_id = text_of(subnet, "network_id");
  const Cidr cidr = choose_cidr(s, tx, subnet);
  check_lists(subnet, cidr.network.family);
  check_ipv6_modes(subnet, cidr);
  for (const Object& other : s.subnets_of(tx, network_id))
    if (parse_cidr(text_of(other, "cidr"))->overlaps(cidr))
      throw bad_request(fmt::format("Invalid input for operation: Requested subnet with cidr: {} for network: {} overlaps with another subnet.", cidr.str(), network_id), "InvalidInput");
  std::optional<Ip> gateway;
  if (!subnet.contains("gateway_ip")) {
    const bool tiny = cidr.prefix >= (cidr.network.family == 4 ? 32 : 128);
    gateway = Ip{cidr.network.family, cidr.network.value + (tiny ? 0 : 1)};
  } else if (has_value(subnet, "gateway_ip")) {
    gateway = require_ip(text_of(subnet, "gateway_ip"), "gateway_ip", cidr.network.family);
  }
  const json::array* given = find_array(subnet, "allocation_pools");
  const std::vector<Pool> pools = given ? read_pools(*given, cidr) : default_pools(cidr, gateway);
  if (gateway) check_gateway(gateway->str(), cidr, given ? pools : std::vector<Pool>{});
  subnet["cidr"] = cidr.str();
  subnet["gateway_ip"] = gateway ? json::value(gateway->str()) : json::value(nullptr);
  subnet["allocation_pools"] = render(pools);
  api::insert_record(tx, s.subnets().resource, s.subnets().table, subnet);
  tx.exec("UPDATE network_subnets SET next_address = ? WHERE id = ?", pools.empty() ? cidr.first().str() : pools.front().start.str(), text_of(subnet, "id"));
  s.keep_metadata_port(tx, network_id);
  s.touch(tx, Dirty::Kind::network, network_id);
  return subnet;
}

void update_subnet(NetworkService& s, db::Tx& tx, const Object& current, Object changes) {
  const Cidr cidr = *parse_cidr(text_of(current, "cidr"));
  Object merged = current;
  for (const auto& [name, value] : changes) merged[name] = value;
  check_lists(merged, cidr.network.family);
  const std::vector<Pool> pools = read_pools(merged.at("allocation_pools").as_array(), cidr);
  if (has_value(changes, "gateway_ip") && text_of(changes, "gateway_ip") != text_of(current, "gateway_ip")) {
    if (tx.first("SELECT 1 FROM network_addresses a JOIN network_ports p ON p.id = a.port_id WHERE a.subnet_id = ? AND a.address = ? AND p.device_owner = ?",
                 text_of(current, "id"), text_of(current, "gateway_ip"), kOwnerInterface))
      throw conflict(fmt::format("Current gateway ip {} already in use by a router port. Unable to update.", text_of(current, "gateway_ip")), "GatewayIpInUse");
    check_gateway(text_of(changes, "gateway_ip"), cidr, pools);
  }
  if (changes.contains("allocation_pools")) {
    changes["allocation_pools"] = render(pools);
    if (has_value(merged, "gateway_ip")) check_gateway(text_of(merged, "gateway_ip"), cidr, pools);
    if (!pools.empty()) tx.exec("UPDATE network_subnets SET next_address = ? WHERE id = ?", pools.front().start.str(), text_of(current, "id"));
  }
  api::update_record(tx, s.subnets().resource, s.subnets().table, text_of(current, "id"), changes, s.clock().now());
  s.keep_metadata_port(tx, text_of(current, "network_id"));
  s.touch(tx, Dirty::Kind::network, text_of(current, "network_id"));
}

void remove_subnet(NetworkService& s, db::Tx& tx, const Object& current) {
  const std::string id = text_of(current, "id");
  for (const auto& r : tx.query("SELECT p.id, p.device_owner FROM network_addresses a JOIN network_ports p ON p.id = a.port_id WHERE a.subnet_id = ?", id))
    if (r.text(1) != kOwnerMetadata)
      throw conflict(fmt::format("Unable to complete operation on subnet {}: One or more ports have an IP allocation from this subnet.", id), "SubnetInUse");
  tx.exec("DELETE FROM network_addresses WHERE subnet_id = ?", id);
  tx.exec("DELETE FROM network_subnets WHERE id = ?", id);
  s.keep_metadata_port(tx, text_of(current, "network_id"));
  s.touch(tx, Dirty::Kind::network, text_of(current, "network_id"));
}

}  // namespace

std::vector<Object> NetworkService::subnets_of(db::Tx& tx, const std::string& network_id) {
  return select_records(tx, *subnets_, "network_id = ? ORDER BY created_at, id", network_id);
}

void NetworkService::keep_metadata_port(db::Tx& tx, const std::string& network_id) {
  json::array wanted;
  for (const Object& subnet : subnets_of(tx, network_id))
    if (find_bool(subnet, "enable_dhcp") && find_int(subnet, "ip_version") == 4) wanted.push_back(Object{{"subnet_id", text_of(subnet, "id")}});
  const auto have = tx.first("SELECT id FROM network_ports WHERE network_id = ? AND device_owner = ?", network_id, kOwnerMetadata);
  if (!have && wanted.empty()) return;
  const std::string device = "ovnmeta-" + network_id;
  if (!have) {
    make_own_port(tx, network_id, "", std::string(kOwnerMetadata), device, std::move(wanted));
    return;
  }
  const std::string port_id = have->text(0);
  std::vector<std::string> kept;
  for (const auto& r : tx.query("SELECT subnet_id FROM network_addresses WHERE port_id = ?", port_id)) kept.push_back(r.text(0));
  int64_t position = static_cast<int64_t>(kept.size());
  for (const auto& w : wanted) {
    const std::string subnet_id = str(w.at("subnet_id"));
    if (std::find(kept.begin(), kept.end(), subnet_id) != kept.end()) continue;
    take_address(tx, find_any(tx, *subnets_, subnet_id), port_id, "", position++, false);
  }
  for (const auto& subnet_id : kept) {
    const bool still = std::any_of(wanted.begin(), wanted.end(), [&](const json::value& w) { return str(w.at("subnet_id")) == subnet_id; });
    if (!still) tx.exec("DELETE FROM network_addresses WHERE port_id = ? AND subnet_id = ?", port_id, subnet_id);
  }
  touch(tx, Dirty::Kind::port, port_id);
}

void NetworkService::define_subnets() {
  subnets_ = std::make_unique<Collection>(Collection{
      .resource = subnet_resource(),
      .table = "network_subnets",
      .path = "/v2.0/subnets",
      .quota = "subnet",
      .not_found = "SubnetNotFound",
      .title = "Subnet",
      .also_visible = "network_id IN (SELECT n.id FROM network_networks n WHERE n.shared = 1 OR n.project_id = ?)"});
  subnets_->filter = [](const std::string& name, const std::vector<std::string>& values, api::Where& where) {
    if (name == "shared") where.add("network_id IN (SELECT n.id FROM network_networks n WHERE n.shared = ?)", api::parse_bool(values.front()).value_or(false));
    return name == "shared";
  };
  subnets_->find_parent = [this](db::Tx& tx, const api::Caller& caller, const Object& subnet) { find_visible(tx, *networks_, caller, text_of(subnet, "network_id")); };
  subnets_->create = [this](db::Tx& tx, api::Call& call, Object subnet) { return create_subnet(*this, tx, call, std::move(subnet)); };
  subnets_->update = [this](db::Tx& tx, api::Call&, const Object& current, Object changes) { update_subnet(*this, tx, current, std::move(changes)); };
  subnets_->remove = [this](db::Tx& tx, api::Call&, const Object& current) { remove_subnet(*this, tx, current); };
  add_collection(service_, environment_, *subnets_);
}

}  // namespace virga::network
