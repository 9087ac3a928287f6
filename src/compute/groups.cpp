// Server groups (affinity and anti-affinity) and os-simple-tenant-usage.

#include "compute/misc_routes.h"
#include "compute/quotas.h"

namespace virga::compute {
namespace {

struct Group {
  std::string id, name, project_id, user_id, policy, rules;
};

Group group_from(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), r.text(5)};
}
constexpr std::string_view kGroup = "SELECT id, name, project_id, user_id, policy, rules FROM server_groups";

json::object group_view(const api::Call& call, db::Tx& tx, const Group& g) {
  json::array members;
  for (const auto& row :
       tx.query("SELECT id FROM servers WHERE group_id = ? AND deleted = 0 ORDER BY created_at", g.id))
    members.push_back(json::value(row.text(0)));
  json::object view{{"id", g.id}, {"name", g.name}, {"members", std::move(members)}};
  if (call.since(2, 64)) {
    view["policy"] = g.policy;
    view["rules"] = g.rules.empty() ? json::value(json::object()) : parse_json(g.rules);
  } else {
    view["policies"] = json::array{json::value(g.policy)};
    view["metadata"] = json::object();
  }
  if (call.since(2, 13)) {
    view["project_id"] = g.project_id;
    view["user_id"] = g.user_id;
  }
  return view;
}

Group need_group(db::Tx& tx, const api::Call& call, const std::string& id) {
  const auto row = tx.first(std::string(kGroup) + " WHERE id = ?", id);
  if (row)
    if (auto g = group_from(*row); g.project_id == call.caller().project_id || call.caller().is_admin()) return g;
  throw Fault(FaultKind::not_found, fmt::format("Instance group {} could not be found.", id));
}

/// {"max_server_per_host": N}, which may be text, as JSON with a number.
std::string parse_rules(const json::object& rules, const std::string& policy) {
  if (rules.empty()) return {};
  if (policy != "anti-affinity")
    throw Fault(FaultKind::bad_request, "Only anti-affinity policy supports rules.");
  constexpr std::string_view kMost = "max_server_per_host";
  for (const auto& [key, value] : rules)
    if (key != kMost)
      throw Fault(FaultKind::bad_request,
                  fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
  const auto& value = rules.at(kMost);
  int64_t most = find_int(rules, kMost);
  if (value.is_string()) most = std::strtoll(str(value).c_str(), nullptr, 10);
  if (most < 1 || most > 2147483647)
    throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute max_server_per_host. Value: {}. It "
                                                    "is less than the minimum of 1",
                                                    json::serialize(value)));
  return json::serialize(json::object{{kMost, most}});
}

Group parse_group(api::Call& call) {
  const auto& body = call.body_of("server_group");
  Group g;
  g.id = new_uuid();
  g.name = find_string(body, "name");
  if (g.name.empty() || g.name.size() > 255 || g.name.front() == ' ' || g.name.back() == ' ')
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute name. Value: {}.", g.name));
  for (const auto& [key, value] : body)
    if (key != "name" && key != (call.since(2, 64) ? "policy" : "policies") &&
        !(key == "rules" && call.since(2, 64)))
      throw Fault(
          FaultKind::bad_request,
          fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
  if (call.since(2, 64)) {
    g.policy = find_string(body, "policy");
    if (const auto* rules = find_object(body, "rules")) g.rules = parse_rules(*rules, g.policy);
  } else if (const auto* policies = find_array(body, "policies");
             policies && policies->size() == 1 && policies->front().is_string()) {
    g.policy = str(policies->front());
  }
  const bool soft = g.policy == "soft-affinity" || g.policy == "soft-anti-affinity";
  if (g.policy != "affinity" && g.policy != "anti-affinity" && !(soft && call.since(2, 15)))
    throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute policies. Value: {}. "
                                                    "It is not one of the policies of server groups.",
                                                    g.policy));
  g.project_id = call.caller().project_id;
  g.user_id = call.caller().user_id;
  return g;
}

}  // namespace

