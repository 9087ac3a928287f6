// Groups and who is in them.
#include <fmt/format.h>

#include "identity/application_credential_table.h"
#include "identity/attribute_rows.h"
#include "identity/directory_sync.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "group",
      .plural = "groups",
      .attributes = {rows::id(), rows::name(64), rows::owner("domain_id"), rows::description()},
      .extra = true};
  return r;
}

api::Target target_of(const GroupRow& g) {
  return {{"target.domain_id", g.domain_id}, {"target.group.domain_id", g.domain_id}};
}

http::Response create_group(Core& core, api::Call& call) {
  GroupRow g{.id = new_hex_id()};
  g.domain_id = find_string(unchecked_body(call, "group"), "domain_id", own_domain(call));
  call.require(target_of(g));
  json::object a = api::validate_create(resource(), call.body_of("group"));
  g.extra = take_extra(resource(), a);
  g.name = find_string(a, "name");
  g.description = find_string(a, "description");
  refuse_directory_write(core, g.domain_id);
  core.change([&](db::Tx& tx) {
    get_domain(tx, g.domain_id);
    try {
      tx.exec("INSERT INTO identity_groups (id, domain_id, name, description, extra) VALUES (?, ?, ?, ?, ?)",
              g.id, g.domain_id, g.name, g.description, json::serialize(g.extra));
    } catch (const db::UniqueViolation&) {
      duplicate("group",
                fmt::format("Duplicate entry found with name {} at domain ID {}", g.name, g.domain_id));
    }
  });
  return item_reply(201, "group", group_view(call, g));
}

http::Response list_groups(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  call.require({{"target.group.domain_id", call.caller().domain_id}});
  refresh_listed(core, call);
  db::Rows rows = core.database.read([&](db::Tx& tx) {
    api::Where where;
    confine(call, where);
    where.add(present_in_directory("identity_groups"));
    return api::select_page(tx, kGroupColumns, "identity_groups", query, where);
  });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(group_view(call, read_group(row)));
  return list_reply(call, "groups", std::move(out), more ? rows.back().text(0) : "");
}

/// The group in the path, as its directory has it now if it lives in one, if the caller may do this to it. To who may
/// not, one that is not there is no different.
GroupRow read_target(Core& core, api::Call& call, api::Target target = {}) {
  const std::string& id = call.param("group_id");
  refresh_group(core, id);
  const auto group = core.database.read(
      [&](db::Tx& tx) { return is_gone(tx, id) ? std::nullopt : find_group(tx, id); });
  if (group) {
    const api::Target own = target_of(*group);
    target.insert(target.end(), own.begin(), own.end());
  }
  call.require(target);
  if (!group) not_found("group", id);
  return *group;
}

http::Response show_group(Core& core, api::Call& call) {
  const GroupRow g = read_target(core, call);
  return item_reply(200, "group", group_view(call, g));
}

http::Response update_group(Core& core, api::Call& call) {
  const std::string domain_id = read_target(core, call).domain_id;
  json::object a = update_body(call, resource(), call.param("group_id"));
  const json::object extra = take_extra(resource(), a);
  refuse_directory_write(core, domain_id);
  const auto changed = core.change([&](db::Tx& tx) {
    GroupRow g = get_group(tx, call.param("group_id"));
    if (has_value(a, "domain_id") && find_string(a, "domain_id") != g.domain_id)
      throw Fault(FaultKind::bad_request, "Cannot change Domain ID");
    g.name = find_string(a, "name", g.name);
    if (a.contains("description")) g.description = find_string(a, "description");
    merge_extra(g.extra, extra);
    try {
      tx.exec("UPDATE identity_groups SET name = ?, description = ?, extra = ? WHERE id = ?", g.name,
              g.description, json::serialize(g.extra), g.id);
    } catch (const db::UniqueViolation&) {
      duplicate("group", fmt::format("Duplicate entry found with name {}", g.name));
    }
    return g;
  });
  return item_reply(200, "group", group_view(call, changed));
}

http::Response delete_group(Core& core, api::Call& call) {
  refuse_directory_write(core, read_target(core, call).domain_id);
  core.change([&](db::Tx& tx) {
    get_group(tx, call.param("group_id"));
    erase_group(tx, call.param("group_id"));
  });
  return api::reply(204);
}

