// Roles, and which role implies which.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/immutable.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{.name = "role",
                               .plural = "roles",
                               .attributes = {rows::id(), rows::name(), rows::owner("domain_id"),
                                              rows::description(), rows::options()},
                               .extra = true};
  return r;
}

void read_description(RoleRow& r, const json::object& a) {
  if (!a.contains("description")) return;
  r.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
}

/// Domain roles have rules of their own: "identity:get_role" or "identity:get_domain_role".
void require(api::Call& call, std::string_view verb, bool domain_role, std::string_view noun = "role") {
  call.require(fmt::format("identity:{}_{}{}", verb, domain_role ? "domain_" : "", noun), api::Target{});
}

/// The role in the path, if the caller may `verb` it. A role that is not there counts as no domain role, so
/// that who may not look does not learn what there is.
RoleRow get_target(Core& core, api::Call& call, std::string_view verb) {
  const std::string& id = call.param("role_id");
  return core.database.read([&](db::Tx& tx) {
    const auto row = tx.first(fmt::format("SELECT {} FROM identity_roles WHERE id = ?", kRoleColumns), id);
    require(call, verb, row && !row->text(1).empty());
    if (!row) not_found("role", id);
    return read_role(*row);
  });
}

http::Response create_role(Core& core, api::Call& call) {
  require(call, "create", has_value(unchecked_body(call, "role"), "domain_id"));
  json::object a = api::validate_create(resource(), call.body_of("role"));
  RoleRow r{.id = new_hex_id()};
  r.extra = take_extra(resource(), a);
  r.name = find_string(a, "name");
  r.domain_id = find_string(a, "domain_id");
  check_options(a);
  read_description(r, a);
  merge_options(r.options, a);
  core.change([&](db::Tx& tx) {
    if (!r.domain_id.empty()) get_domain(tx, r.domain_id);
    insert_role(tx, r);
  });
  return item_reply(201, "role", role_view(call, r));
}

http::Response list_roles(Core& core, api::Call& call) {
  require(call, "list", !call.request.query_value("domain_id").value_or("").empty(), "roles");
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read([&](db::Tx& tx) {
    api::Where where;
    if (!call.request.query_value("domain_id")) where.add("domain_id = ''");
    return api::select_page(tx, kRoleColumns, "identity_roles", query, where);
  });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(role_view(call, read_role(row)));
  return list_reply(call, "roles", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_role(Core& core, api::Call& call) {
  return item_reply(200, "role", role_view(call, get_target(core, call, "get")));
}

http::Response update_role(Core& core, api::Call& call) {
  get_target(core, call, "update");
  json::object a = update_body(call, resource(), call.param("role_id"));
  const json::object extra = take_extra(resource(), a);
  check_options(a);
  const auto changed = core.change([&](db::Tx& tx) {
    RoleRow r = get_role(tx, call.param("role_id"));
    check_mutable(r.options, call.body_of("role"), "role", r.id);
    if (a.contains("domain_id") && find_string(a, "domain_id") != r.domain_id)
      throw Fault(FaultKind::bad_request, "Update of `domain_id` is not allowed.");
    r.name = find_string(a, "name", r.name);
    read_description(r, a);
    merge_options(r.options, a);
    merge_extra(r.extra, extra);
    try {
      tx.exec("UPDATE identity_roles SET name = ?, description = ?, options = ?, extra = ? WHERE id = ?",
              r.name, r.description, json::serialize(r.options), json::serialize(r.extra), r.id);
    } catch (const db::UniqueViolation&) {
      duplicate("role", fmt::format("Duplicate entry found with name {}", r.name));
    }
    return r;
  });
  return item_reply(200, "role", role_view(call, changed));
}

http::Response delete_role(Core& core, api::Call& call) {
  get_target(core, call, "delete");
  core.change([&](db::Tx& tx) {
    const RoleRow r = get_role(tx, call.param("role_id"));
    check_deletable(r.options, "role", r.id);
    erase_role(tx, r.id);
  });
  return api::reply(204);
}

json::object brief(const api::Call& call, const RoleName& r) {
  return {{"id", r.id}, {"name", r.name}, {"links", self_link(call, "roles", r.id)}};
}

json::object inference_view(const api::Call& call, const RoleRow& prior, const RoleRow& implied) {
  return {
      {"role_inference",
       {{"prior_role", brief(call, {prior.id, prior.name, ""})},
        {"implies", brief(call, {implied.id, implied.name, ""})}}},
      {"links", {{"self", fmt::format("{}/v3/roles/{}/implies/{}", call.base_url, prior.id, implied.id)}}}};
}

json::object inferences_of(const api::Call& call, const RoleGraph& graph, const RoleName& prior) {
  json::array implies;
  for (const auto& id : graph.implied_by(prior.id))
    if (const auto* role = graph.find(id)) implies.push_back(brief(call, *role));
  return {{"prior_role", brief(call, prior)}, {"implies", std::move(implies)}};
}

http::Response list_implied(Core& core, api::Call& call) {
  const auto view = core.database.read([&](db::Tx& tx) {
    const RoleRow prior = get_role(tx, call.param("role_id"));
    return inferences_of(call, RoleGraph(tx), {prior.id, prior.name, ""});
  });
  return api::reply(
      200, json::object{
               {"role_inference", view},
               {"links",
                {{"self", fmt::format("{}/v3/roles/{}/implies", call.base_url, call.param("role_id"))}}}});
}

http::Response list_inferences(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const RoleGraph graph(tx);
    for (const auto& row : tx.query("SELECT DISTINCT prior_role_id FROM identity_implied_roles"))
      if (const auto* prior = graph.find(row.text(0))) out.push_back(inferences_of(call, graph, *prior));
  });
  return list_reply(call, "role_inferences", std::move(out));
}

