// Projects: a tree below each domain, with tags.
#include <fmt/format.h>

#include "base/text.h"
#include "identity/attribute_rows.h"
#include "identity/immutable.h"
#include "identity/limits.h"
#include "identity/project_attributes.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

constexpr size_t kMaxDepth = 5;  ///< keystone's max_project_tree_depth

const api::Resource& resource() {
  static const api::Resource r{
      .name = "project",
      .plural = "projects",
      .attributes =
          {rows::id(),
           rows::name(64),
           rows::owner("domain_id"),
           rows::owner("parent_id"),
           {.name = "is_domain",
            .type = Type::boolean,
            .create = Set::optional,
            .update = Set::optional,
            .fallback = json::value(false),
            .filter = true},
           rows::enabled(),
           rows::description(),
           {.name = "tags", .type = Type::array, .create = Set::optional, .update = Set::optional, .max = 0},
           rows::options()},
      .extra = true};
  return r;
}

api::Target target_of(const ProjectRow& p) {
  return {
      {"target.project.id", p.id}, {"target.project.domain_id", p.home()}, {"target.domain_id", p.home()}};
}

/// What a new project names must be there; what is not is the request's fault, not a missing resource.
ProjectRow named(db::Tx& tx, std::string_view kind, const std::string& id) {
  const auto found = find_project(tx, id);
  if (!found || (kind == "domain" && !found->is_domain))
    throw Fault(FaultKind::bad_request, fmt::format("Could not find {}: {}.", kind, id));
  return *found;
}

/// Places a new project in its tree and checks what surrounds it.
void place(const Core& core, db::Tx& tx, ProjectRow& p, const std::string& fallback_domain) {
  if (p.is_domain) {
    if (!p.parent_id.empty() || !p.domain_id.empty())
      throw Fault(FaultKind::bad_request, "only root projects are allowed to act as domains.");
    return;
  }
  if (p.domain_id.empty())
    p.domain_id = p.parent_id.empty() ? fallback_domain : named(tx, "project", p.parent_id).home();
  named(tx, "domain", p.domain_id);
  if (p.parent_id.empty()) p.parent_id = p.domain_id;
  const ProjectRow parent = named(tx, "project", p.parent_id);
  if (p.domain_id != parent.home())
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Cannot create project, since it specifies its domain_id {}, but specifies a parent "
                    "in a different domain ({}).",
                    p.domain_id, parent.home()));
  auto branch = ancestors_of(tx, parent);
  if (branch.size() + 1 >
      std::min(kMaxDepth, limit_model(core.options.limit_model).max_depth.value_or(kMaxDepth)))
    throw Fault(FaultKind::forbidden, fmt::format("Max hierarchy depth reached for {} branch.", parent.id));
  branch.push_back(parent);
  for (const auto& above : branch)
    if (!above.enabled)
      throw Fault(
          FaultKind::bad_request,
          fmt::format("cannot create a project in a branch containing a disabled project: {}", above.id));
}

http::Response create_project(Core& core, api::Call& call) {
  ProjectRow p{.id = new_hex_id()};
  // Once as keystone asks, by what the body says, and once by where the project then really is.
  const std::string named_domain = find_string(unchecked_body(call, "project"), "domain_id", own_domain(call));
  call.require({{"target.project.id", p.id}, {"target.project.domain_id", named_domain}});
  json::object a = api::validate_create(resource(), call.body_of("project"));
  p.extra = take_extra(resource(), a);
  check_options(a);
  const auto wanted = read_tags(a).value_or(std::vector<std::string>{});
  p.name = read_project_name(a);
  p.is_domain = find_bool(a, "is_domain");
  p.enabled = find_bool(a, "enabled", true);
  p.description = find_string(a, "description");
  merge_options(p.options, a);
  core.change([&](db::Tx& tx) {
    p.domain_id = find_string(a, "domain_id");
    p.parent_id = find_string(a, "parent_id");
    place(core, tx, p, own_domain(call));
    call.require(target_of(p));
    insert_project(tx, p);
    replace_tags(tx, p.id, wanted);
  });
  return item_reply(201, "project", project_view(call, p, wanted));
}

