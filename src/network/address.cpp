#include "network/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>

#include "base/crypto.h"

namespace virga::network {
namespace {

int bits_of(int family) { return family == 4 ? 32 : 128; }

Number mask_of(int family, int prefix) {
  const Number all = family == 4 ? Number(0xffffffffu) : ~Number(0);
  const int host = bits_of(family) - prefix;
  return host >= bits_of(family) ? 0 : all >> host << host;
}

}  // namespace

std::string Ip::str() const {
  unsigned char bytes[16];
  const int n = family == 4 ? 4 : 16;
  Number v = value;
  for (int i = n - 1; i >= 0; --i, v >>= 8) bytes[i] = static_cast<unsigned char>(v & 255);
  char text[INET6_ADDRSTRLEN];
  inet_ntop(family == 4 ? AF_INET : AF_INET6, bytes, text, sizeof text);
  return text;
}

std::optional<Ip> parse_ip(std::string_view text) {
  if (text.size() >= INET6_ADDRSTRLEN) return std::nullopt;
  const std::string copy(text);
  unsigned char bytes[16];
  Ip ip;
  int n = 0;
  if (inet_pton(AF_INET, copy.c_str(), bytes) == 1) ip.family = 4, n = 4;
  else if (inet_pton(AF_INET6, copy.c_str(), bytes) == 1) ip.family = 6, n = 16;
  else return std::nullopt;
  for (int i = 0; i < n; ++i) ip.value = ip.value << 8 | bytes[i];
  return ip;
}

Ip Cidr::last() const {
  const Number all = network.family == 4 ? Number(0xffffffffu) : ~Number(0);
  return {network.family, network.value | (all & ~mask_of(network.family, prefix))};
}

bool Cidr::overlaps(const Cidr& other) const {
  return network.family == other.network.family && first() <= other.last() && other.first() <= last();
}

std::string Cidr::str() const { return fmt::format("{}/{}", network.str(), prefix); }

std::optional<Cidr> parse_cidr(std::string_view text) {
  const size_t slash = text.find('/');
  const auto ip = parse_ip(text.substr(0, slash));
  if (!ip) return std::nullopt;
  int prefix = bits_of(ip->family);
  if (slash != std::string_view::npos) {
    const std::string_view bits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), prefix);
    if (error != std::errc() || end != bits.data() + bits.size() || prefix < 0 || prefix > bits_of(ip->family)) return std::nullopt;
  }
  return Cidr{{ip->family, ip->value & mask_of(ip->family, prefix)}, prefix};
}

std::vector<Pool> default_pools(const Cidr& cidr, const std::optional<Ip>& gateway) {
  Ip start = cidr.first(), end = cidr.last();
  const bool tiny = cidr.prefix >= bits_of(cidr.network.family) - 1;  // /31, /32, /127, /128 have no network address
  if (!tiny) {
    start.value += 1;
    if (cidr.network.family == 4) end.value -= 1;
  }
  if (!gateway || *gateway < start || *gateway > end) return {{start, end}};
  std::vector<Pool> pools;
  if (*gateway > start) pools.push_back({start, {gateway->family, gateway->value - 1}});
  if (*gateway < end) pools.push_back({{gateway->family, gateway->value + 1}, end});
  return pools;
}

Ip slaac_address(const Cidr& cidr, std::string_view mac) {
  Number id = 0;
  unsigned char bytes[6] = {};
  for (int i = 0; i < 6; ++i) std::from_chars(mac.data() + i * 3, mac.data() + i * 3 + 2, bytes[i], 16);
  const unsigned char eui[8] = {static_cast<unsigned char>(bytes[0] ^ 2), bytes[1], bytes[2], 0xff, 0xfe, bytes[3], bytes[4], bytes[5]};
  for (unsigned char b : eui) id = id << 8 | b;
  return {6, cidr.network.value | id};
}

std::string random_mac() {
  const std::string r = random_bytes(3);
  return fmt::format("fa:16:3e:{:02x}:{:02x}:{:02x}", static_cast<unsigned char>(r[0]), static_cast<unsigned char>(r[1]), static_cast<unsigned char>(r[2]));
}

}  // namespace virga::network
