// OS-EP-FILTER: which endpoints a project's catalogue shows, one by one or by groups of endpoints.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/catalog.h"
#include "identity/faults.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

struct EndpointGroup {
  std::string id, name;
  std::optional<std::string> description;
  json::object filters;
};
constexpr std::string_view kColumns = "id, name, description, filters";

const api::Resource& resource() {
  static const api::Resource r{
      .name = "endpoint_group",
      .plural = "endpoint_groups",
      .attributes = {
          rows::id(),
          rows::name(),
          rows::description(),
          {.name = "filters", .type = Type::object, .create = Set::required, .update = Set::optional}}};
  return r;
}

EndpointGroup read(const db::Row& r) {
  return {r.text(0), r.text(1), r.maybe_text(2), read_json(r.text(3))};
}

EndpointGroup get_endpoint_group(db::Tx& tx, const std::string& id) {
  const auto row =
      tx.first(fmt::format("SELECT {} FROM identity_endpoint_groups WHERE id = ?", kColumns), id);
  if (!row) not_found("Endpoint Group", id);
  return read(*row);
}

json::object view(const api::Call& call, const EndpointGroup& g) {
  return {{"id", g.id},
          {"name", g.name},
          {"description", g.description ? json::value(*g.description) : json::value(nullptr)},
          {"filters", g.filters},
          {"links", self_link(call, "OS-EP-FILTER/endpoint_groups", g.id)}};
}

void check_filters(const json::object& filters) {
  for (const auto& [name, value] : filters)
    if (name != "service_id" && name != "region_id" && name != "interface")
      expecting("service_id or region_id or interface", "endpoint_group");
}

bool lets_through(const json::object& filters, const EndpointRow& e) {
  for (const auto& [name, wanted] : filters) {
    const std::string& have = name == "service_id"  ? e.service_id
                              : name == "region_id" ? e.region_id
                                                    : e.interface;
    if (wanted.is_null() ? !have.empty() : !wanted.is_string() || str(wanted) != have) return false;
  }
  return true;
}

void read_attributes(EndpointGroup& g, const json::object& a) {
  g.name = find_string(a, "name", g.name);
  if (a.contains("description"))
    g.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
  if (const auto* filters = find_object(a, "filters")) {
    check_filters(*filters);
    g.filters = *filters;
  }
}

http::Response create_group(Core& core, api::Call& call) {
  const json::object a = api::validate_create(resource(), call.body_of("endpoint_group"));
  EndpointGroup g{.id = new_hex_id()};
  read_attributes(g, a);
  if (g.filters.empty()) throw Fault(FaultKind::bad_request, "filters field is required and cannot be empty");
  core.change([&](db::Tx& tx) {
    tx.exec("INSERT INTO identity_endpoint_groups (id, name, description, filters) VALUES (?, ?, ?, ?)", g.id,
            g.name, g.description, json::serialize(g.filters));
  });
  return item_reply(201, "endpoint_group", view(call, g));
}

http::Response list_groups(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read(
      [&](db::Tx& tx) { return api::select_page(tx, kColumns, "identity_endpoint_groups", query, {}); });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(view(call, read(row)));
  return list_reply(call, "endpoint_groups", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_group(Core& core, api::Call& call) {
  const auto g =
      core.database.read([&](db::Tx& tx) { return get_endpoint_group(tx, call.param("endpoint_group_id")); });
  return item_reply(200, "endpoint_group", view(call, g));
}

http::Response update_group(Core& core, api::Call& call) {
  const json::object a = update_body(call, resource(), call.param("endpoint_group_id"));
  const auto changed = core.change([&](db::Tx& tx) {
    EndpointGroup g = get_endpoint_group(tx, call.param("endpoint_group_id"));
    read_attributes(g, a);
    tx.exec("UPDATE identity_endpoint_groups SET name = ?, description = ?, filters = ? WHERE id = ?", g.name,
            g.description, json::serialize(g.filters), g.id);
    return g;
  });
  return item_reply(200, "endpoint_group", view(call, changed));
}

http::Response delete_group(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const EndpointGroup g = get_endpoint_group(tx, call.param("endpoint_group_id"));
    tx.exec("DELETE FROM identity_endpoint_groups WHERE id = ?", g.id);
  });
  return api::reply(204);
}

json::array project_views(db::Tx& tx, const api::Call& call, const db::Rows& ids) {
  json::array out;
  for (const auto& row : ids)
    out.push_back(project_view(call, get_project(tx, row.text(0)), tags_of(tx, row.text(0))));
  return out;
}

