// GET /v3/role_assignments: as stored, or effective (groups, inheritance and implied roles worked out).
#include <fmt/format.h>

#include <tuple>

#include "base/text.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

struct Assignment {
  std::string actor_kind, actor_id, target_kind, target_id, role_id;
  bool inherited = false;
  // Where an effective one comes from; "" = not through that.
  std::string group_id, source_kind, source_id, prior_role_id;

  auto key() const { return std::tie(actor_kind, actor_id, target_kind, target_id, role_id, inherited); }
  /// Where the next page begins after this one: its key as text.
  std::string marker() const {
    return fmt::format("{},{},{},{},{},{}", actor_kind, actor_id, target_kind, target_id, role_id,
                       inherited ? 1 : 0);
  }
};

struct Filter {
  std::string user, group, role, project, domain;
  std::string confined_to;  ///< the domain that a domain-scoped caller is confined to, or ""
  bool system = false, effective = false, names = false, subtree = false;
  std::optional<bool> inherited;
  std::optional<int64_t> limit;
  std::optional<Assignment> after;  ///< the marker
};

/// A list of assignments has no ids, so its marker is the last one's whole key.
Assignment read_marker(const std::string& text) {
  const auto part = split(text, ',');
  if (part.size() != 6 || (part[5] != "0" && part[5] != "1"))
    throw Fault(FaultKind::bad_request, fmt::format("marker [{}] not found", text), "", "MarkerNotFound");
  return {part[0], part[1], part[2], part[3], part[4], part[5] == "1"};
}

Filter read_filter(const api::Call& call) {
  const auto text = [&](std::string_view name) { return call.request.query_value(name).value_or(""); };
  Filter f{.user = text("user.id"),
           .group = text("group.id"),
           .role = text("role.id"),
           .project = text("scope.project.id"),
           .domain = text("scope.domain.id")};
  f.system = !text("scope.system").empty();
  f.effective = query_flag(call, "effective");
  f.names = query_flag(call, "include_names");
  f.subtree = query_flag(call, "include_subtree");
  if (const auto to = call.request.query_value("scope.OS-INHERIT:inherited_to"))
    f.inherited = *to == "projects";
  f.confined_to = call.caller().domain_id;
  static const api::Resource nothing{.name = "role_assignment", .plural = "role_assignments"};
  const auto page = api::parse_list(nothing, call.request, list_rules());
  f.limit = page.limit;
  if (!page.marker.empty()) f.after = read_marker(page.marker);
  return f;
}

/// Whose effective assignments are worked out at once: users by id, `from` and `to` included.
struct Window {
  std::string from, to;
};

/// Filters that contradict each other, in the order keystone looks at them.
void check_filter(const Filter& f) {
  const auto refuse_if = [](bool wrong, const char* message) {
    if (wrong) throw Fault(FaultKind::bad_request, message);
  };
  refuse_if(f.subtree && f.project.empty(),
            "scope.project.id must be specified if include_subtree is also specified");
  refuse_if(!f.domain.empty() && !f.project.empty(), "Specify a domain or project, not both");
  refuse_if(f.system && !f.domain.empty(), "Specify system or domain, not both");
  refuse_if(f.system && !f.project.empty(), "Specify system or project, not both");
  refuse_if(!f.user.empty() && !f.group.empty(), "Specify a user or group, not both");
  refuse_if(f.effective && !f.group.empty(),
            "Combining effective and group filter will always result in an empty list.");
  refuse_if(f.effective && f.inherited.value_or(false) && !f.domain.empty(),
            "Combining effective, domain and inherited filters will always result in an empty list.");
}

std::vector<std::string> groups_of(db::Tx& tx, const std::string& user_id) {
  std::vector<std::string> out;
  for (const auto& r : tx.query("SELECT group_id FROM identity_memberships WHERE user_id = ?", user_id))
    out.push_back(r.text(0));
  return out;
}

/// Narrows by actor; effective lists also need what the user's groups hold.
void add_actor(db::Tx& tx, const Filter& f, api::Where& where) {
  if (!f.group.empty()) where.add("actor_kind = 'group' AND actor_id = ?", f.group);
  if (f.user.empty()) return;
  const auto groups = f.effective ? groups_of(tx, f.user) : std::vector<std::string>{};
  if (groups.empty()) return where.add("actor_kind = 'user' AND actor_id = ?", f.user);
  where.add(
      fmt::format("((actor_kind = 'user' AND actor_id = ?) OR (actor_kind = 'group' AND actor_id IN ({})))",
                  db::placeholders(groups.size())),
      f.user);
  for (const auto& g : groups) where.values.emplace_back(g);
}

