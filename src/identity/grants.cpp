// Grants: a role for a user or group on a project, domain or the system; inherited ones count for the
// projects below.
#include <fmt/format.h>

#include "identity/application_credential_table.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

/// One family of grant URLs.
struct Family {
  std::string_view target, actor;
  bool inherited;
  std::string_view list, item;  ///< paths
};

constexpr Family kFamilies[] = {
    {"project", "user", false, "/v3/projects/{project_id}/users/{user_id}/roles",
     "/v3/projects/{project_id}/users/{user_id}/roles/{role_id}"},
    {"project", "group", false, "/v3/projects/{project_id}/groups/{group_id}/roles",
     "/v3/projects/{project_id}/groups/{group_id}/roles/{role_id}"},
    {"domain", "user", false, "/v3/domains/{domain_id}/users/{user_id}/roles",
     "/v3/domains/{domain_id}/users/{user_id}/roles/{role_id}"},
    {"domain", "group", false, "/v3/domains/{domain_id}/groups/{group_id}/roles",
     "/v3/domains/{domain_id}/groups/{group_id}/roles/{role_id}"},
    {"project", "user", true,
     "/v3/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/inherited_to_projects",
     "/v3/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/{role_id}/inherited_to_projects"},
    {"project", "group", true,
     "/v3/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/inherited_to_projects",
     "/v3/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects"},
    {"domain", "user", true, "/v3/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects",
     "/v3/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects"},
    {"domain", "group", true,
     "/v3/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/inherited_to_projects",
     "/v3/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects"},
    {"system", "user", false, "/v3/system/users/{user_id}/roles",
     "/v3/system/users/{user_id}/roles/{role_id}"},
    {"system", "group", false, "/v3/system/groups/{group_id}/roles",
     "/v3/system/groups/{group_id}/roles/{role_id}"},
};

const std::string& actor_id(const Family& f, const api::Call& call) {
  return call.param(f.actor == "user" ? "user_id" : "group_id");
}

std::string target_id(const Family& f, const api::Call& call) {
  return f.target == "system" ? "system" : call.param(f.target == "project" ? "project_id" : "domain_id");
}

/// What the path names, as policies ask for it. What is not there has no attributes: whether that may be told
/// is the policy's to say first.
api::Target policy_target(db::Tx& tx, const Family& f, const api::Call& call) {
  api::Target out;
  const std::string& actor = actor_id(f, call);
  const auto home = tx.first(fmt::format("SELECT domain_id FROM identity_{}s WHERE id = ?", f.actor), actor);
  if (home) out.emplace_back(fmt::format("target.{}.domain_id", f.actor), home->text(0));
  if (f.target != "system")
    if (const auto project = find_project(tx, target_id(f, call))) {
      if (f.target == "project") out.emplace_back("target.project.domain_id", project->home());
      if (f.target == "domain" && project->is_domain) out.emplace_back("target.domain.id", project->id);
    }
  if (const std::string* role = call.find_param("role_id"))
    if (const auto row = tx.first("SELECT domain_id FROM identity_roles WHERE id = ?", *role))
      out.emplace_back("target.role.domain_id", row->text(0));
  return out;
}

/// Actor and target must be there, and a domain role on a project must be of the project's domain.
void check_ends(db::Tx& tx, const Family& f, const api::Call& call, const RoleRow* role) {
  if (f.actor == "user")
    get_user(tx, actor_id(f, call));
  else
    get_group(tx, actor_id(f, call));
  std::string home;
  if (f.target == "project") home = get_project(tx, target_id(f, call)).home();
  if (f.target == "domain") home = get_domain(tx, target_id(f, call)).id;
  if (!role || role->domain_id.empty()) return;
  if (f.target == "project" && role->domain_id != home)
    throw Fault(FaultKind::forbidden,
                fmt::format("Project {} must be in the same domain as the role {} being assigned.",
                            target_id(f, call), role->id));
}

constexpr std::string_view kThisGrant =
    " FROM identity_assignments WHERE actor_kind = ? AND actor_id = ? AND target_kind = ? AND target_id = ? "
    "AND role_id = ? AND inherited = ?";

bool is_granted(db::Tx& tx, const Family& f, const api::Call& call) {
  return tx
      .first(fmt::format("SELECT 1{}", kThisGrant), f.actor, actor_id(f, call), f.target, target_id(f, call),
             call.param("role_id"), f.inherited)
      .has_value();
}

