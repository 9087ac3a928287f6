#include "identity/table.h"

#include <fmt/format.h>

#include "base/fault.h"

namespace virga::identity {
namespace {

std::optional<std::string> or_null(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

std::string text(const json::object& o) {
  return json::serialize(o);
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
          r.integer(8)};
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

GroupRow get_group(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_groups WHERE id = ?", kGroupColumns), id);
  if (!row) not_found("group", id);
  return read_group(*row);
}

RoleRow get_role(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_roles WHERE id = ?", kRoleColumns), id);
  if (!row) not_found("role", id);
  return read_role(*row);
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
                        db::placeholders(10)),
            u.id, u.domain_id, u.name, u.enabled, or_null(u.default_project_id), or_null(u.password_hash),
            text(u.options), text(u.extra), u.generation, now);
  } catch (const db::UniqueViolation&) {
    duplicate("user", fmt::format("Duplicate entry found with name {} at domain ID {}", u.name, u.domain_id));
  }
}

void save_user(db::Tx& tx, const UserRow& u) {
  try {
    tx.exec(
        "UPDATE identity_users SET name = ?, enabled = ?, default_project_id = ?, password_hash = ?, options "
        "= ?, extra = ?, "
        "auth_generation = ? WHERE id = ?",
        u.name, u.enabled, or_null(u.default_project_id), or_null(u.password_hash), text(u.options),
        text(u.extra), u.generation, u.id);
  } catch (const db::UniqueViolation&) {
    duplicate("user", fmt::format("Duplicate entry found with name {} at domain ID {}", u.name, u.domain_id));
  }
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
  tx.exec("DELETE FROM identity_users WHERE id = ?", id);
}

void erase_group(db::Tx& tx, const std::string& id) {
  erase_assignments(tx, "actor", "group", id);
  tx.exec("DELETE FROM identity_memberships WHERE group_id = ?", id);
  tx.exec("DELETE FROM identity_groups WHERE id = ?", id);
}

void erase_role(db::Tx& tx, const std::string& id) {
  tx.exec("DELETE FROM identity_assignments WHERE role_id = ?", id);
  tx.exec("DELETE FROM identity_implied_roles WHERE prior_role_id = ? OR implied_role_id = ?", id, id);
  tx.exec("DELETE FROM identity_roles WHERE id = ?", id);
}

void erase_project(db::Tx& tx, const std::string& id) {
  erase_assignments(tx, "target", "project", id);
  tx.exec("UPDATE identity_users SET default_project_id = NULL WHERE default_project_id = ?", id);
  tx.exec("DELETE FROM identity_project_tags WHERE project_id = ?", id);
  tx.exec("DELETE FROM identity_projects WHERE id = ?", id);
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