bool implies(db::Tx& tx, const std::string& prior, const std::string& implied) {
  return tx
      .first("SELECT 1 FROM identity_implied_roles WHERE prior_role_id = ? AND implied_role_id = ?", prior,
             implied)
      .has_value();
}

http::Response create_implied(Core& core, api::Call& call) {
  const auto view = core.change([&](db::Tx& tx) {
    const RoleRow prior = get_role(tx, call.param("role_id")),
                  implied = get_role(tx, call.param("implied_id"));
    if (prior.domain_id.empty() && !implied.domain_id.empty())
      throw Fault(FaultKind::forbidden, "Global role cannot imply a domain-specific role");
    if (implied.name == "admin" && implied.domain_id.empty())
      throw Fault(FaultKind::forbidden, fmt::format("{} cannot be an implied roles.", implied.id));
    if (!implies(tx, prior.id, implied.id))
      tx.exec("INSERT INTO identity_implied_roles (prior_role_id, implied_role_id) VALUES (?, ?)", prior.id,
              implied.id);
    return inference_view(call, prior, implied);
  });
  return api::reply(201, view);
}

http::Response show_implied(Core& core, api::Call& call) {
  const auto view = core.database.read([&](db::Tx& tx) {
    const RoleRow prior = get_role(tx, call.param("role_id")),
                  implied = get_role(tx, call.param("implied_id"));
    if (!implies(tx, prior.id, implied.id))
      throw Fault(FaultKind::not_found, fmt::format("{} does not imply {}.", prior.id, implied.id));
    return inference_view(call, prior, implied);
  });
  http::Response r = call.request.method == "HEAD" ? api::reply(204) : api::reply(200, view);
  return r;
}

http::Response delete_implied(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const std::string &prior = call.param("role_id"), &implied = call.param("implied_id");
    if (tx.exec("DELETE FROM identity_implied_roles WHERE prior_role_id = ? AND implied_role_id = ?", prior,
                implied) == 0)
      throw Fault(FaultKind::not_found, fmt::format("{} does not imply {}.", prior, implied));
  });
  return api::reply(204);
}

}  // namespace

void add_role_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  constexpr std::string_view implied = "/v3/roles/{role_id}/implies/{implied_id}";
  const auto add = [&](const char* method, const char* path, const char* policy, auto handler) {
    to.push_back({method, path, policy, on(handler)});
    to.back().chooses_policy = true;
  };
  add("POST", "/v3/roles", "identity:create_role", create_role);
  add("GET", "/v3/roles", "identity:list_roles", list_roles);
  add("GET", "/v3/roles/{role_id}", "identity:get_role", show_role);
  add("PATCH", "/v3/roles/{role_id}", "identity:update_role", update_role);
  add("DELETE", "/v3/roles/{role_id}", "identity:delete_role", delete_role);
  to.push_back({"GET", "/v3/roles/{role_id}/implies", "identity:list_implied_roles",
                on(list_implied)});
  to.push_back({"PUT", implied, "identity:create_implied_role", on(create_implied)});
  to.push_back({"GET", implied, "identity:get_implied_role", on(show_implied)});
  to.push_back({"HEAD", implied, "identity:check_implied_role", on(show_implied)});
  to.push_back({"DELETE", implied, "identity:delete_implied_role", on(delete_implied)});
  to.push_back({"GET", "/v3/role_inferences", "identity:list_role_inference_rules",
                on(list_inferences)});
}

}  // namespace virga::identity
