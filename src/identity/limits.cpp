// /v3/limits: what one project or domain gets, checked against the enforcement model.
#include "identity/limits.h"

#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/faults.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "limit",
      .plural = "limits",
      .attributes = {
          rows::id(),
          {.name = "project_id",
           .type = Type::string,
           .create = Set::optional,
           .min = 1,
           .max = 64,
           .filter = true},
          {.name = "domain_id",
           .type = Type::string,
           .create = Set::optional,
           .min = 1,
           .max = 64,
           .filter = true},
          {.name = "service_id",
           .type = Type::string,
           .create = Set::required,
           .min = 1,
           .max = 64,
           .filter = true},
          {.name = "region_id", .type = Type::string, .create = Set::optional, .filter = true},
          {.name = "resource_name", .type = Type::string, .create = Set::required, .min = 1, .filter = true},
          {.name = "resource_limit",
           .type = Type::integer,
           .create = Set::required,
           .update = Set::optional,
           .min = -1,
           .max = 0x7FFFFFFF},
          rows::description()}};
  return r;
}

json::object view(const api::Call& call, const LimitRow& l) {
  json::object out = limit_view(l);
  out["links"] = self_link(call, "limits", l.id);
  return out;
}

std::optional<LimitRow> find_by_id(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM {} WHERE id = ?", kLimitColumns, kLimitTable), id);
  return row ? std::optional(read_limit(*row)) : std::nullopt;
}

LimitRow get_limit(db::Tx& tx, const std::string& id) {
  auto found = find_by_id(tx, id);
  if (!found) throw Fault(FaultKind::not_found, fmt::format("Could not find limit for {}.", id));
  return *found;
}

void read_attributes(LimitRow& l, const json::object& a) {
  l.resource_limit = find_int(a, "resource_limit", l.resource_limit);
  if (a.contains("description"))
    l.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
}

LimitRow read_new(const json::object& item) {
  const json::object a = api::validate_create(resource(), item);
  LimitRow l{.id = new_hex_id()};
  l.project_id = find_string(a, "project_id");
  l.domain_id = find_string(a, "domain_id");
  if (l.project_id.empty() == l.domain_id.empty())
    throw Fault(FaultKind::bad_request, "A limit needs either 'project_id' or 'domain_id', and not both.");
  l.service_id = find_string(a, "service_id");
  l.region_id = find_string(a, "region_id");
  l.resource_name = find_string(a, "resource_name");
  read_attributes(l, a);
  return l;
}

/// Whose it is must be there; a project that is a domain makes it the domain's. Then its registered limit.
void complete(const Core& core, db::Tx& tx, LimitRow& l) {
  check_limit_target(core, tx, l.service_id, l.region_id, "limit");
  const std::string& owner = l.project_id.empty() ? l.domain_id : l.project_id;
  const auto project = find_project(tx, owner);
  if (!project || (l.project_id.empty() && !project->is_domain))
    expecting(l.project_id.empty() ? "domain_id" : "project_id", "limit");
  if (project->is_domain) {
    l.project_id.clear();
    l.domain_id = project->id;
  }
  const auto registered = find_registered_limit(tx, l.service_id, l.region_id, l.resource_name);
  if (!registered)
    throw Fault(FaultKind::forbidden, "Unable to create a limit that has no corresponding registered limit.");
  l.registered_limit_id = registered->id;
}

/// -1 is more than any number.
bool more_than(int64_t a, int64_t b) {
  return b != -1 && (a == -1 || a > b);
}

/// A domain's limit of what `like` limits, or what is registered for all.
int64_t limit_of_domain(db::Tx& tx, const std::string& domain_id, const LimitRow& like) {
  if (const auto own = find_limit(tx, "", domain_id, like.registered_limit_id)) return own->resource_limit;
  return find_registered_limit(tx, like.service_id, like.region_id, like.resource_name)->default_limit;
}

/// Strict two-level: a project has at most what its domain has. `rows` are written already, so that limits of
/// one request see each other.
void check_hierarchy(db::Tx& tx, const LimitRow& l) {
  bool fits = true;
  if (!l.project_id.empty()) {
    fits = !more_than(l.resource_limit, limit_of_domain(tx, get_project(tx, l.project_id).domain_id, l));
  } else {
    const auto below = tx.query(
        "SELECT l.resource_limit FROM identity_limits l JOIN identity_projects p ON p.id = l.project_id "
        "WHERE "
        "p.domain_id = ? AND l.registered_limit_id = ?",
        l.domain_id, l.registered_limit_id);
    for (const auto& row : below) fits = fits && !more_than(row.integer(0), l.resource_limit);
  }
  if (fits) return;
  const bool project = !l.project_id.empty();
  throw Fault(
      FaultKind::forbidden,
      fmt::format("Invalid resource limit: The resource limit ({}: {}, resource_name: {}, resource_limit: "
                  "{}, service_id: {}, region_id: {}) doesn't satisfy current hierarchy model.",
                  project ? "project_id" : "domain_id", project ? l.project_id : l.domain_id, l.resource_name,
                  l.resource_limit, l.service_id, l.region_id.empty() ? "None" : l.region_id));
}

