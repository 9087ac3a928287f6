#pragma once
// The master key: a file with 32 random bytes as base64, the same on each controller of a cloud. What lies sealed in the
// database is sealed with it (sealing.h). Thread-safe.

#include <string>

namespace virga {

/// Reads it. A missing file is made if `may_make` (nothing is sealed with a key yet); else Fault(unavailable) that says what to
/// do. The same Fault if the file holds no key.
std::string read_master_key(const std::string& file, bool may_make);

}  // namespace virga
