#pragma once
// Sizes with their unit in the type.

#include <cstdint>

namespace virga {

struct Bytes {
  uint64_t count = 0;
  friend auto operator<=>(Bytes, Bytes) = default;
};
struct MiB {
  uint64_t count = 0;
  friend auto operator<=>(MiB, MiB) = default;
  constexpr operator Bytes() const { return Bytes{count << 20}; }
};
struct GiB {
  uint64_t count = 0;
  friend auto operator<=>(GiB, GiB) = default;
  constexpr operator Bytes() const { return Bytes{count << 30}; }
};

}  // namespace virga
