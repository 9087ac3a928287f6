#include "base/ids.h"

#include "base/crypto.h"

namespace virga {

namespace {

/// From a supply of the thread's own: asking the generator for a handful costs nearly what a thousand do. Ids are public,
/// so that those to come lie in memory tells nobody a secret; keys and passwords are drawn one by one.
std::string id_bytes() {
  constexpr size_t kBytes = 16, kSupply = 64;
  thread_local std::string supply;
  if (supply.empty()) supply = random_bytes(kBytes * kSupply);
  std::string bytes = supply.substr(supply.size() - kBytes);
  supply.resize(supply.size() - kBytes);
  return bytes;
}

}  // namespace

std::string new_hex_id() {
  std::string bytes = id_bytes();
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  return to_hex(bytes);
}

std::string new_uuid() {
  std::string hex = new_hex_id();
  for (size_t at : {8, 13, 18, 23}) hex.insert(at, 1, '-');
  return hex;
}

bool looks_like_uuid(std::string_view text) {
  const bool dashed = text.size() == 36;
  if (!dashed && text.size() != 32) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash_here = dashed && (i == 8 || i == 13 || i == 18 || i == 23);
    if (dash_here ? text[i] != '-' : !isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

}  // namespace virga