/// Narrows by target; effective lists also need what is inherited from above.
void add_target(db::Tx& tx, const Filter& f, api::Where& where) {
  if (f.system) where.add("target_kind = 'system'");
  if (!f.domain.empty()) where.add("target_kind = 'domain' AND target_id = ?", f.domain);
  if (f.project.empty()) return;
  std::vector<std::string> ids{f.project};
  if (f.subtree)
    for (const auto& p : subtree_of(tx, f.project)) ids.push_back(p.id);
  if (f.effective)
    if (const auto project = find_project(tx, f.project))
      for (const auto& p : ancestors_of(tx, *project)) ids.push_back(p.id);
  where.add("target_kind IN ('project', 'domain')");  // both named, for the index
  where.add_in("target_id", ids);
}

constexpr std::string_view kKey = "actor_kind, actor_id, target_kind, target_id, role_id, inherited";

/// What comes after the marker, and one more than the limit. Effective lists are cut when they are worked
/// out.
std::string add_page(const Filter& f, api::Where& where) {
  if (!f.confined_to.empty())
    where.add(
        "((target_kind = 'domain' AND target_id = ?) OR (target_kind = 'project' AND target_id IN (SELECT id "
        "FROM identity_projects WHERE domain_id = ?)))",
        f.confined_to, f.confined_to);
  if (f.after)
    where.add(fmt::format("({}) > (?, ?, ?, ?, ?, ?)", kKey), f.after->actor_kind, f.after->actor_id,
              f.after->target_kind, f.after->target_id, f.after->role_id, f.after->inherited);
  return f.limit ? fmt::format(" LIMIT {}", *f.limit + 1) : "";
}

std::vector<Assignment> stored(db::Tx& tx, const Filter& f, const Window* window = nullptr) {
  api::Where where;
  add_actor(tx, f, where);
  if (window)
    where.add("(actor_kind = 'group' OR (actor_kind = 'user' AND actor_id >= ? AND actor_id <= ?))", window->from, window->to);
  add_target(tx, f, where);
  const std::string limit = f.effective ? "" : add_page(f, where);
  if (!f.effective && !f.role.empty()) where.add("role_id = ?", f.role);
  if (f.inherited) where.add("inherited = ?", *f.inherited);
  std::vector<Assignment> out;
  const std::string sql =
      fmt::format("SELECT {0} FROM identity_assignments{1} ORDER BY {0}{2}", kKey, where.sql(), limit);
  for (const auto& r : tx.query(sql, where.values))
    out.push_back({r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), r.boolean(5)});
  return out;
}

/// A group's assignment, as each member has it.
std::vector<Assignment> per_member(db::Tx& tx, std::vector<Assignment> in, const Window* window) {
  std::vector<Assignment> out;
  for (auto& a : in) {
    if (a.actor_kind == "user") {
      out.push_back(std::move(a));
      continue;
    }
    const auto members =
        window ? tx.query("SELECT user_id FROM identity_memberships WHERE group_id = ? AND user_id >= ? AND user_id <= ?",
                          a.actor_id, window->from, window->to)
               : tx.query("SELECT user_id FROM identity_memberships WHERE group_id = ?", a.actor_id);
    for (const auto& r : members) {
      Assignment member = a;
      member.actor_kind = "user";
      member.actor_id = r.text(0);
      member.group_id = a.actor_id;
      out.push_back(std::move(member));
    }
  }
  return out;
}

/// An inherited assignment, as each project below has it.
std::vector<Assignment> per_project(db::Tx& tx, std::vector<Assignment> in) {
  std::vector<Assignment> out;
  for (auto& a : in) {
    if (!a.inherited) {
      out.push_back(std::move(a));
      continue;
    }
    for (const auto& p : subtree_of(tx, a.target_id)) {
      Assignment below = a;
      below.target_kind = "project";
      below.target_id = p.id;
      below.inherited = false;
      below.source_kind = a.target_kind;
      below.source_id = a.target_id;
      out.push_back(std::move(below));
    }
  }
  return out;
}

std::vector<Assignment> per_role(const RoleGraph& graph, const std::vector<Assignment>& in) {
  std::vector<Assignment> out;
  std::map<std::string, std::vector<RoleName>> expanded;
  for (const auto& a : in) {
    const auto [roles, fresh] = expanded.try_emplace(a.role_id);
    if (fresh) roles->second = graph.expand({a.role_id});
    for (const auto& role : roles->second) {
      Assignment one = a;
      if (role.id != a.role_id) one.prior_role_id = a.role_id;
      one.role_id = role.id;
      out.push_back(std::move(one));
    }
  }
  return out;
}

