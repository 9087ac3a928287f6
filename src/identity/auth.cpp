// Tokens: made from a password or another token, shown, revoked.
#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/catalog.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/rules.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

[[noreturn]] void refuse_body(std::string message) {
  throw Fault(FaultKind::bad_request, std::move(message));
}

const json::object& need_object(const json::object& in, std::string_view key) {
  const json::object* found = find_object(in, key);
  if (!found) refuse_body(fmt::format("'{}' is a required property, and must be an object.", key));
  return *found;
}

std::string need_string(const json::object& in, std::string_view key) {
  const auto* found = in.if_contains(key);
  if (!found || !found->is_string())
    refuse_body(fmt::format("'{}' is a required property, and must be a string.", key));
  return str(*found);
}

/// What the methods proved. Every method must name the same user.
struct Proof {
  std::string user_id;
  uint8_t methods = 0;
  std::optional<Token> parent;
  std::optional<int64_t> generation;  ///< of the user's row whose password was right
};

void prove_user(Proof& proof, const std::string& user_id) {
  if (!proof.user_id.empty() && proof.user_id != user_id) refuse_authentication();
  proof.user_id = user_id;
}

std::optional<std::string> domain_id_of(db::Tx& tx, const json::object& holder) {
  const json::object& domain = need_object(holder, "domain");
  if (has_value(domain, "id")) return need_string(domain, "id");
  const auto found = find_project_by_name(tx, "", need_string(domain, "name"));
  return found ? std::optional(found->id) : std::nullopt;
}

/// The user a password is given for; nullopt if there is none.
std::optional<UserRow> named_user(db::Tx& tx, const json::object& user) {
  if (has_value(user, "id")) return find_user(tx, need_string(user, "id"));
  const std::string name = need_string(user, "name");
  const auto domain_id = domain_id_of(tx, user);
  return domain_id ? find_user_by_name(tx, *domain_id, name) : std::nullopt;
}

void check_password_method(Core& core, const json::object& identity, Proof& proof) {
  const json::object& user = need_object(need_object(identity, "password"), "user");
  const std::string password = need_string(user, "password");
  const auto row = core.database.read([&](db::Tx& tx) { return named_user(tx, user); });
  // An unknown user's password is hashed too, and whether the user is enabled is looked at after the
  // password: neither the answer nor its time tells who exists.
  const bool right = core.passwords.verify(row ? row->id : "", password, row ? row->password_hash : "");
  if (!right || !row || !row->enabled) refuse_authentication();
  prove_user(proof, row->id);
  proof.methods |= method_password;
  proof.generation = row->generation;
}

void check_token_method(Core& core, const json::object& identity, Proof& proof) {
  const auto session = core.session(need_string(need_object(identity, "token"), "id"));
  if (!session) refuse_authentication();
  prove_user(proof, session->token.user_id);
  proof.methods |= static_cast<uint8_t>(method_token | session->token.methods);
  proof.parent = session->token;
}

Proof check_identity(Core& core, const json::object& auth) {
  const json::object& identity = need_object(auth, "identity");
  const json::array* methods = find_array(identity, "methods");
  if (!methods || methods->empty())
    refuse_body("'methods' is a required property, and must be a list of method names.");
  Proof proof;
  for (const auto& method : *methods) {
    if (!method.is_string()) refuse_body("'methods' must be a list of method names.");
    if (method.as_string() == "password")
      check_password_method(core, identity, proof);
    else if (method.as_string() == "token")
      check_token_method(core, identity, proof);
    else
      throw Fault(FaultKind::unauthorized, "Attempted to authenticate with an unsupported method.");
  }
  return proof;
}

void read_project_scope(db::Tx& tx, const json::object& project, Token& token) {
  token.scope = Scope::project;
  if (has_value(project, "id")) {
    token.scope_id = need_string(project, "id");
    return;
  }
  const std::string name = need_string(project, "name");
  const auto domain_id = domain_id_of(tx, project);
  const auto found = domain_id ? find_project_by_name(tx, *domain_id, name) : std::nullopt;
  if (!found) refuse_authentication();
  token.scope_id = found->id;
}

void read_domain_scope(db::Tx& tx, const json::object& domain, Token& token) {
  token.scope = Scope::domain;
  if (has_value(domain, "id")) {
    token.scope_id = need_string(domain, "id");
    return;
  }
  const auto found = find_project_by_name(tx, "", need_string(domain, "name"));
  if (!found) refuse_authentication();
  token.scope_id = found->id;
}

