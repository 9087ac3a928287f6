#include "identity/totp.h"

#include <fmt/format.h>

#include "base/crypto.h"

namespace virga::identity {

std::string totp(std::string_view key, Time at) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count();
  const uint64_t counter = static_cast<uint64_t>(seconds / 30);
  std::string message(8, '\0');
  for (int i = 0; i < 8; ++i) message[static_cast<size_t>(i)] = static_cast<char>(counter >> (56 - 8 * i));
  const std::string hash = hmac_sha1(key, message);
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(hash[i])); };
  const size_t at_byte = byte(hash.size() - 1) & 15;
  const uint32_t number =
      (byte(at_byte) & 0x7F) << 24 | byte(at_byte + 1) << 16 | byte(at_byte + 2) << 8 | byte(at_byte + 3);
  return fmt::format("{:06}", number % 1'000'000);
}

bool totp_matches(std::string_view seed, std::string_view passcode, Time now, int previous) {
  std::string key;
  if (!base32_decode(seed, key) || key.empty()) return false;
  bool found = false;
  for (int i = 0; i <= previous; ++i)
    found |= equal_constant_time(totp(key, now - std::chrono::seconds(30 * i)), passcode);
  return found;
}

}  // namespace virga::identity