std::vector<Assignment> effective(db::Tx& tx, const Filter& f, const RoleGraph& graph, const Window* window = nullptr) {
  auto all = per_role(graph, per_project(tx, per_member(tx, stored(tx, f, window), window)));
  std::set<std::string> wanted_projects;
  if (!f.project.empty()) wanted_projects.insert(f.project);
  if (f.subtree)
    for (const auto& p : subtree_of(tx, f.project)) wanted_projects.insert(p.id);
  std::erase_if(all, [&](const Assignment& a) {
    return (!f.user.empty() && a.actor_id != f.user) || (!f.role.empty() && a.role_id != f.role) ||
           (!f.project.empty() && (a.target_kind != "project" || !wanted_projects.contains(a.target_id))) ||
           (!f.domain.empty() && (a.target_kind != "domain" || a.target_id != f.domain));
  });
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
  all.erase(
      std::unique(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.key() == b.key(); }),
      all.end());
  return all;
}

/// Leaves what is on the domain and its projects.
void confine(db::Tx& tx, const std::string& domain_id, std::vector<Assignment>& all) {
  std::map<std::string, bool> inside;
  std::erase_if(all, [&](const Assignment& a) {
    if (a.target_kind != "project") return a.target_kind != "domain" || a.target_id != domain_id;
    const auto [known, fresh] = inside.emplace(a.target_id, false);
    if (fresh) {
      const auto project = find_project(tx, a.target_id);
      known->second = project && project->home() == domain_id;
    }
    return !known->second;
  });
}

/// The last of the next `most` users from `from` on who may have an assignment; nothing if there are none. `more`: there are others
/// behind.
std::optional<std::string> end_of_window(db::Tx& tx, const std::string& from, size_t most, bool& more) {
  std::set<std::string> users;
  const std::string limit = fmt::format(" LIMIT {}", most + 1);
  for (const std::string& sql :
       {"SELECT DISTINCT actor_id FROM identity_assignments WHERE actor_kind = 'user' AND actor_id >= ? ORDER BY actor_id" + limit,
        "SELECT DISTINCT user_id FROM identity_memberships WHERE user_id >= ? ORDER BY user_id" + limit})
    for (const auto& row : tx.query(sql, from)) users.insert(row.text(0));
  more = users.size() > most;
  if (users.empty()) return std::nullopt;
  return more ? *std::next(users.begin(), static_cast<std::ptrdiff_t>(most) - 1) : *users.rbegin();
}

/// As much of the effective assignments as the page needs, in order. They are sorted by user, so those of a few users at a
/// time are worked out, instead of everybody's for each page.
std::vector<Assignment> effective_page(db::Tx& tx, const Filter& f) {
  const RoleGraph graph(tx);
  const auto confined = [&](std::vector<Assignment> some) {
    if (!f.confined_to.empty()) confine(tx, f.confined_to, some);
    return some;
  };
  const bool narrow = !f.user.empty() || !f.project.empty() || !f.domain.empty();  // few rows by an index
  if (!f.limit || narrow) return confined(effective(tx, f, graph));
  constexpr size_t kFirst = 64, kNext = 4;
  std::vector<Assignment> page;
  std::string from = f.after ? f.after->actor_id : "";
  bool more = true;
  for (size_t users = kFirst; more && page.size() <= static_cast<size_t>(*f.limit); users *= kNext) {
    const auto to = end_of_window(tx, from, users, more);
    if (!to) break;
    const Window window{from, *to};
    for (auto& a : confined(effective(tx, f, graph, &window)))
      if (!f.after || a.key() > f.after->key()) page.push_back(std::move(a));
    from = *to + '\x01';  // the least text that is greater than any id so far
  }
  return page;
}

/// Names of everything that a list mentions, each looked up once.
class Names {
 public:
  explicit Names(db::Tx& tx) : tx_(tx) {}

  void put(json::object& to, std::string_view kind, const std::string& id) {
    const auto& [name, domain] = look_up(kind, id);
    to["name"] = name;
    if (kind == "domain" || (kind == "role" && domain.empty())) return;
    to["domain"] = json::object{{"id", domain}, {"name", look_up("domain", domain).first}};
  }

