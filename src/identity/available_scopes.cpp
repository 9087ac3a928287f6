// What a token's user could ask a token for: projects, domains, the system; and the catalogue.
#include "identity/catalog.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

http::Response show_catalog(Core& core, api::Call& call) {
  const api::Caller& c = call.caller();
  if (c.project_id.empty() && c.domain_id.empty() && !c.system)
    throw Fault(FaultKind::forbidden, "The catalogue needs a scoped token.",
                "Ask for a token with a project, domain or system scope.");
  return list_reply(call, "catalog", parse_json(*catalog_text(core, call.cloud_url, c)).as_array());
}

http::Response list_auth_projects(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& id : projects_of(tx, call.caller().user_id))
      if (const auto project = find_project(tx, id); project && project->enabled)
        out.push_back(project_view(call, *project, tags_of(tx, id)));
  });
  return list_reply(call, "projects", std::move(out));
}

http::Response list_auth_domains(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& id : domains_of(tx, call.caller().user_id))
      if (const auto domain = find_project(tx, id); domain && domain->enabled)
        out.push_back(domain_view(call, *domain));
  });
  return list_reply(call, "domains", std::move(out));
}

http::Response list_auth_system(Core& core, api::Call& call) {
  const bool any = core.database.read([&](db::Tx& tx) {
    return !roles_of(tx, call.caller().user_id, {"system", "system"}).empty();
  });
  json::array out;
  if (any) out.push_back(json::object{{"all", true}});
  return list_reply(call, "system", std::move(out));
}

}  // namespace

void add_available_scope_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"GET", "/v3/auth/catalog", "identity:get_auth_catalog", on(show_catalog)});
  to.push_back(
      {"GET", "/v3/auth/projects", "identity:get_auth_projects", on(list_auth_projects)});
  to.push_back(
      {"GET", "/v3/auth/domains", "identity:get_auth_domains", on(list_auth_domains)});
  to.push_back({"GET", "/v3/auth/system", "identity:get_auth_system", on(list_auth_system)});
}

}  // namespace virga::identity