/// tags (all of), tags-any, not-tags (not all of), not-tags-any.
void add_tag_filters(const api::Call& call, api::Where& where) {
  const auto add = [&](std::string_view name, bool any, bool negated) {
    const auto given = call.request.query_value(name);
    if (!given) return;
    const auto tags = split_words(*given, ',');
    if (tags.empty()) return;
    const std::string have = fmt::format(
        "(SELECT COUNT(*) FROM identity_project_tags t WHERE t.project_id = identity_projects.id AND t.name "
        "IN ({}))",
        db::placeholders(tags.size()));
    const size_t needed = any ? 1 : std::set<std::string>(tags.begin(), tags.end()).size();
    where.add(fmt::format("{} {} {}", have, negated ? "<" : ">=", needed));
    for (const auto& tag : tags) where.values.emplace_back(tag);
  };
  add("tags", false, false);
  add("tags-any", true, false);
  add("not-tags", false, true);
  add("not-tags-any", true, true);
}

http::Response list_projects(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  call.require({{"target.domain_id", call.caller().domain_id}});
  json::array out;
  std::string next;
  core.database.read([&](db::Tx& tx) {
    api::Where where;
    confine(call, where);
    add_tag_filters(call, where);
    if (!call.request.query_value("is_domain")) where.add("is_domain = 0");
    db::Rows rows = api::select_page(tx, kProjectColumns, "identity_projects", query, where);
    next = api::take_page(rows, query) ? rows.back().text(0) : "";
    out.clear();
    for (const auto& row : rows)
      out.push_back(project_view(call, read_project(row), tags_of(tx, row.text(0))));
  });
  return list_reply(call, "projects", std::move(out), next);
}

json::value nested_ids(const std::vector<ProjectRow>& nodes, const std::string& parent) {
  json::object out;
  for (const auto& n : nodes)
    if (n.parent_id == parent) out[n.id] = nested_ids(nodes, n.id);
  return out.empty() ? json::value(nullptr) : json::value(std::move(out));
}

/// {"PARENT": {"GRANDPARENT": {"DOMAIN": null}}}
json::value chain_ids(const std::vector<ProjectRow>& parents) {
  json::value out = nullptr;
  for (auto it = parents.rbegin(); it != parents.rend(); ++it) out = json::object{{it->id, std::move(out)}};
  return out;
}

json::array limit_views(db::Tx& tx, const std::string& project_id) {
  json::array out;
  for (const auto& limit : limits_of_project(tx, project_id)) out.push_back(limit_view(limit));
  return out;
}

/// Parents and subtree, as the request wants them. Lists show what the caller may enter only.
void add_family(db::Tx& tx, const api::Call& call, const ProjectRow& p, json::object& view) {
  const auto asked = [&](std::string_view name) { return query_flag(call, name); };
  const auto listed = [&](const std::vector<ProjectRow>& rows) {
    const auto mine = projects_of(tx, call.caller().user_id);
    json::array out;
    for (const auto& r : rows) {
      if (!mine.contains(r.id)) continue;
      json::object project = project_view(call, r, tags_of(tx, r.id));
      if (asked("include_limits")) project["limits"] = limit_views(tx, r.id);
      out.push_back(json::object{{"project", std::move(project)}});
    }
    return out;
  };
  for (std::string_view side : {"parents", "subtree"})
    if (asked(fmt::format("{}_as_list", side)) && asked(fmt::format("{}_as_ids", side)))
      throw Fault(FaultKind::bad_request,
                  fmt::format("Cannot use {0}_as_list and {0}_as_ids query params at the same time.", side));
  if (asked("parents_as_list")) view["parents"] = listed(ancestors_of(tx, p));
  if (asked("parents_as_ids")) view["parents"] = chain_ids(ancestors_of(tx, p));
  if (asked("subtree_as_list")) view["subtree"] = listed(subtree_of(tx, p.id));
  if (asked("subtree_as_ids")) view["subtree"] = nested_ids(subtree_of(tx, p.id), p.id);
}

