#include "identity/core.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fault.h"
#include "base/master_key.h"
#include "identity/roles_of.h"

namespace virga::identity {
namespace {

std::string master_key(const Options& options, db::Database& database) {
  return read_master_key(options.master_key_file, !holds_keys(database));
}

}  // namespace

Core::Core(Options given, db::Database& database, api::Policy& policy, const Clock& clock)
    : options(std::move(given)),
      database(database),
      policy(policy),
      clock(clock),
      keys(database_keys(database, "tokens", master_key(options, database), options.key_dir)),
      credential_keys(database_keys(database, "credentials", master_key(options, database), options.credential_key_dir)),
      passwords(options.bcrypt_cost, options.remember_password, clock),
      password_rules(options.security.password_regex, options.security.password_regex_description) {}

void Core::begin_change(db::Tx& tx) {
  tx.exec("UPDATE identity_state SET epoch = epoch + 1 WHERE id = 1");
  tx.after_commit([this] { epoch_.fetch_add(1, std::memory_order_release); });
}

/// On SQLite this process is the only writer, so memory knows. Several controllers share a row.
uint64_t Core::current_epoch() {
  if (database.dialect() == db::Dialect::sqlite) return epoch_.load(std::memory_order_acquire);
  return database.read([](db::Tx& tx) {
    const auto row = tx.first("SELECT epoch FROM identity_state WHERE id = 1");
    return row ? static_cast<uint64_t>(row->integer(0)) : uint64_t{0};
  });
}

std::shared_ptr<const Session> Core::session(std::string_view text) {
  // The epoch is read before the rows: an entry is at worst older than its label says, and then never used.
  const uint64_t epoch = current_epoch();
  const Time now = clock.now();
  if (auto known = cache_.find(text, epoch)) return known->caller.expires > now ? known : nullptr;
  const auto plain = keys.open(text);
  if (!plain) return nullptr;
  const auto token = unpack(*plain);
  if (!token || token->expires <= now) return nullptr;
  auto fresh = database.read([&](db::Tx& tx) { return load(tx, *token); });
  if (!fresh) return nullptr;
  fresh->caller.token = text;
  cache_.put(text, epoch, fresh);
  return fresh;
}

std::shared_ptr<const Session> Core::expired_session(std::string_view text, std::chrono::seconds window) {
  const auto plain = keys.open(text);
  const auto token = plain ? unpack(*plain) : std::nullopt;
  if (!token || token->expires + window <= clock.now()) return nullptr;
  return database.read([&](db::Tx& tx) { return load(tx, *token); });
}

namespace {

/// Name and generation of a domain; false if it is gone or disabled.
bool read_domain(db::Tx& tx, const std::string& id, std::string& name, uint64_t& generation) {
  const auto domain = find_project(tx, id);
  if (!domain || !domain->enabled || !domain->is_domain) return false;
  name = domain->name;
  generation += static_cast<uint64_t>(domain->generation);
  return true;
}

/// Whom the session stands for; false if it may not be.
bool read_user(db::Tx& tx, const std::string& id, Session& session, uint64_t& generation) {
  const auto user = find_user(tx, id);
  if (!user || !user->enabled) return false;
  api::Caller& c = session.caller;
  c.user_id = user->id;
  c.user_name = user->name;
  c.user_domain_id = user->domain_id;
  session.password_expires_at = user->password_expires_at;
  generation += static_cast<uint64_t>(user->generation);
  return read_domain(tx, user->domain_id, c.user_domain_name, generation);
}

/// A trust stands as long as all who passed the rights on may log in. Its token stands for the trustor, if
/// the trust says so.
bool read_trust(db::Tx& tx, const Token& token, Time now, Session& session, uint64_t& generation) {
  const auto trust = find_trust(tx, token.delegation_id);
  if (!trust || trust->trustee_user_id != token.user_id || trust->project_id != token.scope_id) return false;
  const auto chain = trust_chain(tx, *trust);
  if (!chain) return false;
  Session other;
  for (const auto& link : *chain) {
    if (link.expired(now) || !read_user(tx, link.trustor_user_id, other, generation)) return false;
    if (link.id != trust->id && !read_user(tx, link.trustee_user_id, other, generation)) return false;
  }
  if (trust->impersonation) {
    uint64_t counted_already = 0;
    if (!read_user(tx, trust->trustor_user_id, session, counted_already)) return false;
  }
  session.caller.trust_id = trust->id;
  session.trust = *trust;
  return true;
}

bool read_application_credential(db::Tx& tx, const Token& token, Time now, Session& session) {
  auto found = find_application_credential(tx, token.delegation_id);
  if (!found || found->user_id != token.user_id || found->project_id != token.scope_id || found->expired(now))
    return false;
  session.caller.application_credential_id = found->id;
  session.caller.restricted = !found->unrestricted;
  session.caller.access_rules = found->access_rules;
  session.application_credential = std::move(*found);
  return true;
}

bool read_access_token(db::Tx& tx, const Token& token, Time now, Session& session) {
  auto found = find_access_token(tx, token.delegation_id);
  if (!found || found->user_id != token.user_id || found->project_id != token.scope_id || found->expired(now))
    return false;
  session.caller.access_token_id = found->id;
  session.access_token = std::move(*found);
  return true;
}

/// Narrows the session to what was delegated to the token; false if that is over.
bool read_delegation(db::Tx& tx, const Token& token, Time now, Session& session, uint64_t& generation) {
  switch (token.delegation) {
    case Delegation::none:
      return true;
    case Delegation::trust:
      return read_trust(tx, token, now, session, generation);
    case Delegation::application_credential:
      return read_application_credential(tx, token, now, session);
    case Delegation::access_token:
      return read_access_token(tx, token, now, session);
  }
  return false;
}

/// The roles of the session; empty if a delegated one is no longer there to give. What a delegated role
/// implies goes with it.
std::vector<RoleName> session_roles(db::Tx& tx, const Session& session, const TargetRef& target) {
  if (session.trust) return trust_roles(tx, *session.trust);
  if (!session.application_credential && !session.access_token)
    return roles_of(tx, session.token.user_id, target);
  const auto& delegated = session.application_credential ? session.application_credential->role_ids
                                                         : session.access_token->role_ids;
  const auto held = role_ids_of(tx, session.token.user_id, target);
  if (!std::includes(held.begin(), held.end(), delegated.begin(), delegated.end())) return {};
  return RoleGraph(tx).expand(delegated);
}

bool read_project_scope(db::Tx& tx, const Token& token, Session& session, uint64_t& generation) {
  const auto project = find_project(tx, token.scope_id);
  if (!project || !project->enabled) return false;
  api::Caller& c = session.caller;
  c.project_id = project->id;
  c.project_name = project->name;
  c.project_domain_id = project->home();
  session.is_domain = project->is_domain;
  generation = static_cast<uint64_t>(project->generation);
  return read_domain(tx, c.project_domain_id, c.project_domain_name, generation);
}

/// Where the scope's roles are held; false if the scope is gone or disabled.
bool read_scope(db::Tx& tx, const Token& token, Session& session, TargetRef& target, uint64_t& generation) {
  generation = 0;
  switch (token.scope) {
    case Scope::unscoped:
      return true;
    case Scope::project:
      target = {"project", token.scope_id};
      return read_project_scope(tx, token, session, generation);
    case Scope::domain:
      target = {"domain", token.scope_id};
      session.caller.domain_id = token.scope_id;
      return read_domain(tx, token.scope_id, session.caller.domain_name, generation);
    case Scope::system:
      target = {"system", "system"};
      session.caller.system = true;
      return true;
  }
  return false;
}

/// Everything but the token's own generations and revocation; null if rows do not allow the session.
std::shared_ptr<Session> assemble(db::Tx& tx, const Token& token, Time now, uint64_t& user_generation,
                                  uint64_t& scope_generation) {
  auto session = std::make_shared<Session>();
  session->token = token;
  session->caller.expires = token.expires;
  TargetRef target;
  if (!read_user(tx, token.user_id, *session, user_generation)) return nullptr;
  if (!read_delegation(tx, token, now, *session, user_generation)) return nullptr;
  if (!read_scope(tx, token, *session, target, scope_generation)) return nullptr;
  if (token.scope == Scope::unscoped) return session;
  for (auto& role : session_roles(tx, *session, target)) {
    session->caller.role_ids.push_back(std::move(role.id));
    session->caller.role_names.push_back(std::move(role.name));
  }
  return session->caller.role_ids.empty() ? nullptr : session;
}

}  // namespace

std::shared_ptr<Session> Core::load(db::Tx& tx, const Token& token) {
  uint64_t user = 0, scope = 0;
  auto session = assemble(tx, token, clock.now(), user, scope);
  if (!session || user != token.user_generation || scope != token.scope_generation) return nullptr;
  if (tx.first("SELECT 1 FROM identity_revocations WHERE audit_id = ?", audit_ids(token).front()))
    return nullptr;
  return session;
}

std::shared_ptr<Session> Core::begin_session(db::Tx& tx, Token token) {
  uint64_t user = 0, scope = 0;
  auto session = assemble(tx, token, clock.now(), user, scope);
  if (!session) return nullptr;
  const auto end = session->trust                    ? session->trust->expires_at
                   : session->application_credential ? session->application_credential->expires_at
                   : session->access_token           ? session->access_token->expires_at
                                                     : std::nullopt;
  if (end && *end < session->token.expires) session->token.expires = session->caller.expires = *end;
  session->token.user_generation = user;
  session->token.scope_generation = scope;
  return session;
}

}  // namespace virga::identity
