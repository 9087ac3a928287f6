#include "identity/core.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "identity/roles_of.h"

namespace virga::identity {

Core::Core(Options given, db::Database& database, api::Policy& policy, const Clock& clock)
    : options(std::move(given)),
      database(database),
      policy(policy),
      clock(clock),
      keys(options.key_dir),
      passwords(options.bcrypt_cost, options.remember_password, clock) {}

void refuse_authentication() {
  throw Fault(FaultKind::unauthorized, "The request you have made requires authentication.");
}

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

namespace {

/// Name and generation of a domain; false if it is gone or disabled.
bool read_domain(db::Tx& tx, const std::string& id, std::string& name, uint64_t& generation) {
  const auto domain = find_project(tx, id);
  if (!domain || !domain->enabled || !domain->is_domain) return false;
  name = domain->name;
  generation += static_cast<uint64_t>(domain->generation);
  return true;
}

bool read_caller(db::Tx& tx, const Token& token, api::Caller& caller, uint64_t& generation) {
  const auto user = find_user(tx, token.user_id);
  if (!user || !user->enabled) return false;
  caller.user_id = user->id;
  caller.user_name = user->name;
  caller.user_domain_id = user->domain_id;
  generation = static_cast<uint64_t>(user->generation);
  return read_domain(tx, user->domain_id, caller.user_domain_name, generation);
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
std::shared_ptr<Session> assemble(db::Tx& tx, const Token& token, uint64_t& user_generation,
                                  uint64_t& scope_generation) {
  auto session = std::make_shared<Session>();
  session->token = token;
  session->caller.expires = token.expires;
  TargetRef target;
  if (!read_caller(tx, token, session->caller, user_generation)) return nullptr;
  if (!read_scope(tx, token, *session, target, scope_generation)) return nullptr;
  if (token.scope == Scope::unscoped) return session;
  for (auto& role : roles_of(tx, token.user_id, target)) {
    session->caller.role_ids.push_back(std::move(role.id));
    session->caller.role_names.push_back(std::move(role.name));
  }
  return session->caller.role_ids.empty() ? nullptr : session;
}

}  // namespace

std::shared_ptr<Session> Core::load(db::Tx& tx, const Token& token) {
  uint64_t user = 0, scope = 0;
  auto session = assemble(tx, token, user, scope);
  if (!session || user != token.user_generation || scope != token.scope_generation) return nullptr;
  if (tx.first("SELECT 1 FROM identity_revocations WHERE audit_id = ?", audit_ids(token).front()))
    return nullptr;
  return session;
}

std::shared_ptr<Session> Core::begin_session(db::Tx& tx, Token token) {
  uint64_t user = 0, scope = 0;
  auto session = assemble(tx, token, user, scope);
  if (!session) return nullptr;
  session->token.user_generation = user;
  session->token.scope_generation = scope;
  return session;
}

}  // namespace virga::identity
