#include <fmt/format.h>

#include "network/service.h"

namespace virga::network {
namespace {

struct Prefixes {
  int family = 4;
  json::array canonical;
};

Prefixes read_prefixes(const json::array& given) {
  Prefixes out;
  bool first = true;
  for (const auto& entry : given) {
    const auto cidr = entry.is_string() ? parse_cidr(std::string_view(entry.get_string())) : std::nullopt;
    if (!cidr) throw bad_request(fmt::format("Invalid input for prefixes. Reason: '{}' is not a valid IP subnet.", json::serialize(entry)));
    if (!first && cidr->network.family != out.family) throw bad_request("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", "PrefixVersionMismatch");
    out.family = cidr->network.family;
    out.canonical.push_back(json::value(cidr->str()));
    first = false;
  }
  return out;
}

void check_lengths(const Object& pool) {
  const int64_t min = pool.at("min_prefixlen").as_int64(), max = pool.at("max_prefixlen").as_int64(), usual = pool.at("default_prefixlen").as_int64();
  const int64_t bits = pool.at("ip_version").as_int64() == 4 ? 32 : 128;
  if (min > max) throw bad_request(fmt::format("Illegal prefix bounds: min_prefixlen={}, max_prefixlen={}.", min, max), "IllegalSubnetPoolPrefixBounds");
  if (max > bits) throw bad_request(fmt::format("Illegal prefix bounds: max_prefixlen={}, {} bits.", max, bits), "IllegalSubnetPoolPrefixBounds");
  if (usual < min || usual > max) throw bad_request(fmt::format("Illegal prefix bounds: default_prefixlen={} is not within {} and {}.", usual, min, max), "IllegalSubnetPoolPrefixBounds");
}

Object create_pool(NetworkService&, db::Tx& tx, const Collection& c, Object pool) {
  const Prefixes prefixes = read_prefixes(pool.at("prefixes").as_array());
  const int64_t bits = prefixes.family == 4 ? 32 : 128;
  pool["prefixes"] = prefixes.canonical;
  pool["ip_version"] = prefixes.family;
  if (!pool.contains("min_prefixlen")) pool["min_prefixlen"] = prefixes.family == 4 ? 8 : 64;
  if (!pool.contains("max_prefixlen")) pool["max_prefixlen"] = bits;
  if (!pool.contains("default_prefixlen")) pool["default_prefixlen"] = pool["min_prefixlen"];
  if (!pool.contains("default_quota")) pool["default_quota"] = nullptr;
  if (has_value(pool, "address_scope_id")) throw Fault(FaultKind::not_implemented, "Address scopes are not built yet.", "Create the pool without address_scope_id.");
  pool["address_scope_id"] = nullptr;
  check_lengths(pool);
  api::insert_record(tx, c.resource, c.table, pool);
  return pool;
}

void update_pool(NetworkService& s, db::Tx& tx, const Collection& c, const Object& current, Object changes) {
  if (has_value(changes, "address_scope_id")) throw Fault(FaultKind::not_implemented, "Address scopes are not built yet.");
  Object merged = current;
  for (const auto& [name, value] : changes) merged[name] = value;
  if (changes.contains("prefixes")) {
    const Prefixes prefixes = read_prefixes(changes.at("prefixes").as_array());
    for (const auto& old : current.at("prefixes").as_array()) {
      const Cidr range = *parse_cidr(std::string_view(old.as_string()));
      const bool kept = std::any_of(prefixes.canonical.begin(), prefixes.canonical.end(), [&](const json::value& p) { return parse_cidr(std::string_view(p.as_string()))->contains(range); });
      if (!kept) throw bad_request(fmt::format("Illegal update to prefixes: {} is left out.", range.str()), "IllegalSubnetPoolUpdate");
    }
    changes["prefixes"] = prefixes.canonical;
  }
  check_lengths(merged);
  api::update_record(tx, c.resource, c.table, text_of(current, "id"), changes, s.clock().now());
}

}  // namespace

void NetworkService::define_subnet_pools() {
  subnet_pools_ = std::make_unique<Collection>(Collection{.resource = subnet_pool_resource(),
                                                          .table = "network_subnet_pools",
                                                          .path = "/v2.0/subnetpools",
                                                          .quota = "subnetpool",
                                                          .not_found = "SubnetPoolNotFound",
                                                          .title = "Subnet pool",
                                                          .also_visible = "shared = 1"});
  subnet_pools_->create = [this](db::Tx& tx, api::Call&, Object pool) { return create_pool(*this, tx, *subnet_pools_, std::move(pool)); };
  subnet_pools_->update = [this](db::Tx& tx, api::Call&, const Object& current, Object changes) { update_pool(*this, tx, *subnet_pools_, current, std::move(changes)); };
  subnet_pools_->remove = [this](db::Tx& tx, api::Call&, const Object& current) {
    const std::string id = text_of(current, "id");
    if (tx.first("SELECT 1 FROM network_subnets WHERE subnetpool_id = ?", id)) throw conflict(fmt::format("Unable to delete subnet pool: Subnet pool {} has existing allocations.", id), "SubnetPoolDeleteError");
    tx.exec("DELETE FROM network_subnet_pools WHERE id = ?", id);
  };
  add_collection(service_, environment_, *subnet_pools_);
}

}  // namespace virga::network