void check_model(const Core& core, db::Tx& tx, const LimitRow& l) {
  if (limit_model(core.options.limit_model).max_depth) check_hierarchy(tx, l);
}

http::Response create_limits(Core& core, api::Call& call) {
  std::vector<LimitRow> given;
  for (const auto& item : limit_list(call, "limits")) given.push_back(read_new(item.get_object()));
  std::vector<LimitRow> rows;
  core.change([&](db::Tx& tx) {
    rows = given;
    for (auto& l : rows) {
      complete(core, tx, l);
      try {
        tx.exec(
            "INSERT INTO identity_limits (id, project_id, domain_id, registered_limit_id, resource_limit, "
            "description) VALUES (?, ?, ?, ?, ?, ?)",
            l.id, l.project_id, l.domain_id, l.registered_limit_id, l.resource_limit, l.description);
      } catch (const db::UniqueViolation&) {
        duplicate("limit", "Duplicate entry");
      }
    }
    for (const auto& l : rows) check_model(core, tx, l);
  });
  json::array out;
  for (const auto& l : rows) out.push_back(view(call, l));
  return api::reply(201, json::object{{"limits", std::move(out)}});
}

/// What the caller's scope shows: all to the system, a domain's own and its projects', a project's own.
void confine_limits(const api::Call& call, api::Where& where) {
  const api::Caller& c = call.caller();
  if (c.system) return;
  if (!c.domain_id.empty())
    where.add("(domain_id = ? OR project_id IN (SELECT id FROM identity_projects WHERE domain_id = ?))",
              c.domain_id, c.domain_id);
  else if (!c.project_id.empty())
    where.add("project_id = ?", c.project_id);
  else
    where.add("1 = 0");
}

http::Response list_limits(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read([&](db::Tx& tx) {
    api::Where where;
    confine_limits(call, where);
    return api::select_page(tx, kLimitColumns, kLimitTable, query, where);
  });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(view(call, read_limit(row)));
  return list_reply(call, "limits", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_limit(Core& core, api::Call& call) {
  const auto found = core.database.read([&](db::Tx& tx) {
    const auto limit = find_by_id(tx, call.param("limit_id"));
    api::Target target;
    if (limit && !limit->domain_id.empty()) target.emplace_back("target.limit.domain.id", limit->domain_id);
    if (limit && !limit->project_id.empty()) {
      target.emplace_back("target.limit.project_id", limit->project_id);
      target.emplace_back("target.limit.project.domain_id", get_project(tx, limit->project_id).domain_id);
    }
    call.require(target);
    return get_limit(tx, call.param("limit_id"));
  });
  return item_reply(200, "limit", view(call, found));
}

http::Response update_limit(Core& core, api::Call& call) {
  const json::object a = api::validate_update(resource(), call.body_of("limit"));
  const auto changed = core.change([&](db::Tx& tx) {
    LimitRow l = get_limit(tx, call.param("limit_id"));
    read_attributes(l, a);
    check_model(core, tx, l);
    tx.exec("UPDATE identity_limits SET resource_limit = ?, description = ? WHERE id = ?", l.resource_limit,
            l.description, l.id);
    return l;
  });
  return item_reply(200, "limit", view(call, changed));
}

http::Response delete_limit(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    tx.exec("DELETE FROM identity_limits WHERE id = ?", get_limit(tx, call.param("limit_id")).id);
  });
  return api::reply(204);
}

http::Response show_model(Core& core, api::Call&) {
  const LimitModel& model = limit_model(core.options.limit_model);
  return api::reply(200, json::object{{"model", {{"name", model.name}, {"description", model.description}}}});
}

}  // namespace

void add_limit_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  constexpr std::string_view all = "/v3/limits", one = "/v3/limits/{limit_id}";
  to.push_back({"GET", "/v3/limits/model", "identity:get_limit_model", on(show_model)});
  to.push_back({"POST", all, "identity:create_limits", on(create_limits)});
  to.push_back({"GET", all, "identity:list_limits", on(list_limits)});
  to.push_back({"GET", one, "identity:get_limit", on(show_limit)});
  to.push_back({"PATCH", one, "identity:update_limit", on(update_limit)});
  to.push_back({"DELETE", one, "identity:delete_limit", on(delete_limit)});
}

}  // namespace virga::identity