/// True if the request asked for a scope (unscoped counts as one).
bool read_scope(db::Tx& tx, const json::object& auth, Token& token) {
  const auto* scope = auth.if_contains("scope");
  if (!scope || scope->is_null()) return false;
  if (scope->is_string() && scope->as_string() == "unscoped") return true;
  if (!scope->is_object()) refuse_body("'scope' must be an object.");
  const json::object& s = scope->get_object();
  if (const auto* project = find_object(s, "project"))
    read_project_scope(tx, *project, token);
  else if (const auto* domain = find_object(s, "domain"))
    read_domain_scope(tx, *domain, token);
  else if (const auto* system = find_object(s, "system")) {
    if (!find_bool(*system, "all")) refuse_body("The system scope must be {\"all\": true}.");
    token.scope = Scope::system;
  } else if (s.contains("OS-TRUST:trust")) {
    throw Fault(FaultKind::not_implemented, "Trust scopes are not there yet.");
  } else if (!s.contains("unscoped")) {
    refuse_body("'scope' must name a project, a domain, the system, or unscoped.");
  }
  return true;
}

/// Without a scope the user's default project counts, if the user has a role there; else the token is
/// unscoped.
std::shared_ptr<Session> default_session(Core& core, db::Tx& tx, Token token) {
  const auto user = find_user(tx, token.user_id);
  if (user && !user->default_project_id.empty()) {
    token.scope = Scope::project;
    token.scope_id = user->default_project_id;
    if (auto session = core.begin_session(tx, token)) return session;
    token.scope = Scope::unscoped;
    token.scope_id.clear();
  }
  return core.begin_session(tx, token);
}

Token new_token(const Core& core, const Proof& proof) {
  Token t;
  t.methods = proof.methods;
  t.user_id = proof.user_id;
  t.issued = core.clock.now();
  t.audit_id = random_bytes(16);
  t.expires = Time(std::chrono::floor<std::chrono::seconds>(t.issued + core.options.token_lifetime));
  if (proof.parent) {
    t.expires = proof.parent->expires;
    t.parent_audit_id =
        proof.parent->parent_audit_id.empty() ? proof.parent->audit_id : proof.parent->parent_audit_id;
  }
  return t;
}

json::array role_views(const api::Caller& caller) {
  json::array roles;
  for (size_t i = 0; i < caller.role_ids.size(); ++i)
    roles.push_back(json::object{{"id", caller.role_ids[i]}, {"name", caller.role_names[i]}});
  return roles;
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
                     {"password_expires_at", nullptr}}},
                   {"audit_ids", std::move(audits)},
                   {"expires_at", to_iso_us(s.token.expires)},
                   {"issued_at", to_iso_us(s.token.issued)}};
  if (s.token.scope == Scope::project) {
    out["project"] = {{"domain", {{"id", c.project_domain_id}, {"name", c.project_domain_name}}},
                      {"id", c.project_id},
                      {"name", c.project_name}};
    out["is_domain"] = s.is_domain;
  }
  if (s.token.scope == Scope::domain) out["domain"] = {{"id", c.domain_id}, {"name", c.domain_name}};
  if (s.token.scope == Scope::system) out["system"] = {{"all", true}};
  if (s.token.scope != Scope::unscoped) out["roles"] = role_views(c);
  return out;
}

http::Response token_reply(Core& core, const api::Call& call, int status, const Session& session,
                           const std::string& text) {
  json::object token = token_view(session);
  if (session.token.scope != Scope::unscoped && !call.request.query_value("nocatalog"))
    token["catalog"] = core.database.read(
        [&](db::Tx& tx) { return catalog_view(core, tx, call.cloud_url, session.caller); });
  http::Response r = item_reply(status, "token", std::move(token));
  r.headers.set("X-Subject-Token", text);
  r.headers.set("Vary", "X-Auth-Token");
  return r;
}

/// False if the password was changed, or the user's tokens ended, while the proof was being checked.
bool still_holds(db::Tx& tx, const Proof& proof, const Session& session) {
  if (proof.parent && proof.parent->user_generation != session.token.user_generation) return false;
  if (!proof.generation) return true;
  const auto user = find_user(tx, proof.user_id);
  return user && user->generation == *proof.generation;
}

