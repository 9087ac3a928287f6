#include "identity/caller_of.h"

#include <fmt/format.h>

#include "identity/table.h"

namespace virga::identity {
namespace {

[[noreturn]] void missing(std::string_view what, const std::string& name) {
  throw Fault(FaultKind::not_found, fmt::format("There is no {} {}.", what, name));
}

std::string domain_id(db::Tx& tx, const std::string& name) {
  const auto row =
      tx.first("SELECT id FROM identity_projects WHERE is_domain = 1 AND (id = ? OR name = ?)", name, name);
  if (!row) missing("domain", name);
  return row->text(0);
}

std::string user_id(db::Tx& tx, const CallerQuestion& q) {
  if (const auto user = find_user(tx, q.user)) return user->id;
  const auto user = find_user_by_name(tx, domain_id(tx, q.user_domain), q.user);
  if (!user) missing("user", fmt::format("{} in domain {}", q.user, q.user_domain));
  return user->id;
}

std::string project_id(db::Tx& tx, const CallerQuestion& q) {
  if (const auto project = find_project(tx, q.project)) return project->id;
  const auto project = find_project_by_name(tx, domain_id(tx, q.project_domain), q.project);
  if (!project) missing("project", fmt::format("{} in domain {}", q.project, q.project_domain));
  return project->id;
}

}  // namespace

api::Caller caller_of(Core& core, const CallerQuestion& q) {
  return core.database.read([&](db::Tx& tx) {
    Token token;
    token.methods = method_password;
    token.user_id = user_id(tx, q);
    if (q.system) token.scope = Scope::system;
    if (!q.domain.empty()) token.scope = Scope::domain, token.scope_id = domain_id(tx, q.domain);
    if (!q.project.empty()) token.scope = Scope::project, token.scope_id = project_id(tx, q);
    token.issued = core.clock.now();
    token.expires = token.issued + std::chrono::hours(1);
    const auto session = core.begin_session(tx, std::move(token));
    if (!session)
      throw Fault(FaultKind::forbidden, fmt::format("The user {} would get no such token.", q.user),
                  "It is disabled, or has no role there: `openstack role assignment list --names` shows.");
    return session->caller;
  });
}

}  // namespace virga::identity
