#pragma once
// Secrets that are made for programs: longer than bcrypt reads, so their digest is what is hashed.

#include <string>
#include <string_view>

#include "identity/core.h"

namespace virga::identity {

/// 64 random bytes as text.
std::string new_secret();
std::string hash_secret(const Core& core, std::string_view secret);
/// Like Passwords::verify: a hash of "" costs the time of a wrong secret.
bool verify_secret(Core& core, const std::string& id, std::string_view secret, const std::string& hash);

}  // namespace virga::identity
