// {"scope": …}: what a token is asked for.
#include "identity/auth.h"
#include "identity/trust_table.h"

namespace virga::identity {
namespace {

void read_project_scope(db::Tx& tx, const json::object& project, Token& token) {
  token.scope = Scope::project;
  if (has_value(project, "id")) {
    token.scope_id = need_string(project, "id", "project");
    return;
  }
  if (!has_value(project, "name"))
    refuse_body("Invalid input for field scope/project: id or name must be present.");
  const std::string name = need_string(project, "name", "project");
  const auto domain_id = named_domain(tx, need_object(project, "domain", "project"));
  const auto found = domain_id ? find_project_by_name(tx, *domain_id, name) : std::nullopt;
  if (!found) refuse_authentication();
  token.scope_id = found->id;
}

void read_domain_scope(db::Tx& tx, const json::object& domain, Token& token) {
  if (!has_value(domain, "id") && !has_value(domain, "name"))
    refuse_body("Invalid input for field scope/domain: id or name must be present.");
  const auto id = named_domain(tx, domain);
  if (!id) refuse_authentication();
  token.scope = Scope::domain;
  token.scope_id = *id;
}

/// A trust that is gone, over or used up is no reason to say more than "no"; one of somebody else's is
/// forbidden.
void read_trust_scope(db::Tx& tx, const Core& core, const json::object& trust, Token& token) {
  if (!has_value(trust, "id")) expecting("trust_id", "trust");
  const auto found = find_trust(tx, need_string(trust, "id", "trust"));
  const Time now = core.clock.now();
  if (!found || found->expired(now) || found->used_up()) refuse_authentication();
  if (found->trustee_user_id != token.user_id) forbid();
  token.delegation = Delegation::trust;
  token.delegation_id = found->id;
  if (!found->project_id.empty()) {
    token.scope = Scope::project;
    token.scope_id = found->project_id;
  }
}

}  // namespace

bool read_scope(db::Tx& tx, const Core& core, const json::object& auth, Token& token) {
  const auto* scope = auth.if_contains("scope");
  if (!scope || scope->is_null()) return false;
  if (scope->is_string() && scope->as_string() == "unscoped") return true;
  if (!scope->is_object()) refuse_body("'scope' must be an object.");
  const json::object& s = scope->get_object();
  int asked = 0;
  for (const char* kind : {"project", "domain", "unscoped", "system", "OS-TRUST:trust"})
    asked += s.contains(kind) ? 1 : 0;
  if (asked != 1) expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope");
  if (s.contains("project"))
    read_project_scope(tx, need_object(s, "project", "scope"), token);
  else if (s.contains("domain"))
    read_domain_scope(tx, need_object(s, "domain", "scope"), token);
  else if (s.contains("OS-TRUST:trust"))
    read_trust_scope(tx, core, need_object(s, "OS-TRUST:trust", "scope"), token);
  else if (s.contains("system")) {
    if (!find_bool(need_object(s, "system", "scope"), "all"))
      refuse_body("The system scope must be {\"all\": true}.");
    token.scope = Scope::system;
  }
  return true;
}

}  // namespace virga::identity
