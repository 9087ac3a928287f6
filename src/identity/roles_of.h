#pragma once
// Which roles someone really has: direct, through groups, inherited down the project tree, and implied by
// other roles.

#include <map>
#include <string>
#include <vector>

#include "identity/table.h"

namespace virga::identity {

struct RoleName {
  std::string id, name, domain_id;
};

/// All roles and which implies which.
class RoleGraph {
 public:
  explicit RoleGraph(db::Tx& tx);
  const RoleName* find(const std::string& id) const;
  /// The roles themselves and all they imply, without domain roles (those only stand for what they imply), by
  /// name.
  std::vector<RoleName> expand(const std::set<std::string>& role_ids) const;
  /// The roles themselves and all they imply.
  std::set<std::string> closure(const std::set<std::string>& role_ids) const;
  /// Direct implications only.
  const std::vector<std::string>& implied_by(const std::string& role_id) const;

 private:
  std::map<std::string, RoleName> roles_;
  std::map<std::string, std::vector<std::string>> implied_;
};

/// Where a role may be held.
struct TargetRef {
  std::string kind;  ///< "project", "domain", "system"
  std::string id;    ///< "system" for the system
};

/// The user's effective roles there; empty if none.
std::vector<RoleName> roles_of(db::Tx& tx, const std::string& user_id, const TargetRef& target);
/// The same with domain roles, as ids.
std::set<std::string> role_ids_of(db::Tx& tx, const std::string& user_id, const TargetRef& target);
/// Ids of projects and domains where the user has any role.
std::set<std::string> projects_of(db::Tx& tx, const std::string& user_id);
std::set<std::string> domains_of(db::Tx& tx, const std::string& user_id);

}  // namespace virga::identity