/// A project that may be looked at. One that is not there is 404 for those who may see all, 403 for others.
ProjectRow read_target(db::Tx& tx, api::Call& call) {
  const auto project = find_project(tx, call.param("project_id"));
  call.require(target_of(project ? *project : ProjectRow{.id = call.param("project_id")}));
  if (!project) not_found("project", call.param("project_id"));
  return *project;
}

/// The same before the body is looked at.
void require_on_target(Core& core, api::Call& call) {
  core.database.read([&](db::Tx& tx) { read_target(tx, call); });
}

http::Response show_project(Core& core, api::Call& call) {
  const auto view = core.database.read([&](db::Tx& tx) {
    const ProjectRow p = read_target(tx, call);
    json::object out = project_view(call, p, tags_of(tx, p.id));
    add_family(tx, call, p, out);
    return out;
  });
  return item_reply(200, "project", view);
}

void check_fixed(const ProjectRow& p, const json::object& a) {
  if (has_value(a, "domain_id") && find_string(a, "domain_id") != p.domain_id)
    throw Fault(FaultKind::bad_request, "Cannot change Domain ID");
  if (has_value(a, "parent_id") && find_string(a, "parent_id") != p.parent_id)
    throw Fault(FaultKind::forbidden, "Update of `parent_id` is not allowed.");
  if (has_value(a, "is_domain") && find_bool(a, "is_domain") != p.is_domain)
    throw Fault(FaultKind::bad_request, "Update of `is_domain` is not allowed.");
}

/// A branch has no enabled project below a disabled one.
void check_enabling(db::Tx& tx, const ProjectRow& p, bool wanted) {
  if (p.is_domain) return;
  if (wanted)
    for (const auto& parent : ancestors_of(tx, p))
      if (!parent.enabled)
        throw Fault(FaultKind::forbidden,
                    fmt::format("Cannot enable project {} since it has disabled parents.", p.id));
  if (!wanted)
    for (const auto& child : subtree_of(tx, p.id))
      if (child.enabled)
        throw Fault(
            FaultKind::forbidden,
            fmt::format("Cannot disable project {} since its subtree contains enabled projects.", p.id));
}

http::Response update_project(Core& core, api::Call& call) {
  require_on_target(core, call);
  json::object a = update_body(call, resource(), call.param("project_id"));
  const json::object extra = take_extra(resource(), a);
  check_options(a);
  const auto wanted = read_tags(a);
  const auto view = core.change([&](db::Tx& tx) {
    ProjectRow p = get_project(tx, call.param("project_id"));
    check_mutable(p.options, call.body_of("project"), p.is_domain ? "domain" : "project", p.id);
    check_fixed(p, a);
    const bool enabled = find_bool(a, "enabled", p.enabled);
    if (enabled != p.enabled) check_enabling(tx, p, enabled);
    if (p.enabled && !enabled) ++p.generation;
    p.enabled = enabled;
    if (a.contains("name")) p.name = read_project_name(a);
    if (a.contains("description")) p.description = find_string(a, "description");
    merge_options(p.options, a);
    merge_extra(p.extra, extra);
    save_project(tx, p);
    if (wanted) replace_tags(tx, p.id, *wanted);
    return project_view(call, p, tags_of(tx, p.id));
  });
  return item_reply(200, "project", view);
}

http::Response delete_project(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const ProjectRow p = read_target(tx, call);
    if (p.is_domain) return remove_domain(tx, p);
    check_deletable(p.options, "project", p.id);
    if (tx.first("SELECT 1 FROM identity_projects WHERE parent_id = ?", p.id))
      throw Fault(FaultKind::forbidden,
                  fmt::format("Cannot delete the project {} since it is not a leaf in the hierarchy.", p.id),
                  "Delete the projects below it first.");
    erase_project(tx, p.id);
  });
  return api::reply(204);
}

http::Response list_tags(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& tag : tags_of(tx, read_target(tx, call).id)) out.emplace_back(tag);
  });
  return list_reply(call, "tags", std::move(out));
}