http::Response list_projects_of_group(Core& core, api::Call& call) {
  const std::string& id = call.param("endpoint_group_id");
  auto out = core.database.read([&](db::Tx& tx) {
    get_endpoint_group(tx, id);
    return project_views(
        tx, call,
        tx.query("SELECT project_id FROM identity_project_endpoint_groups WHERE endpoint_group_id = ? ORDER "
                 "BY project_id",
                 id));
  });
  return list_reply(call, "projects", std::move(out));
}

http::Response list_endpoints_of_group(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const EndpointGroup g = get_endpoint_group(tx, call.param("endpoint_group_id"));
    for (const auto& e : all_endpoints(core, tx, call.cloud_url))
      if (lets_through(g.filters, e)) out.push_back(endpoint_view(call, e));
  });
  return list_reply(call, "endpoints", std::move(out));
}

/// A path's project and its other end (endpoint or endpoint group), which must both be there; and the rows
/// that join them.
struct Pair {
  std::string_view table, column;
  std::string project, other;
};

Pair pair_of(const Core& core, db::Tx& tx, const api::Call& call) {
  Pair p{.project = get_project(tx, call.param("project_id")).id};
  if (const std::string* endpoint = call.find_param("endpoint_id")) {
    p.table = "identity_project_endpoints";
    p.column = "endpoint_id";
    p.other = get_endpoint(core, tx, *endpoint, call.cloud_url).id;
  } else {
    p.table = "identity_project_endpoint_groups";
    p.column = "endpoint_group_id";
    p.other = get_endpoint_group(tx, call.param("endpoint_group_id")).id;
  }
  return p;
}

[[noreturn]] void no_pair(const Pair& p) {
  throw Fault(FaultKind::not_found,
              p.column == "endpoint_id"
                  ? fmt::format("Endpoint {} not found in project {}", p.other, p.project)
                  : "Endpoint Group Project Association not found");
}

http::Response join(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const Pair p = pair_of(core, tx, call);
    try {
      tx.exec(fmt::format("INSERT INTO {} (project_id, {}) VALUES (?, ?)", p.table, p.column), p.project,
              p.other);
    } catch (const db::UniqueViolation&) {
      duplicate(p.column == "endpoint_id" ? "project_endpoint" : "project_endpoint_group", "Duplicate entry");
    }
  });
  return api::reply(204);
}

http::Response part(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const Pair p = pair_of(core, tx, call);
    if (tx.exec(fmt::format("DELETE FROM {} WHERE project_id = ? AND {} = ?", p.table, p.column), p.project,
                p.other) == 0)
      no_pair(p);
  });
  return api::reply(204);
}

void check_pair(db::Tx& tx, const Pair& p) {
  if (!tx.first(fmt::format("SELECT 1 FROM {} WHERE project_id = ? AND {} = ?", p.table, p.column), p.project,
                p.other))
    no_pair(p);
}

http::Response check_endpoint(Core& core, api::Call& call) {
  core.database.read([&](db::Tx& tx) { check_pair(tx, pair_of(core, tx, call)); });
  return api::reply(204);
}

http::Response show_group_in_project(Core& core, api::Call& call) {
  const Pair p = core.database.read([&](db::Tx& tx) {
    const Pair found = pair_of(core, tx, call);
    check_pair(tx, found);
    return found;
  });
  return item_reply(200, "project_endpoint_group",
                    {{"endpoint_group_id", p.other},
                     {"project_id", p.project},
                     {"links",
                      {{"self", fmt::format("{}/v3/OS-EP-FILTER/endpoint_groups/{}/projects/{}",
                                            call.base_url, p.other, p.project)}}}});
}

http::Response list_projects_of_endpoint(Core& core, api::Call& call) {
  auto out = core.database.read([&](db::Tx& tx) {
    const auto e = get_endpoint(core, tx, call.param("endpoint_id"), call.cloud_url);
    return project_views(
        tx, call,
        tx.query(
            "SELECT project_id FROM identity_project_endpoints WHERE endpoint_id = ? ORDER BY project_id",
            e.id));
  });
  return list_reply(call, "projects", std::move(out));
}

std::vector<EndpointGroup> groups_of_project(db::Tx& tx, const std::string& project_id) {
  std::vector<EndpointGroup> out;
  for (const auto& row : tx.query(
           "SELECT g.id, g.name, g.description, g.filters FROM identity_project_endpoint_groups p JOIN "
           "identity_endpoint_groups g ON g.id = p.endpoint_group_id WHERE p.project_id = ? ORDER BY g.id",
           project_id))
    out.push_back(read(row));
  return out;
}

