// Lists of servers: filters, sorting, paging.

#include "base/log.h"
#include "base/text.h"
#include "compute/materialise.h"
#include "compute/name_pattern.h"
#include "compute/server_view.h"
#include "compute/servers.h"

namespace virga::compute {
namespace {

using api::Attribute;
using api::Type;

Attribute sortable(std::string_view name, std::string_view column = {}) {
  return {.name = name, .sort = true, .column = column};
}

/// Only what sorts; filters have meanings of their own (patterns, states) and stand in `kFilters`.
const api::Resource& resource() {
  static const api::Resource r{"server",
                               "servers",
                               {sortable("created_at"),
                                sortable("updated_at"),
                                sortable("uuid", "id"),
                                sortable("display_name", "name"),
                                sortable("display_description", "description"),
                                sortable("host", "node"),
                                sortable("node"),
                                sortable("hostname"),
                                sortable("image_ref", "image_id"),
                                sortable("instance_type_id", "flavor_id"),
                                sortable("key_name"),
                                sortable("launch_index"),
                                sortable("launched_at"),
                                sortable("locked_by"),
                                sortable("power_state"),
                                sortable("project_id"),
                                sortable("reservation_id"),
                                sortable("task_state"),
                                sortable("terminated_at"),
                                sortable("user_id"),
                                sortable("vm_state"),
                                sortable("availability_zone", "zone"),
                                sortable("root_device_name", "id"),
                                sortable("access_ip_v4"),
                                sortable("access_ip_v6"),
                                sortable("config_drive"),
                                sortable("root_gb"),
                                sortable("memory_mb"),
                                sortable("vcpus")}};
  return r;
}

/// nova filters names by a regular expression; the part of it that people use is literal text with .* and
/// anchors, which SQL can do with LIKE. For anything else see narrow_by_name.
void add_pattern(api::Where& where, std::string_view column, std::string pattern) {
  bool from_start = false, to_end = false;
  if (!pattern.empty() && pattern.front() == '^') {
    from_start = true;
    pattern.erase(0, 1);
  }
  if (!pattern.empty() && pattern.back() == '$' &&
      (pattern.size() < 2 || pattern[pattern.size() - 2] != '\\')) {
    to_end = true;
    pattern.pop_back();
  }
  std::string like = from_start ? "" : "%";
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '.' && next == '*')
      like += '%', ++i;
    else if (c == '.' && next == '+')
      like += "_%", ++i;
    else if (c == '\\' && next)
      like += (next == '%' || next == '_' || next == '!') ? std::string("!") + next : std::string(1, next),
          ++i;
    else if (c == '*')
      like += '%';
    else if (c == '%' || c == '_' || c == '!')
      like += std::string("!") + c;
    else
      like += c;
  }
  if (!to_end) like += "%";
  where.add(fmt::format("{} LIKE ? ESCAPE '!'", column), like);
}

void add_status(api::Where& where, const std::vector<std::string>& statuses) {
  std::string any;
  std::vector<db::Value> values;
  for (std::string status : statuses) {
    std::transform(status.begin(), status.end(), status.begin(), ::toupper);
    for (const auto& state : states_of_status(status)) {
      any += any.empty() ? "" : " OR ";
      values.emplace_back(state.vm_state);
      if (!state.task_state.empty()) {
        any += "(vm_state = ? AND task_state = ?)";
        values.emplace_back(state.task_state);
        continue;
      }
      const auto tasks = renaming_tasks(state.vm_state);
      any += "(vm_state = ?";
      if (!tasks.empty())
        any += " AND (task_state IS NULL OR task_state NOT IN (" + db::placeholders(tasks.size()) + "))";
      any += ")";
      for (const auto& task : tasks) values.emplace_back(task);
    }
  }
  where.add(any.empty() ? "1 = 0" : "(" + any + ")");
  where.values.insert(where.values.end(), values.begin(), values.end());
}

std::string time_filter(std::string_view name, const std::string& value) {
  try {
    return to_db(parse_time(value));
  } catch (const Fault&) {
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Invalid filter field: {}. Value: {}. It must be a time in ISO 8601.", name, value));
  }
}

/// Servers that have (or lack) all (or any) of these tags.
void add_tags(api::Where& where, const std::string& value, bool all, bool without) {
  const auto tags = split_words(value, ',');
  if (tags.empty()) return;
  where.add(fmt::format(
      "id {} (SELECT server_id FROM server_tags WHERE tag IN ({}) GROUP BY server_id HAVING COUNT(*) >= {})",
      without ? "NOT IN" : "IN", db::placeholders(tags.size()), all ? tags.size() : 1));
  for (const auto& tag : tags) where.values.emplace_back(tag);
}