[[noreturn]] void no_grant(const Family& f, const api::Call& call) {
  throw Fault(
      FaultKind::not_found,
      fmt::format(
          "Could not find role assignment with role: {}, user or group: {}, project, domain, or system: "
          "{}.",
          call.param("role_id"), actor_id(f, call), target_id(f, call)));
}

http::Response grant(Core& core, const Family& f, api::Call& call) {
  core.change([&](db::Tx& tx) {
    call.require(policy_target(tx, f, call));
    const RoleRow role = get_role(tx, call.param("role_id"));
    check_ends(tx, f, call, &role);
    if (is_granted(tx, f, call)) return;
    tx.exec(
        "INSERT INTO identity_assignments (actor_kind, actor_id, target_kind, target_id, role_id, inherited) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        f.actor, actor_id(f, call), f.target, target_id(f, call), role.id, f.inherited);
  });
  return api::reply(204);
}

http::Response check_grant(Core& core, const Family& f, api::Call& call) {
  core.database.read([&](db::Tx& tx) {
    call.require(policy_target(tx, f, call));
    get_role(tx, call.param("role_id"));
    check_ends(tx, f, call, nullptr);
    if (!is_granted(tx, f, call)) no_grant(f, call);
  });
  return api::reply(204);
}

http::Response revoke(Core& core, const Family& f, api::Call& call) {
  core.change([&](db::Tx& tx) {
    call.require(policy_target(tx, f, call));
    get_role(tx, call.param("role_id"));
    const int64_t gone = tx.exec(fmt::format("DELETE{}", kThisGrant), f.actor, actor_id(f, call), f.target,
                                 target_id(f, call), call.param("role_id"), f.inherited);
    if (gone == 0) no_grant(f, call);
    if (f.actor == "user") return prune_application_credentials(tx, actor_id(f, call));
    for (const auto& row :
         tx.query("SELECT user_id FROM identity_memberships WHERE group_id = ?", actor_id(f, call)))
      prune_application_credentials(tx, row.text(0));
  });
  return api::reply(204);
}

http::Response list_grants(Core& core, const Family& f, api::Call& call) {
  const auto rows = core.database.read([&](db::Tx& tx) {
    call.require(policy_target(tx, f, call));
    check_ends(tx, f, call, nullptr);
    return tx.query(
        "SELECT r.id, r.domain_id, r.name, r.description, r.options, r.extra FROM identity_assignments a "
        "JOIN identity_roles r ON r.id = a.role_id "
        "WHERE a.actor_kind = ? AND a.actor_id = ? AND a.target_kind = ? AND a.target_id = ? AND a.inherited "
        "= ? ORDER BY r.name",
        f.actor, actor_id(f, call), f.target, target_id(f, call), f.inherited);
  });
  json::array out;
  for (const auto& row : rows) out.push_back(role_view(call, read_role(row)));
  return list_reply(call, "roles", std::move(out));
}

struct Policies {
  std::string_view list, check, create, revoke;
};

Policies policies_of(const Family& f) {
  if (f.target != "system")
    return {"identity:list_grants", "identity:check_grant", "identity:create_grant", "identity:revoke_grant"};
  if (f.actor == "user")
    return {"identity:list_system_grants_for_user", "identity:check_system_grant_for_user",
            "identity:create_system_grant_for_user", "identity:revoke_system_grant_for_user"};
  return {"identity:list_system_grants_for_group", "identity:check_system_grant_for_group",
          "identity:create_system_grant_for_group", "identity:revoke_system_grant_for_group"};
}

}  // namespace

void add_grant_routes(Core& core, Routes& to) {
  for (const Family& f : kFamilies) {
    const auto on = [&core, &f](auto handler) {
      return [&core, &f, handler](api::Call& call) { return handler(core, f, call); };
    };
    const Policies p = policies_of(f);
    to.push_back({"GET", f.list, p.list, on(list_grants)});
    to.push_back({"GET", f.item, p.check, on(check_grant)});
    to.push_back({"PUT", f.item, p.create, on(grant)});
    to.push_back({"DELETE", f.item, p.revoke, on(revoke)});
  }
}

}  // namespace virga::identity