void add_group_routes(Routes& routes, Core& core) {
  routes.add("GET", "/os-server-groups", "os-server-groups:index", [&core](api::Call& call) {
    json::array all;
    const bool everyone = call.caller().is_admin() && call.request.query_value("all_projects");
    if (everyone) call.require("os_compute_api:os-server-groups:index:all_projects", own_target(call));
    core.database.read([&](db::Tx& tx) {
      api::Where where;
      if (!everyone) where.add("project_id = ?", call.caller().project_id);
      for (const auto& row :
           tx.query(std::string(kGroup) + where.sql() + " ORDER BY created_at", where.values))
        all.push_back(group_view(call, tx, group_from(row)));
    });
    return api::reply(200, json::object{{"server_groups", std::move(all)}});
  });
  routes.add("POST", "/os-server-groups", "os-server-groups:create", [&core](api::Call& call) {
    const auto g = parse_group(call);
    return api::reply(200, json::object{{"server_group", core.database.write([&](db::Tx& tx) {
                                           take_quota(core, tx, g.project_id, {{"server_groups", 1}});
                                           tx.exec(
                                               "INSERT INTO server_groups (id, name, project_id, user_id, "
                                               "policy, rules, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                                               g.id, g.name, g.project_id, g.user_id, g.policy, g.rules,
                                               core.clock.now());
                                           return group_view(call, tx, g);
                                         })}});
  });
  routes.add("GET", "/os-server-groups/{id}", "os-server-groups:show",
             [&core](api::Call& call) {
               return api::reply(200, json::object{{"server_group", core.database.read([&](db::Tx& tx) {
                                                      return group_view(
                                                          call, tx, need_group(tx, call, call.param("id")));
                                                    })}});
             });
  routes.add("DELETE", "/os-server-groups/{id}", "os-server-groups:delete",
             [&core](api::Call& call) {
               core.database.write([&](db::Tx& tx) {
                 const auto g = need_group(tx, call, call.param("id"));
                 if (tx.exec("DELETE FROM server_groups WHERE id = ?", g.id) == 1)
                   give_back_quota(tx, g.project_id, {{"server_groups", 1}});
               });
               return api::reply(204);
             });
}

