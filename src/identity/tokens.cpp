// Tokens as the API shows them; validated, revoked.
#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/auth.h"
#include "identity/catalog.h"
#include "identity/revocations.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

json::array role_views(const api::Caller& caller) {
  json::array roles;
  for (size_t i = 0; i < caller.role_ids.size(); ++i)
    roles.push_back(json::object{{"id", caller.role_ids[i]}, {"name", caller.role_names[i]}});
  return roles;
}

json::object access_rule_view(const api::AccessRule& rule) {
  return {{"id", rule.id}, {"service", rule.service}, {"path", rule.path}, {"method", rule.method}};
}

void add_delegation(const Session& s, json::object& out) {
  if (s.trust)
    out["OS-TRUST:trust"] = {{"id", s.trust->id},
                             {"impersonation", s.trust->impersonation},
                             {"trustor_user", {{"id", s.trust->trustor_user_id}}},
                             {"trustee_user", {{"id", s.trust->trustee_user_id}}}};
  if (s.access_token)
    out["OS-OAUTH1"] = {{"access_token_id", s.access_token->id},
                        {"consumer_id", s.access_token->consumer_id}};
  if (!s.application_credential) return;
  json::object view{{"id", s.application_credential->id},
                    {"name", s.application_credential->name},
                    {"restricted", !s.application_credential->unrestricted}};
  if (!s.caller.access_rules.empty()) {
    json::array rules;
    for (const auto& rule : s.caller.access_rules) rules.push_back(access_rule_view(rule));
    view["access_rules"] = std::move(rules);
  }
  out["application_credential"] = std::move(view);
}

json::object token_view(const Session& s) {
  const api::Caller& c = s.caller;
  json::array methods, audits;
  for (const auto& name : method_names(s.token.methods)) methods.emplace_back(name);
  for (const auto& id : audit_ids(s.token)) audits.emplace_back(id);
  json::object out{{"methods", std::move(methods)},
                   {"user",
                    {{"domain", {{"id", c.user_domain_id}, {"name", c.user_domain_name}}},
                     {"id", c.user_id},
                     {"name", c.user_name},
                     {"password_expires_at", time_view(s.password_expires_at)}}},
                   {"audit_ids", std::move(audits)},
                   {"expires_at", to_iso_us(s.token.expires)},
                   {"issued_at", to_iso_us(s.token.issued)}};
  if (s.token.scope == Scope::project) {
    out["project"] = {{"domain", {{"id", c.project_domain_id}, {"name", c.project_domain_name}}},
                      {"id", c.project_id},
                      {"name", c.project_name}};
    if (!s.trust) out["is_domain"] = s.is_domain;
  }
  if (s.token.scope == Scope::domain) out["domain"] = {{"id", c.domain_id}, {"name", c.domain_name}};
  if (s.token.scope == Scope::system) out["system"] = {{"all", true}};
  if (s.token.scope != Scope::unscoped) out["roles"] = role_views(c);
  add_delegation(s, out);
  return out;
}

bool knows_access_rules(const api::Call& call) {
  const std::string version(call.request.headers.get("OpenStack-Identity-Access-Rules"));
  return std::strtod(version.c_str(), nullptr) >= 1.0;
}

/// The session of X-Subject-Token, if the caller may see it. A service that does not know of access rules
/// would not hold them: to it such a token is none.
std::shared_ptr<const Session> subject(Core& core, api::Call& call, std::chrono::seconds window) {
  const std::string_view text = call.request.headers.get("X-Subject-Token");
  auto session = text.empty() ? nullptr : core.session(text);
  if (!session && !text.empty() && window.count() > 0) session = core.expired_session(text, window);
  if (!session && !text.empty()) throw Fault(FaultKind::not_found, "Failed to validate token");
  call.require({{"target.token.user_id", session ? session->caller.user_id : ""}});
  if (!session) throw Fault(FaultKind::not_found, "No token in the request");
  if (!session->caller.access_rules.empty() && !knows_access_rules(call))
    throw Fault(FaultKind::not_found, "Failed to validate token");
  return session;
}

http::Response show_token(Core& core, api::Call& call) {
  const auto wish = call.request.query_value("allow_expired");
  const bool allow_expired = wish && api::parse_bool(*wish).value_or(false);
  const auto session =
      subject(core, call, allow_expired ? core.options.allow_expired_window : std::chrono::seconds(0));
  return token_reply(core, call, 200, *session, std::string(call.request.headers.get("X-Subject-Token")));
}

http::Response revoke_token(Core& core, api::Call& call) {
  const auto session = subject(core, call, std::chrono::seconds(0));
  core.change([&](db::Tx& tx) {
    tx.exec("DELETE FROM identity_revocations WHERE expires_at < ?",
            core.clock.now() - core.options.allow_expired_window);
    const std::string id = audit_ids(session->token).front();
    if (tx.first("SELECT 1 FROM identity_revocations WHERE audit_id = ?", id)) return;
    tx.exec("INSERT INTO identity_revocations (audit_id, expires_at) VALUES (?, ?)", id,
            session->token.expires);
    record_revocation(tx, {.audit_id = id}, core.clock.now());
  });
  return api::reply(204);
}

/// Into the one member of a body: {"token": {…, "name": value}}.
void add_member(std::string& body, std::string_view name, const std::string& value) {
  body.resize(body.size() - 2);
  body.reserve(body.size() + value.size() + name.size() + 6);
  body.append(",\"").append(name).append("\":").append(value).append("}}");
}

}  // namespace

http::Response token_reply(Core& core, const api::Call& call, int status, const Session& session,
                           const std::string& text) {
  http::Response r = item_reply(status, "token", token_view(session));
  if (session.token.scope != Scope::unscoped && !call.request.query_value("nocatalog"))
    add_member(r.body, "catalog", *catalog_text(core, call.cloud_url, session.caller));
  r.headers.set("X-Subject-Token", text);
  return r;
}

void add_token_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"GET", "/v3/auth/tokens", "identity:validate_token", on(show_token)});
  to.push_back({"HEAD", "/v3/auth/tokens", "identity:check_token", on(show_token)});
  to.push_back({"DELETE", "/v3/auth/tokens", "identity:revoke_token", on(revoke_token)});
  // The list of revoked tokens went with the tokens that were stored: keystone answers 403 since.
  to.push_back(
      {"GET", "/v3/auth/tokens/OS-PKI/revoked", "", [](api::Call&) -> http::Response { forbid(); }});
}

}  // namespace virga::identity
