// {"token": {"id": …}}: another scope for somebody who has a token.
#include "identity/auth.h"

namespace virga::identity {
namespace {

bool asks_for(const json::object& auth, std::string_view kind) {
  const json::object* scope = find_object(auth, "scope");
  return scope && scope->contains(kind);
}

}  // namespace

// Rights that were delegated make no new tokens, or they could outgrow what was delegated.
void check_token_method(Attempt& a) {
  const auto session = a.core.session(need_string(a.data, "id", "token"));
  if (!session) throw Fault(FaultKind::not_found, "Failed to validate token");
  const Token& token = session->token;
  if (token.delegation == Delegation::access_token)
    forbid_action(
        "Using OAuth-scoped token to create another token. Create a new OAuth-scoped token instead");
  if (token.delegation == Delegation::trust)
    forbid_action(
        "Using trust-scoped token to create another token. Create a new trust-scoped token instead");
  if (token.scope == Scope::system && (asks_for(a.auth, "project") || asks_for(a.auth, "domain")))
    forbid_action(
        "Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.");
  a.prove(token.user_id);
  a.proof.methods |= static_cast<uint16_t>(method_token | token.methods);
  a.proof.parent = token;
  if (token.delegation == Delegation::application_credential)
    a.delegate(token.delegation, token.delegation_id, token.scope_id);
}

}  // namespace virga::identity
