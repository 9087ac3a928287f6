// Users: made, changed, found, and their passwords.
#include <fmt/format.h>

#include "identity/application_credential_table.h"
#include "identity/attribute_rows.h"
#include "identity/directory_sync.h"
#include "identity/faults.h"
#include "identity/login.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/user_options.h"
#include "identity/user_passwords.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{.name = "user",
                               .plural = "users",
                               .attributes = {rows::id(),
                                              rows::name(),
                                              rows::owner("domain_id"),
                                              rows::enabled(),
                                              {.name = "password",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true,
                                               .max = 0},
                                              {.name = "default_project_id",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true},
                                              rows::options()},
                               .extra = true};
  return r;
}

api::Target target_of(const UserRow& u) {
  return {
      {"target.user.id", u.id}, {"target.user.domain_id", u.domain_id}, {"target.domain_id", u.domain_id}};
}

/// The hash for a "password" among the attributes; nullopt if there is none. Done before any transaction: it
/// is slow.
std::optional<std::string> hash_of(const Core& core, const json::object& a) {
  if (!a.contains("password")) return std::nullopt;
  if (!has_value(a, "password")) return std::string();
  const std::string password = find_string(a, "password");
  core.password_rules.check(password);
  return core.passwords.hash(password);
}

/// Options to be added; null takes one away.
json::object options_of(const json::object& a) {
  const auto* options = find_object(a, "options");
  if (!options) return {};
  check_user_options(*options);
  return *options;
}

/// Keystone lets a default project be named that does not exist (yet), but no domain.
void check_default_project(db::Tx& tx, const json::object& a) {
  if (!has_value(a, "default_project_id")) return;
  const std::string id = find_string(a, "default_project_id");
  if (const auto project = find_project(tx, id); project && project->is_domain)
    refuse_body(fmt::format("User's default project ID cannot be a domain ID: {}", id));
}

http::Response create_user(Core& core, api::Call& call) {
  UserRow u{.id = new_hex_id()};
  u.domain_id = find_string(unchecked_body(call, "user"), "domain_id", own_domain(call));
  call.require(target_of(u));
  json::object body = call.body_of("user");
  body.erase("id");
  json::object a = api::validate_create(resource(), body);
  u.extra = take_extra(resource(), a);
  refuse_directory_write(core, u.domain_id);
  u.name = find_string(a, "name");
  u.enabled = find_bool(a, "enabled", true);
  u.default_project_id = find_string(a, "default_project_id");
  merge_extra(u.options, options_of(a));
  if (auto hash = hash_of(core, a); hash && !hash->empty())
    set_password(core, u, std::move(*hash), SetBy::admin);
  core.change([&](db::Tx& tx) {
    get_domain(tx, u.domain_id);
    check_default_project(tx, a);
    insert_user(tx, u, core.clock.now());
  });
  return item_reply(201, "user", user_view(core, call, u));
}

http::Response list_users(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  call.require({{"target.domain_id", call.caller().domain_id}});
  refresh_listed(core, call);
  db::Rows rows = core.database.read([&](db::Tx& tx) {
    api::Where where;
    confine(call, where);
    where.add(present_in_directory("identity_users"));
    add_password_expiry_filter(call, where);
    return api::select_page(tx, kUserColumns, "identity_users", query, where);
  });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(user_view(core, call, read_user(row)));
  return list_reply(call, "users", std::move(out), more ? rows.back().text(0) : "");
}

UserRow read_target(Core& core, api::Call& call) {
  refresh_user(core, call.param("user_id"));
  const auto user = core.database.read([&](db::Tx& tx) {
    return is_gone(tx, call.param("user_id")) ? std::nullopt : find_user(tx, call.param("user_id"));
  });
  call.require(target_of(user ? *user : UserRow{.id = call.param("user_id")}));
  if (!user) not_found("user", call.param("user_id"));
  return *user;
}

http::Response show_user(Core& core, api::Call& call) {
  return item_reply(200, "user", user_view(core, call, read_target(core, call)));
}

void apply_update(const Core& core, UserRow& u, const json::object& a,
                  const std::optional<std::string>& hash) {
  const bool was_enabled = u.enabled;
  u.name = find_string(a, "name", u.name);
  u.enabled = find_bool(a, "enabled", u.enabled);
  if (a.contains("default_project_id")) u.default_project_id = find_string(a, "default_project_id");
  merge_extra(u.options, options_of(a));
  if (hash) set_password(core, u, *hash, SetBy::admin);
  if (was_enabled && !u.enabled) ++u.generation;
}

