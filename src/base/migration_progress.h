#pragma once
// How far a guest that is on its way to another host has come.

#include <cstdint>

namespace virga {

/// Bytes.
struct Transfer {
  uint64_t total = 0, processed = 0, remaining = 0;
  friend bool operator==(const Transfer&, const Transfer&) = default;
};
struct MigrationProgress {
  Transfer memory, disk;
  friend bool operator==(const MigrationProgress&, const MigrationProgress&) = default;
};

}  // namespace virga
