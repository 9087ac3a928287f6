#pragma once
// Addresses and ranges of both families as numbers. Pure values.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace virga::network {

using Number = unsigned __int128;

struct Ip {
  int family = 4;
  Number value = 0;
  friend bool operator==(const Ip&, const Ip&) = default;
  friend auto operator<=>(const Ip& a, const Ip& b) {
    return a.family != b.family ? a.family <=> b.family : a.value < b.value ? std::strong_ordering::less : a.value > b.value ? std::strong_ordering::greater : std::strong_ordering::equal;
  }
  std::string str() const;  ///< canonical text (RFC 5952)
};
std::optional<Ip> parse_ip(std::string_view text);

struct Cidr {
  Ip network;      ///< with the host bits cleared
  int prefix = 0;
  Ip first() const { return network; }
  Ip last() const;
  bool contains(const Ip& ip) const { return ip.family == network.family && ip >= first() && ip <= last(); }
  bool contains(const Cidr& other) const { return contains(other.first()) && contains(other.last()); }
  bool overlaps(const Cidr& other) const;
  std::string str() const;
};
/// Host bits may be set (they are cleared); a bare address is a /32 or /128.
std::optional<Cidr> parse_cidr(std::string_view text);

struct Pool {
  Ip start, end;
};
/// The addresses of a subnet that hosts may have, without the gateway: neutron's default allocation pools.
std::vector<Pool> default_pools(const Cidr& cidr, const std::optional<Ip>& gateway);
/// The address a modified EUI-64 interface (RFC 4291 appendix A) takes in a /64.
Ip slaac_address(const Cidr& cidr, std::string_view mac);
/// A random locally usable MAC: fa:16:3e:xx:xx:xx.
std::string random_mac();

}  // namespace virga::network
