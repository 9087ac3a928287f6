#include "identity/bootstrap.h"

#include <fmt/format.h>

#include "identity/limits.h"
#include "identity/table.h"

namespace virga::identity {
namespace {

void ensure_domain(db::Tx& tx) {
  if (find_project(tx, "default")) return;
  insert_project(
      tx, {.id = "default", .name = "Default", .is_domain = true, .description = "The default domain"});
}

std::string ensure_role(db::Tx& tx, const std::string& name) {
  if (const auto row = tx.first("SELECT id FROM identity_roles WHERE domain_id = '' AND name = ?", name))
    return row->text(0);
  // As keystone's bootstrap does: who deletes "admin" by mistake has no cloud any more.
  RoleRow role{.id = new_hex_id(), .name = name, .options = {{"immutable", true}}};
  insert_role(tx, role);
  return role.id;
}

void ensure_implied(db::Tx& tx, const std::string& prior, const std::string& implied) {
  if (!tx.first("SELECT 1 FROM identity_implied_roles WHERE prior_role_id = ? AND implied_role_id = ?", prior,
                implied))
    tx.exec("INSERT INTO identity_implied_roles (prior_role_id, implied_role_id) VALUES (?, ?)", prior,
            implied);
}

std::string ensure_project(db::Tx& tx, const std::string& name, const std::string& description) {
  if (const auto found = find_project_by_name(tx, "default", name)) return found->id;
  ProjectRow p{.id = new_hex_id(),
               .domain_id = "default",
               .parent_id = "default",
               .name = name,
               .description = description};
  insert_project(tx, p);
  return p.id;
}

/// Hash "" makes a user that cannot log in with a password.
std::string ensure_user(db::Tx& tx, const std::string& name, const std::string& hash, Time now) {
  if (const auto found = find_user_by_name(tx, "default", name)) return found->id;
  UserRow u{.id = new_hex_id(), .domain_id = "default", .name = name, .password_hash = hash};
  insert_user(tx, u, now);
  return u.id;
}

void ensure_grant(db::Tx& tx, const std::string& user, const std::string& kind, const std::string& target,
                  const std::string& role) {
  if (!tx.first("SELECT 1 FROM identity_assignments WHERE actor_kind = 'user' AND actor_id = ? AND "
                "target_kind = ? AND target_id = ? AND role_id = ? AND "
                "inherited = 0",
                user, kind, target, role))
    tx.exec(
        "INSERT INTO identity_assignments (actor_kind, actor_id, target_kind, target_id, role_id, inherited) "
        "VALUES ('user', ?, ?, ?, ?, 0)",
        user, kind, target, role);
}

void ensure_service_users(db::Tx& tx, const std::vector<std::string>& names, const std::string& role,
                          Time now) {
  if (names.empty()) return;
  const std::string project = ensure_project(tx, "service", "The cloud's own services.");
  for (const auto& name : names) ensure_grant(tx, ensure_user(tx, name, "", now), "project", project, role);
}

/// A tree that is deeper than the model of limits allows would break its promise: as keystone, we do not
/// begin then.
void check_depth(const Core& core, db::Tx& tx) {
  const LimitModel& model = limit_model(core.options.limit_model);
  if (!model.max_depth) return;
  const auto too_deep = tx.first(
      "SELECT p.id FROM identity_projects p JOIN identity_projects q ON q.id = p.parent_id JOIN "
      "identity_projects "
      "r ON r.id = q.parent_id WHERE r.is_domain = 0");
  if (too_deep)
    throw Fault(FaultKind::conflict,
                fmt::format("The project {} lies deeper than the limit model {} allows.", too_deep->text(0),
                            model.name),
                "Set limit_model = \"flat\" in [identity] of virga.toml, or remove that project.");
}

}  // namespace

void bootstrap(Core& core, const Bootstrap& what) {
  const bool fresh =
      !core.database.read([](db::Tx& tx) { return find_user_by_name(tx, "default", "admin"); });
  const std::string hash = fresh ? core.passwords.hash(what.admin_password) : "";
  core.change([&](db::Tx& tx) {
    ensure_domain(tx);
    check_depth(core, tx);
    const std::string admin = ensure_role(tx, "admin"), member = ensure_role(tx, "member"),
                      reader = ensure_role(tx, "reader"), service = ensure_role(tx, "service");
    ensure_implied(tx, admin, member);
    ensure_implied(tx, member, reader);
    const std::string project = ensure_project(tx, "admin", "Bootstrap project for initializing the cloud.");
    const std::string user = ensure_user(tx, "admin", hash, core.clock.now());
    ensure_grant(tx, user, "project", project, admin);
    ensure_grant(tx, user, "system", "system", admin);
    if (!tx.first("SELECT 1 FROM identity_regions WHERE id = ?", core.options.region))
      tx.exec("INSERT INTO identity_regions (id, description, extra) VALUES (?, '', '{}')",
              core.options.region);
    ensure_service_users(tx, what.service_names, service, core.clock.now());
  });
}

}  // namespace virga::identity