http::Response create_token(Core& core, api::Call& call) {
  const json::object& auth = call.body_of("auth");
  const Proof proof = check_identity(core, auth);
  const Token token = new_token(core, proof);
  const auto session = core.database.read([&](db::Tx& tx) {
    Token scoped = token;
    auto made =
        read_scope(tx, auth, scoped) ? core.begin_session(tx, scoped) : default_session(core, tx, scoped);
    return made && still_holds(tx, proof, *made) ? made : nullptr;
  });
  if (!session) refuse_authentication();
  return token_reply(core, call, 201, *session, core.keys.seal(pack(session->token)));
}

/// The session of X-Subject-Token, if the caller may see it.
std::shared_ptr<const Session> subject(Core& core, api::Call& call) {
  const std::string_view text = call.request.headers.get("X-Subject-Token");
  if (text.empty()) refuse_body("The header X-Subject-Token is needed.");
  auto session = core.session(text);
  if (!session) throw Fault(FaultKind::not_found, "Could not find token.");
  call.require({{"target.token.user_id", session->token.user_id}});
  return session;
}

http::Response show_token(Core& core, api::Call& call) {
  const auto session = subject(core, call);
  return token_reply(core, call, 200, *session, std::string(call.request.headers.get("X-Subject-Token")));
}

http::Response revoke_token(Core& core, api::Call& call) {
  const auto session = subject(core, call);
  core.change([&](db::Tx& tx) {
    tx.exec("DELETE FROM identity_revocations WHERE expires_at < ?", core.clock.now());
    const std::string id = audit_ids(session->token).front();
    if (!tx.first("SELECT 1 FROM identity_revocations WHERE audit_id = ?", id))
      tx.exec("INSERT INTO identity_revocations (audit_id, expires_at) VALUES (?, ?)", id,
              session->token.expires);
  });
  return api::reply(204);
}

http::Response show_catalog(Core& core, api::Call& call) {
  const api::Caller& c = call.caller();
  if (c.project_id.empty() && c.domain_id.empty() && !c.system)
    throw Fault(FaultKind::forbidden, "The catalogue needs a scoped token.",
                "Ask for a token with a project, domain or system scope.");
  return list_reply(call, "catalog", core.database.read([&](db::Tx& tx) {
    return catalog_view(core, tx, call.cloud_url, c);
  }));
}

http::Response list_auth_projects(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& id : projects_of(tx, call.caller().user_id))
      if (const auto project = find_project(tx, id); project && project->enabled)
        out.push_back(project_view(call, *project, tags_of(tx, id)));
  });
  return list_reply(call, "projects", std::move(out));
}

http::Response list_auth_domains(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& id : domains_of(tx, call.caller().user_id))
      if (const auto domain = find_project(tx, id); domain && domain->enabled)
        out.push_back(domain_view(call, *domain));
  });
  return list_reply(call, "domains", std::move(out));
}

http::Response list_auth_system(Core& core, api::Call& call) {
  const bool any = core.database.read([&](db::Tx& tx) {
    return !roles_of(tx, call.caller().user_id, {"system", "system"}).empty();
  });
  json::array out;
  if (any) out.push_back(json::object{{"all", true}});
  return list_reply(call, "system", std::move(out));
}

}  // namespace

void add_auth_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/auth/tokens", "", "", on(create_token)});
  to.push_back({"GET", "/v3/auth/tokens", "identity:validate_token", rules::token_reader, on(show_token)});
  to.push_back({"HEAD", "/v3/auth/tokens", "identity:check_token", rules::token_reader, on(show_token)});
  to.push_back({"DELETE", "/v3/auth/tokens", "identity:revoke_token", rules::token_owner, on(revoke_token)});
  to.push_back({"GET", "/v3/auth/catalog", "identity:get_auth_catalog", rules::anyone, on(show_catalog)});
  to.push_back(
      {"GET", "/v3/auth/projects", "identity:get_auth_projects", rules::anyone, on(list_auth_projects)});
  to.push_back(
      {"GET", "/v3/auth/domains", "identity:get_auth_domains", rules::anyone, on(list_auth_domains)});
  to.push_back({"GET", "/v3/auth/system", "identity:get_auth_system", rules::anyone, on(list_auth_system)});
}

}  // namespace virga::identity
