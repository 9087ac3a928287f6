#include "identity/table.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "identity/application_credential_table.h"
#include "identity/credential_table.h"
#include "identity/immutable.h"
#include "identity/revocations.h"
#include "identity/trust_table.h"

namespace virga::identity {
namespace {

std::optional<std::string> or_null(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

std::string text(const json::object& o) {
  return json::serialize(o);
}

std::string day_of(Time t) {
  return to_iso(t).substr(0, 10);
}

/// Writes down that the tokens of the row end, if the generation to be saved is a new one.
void note_ended_tokens(db::Tx& tx, std::string_view table, const std::string& id, int64_t generation,
                       const Revoked& what) {
  if (tx.first(fmt::format("SELECT 1 FROM {} WHERE id = ? AND auth_generation <> ?", table), id, generation))
    record_revocation(tx, what, db::database_now(tx));
}

/// Every use of a project, domain or actor in the assignments.
void erase_assignments(db::Tx& tx, std::string_view side, std::string_view kind, const std::string& id) {
  tx.exec(fmt::format("DELETE FROM identity_assignments WHERE {0}_kind = ? AND {0}_id = ?", side), kind, id);
}

std::vector<std::string> ids(const db::Rows& rows) {
  std::vector<std::string> out;
  for (const auto& r : rows) out.push_back(r.text(0));
  return out;
}

}  // namespace

void not_found(std::string_view kind, const std::string& id) {
  throw Fault(FaultKind::not_found, fmt::format("Could not find {}: {}.", kind, id));
}

void duplicate(std::string_view kind, std::string_view what) {
  throw Fault(FaultKind::conflict, fmt::format("Conflict occurred attempting to store {} - {}.", kind, what));
}

json::object read_json(const std::string& stored) {
  if (stored.empty()) return {};
  const json::value v = parse_json(stored);
  return v.is_object() ? v.get_object() : json::object{};
}

std::optional<Time> read_time(const db::Row& row, size_t column) {
  if (row.is_null(column)) return std::nullopt;
  return parse_time(row.text(column));
}

ProjectRow read_project(const db::Row& r) {
  return {r.text(0),
          r.text(1),
          r.text(2),
          r.text(3),
          r.boolean(4),
          r.boolean(5),
          r.text(6),
          read_json(r.text(7)),
          read_json(r.text(8)),
          r.integer(9)};
}

UserRow read_user(const db::Row& r) {
  return {r.text(0),
          r.text(1),
          r.text(2),
          r.boolean(3),
          r.text(4),
          r.text(5),
          read_json(r.text(6)),
          read_json(r.text(7)),
          r.integer(8),
          read_time(r, 9),
          read_time(r, 10),
          r.boolean(11),
          r.integer(12),
          read_time(r, 13),
          r.text(14)};
}

GroupRow read_group(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3), read_json(r.text(4))};
}

RoleRow read_role(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.maybe_text(3), read_json(r.text(4)), read_json(r.text(5))};
}

std::optional<ProjectRow> find_project(db::Tx& tx, const std::string& id) {
  const auto row =
      tx.first(fmt::format("SELECT {} FROM identity_projects WHERE id = ?", kProjectColumns), id);
  return row ? std::optional(read_project(*row)) : std::nullopt;
}

std::optional<ProjectRow> find_project_by_name(db::Tx& tx, const std::string& domain_id,
                                               const std::string& name) {
  const auto row = tx.first(
      fmt::format("SELECT {} FROM identity_projects WHERE domain_id = ? AND name = ?", kProjectColumns),
      domain_id, name);
  return row ? std::optional(read_project(*row)) : std::nullopt;
}

std::optional<UserRow> find_user(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_users WHERE id = ?", kUserColumns), id);
  return row ? std::optional(read_user(*row)) : std::nullopt;
}

std::optional<UserRow> find_user_by_name(db::Tx& tx, const std::string& domain_id, const std::string& name) {
  const auto row =
      tx.first(fmt::format("SELECT {} FROM identity_users WHERE domain_id = ? AND name = ?", kUserColumns),
               domain_id, name);
  return row ? std::optional(read_user(*row)) : std::nullopt;
}

ProjectRow get_project(db::Tx& tx, const std::string& id) {
  auto found = find_project(tx, id);
  if (!found) not_found("project", id);
  return *found;
}

ProjectRow get_domain(db::Tx& tx, const std::string& id) {
  auto found = find_project(tx, id);
  if (!found || !found->is_domain) not_found("domain", id);
  return *found;
}

UserRow get_user(db::Tx& tx, const std::string& id) {
  auto found = find_user(tx, id);
  if (!found) not_found("user", id);
  return *found;
}

std::optional<GroupRow> find_group(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_groups WHERE id = ?", kGroupColumns), id);
  return row ? std::optional(read_group(*row)) : std::nullopt;
}

