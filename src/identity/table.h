#pragma once
// Identity's rows and the SQL that reads them.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "db/api.h"

namespace virga::identity {

/// A project, or a domain (is_domain, and then domain_id and parent_id are "").
struct ProjectRow {
  std::string id, domain_id, parent_id, name;
  bool is_domain = false, enabled = true;
  std::string description;
  json::object options, extra;
  int64_t generation = 1;
  /// The domain it lives in; a domain lives in itself.
  const std::string& home() const { return is_domain ? id : domain_id; }
};

struct UserRow {
  std::string id, domain_id, name;
  bool enabled = true;
  std::string default_project_id, password_hash;
  json::object options, extra;
  int64_t generation = 1;
  std::optional<Time> password_expires_at, password_created_at;
  bool password_self_service = false;  ///< the user set it
  int64_t failed_auth_count = 0;       ///< since the last login, see login.h; not written by save_user
  std::optional<Time> failed_auth_at;
  std::string last_active_on;  ///< day of the last login, "2026-11-23"; not written by save_user
};

struct GroupRow {
  std::string id, domain_id, name, description;
  json::object extra;
};

struct RoleRow {
  std::string id, domain_id, name;
  std::optional<std::string> description;
  json::object options, extra;
};

inline constexpr std::string_view kProjectColumns =
    "id, domain_id, parent_id, name, is_domain, enabled, description, options, extra, auth_generation";
inline constexpr std::string_view kUserColumns =
    "id, domain_id, name, enabled, default_project_id, password_hash, options, extra, auth_generation, "
    "password_expires_at, password_created_at, password_self_service, failed_auth_count, failed_auth_at, "
    "last_active_on";
inline constexpr std::string_view kGroupColumns = "id, domain_id, name, description, extra";
inline constexpr std::string_view kRoleColumns = "id, domain_id, name, description, options, extra";

ProjectRow read_project(const db::Row& row);
UserRow read_user(const db::Row& row);
GroupRow read_group(const db::Row& row);
RoleRow read_role(const db::Row& row);
/// Stored JSON text; {} for "".
json::object read_json(const std::string& text);
std::optional<Time> read_time(const db::Row& row, size_t column);

std::optional<ProjectRow> find_project(db::Tx& tx, const std::string& id);
std::optional<ProjectRow> find_project_by_name(db::Tx& tx, const std::string& domain_id,
                                               const std::string& name);
std::optional<UserRow> find_user(db::Tx& tx, const std::string& id);
std::optional<UserRow> find_user_by_name(db::Tx& tx, const std::string& domain_id, const std::string& name);
// The same, or Fault(not_found) in keystone's words.
ProjectRow get_project(db::Tx& tx, const std::string& id);
ProjectRow get_domain(db::Tx& tx, const std::string& id);
UserRow get_user(db::Tx& tx, const std::string& id);
std::optional<GroupRow> find_group(db::Tx& tx, const std::string& id);
GroupRow get_group(db::Tx& tx, const std::string& id);
RoleRow get_role(db::Tx& tx, const std::string& id);

/// The id of the role that {"id": …} or {"name": …} names. Faults in keystone's words.
std::string named_role(db::Tx& tx, const json::value& role);

void insert_project(db::Tx& tx, const ProjectRow& p);
void save_project(db::Tx& tx, const ProjectRow& p);
void insert_user(db::Tx& tx, const UserRow& u, Time now);
void save_user(db::Tx& tx, const UserRow& u);
/// The account counts as used now, and its failures are forgotten.
void wake_user(db::Tx& tx, const std::string& id, Time now);
void insert_role(db::Tx& tx, const RoleRow& r);

/// Removes the row with everything that hangs on it, assignments first.
void erase_user(db::Tx& tx, const std::string& id);
void erase_group(db::Tx& tx, const std::string& id);
void erase_role(db::Tx& tx, const std::string& id);
void erase_project(db::Tx& tx, const std::string& id);
/// The domain's users, groups, roles and projects too.
void erase_domain(db::Tx& tx, const std::string& id);

/// What a request to delete a domain does: refuses an enabled or immutable one (and one that holds something
/// immutable).
void remove_domain(db::Tx& tx, const ProjectRow& domain);

/// The project's ancestors, nearest first, its domain last.
std::vector<ProjectRow> ancestors_of(db::Tx& tx, const ProjectRow& project);
/// All projects below (not itself), parents before children.
std::vector<ProjectRow> subtree_of(db::Tx& tx, const std::string& project_id);
std::vector<std::string> tags_of(db::Tx& tx, const std::string& project_id);
void replace_tags(db::Tx& tx, const std::string& project_id, const std::vector<std::string>& tags);

[[noreturn]] void not_found(std::string_view kind, const std::string& id);
[[noreturn]] void duplicate(std::string_view kind, std::string_view what);

}  // namespace virga::identity
