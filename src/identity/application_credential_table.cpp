#include "identity/application_credential_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fault.h"
#include "base/ids.h"
#include "identity/roles_of.h"
#include "identity/table.h"

namespace virga::identity {
namespace {

constexpr std::string_view kColumns =
    "id, user_id, project_id, name, description, secret_hash, expires_at, unrestricted";

api::AccessRule read_rule(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3)};
}

ApplicationCredentialRow read_credential(db::Tx& tx, const db::Row& r) {
  ApplicationCredentialRow c{.id = r.text(0),
                             .user_id = r.text(1),
                             .project_id = r.text(2),
                             .name = r.text(3),
                             .description = r.maybe_text(4),
                             .secret_hash = r.text(5),
                             .expires_at = read_time(r, 6),
                             .unrestricted = r.boolean(7)};
  for (const auto& role :
       tx.query("SELECT role_id FROM identity_application_credential_roles WHERE credential_id = ?", c.id))
    c.role_ids.insert(role.text(0));
  for (const auto& rule : tx.query(
           "SELECT r.id, r.service, r.path, r.method FROM identity_application_credential_rules c JOIN "
           "identity_access_rules r ON r.id = c.access_rule_id WHERE c.credential_id = ? ORDER BY c.position",
           c.id))
    c.access_rules.push_back(read_rule(rule));
  return c;
}

std::vector<ApplicationCredentialRow> find_credentials(db::Tx& tx, std::string_view where,
                                                       const std::vector<db::Value>& values) {
  const auto rows = tx.query(
      fmt::format("SELECT {} FROM identity_application_credentials WHERE {} ORDER BY name", kColumns, where),
      values);
  std::vector<ApplicationCredentialRow> out;
  for (const auto& row : rows) out.push_back(read_credential(tx, row));
  return out;
}

/// By id one of the user's own; else the user's rule of the same content, made if there is none.
void settle_rule(db::Tx& tx, const std::string& user_id, api::AccessRule& rule) {
  if (rule.service.empty() && rule.path.empty()) {
    const auto found = find_access_rule(tx, user_id, rule.id);
    if (!found) throw Fault(FaultKind::not_found, fmt::format("Could not find Access Rule: {}.", rule.id));
    rule = *found;
    return;
  }
  if (const auto same = tx.first("SELECT id, service, path, method FROM identity_access_rules WHERE "
                                 "user_id = ? AND service = ? AND path = ? AND method = ?",
                                 user_id, rule.service, rule.path, rule.method)) {
    rule = read_rule(*same);
    return;
  }
  rule.id = new_hex_id();
  tx.exec("INSERT INTO identity_access_rules (id, user_id, service, path, method) VALUES (?, ?, ?, ?, ?)",
          rule.id, user_id, rule.service, rule.path, rule.method);
}

}  // namespace

std::optional<ApplicationCredentialRow> find_application_credential(db::Tx& tx, const std::string& id) {
  auto found = find_credentials(tx, "id = ?", {id});
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

std::optional<ApplicationCredentialRow> find_application_credential_by_name(db::Tx& tx,
                                                                            const std::string& user_id,
                                                                            const std::string& name) {
  auto found = find_credentials(tx, "user_id = ? AND name = ?", {user_id, name});
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

std::vector<ApplicationCredentialRow> application_credentials_of(db::Tx& tx, const std::string& user_id) {
  return find_credentials(tx, "user_id = ?", {user_id});
}

void insert_application_credential(db::Tx& tx, ApplicationCredentialRow& c) {
  try {
    tx.exec(fmt::format("INSERT INTO identity_application_credentials ({}) VALUES ({})", kColumns,
                        db::placeholders(8)),
            c.id, c.user_id, c.project_id, c.name, c.description, c.secret_hash, c.expires_at,
            c.unrestricted);
  } catch (const db::UniqueViolation&) {
    duplicate("application_credential",
              fmt::format("Duplicate entry found with name {} at user ID {}", c.name, c.user_id));
  }
  for (const auto& role : c.role_ids)
    tx.exec("INSERT INTO identity_application_credential_roles (credential_id, role_id) VALUES (?, ?)", c.id,
            role);
  std::vector<api::AccessRule> settled;
  for (auto rule : c.access_rules) {
    settle_rule(tx, c.user_id, rule);
    if (std::find(settled.begin(), settled.end(), rule) == settled.end()) settled.push_back(rule);
  }
  for (size_t i = 0; i < settled.size(); ++i)
    tx.exec(
        "INSERT INTO identity_application_credential_rules (credential_id, access_rule_id, position) VALUES "
        "(?, ?, ?)",
        c.id, settled[i].id, i);
  c.access_rules = std::move(settled);
}

// Roles and uses of rules go with the row (ON DELETE CASCADE); a rule itself stays until it is deleted.
void erase_application_credential(db::Tx& tx, const std::string& id) {
  tx.exec("DELETE FROM identity_application_credentials WHERE id = ?", id);
}

void erase_application_credentials_of_user(db::Tx& tx, const std::string& user_id) {
  tx.exec("DELETE FROM identity_application_credentials WHERE user_id = ?", user_id);
  tx.exec("DELETE FROM identity_access_rules WHERE user_id = ?", user_id);
}

void erase_application_credentials_of_project(db::Tx& tx, const std::string& project_id) {
  tx.exec("DELETE FROM identity_application_credentials WHERE project_id = ?", project_id);
}

void erase_application_credentials_with_role(db::Tx& tx, const std::string& role_id) {
  for (const auto& row :
       tx.query("SELECT credential_id FROM identity_application_credential_roles WHERE role_id = ?", role_id))
    erase_application_credential(tx, row.text(0));
}

void prune_application_credentials(db::Tx& tx, const std::string& user_id) {
  for (const auto& c : application_credentials_of(tx, user_id)) {
    const auto held = role_ids_of(tx, user_id, {"project", c.project_id});
    if (!std::includes(held.begin(), held.end(), c.role_ids.begin(), c.role_ids.end()))
      erase_application_credential(tx, c.id);
  }
}

std::optional<api::AccessRule> find_access_rule(db::Tx& tx, const std::string& user_id,
                                                const std::string& id) {
  const auto row =
      tx.first("SELECT id, service, path, method FROM identity_access_rules WHERE user_id = ? AND id = ?",
               user_id, id);
  return row ? std::optional(read_rule(*row)) : std::nullopt;
}

std::vector<api::AccessRule> access_rules_of(db::Tx& tx, const std::string& user_id) {
  std::vector<api::AccessRule> out;
  for (const auto& row :
       tx.query("SELECT id, service, path, method FROM identity_access_rules WHERE user_id = ? ORDER BY id",
                user_id))
    out.push_back(read_rule(row));
  return out;
}

}  // namespace virga::identity
