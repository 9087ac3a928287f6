#pragma once
// How somebody proves who they are. A method is a function and a row of auth_methods(): the row gives its
// name, its bit in tokens, and the function that checks what the client sent for it.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.h"
#include "identity/core.h"
#include "identity/faults.h"

namespace virga::identity {

/// What the methods of one request proved. Every method must name the same user.
struct Proof {
  std::string user_id;
  uint16_t methods = 0;
  std::optional<Token> parent;        ///< the token that was shown
  std::optional<int64_t> generation;  ///< of the user's row whose secret was right
  /// Rights that come with the proof, and then fix the scope: the client may ask for no other.
  Delegation delegation = Delegation::none;
  std::string delegation_id, project_id;
};

/// One method of one request.
struct Attempt {
  Core& core;
  const api::Call& call;
  const json::object& auth;  ///< the whole request
  const json::object& data;  ///< what it gives for this method
  Proof& proof;

  /// Refuses if another method named somebody else.
  void prove(const std::string& user_id);
  /// The same by a secret of the user's, as the row was then.
  void prove(const UserRow& user);
  /// Fixes delegation and scope.
  void delegate(Delegation kind, const std::string& id, const std::string& project_id);
};

struct AuthMethod {
  std::string_view name;
  Method bit;
  void (*check)(Attempt&);  ///< throws, or adds to the proof; null: a name that is known and not supported
};

const std::vector<AuthMethod>& auth_methods();
/// ["password", "token"].
std::vector<std::string> method_names(uint16_t methods);
/// Nullopt for a name that no supported method has.
std::optional<Method> method_bit(std::string_view name);

void check_password_method(Attempt&);
void check_token_method(Attempt&);
void check_application_credential_method(Attempt&);
void check_totp_method(Attempt&);
void check_oauth1_method(Attempt&);

/// A member that must be there and of that type, or 400 in keystone's words.
const json::object& need_object(const json::object& in, std::string_view key, std::string_view where);
std::string need_string(const json::object& in, std::string_view key, std::string_view where);

/// The domain that {"id": …} or {"name": …} names; nullopt if there is none.
std::optional<std::string> named_domain(db::Tx& tx, const json::object& domain);
/// The user that {"id": …} or {"name": …, "domain": …} names; nullopt if there is none.
std::optional<UserRow> named_user(db::Tx& tx, const json::object& user);

/// Fills in the scope a request asks for; false if it asks for none (unscoped counts as one). A trust becomes
/// the token's delegation.
bool read_scope(db::Tx& tx, const Core& core, const json::object& auth, Token& token);

/// The session that a login gives: everything POST /v3/auth/tokens does but its answer. A login that needs
/// more factors is refused.
std::shared_ptr<Session> log_in(Core& core, const api::Call& call, const json::object& auth);

/// The answer that carries a token.
http::Response token_reply(Core& core, const api::Call& call, int status, const Session& session,
                           const std::string& text);
/// A new token's content, as the proof allows it: no scope yet.
Token new_token(const Core& core, const Proof& proof);

}  // namespace virga::identity
