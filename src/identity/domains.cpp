// Domains: projects without a parent, that hold users, groups and projects.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/immutable.h"
#include "identity/project_attributes.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "domain",
      .plural = "domains",
      .attributes =
          {rows::id(),
           rows::name(64),
           rows::enabled(),
           rows::description(),
           {.name = "tags", .type = Type::array, .create = Set::optional, .update = Set::optional, .max = 0},
           rows::options()},
      .extra = true};
  return r;
}

http::Response create_domain(Core& core, api::Call& call) {
  json::object a = api::validate_create(resource(), call.body_of("domain"));
  ProjectRow d{.id = new_hex_id(), .is_domain = true};
  d.extra = take_extra(resource(), a);
  check_options(a);
  d.name = read_project_name(a);
  d.enabled = find_bool(a, "enabled", true);
  d.description = find_string(a, "description");
  merge_options(d.options, a);
  const auto tags = read_tags(a).value_or(std::vector<std::string>{});
  core.change([&](db::Tx& tx) {
    insert_project(tx, d);
    replace_tags(tx, d.id, tags);
  });
  return item_reply(201, "domain", domain_view(call, d, tags));
}

http::Response list_domains(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  call.require({{"target.domain_id", call.caller().domain_id}});
  json::array out;
  std::string next;
  core.database.read([&](db::Tx& tx) {
    api::Where where;
    confine(call, where, "id");
    where.add("is_domain = 1");
    db::Rows rows = api::select_page(tx, kProjectColumns, "identity_projects", query, where);
    next = api::take_page(rows, query) ? rows.back().text(0) : "";
    out.clear();
    for (const auto& row : rows)
      out.push_back(domain_view(call, read_project(row), tags_of(tx, row.text(0))));
  });
  return list_reply(call, "domains", std::move(out), next);
}

http::Response show_domain(Core& core, api::Call& call) {
  call.require({{"target.domain.id", call.param("domain_id")}});
  return item_reply(200, "domain", core.database.read([&](db::Tx& tx) {
    const ProjectRow d = get_domain(tx, call.param("domain_id"));
    return domain_view(call, d, tags_of(tx, d.id));
  }));
}

http::Response update_domain(Core& core, api::Call& call) {
  json::object a = update_body(call, resource(), call.param("domain_id"));
  const json::object extra = take_extra(resource(), a);
  check_options(a);
  const auto tags = read_tags(a);
  auto view = core.change([&](db::Tx& tx) {
    ProjectRow d = get_domain(tx, call.param("domain_id"));
    check_mutable(d.options, call.body_of("domain"), "domain", d.id);
    const bool enabled = find_bool(a, "enabled", d.enabled);
    if (d.enabled && !enabled) ++d.generation;  // ends the tokens of its users and of scopes in it
    d.enabled = enabled;
    if (a.contains("name")) d.name = read_project_name(a);
    if (a.contains("description")) d.description = find_string(a, "description");
    merge_options(d.options, a);
    merge_extra(d.extra, extra);
    save_project(tx, d);
    if (tags) replace_tags(tx, d.id, *tags);
    return domain_view(call, d, tags_of(tx, d.id));
  });
  return item_reply(200, "domain", std::move(view));
}

http::Response delete_domain(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) { remove_domain(tx, get_domain(tx, call.param("domain_id"))); });
  return api::reply(204);
}

}  // namespace

void add_domain_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/domains", "identity:create_domain", on(create_domain)});
  to.push_back(
      {"GET", "/v3/domains", "identity:list_domains", on(list_domains)});
  to.push_back(
      {"GET", "/v3/domains/{domain_id}", "identity:get_domain", on(show_domain)});
  to.push_back(
      {"PATCH", "/v3/domains/{domain_id}", "identity:update_domain", on(update_domain)});
  to.push_back(
      {"DELETE", "/v3/domains/{domain_id}", "identity:delete_domain", on(delete_domain)});
}

}  // namespace virga::identity