 private:
  using Entry = std::pair<std::string, std::string>;  ///< name, domain id
  const Entry& look_up(std::string_view kind, const std::string& id) {
    const auto key = std::make_pair(std::string(kind), id);
    if (const auto known = known_.find(key); known != known_.end()) return known->second;
    const std::string_view table = kind == "user"    ? "identity_users"
                                   : kind == "group" ? "identity_groups"
                                   : kind == "role"  ? "identity_roles"
                                                     : "identity_projects";
    const auto row = tx_.first(fmt::format("SELECT name, domain_id FROM {} WHERE id = ?", table), id);
    return known_[key] = row ? Entry{row->text(0), row->text(1)} : Entry{};
  }

  db::Tx& tx_;
  std::map<std::pair<std::string, std::string>, Entry> known_;
};

json::object named(Names* names, std::string_view kind, const std::string& id) {
  json::object out{{"id", id}};
  if (names) names->put(out, kind, id);
  return out;
}

std::string grant_url(const api::Call& call, const Assignment& a) {
  const std::string& kind = a.source_kind.empty() ? a.target_kind : a.source_kind;
  const std::string& id = a.source_id.empty() ? a.target_id : a.source_id;
  const std::string target = kind == "system" ? "system" : fmt::format("{}s/{}", kind, id);
  const std::string actor =
      a.group_id.empty() ? fmt::format("{}s/{}", a.actor_kind, a.actor_id) : "groups/" + a.group_id;
  const std::string& role = a.prior_role_id.empty() ? a.role_id : a.prior_role_id;
  const bool inherited = a.inherited || !a.source_kind.empty();
  return fmt::format("{}/v3/{}{}/{}/roles/{}{}", call.base_url, inherited ? "OS-INHERIT/" : "", target, actor,
                     role, inherited ? "/inherited_to_projects" : "");
}

json::object view(const api::Call& call, const Assignment& a, Names* names) {
  json::object scope, links{{"assignment", grant_url(call, a)}};
  if (a.target_kind == "system")
    scope["system"] = json::object{{"all", true}};
  else
    scope[a.target_kind] = named(names, a.target_kind, a.target_id);
  if (a.inherited || !a.source_kind.empty()) scope["OS-INHERIT:inherited_to"] = "projects";
  if (!a.group_id.empty())
    links["membership"] = fmt::format("{}/v3/groups/{}/users/{}", call.base_url, a.group_id, a.actor_id);
  if (!a.prior_role_id.empty())
    links["prior_role"] =
        fmt::format("{}/v3/prior_role/{}/implies/{}", call.base_url, a.prior_role_id, a.role_id);
  return {{"role", named(names, "role", a.role_id)},
          {a.actor_kind, named(names, a.actor_kind, a.actor_id)},
          {"scope", std::move(scope)},
          {"links", std::move(links)}};
}

void check_policy(db::Tx& tx, const Filter& f, api::Call& call) {
  if (!f.subtree)
    return call.require("identity:list_role_assignments", {{"target.domain_id", f.confined_to}});
  api::Target target;
  if (!f.project.empty()) {
    const ProjectRow project = get_project(tx, f.project);
    target = {{"target.project.id", project.id}, {"target.project.domain_id", project.home()}};
  }
  call.require("identity:list_role_assignments_for_tree", target);
}

/// Cuts a list to its page; the next page's marker, or "".
std::string take_page(const Filter& f, std::vector<Assignment>& all) {
  if (f.after) std::erase_if(all, [&](const Assignment& a) { return a.key() <= f.after->key(); });
  if (!f.limit || all.size() <= static_cast<size_t>(*f.limit)) return "";
  all.resize(static_cast<size_t>(*f.limit));
  return all.empty() ? "" : all.back().marker();
}

http::Response list_assignments(Core& core, api::Call& call) {
  const Filter f = read_filter(call);
  json::array out;
  std::string next;
  core.database.read([&](db::Tx& tx) {
    check_policy(tx, f, call);
    check_filter(f);
    auto all = f.effective ? effective_page(tx, f) : stored(tx, f);
    next = take_page(f, all);
    Names names(tx);
    out.clear();
    for (const auto& a : all) out.push_back(view(call, a, f.names ? &names : nullptr));
  });
  return list_reply(call, "role_assignments", std::move(out), next);
}

}  // namespace

void add_assignment_routes(Core& core, Routes& to) {
  to.push_back({"GET", "/v3/role_assignments", "identity:list_role_assignments",
                [&core](api::Call& call) { return list_assignments(core, call); }});
}

}  // namespace virga::identity
