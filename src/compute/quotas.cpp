#include "compute/quotas.h"

namespace virga::compute {

const std::vector<QuotaResource>& quota_resources() {
  static const std::vector<QuotaResource> all{
      {"instances", 10, {}, {}},
      {"cores", 20, {}, {}},
      {"ram", 51200, {}, {}},
      {"metadata_items", 128, {}, {}},
      {"key_pairs", 100, {}, {}},
      {"server_groups", 10, {}, {}},
      {"server_group_members", 10, {}, {}},
      {"injected_files", 5, {2, 56}, {}},
      {"injected_file_content_bytes", 10240, {2, 56}, {}},
      {"injected_file_path_bytes", 255, {2, 56}, {}},
      {"floating_ips", -1, {2, 35}, {}},
      {"fixed_ips", -1, {2, 35}, {}},
      {"security_groups", -1, {2, 35}, {}},
      {"security_group_rules", -1, {2, 35}, {}},
  };
  return all;
}

namespace {

Uses configured_limits(const Core& core) {
  Uses limits;
  for (const auto& resource : quota_resources()) {
    const auto set = core.options.quotas.find(std::string(resource.name));
    limits[std::string(resource.name)] = set == core.options.quotas.end() ? resource.fallback : set->second;
  }
  return limits;
}

}  // namespace

Uses quota_class_limits(Core& core, db::Tx& tx, const std::string& class_name) {
  Uses limits = configured_limits(core);
  for (const auto& row :
       tx.query("SELECT resource, hard_limit FROM compute_quota_classes WHERE class_name = ?", class_name))
    limits[row.text(0)] = row.integer(1);
  return limits;
}

Uses quota_uses(db::Tx& tx, const std::string& project_id) {
  Uses uses;
  for (const auto& resource : quota_resources()) uses[std::string(resource.name)] = 0;
  for (const auto& row :
       tx.query("SELECT resource, used FROM compute_usages WHERE project_id = ?", project_id))
    uses[row.text(0)] = row.integer(1);
  return uses;
}

Standing standing_of(Core& core, db::Tx& tx, const std::string& project_id) {
  Standing standing{configured_limits(core), {}};
  Uses own;
  for (const auto& row : tx.query("SELECT 0, resource, hard_limit FROM compute_quota_classes WHERE class_name = 'default' UNION ALL "
                                  "SELECT 1, resource, hard_limit FROM compute_quotas WHERE project_id = ? UNION ALL "
                                  "SELECT 2, resource, used FROM compute_usages WHERE project_id = ?",
                                  project_id, project_id)) {
    const int64_t what = row.integer(0);
    (what == 0 ? standing.limits : what == 1 ? own : standing.uses)[row.text(1)] = row.integer(2);
  }
  for (const auto& [name, limit] : own) standing.limits[name] = limit;
  return standing;
}

std::optional<int64_t> Standing::room(const std::string& resource) const {
  const int64_t limit = limits.at(resource);
  const auto used = uses.find(resource);
  if (limit < 0) return std::nullopt;
  return limit - (used == uses.end() ? 0 : used->second);
}

Uses quota_limits(Core& core, db::Tx& tx, const std::string& project_id) { return standing_of(core, tx, project_id).limits; }

namespace {

/// How many of the resources were changed: those that had room for the amount, all of one project and in one statement.
int64_t add_uses(db::Tx& tx, const std::string& project_id, const Uses& amounts, const Uses& limits) {
  std::string sums, conditions;
  std::vector<db::Value> of_sums, of_conditions;
  for (const auto& [name, amount] : amounts) {
    sums += " WHEN ? THEN ?";
    of_sums.insert(of_sums.end(), {name, amount});
    conditions += conditions.empty() ? "" : " OR ";
    conditions += "(resource = ? AND (? < 0 OR used + ? <= ?))";
    of_conditions.insert(of_conditions.end(), {name, limits.at(name), amount, limits.at(name)});
  }
  of_sums.emplace_back(project_id);
  of_sums.insert(of_sums.end(), of_conditions.begin(), of_conditions.end());
  return tx.exec(fmt::format("UPDATE compute_usages SET used = used + CASE resource{} ELSE 0 END WHERE project_id = ? AND ({})", sums, conditions), of_sums);
}

/// Rows that start at nothing, for resources of which the project has used none yet.
void ensure_uses(db::Tx& tx, const std::string& project_id, const Uses& amounts, const Uses& have) {
  for (const auto& [name, amount] : amounts) {
    if (have.contains(name)) continue;
    try {
      tx.exec("INSERT INTO compute_usages (project_id, resource, used) VALUES (?, ?, 0)", project_id, name);
    } catch (const db::UniqueViolation&) {
      // Another client made the row just now.
    }
  }
}

[[noreturn]] void exceeded(db::Tx& tx, const std::string& project_id, const Uses& amounts,
                           const Uses& limits) {
  const Uses uses = quota_uses(tx, project_id);
  std::vector<std::string> names, wanted, used, allowed;
  // What this snapshot shows may be older than what the counter refused: then every bounded resource is named.
  const bool known = std::any_of(amounts.begin(), amounts.end(), [&](const auto& a) {
    return limits.at(a.first) >= 0 && uses.at(a.first) + a.second > limits.at(a.first);
  });
  for (const auto& [name, amount] : amounts) {
    const int64_t limit = limits.at(name);
    if (limit < 0 || (known && uses.at(name) + amount <= limit)) continue;
    names.push_back(name);
    wanted.push_back(std::to_string(amount));
    used.push_back(std::to_string(uses.at(name)));
    allowed.push_back(std::to_string(limit));
  }
  throw Fault(FaultKind::forbidden,
              fmt::format("Quota exceeded for {}: Requested {}, but already used {} of {} {}",
                          fmt::join(names, ", "), fmt::join(wanted, ", "), fmt::join(used, ", "),
                          fmt::join(allowed, ", "), fmt::join(names, ", ")));
}

}  // namespace

void need_room(db::Tx& tx, const std::string& project_id, const Uses& amounts, const Standing& standing) {
  for (const auto& [name, amount] : amounts)
    if (const auto room = standing.room(name); room && amount > *room) exceeded(tx, project_id, amounts, standing.limits);
}

void take_quota(db::Tx& tx, const std::string& project_id, const Uses& amounts, const Standing& standing) {
  ensure_uses(tx, project_id, amounts, standing.uses);
  if (add_uses(tx, project_id, amounts, standing.limits) != static_cast<int64_t>(amounts.size()))
    exceeded(tx, project_id, amounts, standing.limits);
}

void give_back_quota(db::Tx& tx, const std::string& project_id, const Uses& amounts) {
  std::string cases;
  std::vector<db::Value> values;
  for (const auto& [name, amount] : amounts) {
    cases += " WHEN ? THEN CASE WHEN used < ? THEN 0 ELSE used - ? END";
    values.insert(values.end(), {name, amount, amount});
  }
  values.emplace_back(project_id);
  for (const auto& [name, amount] : amounts) values.emplace_back(name);
  tx.exec(fmt::format("UPDATE compute_usages SET used = CASE resource{} ELSE used END WHERE project_id = ? AND resource IN ({})", cases,
                      db::placeholders(amounts.size())),
          values);
}

namespace {

bool shown(const QuotaResource& resource, const api::Call& call) {
  return resource.until == api::Version{} || call.version <= resource.until;
}

json::object limits_view(const api::Call& call, const Uses& limits) {
  json::object view;
  for (const auto& resource : quota_resources())
    if (shown(resource, call)) view[resource.name] = limits.at(std::string(resource.name));
  return view;
}

json::object detail_view(const api::Call& call, const Uses& limits, const Uses& uses) {
  json::object view;
  for (const auto& resource : quota_resources()) {
    if (!shown(resource, call)) continue;
    const std::string name(resource.name);
    view[name] = json::object{{"limit", limits.at(name)}, {"in_use", uses.at(name)}, {"reserved", 0}};
  }
  return view;
}

void check_project(api::Call& call) {
  call.require_still({{"project_id", call.param("target")}});
}

/// resource -> new limit, from a body. `force` takes limits below what is used.
Uses parse_limits(const api::Call& call, const json::object& body, bool& force) {
  Uses limits;
  for (const auto& [key, value] : body) {
    const std::string name(key);
    if (name == "force") {
      force = value.is_bool() ? value.get_bool()
                              : value.is_string() && api::parse_bool(str(value)).value_or(false);
      continue;
    }
    if (name == "tenant_id") continue;
    const auto known = std::find_if(quota_resources().begin(), quota_resources().end(),
                                    [&](const QuotaResource& r) { return r.name == name && shown(r, call); });
    if (known == quota_resources().end())
      throw Fault(FaultKind::bad_request,
                  fmt::format("Additional properties are not allowed ('{}' was unexpected)", name));
    int64_t limit = -2;
    if (value.is_int64())
      limit = value.get_int64();
    else if (value.is_string() && !value.get_string().empty()) {
      char* end = nullptr;
      const std::string text = str(value);
      limit = std::strtoll(text.c_str(), &end, 10);
      if (*end) limit = -2;
    }
    if (limit < -1 || limit > 2147483647)
      throw Fault(
          FaultKind::bad_request,
          fmt::format(
              "Invalid input for field/attribute {}. Value: {}. It must be an integer from -1 to 2147483647.",
              name, json::serialize(value)));
    limits[name] = limit;
  }
  return limits;
}

void put_limit(db::Tx& tx, std::string_view table, std::string_view key, const std::string& owner,
               const std::string& resource, int64_t limit) {
  if (tx.exec(fmt::format("UPDATE {} SET hard_limit = ? WHERE {} = ? AND resource = ?", table, key), limit,
              owner, resource) > 0)
    return;
  tx.exec(fmt::format("INSERT INTO {} ({}, resource, hard_limit) VALUES (?, ?, ?)", table, key), owner,
          resource, limit);
}

json::object with_id(json::object view, const std::string& id) {
  view["id"] = id;
  return view;
}

void add_quota_sets(Routes& routes, Core& core) {
  routes.add("GET", "/os-quota-sets/{target}", "os-quota-sets:show", [&core](api::Call& call) {
    check_project(call);
    const auto limits =
        core.database.read([&](db::Tx& tx) { return quota_limits(core, tx, call.param("target")); });
    return api::reply(200, {{"quota_set", with_id(limits_view(call, limits), call.param("target"))}});
  });
  routes.add(
      "GET", "/os-quota-sets/{target}/defaults", "os-quota-sets:defaults",
      [&core](api::Call& call) {
        const auto limits =
            core.database.read([&](db::Tx& tx) { return quota_class_limits(core, tx, "default"); });
        return api::reply(200, {{"quota_set", with_id(limits_view(call, limits), call.param("target"))}});
      });
  routes.add("GET", "/os-quota-sets/{target}/detail", "os-quota-sets:detail",
             [&core](api::Call& call) {
               check_project(call);
               auto view = core.database.read([&](db::Tx& tx) {
                 return detail_view(call, quota_limits(core, tx, call.param("target")),
                                    quota_uses(tx, call.param("target")));
               });
               return api::reply(200, {{"quota_set", with_id(std::move(view), call.param("target"))}});
             });
  routes.add(
      "PUT", "/os-quota-sets/{target}", "os-quota-sets:update", [&core](api::Call& call) {
        bool force = false;
        const auto wanted = parse_limits(call, call.body_of("quota_set"), force);
        const auto limits = core.database.write([&](db::Tx& tx) {
          const Uses uses = quota_uses(tx, call.param("target"));
          for (const auto& [name, limit] : wanted) {
            if (limit >= 0 && limit < uses.at(name) && !force)
              throw Fault(
                  FaultKind::bad_request,
                  fmt::format(
                      "Quota limit {} for {} must be greater than or equal to already used and reserved {}.",
                      limit, name, uses.at(name)));
            put_limit(tx, "compute_quotas", "project_id", call.param("target"), name, limit);
          }
          return quota_limits(core, tx, call.param("target"));
        });
        return api::reply(200, {{"quota_set", limits_view(call, limits)}});
      });
  routes.add("DELETE", "/os-quota-sets/{target}", "os-quota-sets:delete",
             [&core](api::Call& call) {
               core.database.write([&](db::Tx& tx) {
                 tx.exec("DELETE FROM compute_quotas WHERE project_id = ?", call.param("target"));
               });
               return api::reply(202);
             });
}

void add_quota_classes(Routes& routes, Core& core) {
  const auto view = [](const api::Call& call, const Uses& limits) {
    auto all = limits_view(call, limits);
    if (!call.since(2, 50)) {
      all.erase("server_groups");
      all.erase("server_group_members");
    }
    return all;
  };
  routes.add("GET", "/os-quota-class-sets/{name}", "os-quota-class-sets:show",
             [&core, view](api::Call& call) {
               const auto limits = core.database.read(
                   [&](db::Tx& tx) { return quota_class_limits(core, tx, call.param("name")); });
               return api::reply(200, {{"quota_class_set", with_id(view(call, limits), call.param("name"))}});
             });
  routes.add("PUT", "/os-quota-class-sets/{name}", "os-quota-class-sets:update",
             [&core, view](api::Call& call) {
               bool force = false;
               const auto wanted = parse_limits(call, call.body_of("quota_class_set"), force);
               const auto limits = core.database.write([&](db::Tx& tx) {
                 for (const auto& [name, limit] : wanted)
                   put_limit(tx, "compute_quota_classes", "class_name", call.param("name"), name, limit);
                 return quota_class_limits(core, tx, call.param("name"));
               });
               return api::reply(200, {{"quota_class_set", view(call, limits)}});
             });
}

struct LimitRow {
  std::string_view shown, resource;
  bool use;            ///< amount in use, not the limit
  api::Version until;  ///< last version that shows it
};
constexpr LimitRow kLimits[] = {
    {"maxTotalInstances", "instances", false, {}},
    {"maxTotalCores", "cores", false, {}},
    {"maxTotalRAMSize", "ram", false, {}},
    {"maxServerMeta", "metadata_items", false, {}},
    {"maxImageMeta", "metadata_items", false, {2, 38}},
    {"maxTotalKeypairs", "key_pairs", false, {}},
    {"maxServerGroups", "server_groups", false, {}},
    {"maxServerGroupMembers", "server_group_members", false, {}},
    {"maxPersonality", "injected_files", false, {2, 56}},
    {"maxPersonalitySize", "injected_file_content_bytes", false, {2, 56}},
    {"maxTotalFloatingIps", "floating_ips", false, {2, 35}},
    {"maxSecurityGroups", "security_groups", false, {2, 35}},
    {"maxSecurityGroupRules", "security_group_rules", false, {2, 35}},
    {"totalInstancesUsed", "instances", true, {}},
    {"totalCoresUsed", "cores", true, {}},
    {"totalRAMUsed", "ram", true, {}},
    {"totalServerGroupsUsed", "server_groups", true, {}},
    {"totalFloatingIpsUsed", "floating_ips", true, {2, 35}},
    {"totalSecurityGroupsUsed", "security_groups", true, {2, 35}},
};

}  // namespace

void add_quota_routes(Routes& routes, Core& core) {
  add_quota_sets(routes, core);
  add_quota_classes(routes, core);
  routes.add("GET", "/limits", "limits", [&core](api::Call& call) {
    std::string project = call.caller().project_id;
    if (const auto other = call.request.query_value("tenant_id")) {
      if (*other != project) call.require("os_compute_api:limits:other_project", {{"project_id", *other}});
      project = *other;
    }
    json::object absolute;
    core.database.read([&](db::Tx& tx) {
      const Uses limits = quota_limits(core, tx, project), uses = quota_uses(tx, project);
      for (const auto& row : kLimits)
        if (row.until == api::Version{} || call.version <= row.until)
          absolute[row.shown] = (row.use ? uses : limits).at(std::string(row.resource));
    });
    return api::reply(200, {{"limits", {{"rate", json::array()}, {"absolute", std::move(absolute)}}}});
  });
}

}  // namespace virga::compute