GroupRow get_group(db::Tx& tx, const std::string& id) {
  auto found = find_group(tx, id);
  if (!found) not_found("group", id);
  return *found;
}

RoleRow get_role(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_roles WHERE id = ?", kRoleColumns), id);
  if (!row) not_found("role", id);
  return read_role(*row);
}

std::string named_role(db::Tx& tx, const json::value& role) {
  const auto* o = role.if_object();
  const std::string id = o ? find_string(*o, "id") : "", name = o ? find_string(*o, "name") : "";
  if (!o || o->size() != 1 || (id.empty() && name.empty()))
    throw Fault(FaultKind::bad_request,
                "Invalid input for field 'roles': each must be an object with either id or name.");
  if (!id.empty()) return get_role(tx, id).id;
  const auto rows = tx.query("SELECT id FROM identity_roles WHERE name = ?", name);
  if (rows.empty()) not_found("role", name);
  if (rows.size() > 1)
    throw Fault(FaultKind::bad_request,
                fmt::format("There are multiple role entities named '{}'. Please use ID instead of names to "
                            "resolve the ambiguity.",
                            name));
  return rows.front().text(0);
}

void insert_project(db::Tx& tx, const ProjectRow& p) {
  try {
    tx.exec(
        fmt::format("INSERT INTO identity_projects ({}) VALUES ({})", kProjectColumns, db::placeholders(10)),
        p.id, p.domain_id, p.parent_id, p.name, p.is_domain, p.enabled, p.description, text(p.options),
        text(p.extra), p.generation);
  } catch (const db::UniqueViolation&) {
    duplicate(p.is_domain ? "domain" : "project",
              p.is_domain
                  ? fmt::format("Duplicate entry found with name {}", p.name)
                  : fmt::format(
                        "it is not permitted to have two projects with the same name in the same domain : {}",
                        p.name));
  }
}

void save_project(db::Tx& tx, const ProjectRow& p) {
  note_ended_tokens(tx, "identity_projects", p.id, p.generation,
                    p.is_domain ? Revoked{.domain_id = p.id} : Revoked{.project_id = p.id});
  try {
    tx.exec(
        "UPDATE identity_projects SET name = ?, enabled = ?, description = ?, options = ?, extra = ?, "
        "auth_generation = ? WHERE id = ?",
        p.name, p.enabled, p.description, text(p.options), text(p.extra), p.generation, p.id);
  } catch (const db::UniqueViolation&) {
    duplicate(p.is_domain ? "domain" : "project", fmt::format("Duplicate entry found with name {}", p.name));
  }
}

void insert_user(db::Tx& tx, const UserRow& u, Time now) {
  try {
    tx.exec(fmt::format("INSERT INTO identity_users ({}, created_at) VALUES ({})", kUserColumns,
                        db::placeholders(16)),
            u.id, u.domain_id, u.name, u.enabled, or_null(u.default_project_id), or_null(u.password_hash),
            text(u.options), text(u.extra), u.generation, u.password_expires_at, u.password_created_at,
            u.password_self_service, 0, nullptr, day_of(now), now);
  } catch (const db::UniqueViolation&) {
    duplicate("user", fmt::format("Duplicate entry found with name {} at domain ID {}", u.name, u.domain_id));
  }
}

void save_user(db::Tx& tx, const UserRow& u) {
  note_ended_tokens(tx, "identity_users", u.id, u.generation, {.user_id = u.id});
  try {
    tx.exec(
        "UPDATE identity_users SET name = ?, enabled = ?, default_project_id = ?, password_hash = ?, options "
        "= ?, extra = ?, auth_generation = ?, password_expires_at = ?, password_created_at = ?, "
        "password_self_service = ? WHERE id = ?",
        u.name, u.enabled, or_null(u.default_project_id), or_null(u.password_hash), text(u.options),
        text(u.extra), u.generation, u.password_expires_at, u.password_created_at, u.password_self_service,
        u.id);
  } catch (const db::UniqueViolation&) {
    duplicate("user", fmt::format("Duplicate entry found with name {} at domain ID {}", u.name, u.domain_id));
  }
}

void wake_user(db::Tx& tx, const std::string& id, Time now) {
  tx.exec(
      "UPDATE identity_users SET failed_auth_count = 0, failed_auth_at = NULL, last_active_on = ? WHERE id = "
      "?",
      day_of(now), id);
}

void insert_role(db::Tx& tx, const RoleRow& r) {
  try {
    tx.exec(fmt::format("INSERT INTO identity_roles ({}) VALUES ({})", kRoleColumns, db::placeholders(6)),
            r.id, r.domain_id, r.name, r.description, text(r.options), text(r.extra));
  } catch (const db::UniqueViolation&) {
    duplicate("role", fmt::format("Duplicate entry found with name {}", r.name));
  }
}