http::Response update_user(Core& core, api::Call& call) {
  const std::string domain_id = read_target(core, call).domain_id;
  json::object a = update_body(call, resource(), call.param("user_id"));
  const json::object extra = take_extra(resource(), a);
  refuse_directory_write(core, domain_id);
  const auto hash = hash_of(core, a);
  const auto changed = core.change([&](db::Tx& tx) {
    UserRow u = get_user(tx, call.param("user_id"));
    if (has_value(a, "domain_id") && find_string(a, "domain_id") != u.domain_id)
      throw Fault(FaultKind::bad_request, "Cannot change Domain ID");
    check_default_project(tx, a);
    if (hash) remember_password(core, tx, u.id, u.password_hash);
    apply_update(core, u, a, hash);
    merge_extra(u.extra, extra);
    save_user(tx, u);
    if (find_bool(a, "enabled") || (hash && is_enabled(core, u))) wake_user(tx, u.id, core.clock.now());
    if (!u.enabled) erase_application_credentials_of_user(tx, u.id);
    return get_user(tx, u.id);
  });
  return item_reply(200, "user", user_view(core, call, changed));
}

http::Response delete_user(Core& core, api::Call& call) {
  refuse_directory_write(core, read_target(core, call).domain_id);
  core.change([&](db::Tx& tx) {
    get_user(tx, call.param("user_id"));
    erase_user(tx, call.param("user_id"));
  });
  return api::reply(204);
}

std::string text_member(const json::object& in, std::string_view name) {
  const auto* value = in.if_contains(name);
  if (!value || !value->is_string())
    throw Fault(FaultKind::bad_request,
                fmt::format("'{}' is a required property, and must be a string.", name));
  return str(*value);
}

/// A user's own change needs no token: the old password is the proof (an expired one must be changeable).
http::Response change_password(Core& core, api::Call& call) {
  const json::object& body = call.body_of("user");
  const std::string fresh = text_member(body, "password"), original = text_member(body, "original_password");
  const std::string& id = call.param("user_id");
  const auto user = core.database.read([&](db::Tx& tx) { return find_user(tx, id); });
  if (user) refuse_directory_write(core, user->domain_id);
  verify_password_login(core, user, original, Expired::accepted);
  check_own_change(core, *user, fresh);
  const std::string hash = core.passwords.hash(fresh);
  if (!note_login(core, *user)) refuse_authentication();
  core.change([&](db::Tx& tx) {
    UserRow u = get_user(tx, id);
    if (u.password_hash != user->password_hash)
      refuse_authentication();  // somebody else changed it meanwhile
    remember_password(core, tx, id, u.password_hash);
    set_password(core, u, hash, SetBy::user);
    save_user(tx, u);
  });
  return api::reply(204);
}

http::Response list_user_projects(Core& core, api::Call& call) {
  read_target(core, call);
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& id : projects_of(tx, call.param("user_id")))
      if (const auto project = find_project(tx, id))
        out.push_back(project_view(call, *project, tags_of(tx, id)));
  });
  return list_reply(call, "projects", std::move(out));
}

http::Response list_user_groups(Core& core, api::Call& call) {
  read_target(core, call);
  static const api::Resource filters{
      .name = "group", .plural = "groups", .attributes = {{.name = "name", .filter = true}}};
  const auto query = api::parse_list(filters, call.request, list_rules());
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const auto rows = tx.query(
        "SELECT g.id, g.domain_id, g.name, g.description, g.extra FROM identity_memberships m JOIN "
        "identity_groups g ON g.id = m.group_id "
        "WHERE m.user_id = ? ORDER BY g.name",
        call.param("user_id"));
    for (const auto& row : rows) {
      json::object view = group_view(call, read_group(row));
      if (query.matches(view)) out.push_back(std::move(view));
    }
  });
  return list_reply(call, "groups", std::move(out));
}

}  // namespace

void add_user_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/users", "identity:create_user", on(create_user)});
  to.push_back({"GET", "/v3/users", "identity:list_users", on(list_users)});
  to.push_back({"GET", "/v3/users/{user_id}", "identity:get_user", on(show_user)});
  to.push_back({"PATCH", "/v3/users/{user_id}", "identity:update_user", on(update_user)});
  to.push_back({"DELETE", "/v3/users/{user_id}", "identity:delete_user", on(delete_user)});
  to.push_back({"POST", "/v3/users/{user_id}/password", "", on(change_password)});
  to.push_back({"GET", "/v3/users/{user_id}/projects", "identity:list_user_projects",
                on(list_user_projects)});
  to.push_back({"GET", "/v3/users/{user_id}/groups", "identity:list_groups_for_user",
                on(list_user_groups)});
}

}  // namespace virga::identity