struct Exact {
  std::string_view parameter, column;
  bool admin;
};
constexpr Exact kExact[] = {{"flavor", "flavor_id", false},
                            {"image", "image_id", false},
                            {"user_id", "user_id", true},
                            {"host", "node", true},
                            {"node", "node", true},
                            {"hypervisor_hostname", "node", true},
                            {"reservation_id", "reservation_id", false},
                            {"uuid", "id", false},
                            {"availability_zone", "zone", false},
                            {"key_name", "key_name", false},
                            {"vm_state", "vm_state", true},
                            {"task_state", "task_state", true},
                            {"power_state", "power_state", true},
                            {"access_ip_v4", "access_ip_v4", false},
                            {"access_ip_v6", "access_ip_v6", false},
                            {"launch_index", "launch_index", true},
                            {"description", "description", false},
                            {"hostname", "hostname", true}};

struct Filters {
  api::Where where;
  std::vector<std::string> statuses;
  std::string ip, ip6;
  std::vector<std::string> names;  ///< patterns that LIKE cannot say
  bool all_projects = false, deleted = false, changes = false, nothing = false;
};

bool truth(std::string_view name, const std::string& value) {
  if (value.empty()) return true;  // ?all_tenants
  const auto parsed = api::parse_bool(value);
  if (!parsed)
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid value '{}' for query parameter '{}'.", value, name));
  return *parsed;
}

/// True if the parameter is one of the filters that any caller may use.
bool read_common(const api::Call& call, const std::string& name, const std::string& value, Filters& f) {
  if (name == "name" && needs_regex(value))
    f.names.push_back(value);
  else if (name == "name")
    add_pattern(f.where, "name", value);
  else if (name == "status")
    f.statuses.push_back(value);
  else if (name == "ip")
    f.ip = value;
  else if (name == "ip6")
    f.ip6 = value;
  else if (name == "changes-since")
    f.where.add("updated_at >= ?", time_filter(name, value)), f.changes = true;
  else if (name == "changes-before" && call.since(2, 66))
    f.where.add("updated_at <= ?", time_filter(name, value)), f.changes = true;
  else if (name == "tags" && call.since(2, 26))
    add_tags(f.where, value, true, false);
  else if (name == "tags-any" && call.since(2, 26))
    add_tags(f.where, value, false, false);
  else if (name == "not-tags" && call.since(2, 26))
    add_tags(f.where, value, true, true);
  else if (name == "not-tags-any" && call.since(2, 26))
    add_tags(f.where, value, false, true);
  else if (name == "locked" && call.since(2, 73))
    f.where.add(truth(name, value) ? "locked_by <> ''" : "locked_by = ''");
  else if (name == "config_drive")
    f.where.add("config_drive = ?", truth(name, value));
  else
    return false;
  return true;
}

Filters read_filters(api::Call& call, View view) {
  Filters f;
  std::optional<std::string> project;
  const bool admin = call.caller().is_admin();
  for (const auto& [name, value] : call.request.query) {
    if (read_common(call, name, value, f)) continue;
    if (name == "all_tenants")
      f.all_projects = truth(name, value);
    else if (name == "deleted" && admin)
      f.deleted = truth(name, value);
    else if ((name == "project_id" || name == "tenant_id") && admin)
      project = value;
    for (const auto& exact : kExact)
      if (name == exact.parameter && (admin || !exact.admin))
        f.where.add(fmt::format("{} = ?", exact.column), value);
  }
  if (f.all_projects)
    call.require(view == View::detail ? "os_compute_api:servers:detail:get_all_tenants" : "os_compute_api:servers:index:get_all_tenants",
                 own_target(call));
  if (!f.all_projects)
    f.where.add("project_id = ?", call.caller().project_id);
  else if (project)
    f.where.add("project_id = ?", *project);
  std::vector<std::string> statuses;
  for (auto& status : f.statuses) {
    std::string upper = status;
    std::transform(upper.begin(), upper.end(), upper.begin(), ::toupper);
    if (upper != "DELETED") {
      statuses.push_back(upper);
      continue;
    }
    if (!admin) throw Fault(FaultKind::forbidden, "Only administrators may list deleted instances");
    f.deleted = true;
  }
  if (!statuses.empty()) add_status(f.where, statuses);
  // Changed servers include deleted ones, as nova shows them.
  if (f.deleted)
    f.where.add("deleted = 1");
  else if (!f.changes)
    f.where.add("deleted = 0");
  return f;
}

