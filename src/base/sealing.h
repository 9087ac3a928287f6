#pragma once
// Secrets at rest that must be readable again. Thread-safe; throws Fault(internal) if OpenSSL fails.

#include <optional>
#include <string>
#include <string_view>

namespace virga {

/// AES-256-GCM (NIST SP 800-38D) with a random nonce, as base64url. `key` has 32 bytes; `purpose` must be the same at
/// opening, so that what was sealed for one thing is not taken for another.
std::string seal(std::string_view key, std::string_view plain, std::string_view purpose);
/// Nothing if this key did not seal it, or not for this purpose.
std::optional<std::string> unseal(std::string_view key, std::string_view sealed, std::string_view purpose);

}  // namespace virga