/// What a group's list of users filters by.
const api::Resource& member_filters() {
  static const api::Resource r{.name = "user",
                               .plural = "users",
                               .attributes = {{.name = "name", .filter = true},
                                              {.name = "domain_id", .filter = true},
                                              {.name = "enabled", .type = Type::boolean, .filter = true}}};
  return r;
}

http::Response list_members(Core& core, api::Call& call) {
  const auto query = api::parse_list(member_filters(), call.request, list_rules());
  json::array out;
  const GroupRow group = read_target(core, call);
  core.database.read([&](db::Tx& tx) {
    out.clear();
    api::Where where;
    where.add("id IN (SELECT user_id FROM identity_memberships WHERE group_id = ?)", group.id);
    add_password_expiry_filter(call, where);
    const auto rows =
        tx.query(fmt::format("SELECT {} FROM identity_users{} ORDER BY name", kUserColumns, where.sql()),
                 where.values);
    for (const auto& row : rows) {
      json::object view = user_view(core, call, read_user(row));
      if (query.matches(view)) out.push_back(std::move(view));
    }
  });
  return list_reply(call, "users", std::move(out));
}

bool is_member(db::Tx& tx, const api::Call& call) {
  return tx
      .first("SELECT 1 FROM identity_memberships WHERE user_id = ? AND group_id = ?", call.param("user_id"),
             call.param("group_id"))
      .has_value();
}

/// The group of a membership, if the caller may do this to it and its user.
GroupRow read_pair(Core& core, api::Call& call) {
  const auto user = core.database.read([&](db::Tx& tx) { return find_user(tx, call.param("user_id")); });
  return read_target(core, call,
                     user ? api::Target{{"target.user.domain_id", user->domain_id}} : api::Target{});
}

/// Group and user must be there.
void check_pair(db::Tx& tx, const api::Call& call) {
  get_group(tx, call.param("group_id"));
  get_user(tx, call.param("user_id"));
}

[[noreturn]] void not_a_member(const api::Call& call) {
  not_found("user", fmt::format("{} in group {}", call.param("user_id"), call.param("group_id")));
}

http::Response add_member(Core& core, api::Call& call) {
  refuse_directory_write(core, read_pair(core, call).domain_id);
  core.change([&](db::Tx& tx) {
    check_pair(tx, call);
    if (!is_member(tx, call))
      tx.exec("INSERT INTO identity_memberships (user_id, group_id) VALUES (?, ?)", call.param("user_id"),
              call.param("group_id"));
  });
  return api::reply(204);
}

http::Response check_member(Core& core, api::Call& call) {
  read_pair(core, call);
  core.database.read([&](db::Tx& tx) {
    check_pair(tx, call);
    if (!is_member(tx, call)) not_a_member(call);
  });
  return api::reply(204);
}

http::Response remove_member(Core& core, api::Call& call) {
  refuse_directory_write(core, read_pair(core, call).domain_id);
  core.change([&](db::Tx& tx) {
    check_pair(tx, call);
    if (tx.exec("DELETE FROM identity_memberships WHERE user_id = ? AND group_id = ?", call.param("user_id"),
                call.param("group_id")) == 0)
      not_a_member(call);
    prune_application_credentials(tx, call.param("user_id"));
  });
  return api::reply(204);
}

}  // namespace

void add_group_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/groups", "identity:create_group", on(create_group)});
  to.push_back({"GET", "/v3/groups", "identity:list_groups", on(list_groups)});
  to.push_back(
      {"GET", "/v3/groups/{group_id}", "identity:get_group", on(show_group)});
  to.push_back({"PATCH", "/v3/groups/{group_id}", "identity:update_group", on(update_group)});
  to.push_back({"DELETE", "/v3/groups/{group_id}", "identity:delete_group", on(delete_group)});
  to.push_back({"GET", "/v3/groups/{group_id}/users", "identity:list_users_in_group", on(list_members)});
  to.push_back({"PUT", "/v3/groups/{group_id}/users/{user_id}", "identity:add_user_to_group",
                on(add_member)});
  to.push_back({"GET", "/v3/groups/{group_id}/users/{user_id}", "identity:check_user_in_group", on(check_member)});
  to.push_back({"DELETE", "/v3/groups/{group_id}/users/{user_id}", "identity:remove_user_from_group", on(remove_member)});
}

}  // namespace virga::identity