/// The project whose tags the path names, if they may be changed.
std::string taggable(db::Tx& tx, api::Call& call, std::string_view verb) {
  const ProjectRow p = read_target(tx, call);
  if (is_immutable(p.options))
    throw Fault(
        FaultKind::forbidden,
        fmt::format("Cannot {} project tags for {}, project is immutable. Set \"immutable\" option to "
                    "false before creating project tags.",
                    verb, p.id));
  return p.id;
}

http::Response put_tags(Core& core, api::Call& call) {
  require_on_target(core, call);
  const auto wanted = read_tags(call.body());
  if (!wanted) throw Fault(FaultKind::bad_request, "'tags' is a required property, and must be a list.");
  json::array out;
  core.change([&](db::Tx& tx) {
    out.clear();
    replace_tags(tx, taggable(tx, call, "update"), *wanted);
    for (const auto& tag : tags_of(tx, call.param("project_id"))) out.emplace_back(tag);
  });
  return list_reply(call, "tags", std::move(out));
}

http::Response delete_tags(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) { replace_tags(tx, taggable(tx, call, "update"), {}); });
  return api::reply(204);
}

bool has_tag(db::Tx& tx, const api::Call& call) {
  return tx
      .first("SELECT 1 FROM identity_project_tags WHERE project_id = ? AND name = ?",
             call.param("project_id"), call.param("tag"))
      .has_value();
}

http::Response check_tag_of(Core& core, api::Call& call) {
  core.database.read([&](db::Tx& tx) {
    read_target(tx, call);
    if (!has_tag(tx, call)) not_found("project tag", call.param("tag"));
  });
  return api::reply(204);
}

http::Response add_tag(Core& core, api::Call& call) {
  require_on_target(core, call);
  check_tag(call.param("tag"));
  core.change([&](db::Tx& tx) {
    auto tags = tags_of(tx, taggable(tx, call, "create"));
    if (has_tag(tx, call)) return;
    check_tag_count(tags.size() + 1);
    tx.exec("INSERT INTO identity_project_tags (project_id, name) VALUES (?, ?)", call.param("project_id"),
            call.param("tag"));
  });
  http::Response r = api::reply(201);
  r.headers.set("Location", fmt::format("{}/v3/projects/{}/tags/{}", call.base_url, call.param("project_id"),
                                        http::percent_encode(call.param("tag"))));
  return r;
}

http::Response remove_tag(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    taggable(tx, call, "delete");
    if (tx.exec("DELETE FROM identity_project_tags WHERE project_id = ? AND name = ?",
                call.param("project_id"), call.param("tag")) == 0)
      not_found("project tag", call.param("tag"));
  });
  return api::reply(204);
}

}  // namespace

void add_project_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  constexpr std::string_view tags = "/v3/projects/{project_id}/tags",
                             tag = "/v3/projects/{project_id}/tags/{tag}";
  to.push_back({"POST", "/v3/projects", "identity:create_project", on(create_project)});
  to.push_back(
      {"GET", "/v3/projects", "identity:list_projects", on(list_projects)});
  to.push_back(
      {"GET", "/v3/projects/{project_id}", "identity:get_project", on(show_project)});
  to.push_back(
      {"PATCH", "/v3/projects/{project_id}", "identity:update_project", on(update_project)});
  to.push_back(
      {"DELETE", "/v3/projects/{project_id}", "identity:delete_project", on(delete_project)});
  to.push_back({"GET", tags, "identity:list_project_tags", on(list_tags)});
  to.push_back({"PUT", tags, "identity:update_project_tags", on(put_tags)});
  to.push_back({"DELETE", tags, "identity:delete_project_tags", on(delete_tags)});
  to.push_back({"GET", tag, "identity:get_project_tag", on(check_tag_of)});
  to.push_back({"PUT", tag, "identity:create_project_tag", on(add_tag)});
  to.push_back({"DELETE", tag, "identity:delete_project_tag", on(remove_tag)});
}

}  // namespace virga::identity
