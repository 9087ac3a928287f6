// Giving addresses to ports. The invariant (a subnet's address belongs to at most one port) is the primary key of
// network_addresses; a cursor on the subnet (next_address) makes finding a free one cheap.

#include <fmt/format.h>

#include <algorithm>

#include "network/service.h"

namespace virga::network {
namespace {

bool taken(db::Tx& tx, const std::string& subnet, const std::string& address) {
  return tx.first("SELECT 1 FROM network_addresses WHERE subnet_id = ? AND address = ?", subnet, address).has_value();
}

struct Range {
  Ip start, end;
};

std::vector<Range> pools_of(const Object& subnet) {
  std::vector<Range> out;
  for (const auto& p : subnet.at("allocation_pools").as_array())
    out.push_back({*parse_ip(std::string_view(p.at("start").as_string())), *parse_ip(std::string_view(p.at("end").as_string()))});
  return out;
}

bool in_pools(const std::vector<Range>& pools, const Ip& ip) {
  return std::any_of(pools.begin(), pools.end(), [&](const Range& r) { return ip >= r.start && ip <= r.end; });
}

/// The last of at most `count` addresses that begin with `first`, in the same pool.
Ip block_end(const std::vector<Range>& pools, const Ip& first, int count) {
  for (const auto& r : pools)
    if (first >= r.start && first <= r.end) return std::min(r.end, Ip{first.family, first.value + (count - 1)});
  return first;
}

/// The first free address at or after `from`, within the pools, going round once. Probes at most `tries` addresses.
std::optional<Ip> free_from(db::Tx& tx, const Object& subnet, const std::vector<Range>& pools, Ip from, int tries) {
  const std::string id = text_of(subnet, "id"), gateway = text_of(subnet, "gateway_ip");
  size_t at = 0;
  for (size_t i = 0; i < pools.size(); ++i)
    if (from >= pools[i].start && from <= pools[i].end) at = i;
  if (from < pools[at].start || from > pools[at].end) from = pools[at].start;
  const Ip begin = from;
  do {
    if (const std::string text = from.str(); text != gateway && !taken(tx, id, text)) return from;
    if (from == pools[at].end) {
      at = (at + 1) % pools.size();
      from = pools[at].start;
    } else {
      from.value += 1;
    }
  } while (from != begin && --tries > 0);
  return std::nullopt;
}

bool by_eui64(const Object& subnet) {
  const std::string mode = text_of(subnet, "ipv6_address_mode");
  return mode == "slaac" || mode == "dhcpv6-stateless";
}

Fault exhausted(const std::string& network) { return conflict(fmt::format("No more IP addresses available on network {}.", network), "IpAddressGenerationFailure"); }

/// False if it is another port's.
bool give(db::Tx& tx, const std::string& subnet, const std::string& address, const std::string& port_id, int64_t position) {
  try {
    tx.exec("INSERT INTO network_addresses (subnet_id, address, port_id, position) VALUES (?, ?, ?, ?)", subnet, address, port_id, position);
    return true;
  } catch (const db::UniqueViolation&) {
    return false;
  }
}

Fault allocated(const std::string& subnet, const std::string& address) {
  return conflict(fmt::format("IP address {} already allocated in subnet {}", address, subnet), "IpAddressAlreadyAllocated");
}

}  // namespace

std::optional<Ip> AddressBlocks::next(const std::string& subnet) {
  std::lock_guard lock(mutex_);
  const auto it = blocks_.find(subnet);
  if (it == blocks_.end()) return std::nullopt;
  const Ip next = it->second.next;
  it->second.next.value += 1;
  if (next == it->second.last) blocks_.erase(it);
  return next;
}

void AddressBlocks::put(const std::string& subnet, Ip next, Ip last) {
  constexpr size_t kMost = 10'000;  // subnets; those that went stay here else
  std::lock_guard lock(mutex_);
  if (blocks_.size() >= kMost) blocks_.clear();
  blocks_[subnet] = {next, last};
}

void AddressBlocks::forget(const std::string& subnet) {
  std::lock_guard lock(mutex_);
  blocks_.erase(subnet);
}

std::optional<std::string> NetworkService::give_from_block(db::Tx& tx, const Object& subnet, const std::string& port_id, int64_t position) {
  const std::string id = text_of(subnet, "id");
  const auto ip = blocks_.next(id);
  if (!ip) return std::nullopt;
  if (in_pools(pools_of(subnet), *ip) && ip->str() != text_of(subnet, "gateway_ip") && give(tx, id, ip->str(), port_id, position)) return ip->str();
  blocks_.forget(id);  // what follows is likely to be taken too: that is for the search
  return std::nullopt;
}

/// The next free one. The subnet's cursor (next_address) is one row for all that get an address there, and held until the
/// commit: so whoever moves it takes a block, from which this controller gives without asking. A transaction that comes to
/// nothing leaves a gap, as does a controller's end; the cursor goes round, and finds it. With several controllers our
/// snapshot shows neither where the others' cursor stands nor what they gave away: the cursor is read as it is now, and what
/// turns out to be taken is passed over.
std::string NetworkService::give_free(db::Tx& tx, const Object& subnet, const std::string& port_id, int64_t position) {
  constexpr int kProbes = 1 << 20, kCollisions = 1000, kBlock = 32;
  if (auto given = give_from_block(tx, subnet, port_id, position)) return *given;
  const std::string id = text_of(subnet, "id");
  const auto pools = pools_of(subnet);
  if (pools.empty()) throw exhausted(text_of(subnet, "network_id"));
  const auto cursor = tx.first(fmt::format("SELECT next_address FROM network_subnets WHERE id = ?{}", db::for_update(tx)), id);
  // Who waited for the row finds what the one before has put there.
  if (auto given = give_from_block(tx, subnet, port_id, position)) return *given;
  Ip from = parse_ip(cursor ? cursor->text(0) : "").value_or(pools.front().start);
  for (int i = 0; i < kCollisions; ++i) {
    const auto found = free_from(tx, subnet, pools, from, kProbes);
    if (!found) break;
    from = Ip{found->family, found->value + 1};
    if (!give(tx, id, found->str(), port_id, position)) continue;
    const Ip last = block_end(pools, *found, kBlock);
    if (last > *found) blocks_.put(id, from, last);
    tx.exec("UPDATE network_subnets SET next_address = ? WHERE id = ?", Ip{last.family, last.value + 1}.str(), id);
    return found->str();
  }
  throw exhausted(text_of(subnet, "network_id"));
}

std::string NetworkService::take_address(db::Tx& tx, const Object& subnet, const std::string& port_id, const std::string& wanted, int64_t position, bool any_in_cidr) {
  if (wanted.empty()) return give_free(tx, subnet, port_id, position);
  const std::string id = text_of(subnet, "id");
  const auto ip = parse_ip(wanted);
  const Cidr cidr = *parse_cidr(text_of(subnet, "cidr"));
  const bool inside = ip && cidr.contains(*ip);
  const bool edge = inside && cidr.network.family == 4 && cidr.prefix < 31 && (*ip == cidr.first() || *ip == cidr.last());
  if (!inside || edge || !any_in_cidr) throw bad_request(fmt::format("IP address {} is not a valid IP for the specified subnet.", wanted), "InvalidIpForSubnet");
  const std::string address = ip->str();
  if (taken(tx, id, address) || !give(tx, id, address, port_id, position)) throw allocated(id, address);
  return address;
}

namespace {

/// [{subnet_id, ip_address}] as (subnet, address); an address alone finds its subnet.
std::pair<Object, std::string> resolve(const std::vector<Object>& subnets, const Object& port, const json::value& entry) {
  if (!entry.is_object()) throw bad_request("Invalid input for fixed_ips. Reason: each entry needs subnet_id or ip_address.");
  const std::string subnet_id = find_string(entry.get_object(), "subnet_id"), address = find_string(entry.get_object(), "ip_address");
  if (!address.empty() && !parse_ip(address)) throw bad_request(fmt::format("Invalid input for fixed_ips. Reason: '{}' is not a valid IP address.", address));
  for (const auto& subnet : subnets) {
    const bool wanted = !subnet_id.empty() ? text_of(subnet, "id") == subnet_id : !address.empty() && parse_cidr(text_of(subnet, "cidr"))->contains(*parse_ip(address));
    if (wanted) return {subnet, address};
  }
  if (subnet_id.empty()) throw bad_request(fmt::format("IP address {} is not a valid IP for any of the subnets on the specified network.", address), "InvalidIpForNetwork");
  throw bad_request(fmt::format("Failed to create port on network {}, because fixed_ips included invalid subnet {}.", text_of(port, "network_id"), subnet_id), "InvalidInput");
}

}  // namespace

void NetworkService::take_addresses(db::Tx& tx, const Object& port, const json::array* wanted) {
  const std::string port_id = text_of(port, "id"), owner = text_of(port, "device_owner");
  const std::vector<Object> subnets = subnets_of(tx, text_of(port, "network_id"));
  const auto eui64 = [&](const Object& subnet) { return slaac_address(*parse_cidr(text_of(subnet, "cidr")), text_of(port, "mac_address")).str(); };
  int64_t position = 0;
  if (wanted) {
    const auto last = tx.first("SELECT MAX(position) FROM network_addresses WHERE port_id = ?", port_id);
    if (last && !last->is_null(0)) position = last->integer(0) + 1;
    for (const auto& entry : *wanted) {
      auto [subnet, address] = resolve(subnets, port, entry);
      const bool automatic = by_eui64(subnet) && owner.rfind("network:router", 0) != 0;
      if (automatic && !address.empty() && address != eui64(subnet))
        throw bad_request(fmt::format("IPv6 address {} can not be directly assigned to a port on subnet {} since the subnet is configured for automatic addresses", address, text_of(subnet, "id")), "AllocationOnAutoAddressSubnet");
      if (automatic) address = eui64(subnet);
      take_address(tx, subnet, port_id, address, position++, true);
    }
    return;
  }
  bool exhausted_any = false;
  for (const int family : {4, 6}) {
    bool done = false;
    for (const auto& subnet : subnets) {
      if (find_int(subnet, "ip_version") != family) continue;
      if (by_eui64(subnet)) {
        if (owner.rfind("network:router", 0) != 0) take_address(tx, subnet, port_id, eui64(subnet), position++, true);
        continue;
      }
      if (done) continue;
      try {
        take_address(tx, subnet, port_id, "", position, false);
        ++position;
        done = true;
      } catch (const Fault& fault) {
        if (fault.type != "IpAddressGenerationFailure") throw;
        exhausted_any = true;  // the next subnet may have room
      }
    }
    if (!done && exhausted_any) throw exhausted(text_of(port, "network_id"));
  }
}

void NetworkService::give_back_addresses(db::Tx& tx, const std::string& port_id) { tx.exec("DELETE FROM network_addresses WHERE port_id = ?", port_id); }

}  // namespace virga::network
