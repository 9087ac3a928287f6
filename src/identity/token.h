#pragma once
// What a token says, and its compact binary form. The text the client holds is this form, sealed by keys.h;
// nothing is stored for it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace virga::identity {

enum class Scope : uint8_t { unscoped = 0, project = 1, domain = 2, system = 3 };

/// Authentication methods, as bits.
enum Method : uint8_t { method_password = 1, method_token = 2 };

struct Token {
  uint8_t methods = 0;
  std::string user_id;
  Scope scope = Scope::unscoped;
  std::string scope_id;  ///< project or domain
  Time issued, expires;
  std::string audit_id;         ///< 16 random bytes
  std::string parent_audit_id;  ///< first token of the chain, or ""
  /// auth_generation of the user and its domain, and of the scope and its domain, added up: each only grows,
  /// so a changed part always shows in the sum.
  uint64_t user_generation = 0, scope_generation = 0;

  friend bool operator==(const Token&, const Token&) = default;
};

std::string pack(const Token& token);
/// Nullopt unless the bytes are exactly one token.
std::optional<Token> unpack(std::string_view bytes);

/// ["password", "token"].
std::vector<std::string> method_names(uint8_t methods);
/// Audit ids as the API shows them: this token's, then its chain's.
std::vector<std::string> audit_ids(const Token& token);

}  // namespace virga::identity