/// What the project's associations name: directly, or through a group.
std::set<std::string> endpoints_named(db::Tx& tx, const std::string& project_id,
                                      const std::vector<EndpointRow>& all) {
  std::set<std::string> out;
  for (const auto& row :
       tx.query("SELECT endpoint_id FROM identity_project_endpoints WHERE project_id = ?", project_id))
    out.insert(row.text(0));
  for (const auto& g : groups_of_project(tx, project_id))
    for (const auto& e : all)
      if (lets_through(g.filters, e)) out.insert(e.id);
  return out;
}

http::Response list_endpoints_of_project(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const std::string id = get_project(tx, call.param("project_id")).id;
    const auto all = all_endpoints(core, tx, call.cloud_url);
    const auto named = endpoints_named(tx, id, all);
    for (const auto& e : all)
      if (named.contains(e.id)) out.push_back(endpoint_view(call, e));
  });
  return list_reply(call, "endpoints", std::move(out));
}

http::Response list_groups_of_project(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const std::string id = get_project(tx, call.param("project_id")).id;
    for (const auto& g : groups_of_project(tx, id)) out.push_back(view(call, g));
  });
  return list_reply(call, "endpoint_groups", std::move(out));
}

}  // namespace

std::optional<std::set<std::string>> filtered_endpoints(db::Tx& tx, const std::string& project_id,
                                                        const std::vector<EndpointRow>& all) {
  if (project_id.empty()) return std::nullopt;
  auto named = endpoints_named(tx, project_id, all);
  // A service may be gone that a direct association names by an endpoint of the cloud's own.
  std::erase_if(named, [&](const std::string& id) {
    return std::none_of(all.begin(), all.end(), [&](const auto& e) { return e.id == id; });
  });
  return named.empty() ? std::nullopt : std::optional(std::move(named));
}

void forget_endpoint(db::Tx& tx, const std::string& id) {
  tx.exec("DELETE FROM identity_project_endpoints WHERE endpoint_id = ?", id);
  tx.exec("DELETE FROM identity_policy_associations WHERE endpoint_id = ?", id);
}

void forget_service(db::Tx& tx, const std::string& id) {
  tx.exec("DELETE FROM identity_policy_associations WHERE service_id = ?", id);
}

void add_endpoint_filter_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string root = "/v3/OS-EP-FILTER", groups = root + "/endpoint_groups",
                    group = groups + "/{endpoint_group_id}", group_project = group + "/projects/{project_id}",
                    project = root + "/projects/{project_id}",
                    project_endpoint = project + "/endpoints/{endpoint_id}";
  const auto reads = [&](const std::string& path, const std::string& policy, auto handler) {
    to.push_back({"GET", path, "identity:" + policy, on(handler)});
  };
  const auto writes = [&](const char* method, const std::string& path, const std::string& policy,
                          auto handler) {
    to.push_back({method, path, "identity:" + policy, on(handler)});
  };
  writes("POST", groups, "create_endpoint_group", create_group);
  reads(groups, "list_endpoint_groups", list_groups);
  reads(group, "get_endpoint_group", show_group);
  writes("PATCH", group, "update_endpoint_group", update_group);
  writes("DELETE", group, "delete_endpoint_group", delete_group);
  reads(group + "/projects", "list_projects_associated_with_endpoint_group", list_projects_of_group);
  reads(group + "/endpoints", "list_endpoints_associated_with_endpoint_group", list_endpoints_of_group);
  reads(group_project, "get_endpoint_group_in_project", show_group_in_project);
  writes("PUT", group_project, "add_endpoint_group_to_project", join);
  writes("DELETE", group_project, "remove_endpoint_group_from_project", part);
  reads(project + "/endpoint_groups", "list_endpoint_groups_for_project", list_groups_of_project);
  reads(project + "/endpoints", "list_endpoints_for_project", list_endpoints_of_project);
  reads(project_endpoint, "check_endpoint_in_project", check_endpoint);
  writes("PUT", project_endpoint, "add_endpoint_to_project", join);
  writes("DELETE", project_endpoint, "remove_endpoint_from_project", part);
  reads(root + "/endpoints/{endpoint_id}/projects", "list_projects_for_endpoint", list_projects_of_endpoint);
}

}  // namespace virga::identity
