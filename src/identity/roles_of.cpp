#include "identity/roles_of.h"

namespace virga::identity {
namespace {

struct Held {
  std::string role_id, target_kind, target_id;
  bool inherited;
};

/// What the user holds directly or through a group, anywhere.
std::vector<Held> held_by(db::Tx& tx, const std::string& user_id) {
  std::vector<Held> out;
  const auto rows = tx.query(
      "SELECT role_id, target_kind, target_id, inherited FROM identity_assignments WHERE actor_kind = 'user' "
      "AND actor_id = ? "
      "UNION ALL SELECT a.role_id, a.target_kind, a.target_id, a.inherited FROM identity_memberships m JOIN "
      "identity_assignments a "
      "ON a.actor_kind = 'group' AND a.actor_id = m.group_id WHERE m.user_id = ?",
      user_id, user_id);
  for (const auto& r : rows) out.push_back({r.text(0), r.text(1), r.text(2), r.boolean(3)});
  return out;
}

}  // namespace

RoleGraph::RoleGraph(db::Tx& tx) {
  for (const auto& r : tx.query("SELECT id, name, domain_id FROM identity_roles"))
    roles_[r.text(0)] = {r.text(0), r.text(1), r.text(2)};
  for (const auto& r : tx.query("SELECT prior_role_id, implied_role_id FROM identity_implied_roles"))
    implied_[r.text(0)].push_back(r.text(1));
}

const RoleName* RoleGraph::find(const std::string& id) const {
  const auto found = roles_.find(id);
  return found == roles_.end() ? nullptr : &found->second;
}

const std::vector<std::string>& RoleGraph::implied_by(const std::string& role_id) const {
  static const std::vector<std::string> none;
  const auto found = implied_.find(role_id);
  return found == implied_.end() ? none : found->second;
}

std::set<std::string> RoleGraph::closure(const std::set<std::string>& role_ids) const {
  std::set<std::string> seen = role_ids;
  std::vector<std::string> open(role_ids.begin(), role_ids.end());
  while (!open.empty()) {
    const std::string id = std::move(open.back());
    open.pop_back();
    for (const auto& next : implied_by(id))
      if (seen.insert(next).second) open.push_back(next);
  }
  return seen;
}

std::vector<RoleName> RoleGraph::expand(const std::set<std::string>& role_ids) const {
  std::vector<RoleName> out;
  for (const auto& id : closure(role_ids))
    if (const RoleName* role = find(id); role && role->domain_id.empty()) out.push_back(*role);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return out;
}

namespace {

/// Given there or handed down; without what they imply.
std::set<std::string> given_roles(db::Tx& tx, const std::string& user_id, const TargetRef& target) {
  const auto held = held_by(tx, user_id);
  std::set<std::string> above;  // whatever hands roles down to a project
  const bool any_inherited = std::any_of(held.begin(), held.end(), [](const Held& h) { return h.inherited; });
  if (target.kind == "project" && any_inherited)
    if (const auto project = find_project(tx, target.id))
      for (const auto& ancestor : ancestors_of(tx, *project)) above.insert(ancestor.id);
  std::set<std::string> roles;
  for (const auto& h : held) {
    const bool direct = !h.inherited && h.target_kind == target.kind && h.target_id == target.id;
    if (direct || (h.inherited && above.contains(h.target_id))) roles.insert(h.role_id);
  }
  return roles;
}

}  // namespace

std::vector<RoleName> roles_of(db::Tx& tx, const std::string& user_id, const TargetRef& target) {
  const auto given = given_roles(tx, user_id, target);
  return given.empty() ? std::vector<RoleName>() : RoleGraph(tx).expand(given);
}

std::set<std::string> role_ids_of(db::Tx& tx, const std::string& user_id, const TargetRef& target) {
  const auto given = given_roles(tx, user_id, target);
  return given.empty() ? given : RoleGraph(tx).closure(given);
}

std::set<std::string> projects_of(db::Tx& tx, const std::string& user_id) {
  std::set<std::string> out;
  for (const auto& h : held_by(tx, user_id)) {
    if (h.inherited)
      for (const auto& below : subtree_of(tx, h.target_id)) out.insert(below.id);
    else if (h.target_kind == "project")
      out.insert(h.target_id);
  }
  return out;
}

std::set<std::string> domains_of(db::Tx& tx, const std::string& user_id) {
  std::set<std::string> out;
  for (const auto& h : held_by(tx, user_id))
    if (!h.inherited && h.target_kind == "domain") out.insert(h.target_id);
  return out;
}

}  // namespace virga::identity