namespace {

struct Period {
  Time start, stop;
};

Time usage_time(const api::Call& call, std::string_view name, Time fallback) {
  const auto text = call.request.query_value(name);
  if (!text || text->empty()) return fallback;
  try {
    std::string normal = *text;
    if (normal.size() == 10) normal += "T00:00:00";
    return parse_time(normal);
  } catch (const Fault&) {
    throw Fault(FaultKind::bad_request, fmt::format("Datetime is in invalid format: {}", *text));
  }
}

Period period_of(const Core& core, const api::Call& call) {
  const Time now = core.clock.now();
  const Period p{usage_time(call, "start", now - std::chrono::hours(24 * 28)), usage_time(call, "end", now)};
  if (p.start > p.stop)
    throw Fault(FaultKind::bad_request,
                "Invalid start time. The start time cannot occur after the end time.");
  return p;
}

struct Usage {
  json::array servers;
  double hours = 0, vcpus = 0, memory = 0, disk = 0;
};

void add_server(const Core& core, const Period& p, const db::Row& r, Usage& usage) {
  const Time from = parse_time(r.text(7)), to = r.is_null(8) ? core.clock.now() : parse_time(r.text(8));
  const Time begin = std::max(from, p.start), end = std::min(to, p.stop);
  if (begin >= end) return;
  const double hours = std::chrono::duration<double>(end - begin).count() / 3600;
  usage.hours += hours;
  usage.vcpus += hours * static_cast<double>(r.integer(4));
  usage.memory += hours * static_cast<double>(r.integer(5));
  usage.disk += hours * static_cast<double>(r.integer(6));
  std::string started = r.text(7);
  started[10] = 'T';
  usage.servers.push_back(
      json::object{{"instance_id", r.text(0)},
                   {"name", r.text(1)},
                   {"tenant_id", r.text(2)},
                   {"flavor", r.text(3)},
                   {"vcpus", r.integer(4)},
                   {"memory_mb", r.integer(5)},
                   {"local_gb", r.integer(6)},
                   {"hours", hours},
                   {"started_at", started},
                   {"ended_at", r.is_null(8) ? json::value(nullptr) : json::value(to_iso_us_no_zone(to))},
                   {"state", r.is_null(8) ? r.text(9) : "terminated"},
                   {"uptime", std::chrono::duration_cast<std::chrono::seconds>(to - from).count()}});
}

/// Which servers: since 2.40 usage comes in pages of servers, in the order of project and server id.
struct UsagePage {
  int64_t limit = 0;  ///< 0 = all
  std::string marker;
};

UsagePage usage_page(const api::Call& call) {
  UsagePage page;
  if (!call.since(2, 40)) return page;
  page.limit = 1000;
  page.marker = call.request.query_value("marker").value_or("");
  const auto limit = call.request.query_value("limit");
  if (!limit) return page;
  char* end = nullptr;
  const int64_t n = std::strtoll(limit->c_str(), &end, 10);
  if (limit->empty() || *end || n < 0) throw Fault(FaultKind::bad_request, fmt::format("Invalid input for query parameters limit. Value: {}. It must be a non-negative integer.", *limit));
  if (n > 0) page.limit = std::min<int64_t>(n, 1000);
  return page;
}

void after_marker(db::Tx& tx, const UsagePage& page, api::Where& where) {
  if (page.marker.empty()) return;
  const auto last = tx.first("SELECT project_id FROM servers WHERE id = ?", page.marker);
  if (!last) throw Fault(FaultKind::bad_request, fmt::format("marker [{}] not found", page.marker));
  where.add("(project_id > ? OR (project_id = ? AND id > ?))", last->text(0), last->text(0), page.marker);
}

struct Usages {
  std::map<std::string, Usage> of_project;
  std::string next;  ///< the next page's marker, or ""
};

Usages usages(Core& core, db::Tx& tx, const Period& p, const UsagePage& page, const std::string& project) {
  api::Where where;
  where.add("launched_at IS NOT NULL AND launched_at < ?", p.stop);
  where.add("(terminated_at IS NULL OR terminated_at > ?)", p.start);
  if (!project.empty()) where.add("project_id = ?", project);
  after_marker(tx, page, where);
  std::string sql = "SELECT id, name, project_id, flavor_name, vcpus, memory_mb, root_gb + ephemeral_gb, launched_at, terminated_at, "
                    "vm_state FROM servers" + where.sql() + " ORDER BY project_id, id";
  if (page.limit) sql += fmt::format(" LIMIT {}", page.limit + 1);
  Usages all;
  int64_t taken = 0;
  std::string last;
  for (const auto& row : tx.query(sql, where.values)) {
    if (page.limit && taken++ == page.limit) {
      all.next = last;
      break;
    }
    last = row.text(0);
    add_server(core, p, row, all.of_project[row.text(2)]);
  }
  return all;
}

json::object usage_view(const Period& p, const std::string& project, Usage&& u, bool detailed) {
  json::object view{{"tenant_id", project},
                    {"start", to_iso_us_no_zone(p.start)},
                    {"stop", to_iso_us_no_zone(p.stop)},
                    {"total_hours", u.hours},
                    {"total_vcpus_usage", u.vcpus},
                    {"total_memory_mb_usage", u.memory},
                    {"total_local_gb_usage", u.disk}};
  if (detailed) view["server_usages"] = std::move(u.servers);
  return view;
}

json::array next_link(const api::Call& call, const std::string& marker) {
  return {json::object{{"href", api::next_url(call, marker)}, {"rel", "next"}}};
}

}  // namespace

void add_usage_routes(Routes& routes, Core& core) {
  routes.add(
      "GET", "/os-simple-tenant-usage", "os-simple-tenant-usage:list",
      [&core](api::Call& call) {
        const auto p = period_of(core, call);
        const bool detailed = call.request.query_value("detailed").value_or("0") == "1";
        const auto page = usage_page(call);
        json::array all;
        auto found = core.database.read([&](db::Tx& tx) { return usages(core, tx, p, page, ""); });
        for (auto& [project, usage] : found.of_project) all.push_back(usage_view(p, project, std::move(usage), detailed));
        json::object body{{"tenant_usages", std::move(all)}};
        if (!found.next.empty()) body["tenant_usages_links"] = next_link(call, found.next);
        return api::reply(200, body);
      });
  routes.add(
      "GET", "/os-simple-tenant-usage/{target}", "os-simple-tenant-usage:show",
      [&core](api::Call& call) {
        call.require_still({{"project_id", call.param("target")}});
        const auto p = period_of(core, call);
        const auto page = usage_page(call);
        auto found = core.database.read([&](db::Tx& tx) { return usages(core, tx, p, page, call.param("target")); });
        if (found.of_project.empty()) return api::reply(200, json::object{{"tenant_usage", json::object()}});
        json::object body{{"tenant_usage", usage_view(p, call.param("target"), std::move(found.of_project.begin()->second), true)}};
        if (!found.next.empty()) body["tenant_usage_links"] = next_link(call, found.next);
        return api::reply(200, body);
      });
}

}  // namespace virga::compute