bool has_address(const Shown& shown, const std::string& pattern, int version) {
  // A regular expression over addresses; like names, literal text with dots is what is used.
  std::string literal = pattern;
  const bool anchored = !literal.empty() && literal.front() == '^';
  if (anchored) literal.erase(0, 1);
  const bool ends = !literal.empty() && literal.back() == '$';
  if (ends) literal.pop_back();
  std::string::size_type at;
  while ((at = literal.find("\\.")) != std::string::npos) literal.erase(at, 1);
  if ((at = literal.find(".*")) != std::string::npos) literal.resize(at);
  for (const auto& port : shown.ports)
    for (const auto& ip : port.fixed_ips) {
      if (ip.version != version) continue;
      const size_t found = ip.address.find(literal);
      if (found == std::string::npos || (anchored && found != 0)) continue;
      if (!ends || ip.address.size() >= literal.size() + found) return true;
    }
  return false;
}

/// Finds the servers whose names match, so that sorting and paging stay the database's. SQLite has no regular
/// expressions of its own, and the two engines' would differ.
void narrow_by_name(db::Tx& tx, const std::vector<std::string>& patterns, api::Where& where) {
  constexpr size_t kMost = 10000;
  for (const auto& text : patterns) {
    const NamePattern pattern(text);
    std::vector<db::Value> ids;
    for (const auto& row : tx.query("SELECT id, name FROM servers" + where.sql(), where.values))
      if (pattern.matches(row.text(1))) ids.emplace_back(row.text(0));
    if (ids.size() > kMost)
      throw Fault(FaultKind::bad_request,
                  fmt::format("More than {} names match '{}'.", kMost, text),
                  "Use a pattern without brackets, or add another filter.");
    where.add(ids.empty() ? "1 = 0" : "id IN (" + db::placeholders(ids.size()) + ")");
    where.values.insert(where.values.end(), ids.begin(), ids.end());
  }
}

http::Response list(Core& core, api::Call& call, View view) {
  constexpr size_t kPiece = 32;
  static const api::ListRules kRules{.max_limit = 1000, .default_limit = true};
  auto query = api::parse_list(resource(), call.request, kRules);
  if (query.sorts.empty())
    query.sorts = {{resource().find("created_at"), true}, {resource().find("uuid"), true}};
  auto filters = read_filters(call, view);
  const bool by_address = !filters.ip.empty() || !filters.ip6.empty();
  const auto columns = view == View::brief                    ? ServerColumns::brief
                       : sees_extended(call) && call.since(2, 3) ? ServerColumns::shown_to_admin
                                                            : ServerColumns::shown;
  std::string text;
  core.database.read([&](db::Tx& tx) {
    api::Where where = filters.where;
    narrow_by_name(tx, filters.names, where);
    auto rows = api::select_page(tx, server_columns(columns), "servers", query, where);
    const bool more = api::take_page(rows, query);
    ServersText all(call, view, rows.size());
    // In pieces that stay in the processor's cache.
    for (size_t from = 0; from < rows.size(); from += kPiece) {
      std::vector<ServerRow> servers;
      servers.reserve(kPiece);
      for (size_t i = from; i < std::min(from + kPiece, rows.size()); ++i)
        servers.push_back(server_from_row(rows[i], columns));
      auto shown = load_shown(core, tx, call, std::move(servers), by_address ? View::detail : view);
      if (by_address)
        std::erase_if(shown, [&](const Shown& s) {
          return (!filters.ip.empty() && !has_address(s, filters.ip, 4)) ||
                 (!filters.ip6.empty() && !has_address(s, filters.ip6, 6));
        });
      all.add(shown);
    }
    text = all.finish(more && !rows.empty() ? api::next_url(call, server_from_row(rows.back(), columns).id) : "");
  });
  return api::reply_text(200, std::move(text));
}

}  // namespace

void add_server_list_routes(Routes& routes, Core& core) {
  routes.add("GET", "/servers", "servers:index",
             [&core](api::Call& call) { return list(core, call, View::brief); });
  routes.add("GET", "/servers/detail", "servers:detail",
             [&core](api::Call& call) { return list(core, call, View::detail); });
  routes.add("GET", "/servers/{id}", "servers:show", [&core](api::Call& call) {
    std::string text;
    core.database.read([&](db::Tx& tx) {
      const auto shown = load_shown(core, tx, call, {need_server(tx, call, call.param("id"))}, View::show);
      text = "{\"server\":" + server_text(call, shown.front(), View::show) + "}";
    });
    return api::reply_text(200, std::move(text));
  });
}

}  // namespace virga::compute