void erase_user(db::Tx& tx, const std::string& id) {
  erase_assignments(tx, "actor", "user", id);
  tx.exec("DELETE FROM identity_memberships WHERE user_id = ?", id);
  erase_trusts_of_user(tx, id);
  erase_application_credentials_of_user(tx, id);
  erase_credentials_of_user(tx, id);
  tx.exec("DELETE FROM identity_access_tokens WHERE user_id = ?", id);
  tx.exec("DELETE FROM identity_users WHERE id = ?", id);
  record_revocation(tx, {.user_id = id}, db::database_now(tx));
}

void erase_group(db::Tx& tx, const std::string& id) {
  erase_assignments(tx, "actor", "group", id);
  for (const auto& user : ids(tx.query("SELECT user_id FROM identity_memberships WHERE group_id = ?", id)))
    prune_application_credentials(tx, user);
  tx.exec("DELETE FROM identity_memberships WHERE group_id = ?", id);
  tx.exec("DELETE FROM identity_groups WHERE id = ?", id);
}

void erase_role(db::Tx& tx, const std::string& id) {
  erase_application_credentials_with_role(tx, id);
  tx.exec("DELETE FROM identity_assignments WHERE role_id = ?", id);
  tx.exec("DELETE FROM identity_implied_roles WHERE prior_role_id = ? OR implied_role_id = ?", id, id);
  tx.exec("DELETE FROM identity_roles WHERE id = ?", id);
}

void erase_project(db::Tx& tx, const std::string& id) {
  erase_assignments(tx, "target", "project", id);
  erase_trusts_of_project(tx, id);
  erase_application_credentials_of_project(tx, id);
  erase_credentials_of_project(tx, id);
  tx.exec("DELETE FROM identity_limits WHERE project_id = ? OR domain_id = ?", id, id);
  tx.exec("UPDATE identity_users SET default_project_id = NULL WHERE default_project_id = ?", id);
  tx.exec("DELETE FROM identity_project_tags WHERE project_id = ?", id);
  tx.exec("DELETE FROM identity_projects WHERE id = ?", id);
  record_revocation(tx, {.project_id = id}, db::database_now(tx));
}

void erase_domain(db::Tx& tx, const std::string& id) {
  for (const auto& user : ids(tx.query("SELECT id FROM identity_users WHERE domain_id = ?", id)))
    erase_user(tx, user);
  for (const auto& group : ids(tx.query("SELECT id FROM identity_groups WHERE domain_id = ?", id)))
    erase_group(tx, group);
  for (const auto& role : ids(tx.query("SELECT id FROM identity_roles WHERE domain_id = ?", id)))
    erase_role(tx, role);
  for (const auto& project : ids(tx.query("SELECT id FROM identity_projects WHERE domain_id = ?", id)))
    erase_project(tx, project);
  erase_assignments(tx, "target", "domain", id);
  erase_project(tx, id);
}

void remove_domain(db::Tx& tx, const ProjectRow& d) {
  check_deletable(d.options, "domain", d.id);
  if (d.enabled)
    throw Fault(FaultKind::forbidden, "Cannot delete a domain that is enabled, please disable it first.");
  for (const auto& below : subtree_of(tx, d.id)) check_deletable(below.options, "project", below.id);
  erase_domain(tx, d.id);
}

std::vector<ProjectRow> ancestors_of(db::Tx& tx, const ProjectRow& project) {
  std::vector<ProjectRow> out;
  for (std::string at = project.parent_id; !at.empty();) {
    auto parent = find_project(tx, at);
    if (!parent) break;
    at = parent->parent_id;
    out.push_back(std::move(*parent));
  }
  return out;
}

std::vector<ProjectRow> subtree_of(db::Tx& tx, const std::string& project_id) {
  std::vector<ProjectRow> out;
  std::vector<std::string> level{project_id};
  while (!level.empty()) {
    std::vector<std::string> next;
    for (const auto& id : level)
      for (const auto& row :
           tx.query(fmt::format("SELECT {} FROM identity_projects WHERE parent_id = ? ORDER BY name",
                                kProjectColumns),
                    id)) {
        out.push_back(read_project(row));
        next.push_back(out.back().id);
      }
    level = std::move(next);
  }
  return out;
}

std::vector<std::string> tags_of(db::Tx& tx, const std::string& project_id) {
  return ids(
      tx.query("SELECT name FROM identity_project_tags WHERE project_id = ? ORDER BY name", project_id));
}

void replace_tags(db::Tx& tx, const std::string& project_id, const std::vector<std::string>& tags) {
  tx.exec("DELETE FROM identity_project_tags WHERE project_id = ?", project_id);
  for (const auto& tag : std::set<std::string>(tags.begin(), tags.end()))
    tx.exec("INSERT INTO identity_project_tags (project_id, name) VALUES (?, ?)", project_id, tag);
}

}  // namespace virga::identity
