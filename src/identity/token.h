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

/// Authentication methods, as bits. Sealed into tokens: a bit never gets another meaning.
enum Method : uint16_t {
  method_password = 1,
  method_token = 2,
  method_application_credential = 4,
  method_totp = 8,
  method_oauth1 = 16,
  method_ec2 = 32,
  method_mapped = 64,
  method_external = 128,
};

/// Whose rights a token carries, when they are less than its user's own.
enum class Delegation : uint8_t { none = 0, trust = 1, application_credential = 2, access_token = 3 };

struct Token {
  uint16_t methods = 0;
  std::string user_id;  ///< who logged in: of a trust the trustee, whoever the token then stands for
  Scope scope = Scope::unscoped;
  std::string scope_id;  ///< project or domain
  Delegation delegation = Delegation::none;
  std::string delegation_id;
  Time issued, expires;
  std::string audit_id;         ///< 16 random bytes
  std::string parent_audit_id;  ///< first token of the chain, or ""
  /// auth_generation of the user and its domain, and of the scope and its domain, added up: each only grows,
  /// so a changed part always shows in the sum. A trust adds its trustors'.
  uint64_t user_generation = 0, scope_generation = 0;

  friend bool operator==(const Token&, const Token&) = default;
};

std::string pack(const Token& token);
/// Nullopt unless the bytes are exactly one token, of this format or the one before.
std::optional<Token> unpack(std::string_view bytes);

/// Part of a login with several factors: what was proved so far. Sealed with the same keys as tokens, and
/// never taken for one.
struct Receipt {
  uint16_t methods = 0;
  std::string user_id;
  Time issued, expires;
  uint64_t user_generation = 0;  ///< of the user's row alone

  friend bool operator==(const Receipt&, const Receipt&) = default;
};

std::string pack(const Receipt& receipt);
std::optional<Receipt> unpack_receipt(std::string_view bytes);

/// Audit ids as the API shows them: this token's, then its chain's.
std::vector<std::string> audit_ids(const Token& token);

}  // namespace virga::identity
