#include <fmt/format.h>

#include <limits>
#include <optional>

#include "network/service.h"

namespace virga::network {
namespace {

/// Neutron's defaults; -1 is unlimited.
const std::map<std::string, int64_t>& default_limits() {
  static const std::map<std::string, int64_t> limits{{"network", 100},       {"subnet", 100},         {"subnetpool", -1},           {"port", 500},       {"router", 10},
                                                     {"floatingip", 50},     {"security_group", 10},  {"security_group_rule", 100}, {"rbac_policy", 10}};
  return limits;
}

}  // namespace

int64_t NetworkService::default_limit(const std::string& resource) const {
  if (const auto it = options_.quotas.find(resource); it != options_.quotas.end()) return it->second;
  const auto it = default_limits().find(resource);
  return it == default_limits().end() ? -1 : it->second;
}

int64_t NetworkService::quota_limit(db::Tx& tx, const std::string& project, const std::string& resource) {
  if (const auto row = tx.first("SELECT hard_limit FROM network_quotas WHERE project_id = ? AND resource = ?", project, resource)) return row->integer(0);
  return default_limit(resource);
}

namespace {

/// False if more would be used than the project's own limit or, if it has none, `limit` (-1: unlimited). Without `limit`
/// it is only counted.
bool add_usage(db::Tx& tx, const std::string& project, std::string_view resource, int64_t amount, std::optional<int64_t> limit) {
  constexpr std::string_view kAdd = "UPDATE network_quota_usages SET used = used + ? WHERE project_id = ? AND resource = ?";
  constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
  const auto take = [&] {
    if (!limit || amount <= 0) return tx.exec(kAdd, amount, project, resource) == 1;
    return tx.exec(fmt::format("{} AND used + ? <= COALESCE((SELECT CASE WHEN hard_limit < 0 THEN ? ELSE hard_limit END FROM network_quotas "
                               "WHERE project_id = ? AND resource = ?), ?)", kAdd),
                   amount, project, resource, amount, kUnlimited, project, resource, *limit < 0 ? kUnlimited : *limit) == 1;
  };
  if (take()) return true;
  try {
    tx.exec("INSERT INTO network_quota_usages (project_id, resource, used) VALUES (?, ?, 0)", project, resource);
  } catch (const db::UniqueViolation&) {
    // It was there and full, or another request made it since.
  }
  return take();
}

}  // namespace

void NetworkService::use_quota(db::Tx& tx, const std::string& project, std::string_view resource, int64_t amount) {
  if (project.empty()) return;  // ours, not a project's
  if (!add_usage(tx, project, resource, amount, default_limit(std::string(resource)))) throw conflict(fmt::format("Quota exceeded for resources: ['{}'].", resource), "OverQuota");
}

void NetworkService::count_quota(db::Tx& tx, const std::string& project, std::string_view resource, int64_t amount) {
  if (!project.empty() && amount != 0) add_usage(tx, project, resource, amount, std::nullopt);
}

namespace {

json::object limits_of(const std::function<int64_t(const std::string&)>& limit) {
  json::object out;
  for (const auto& [resource, unused] : default_limits()) out[resource] = limit(resource);
  return out;
}

/// Asks the route's rule about a project's quotas.
void require_of(api::Call& call, const std::string& project) { call.require({{"project_id", project}, {"tenant_id", project}}); }

}  // namespace

void NetworkService::add_quota_routes() {
  const auto show = [this](api::Call& call) {
    const std::string project = call.param("project_id");
    require_of(call, project);
    return api::reply(200, Object{{"quota", database_.read([&](db::Tx& tx) { return limits_of([&](const std::string& r) { return quota_limit(tx, project, r); }); })}});
  };
  const auto defaults = [this](api::Call& call) {
    require_of(call, call.param("project_id"));
    return api::reply(200, Object{{"quota", database_.read([&](db::Tx& tx) { return limits_of([&](const std::string& r) { return quota_limit(tx, "", r); }); })}});
  };
  const auto details = [this](api::Call& call) {
    const std::string project = call.param("project_id");
    require_of(call, project);
    json::object out;
    database_.read([&](db::Tx& tx) {
      out.clear();
      for (const auto& [resource, unused] : default_limits()) out[resource] = Object{{"limit", quota_limit(tx, project, resource)}, {"used", 0}, {"reserved", 0}};
      for (const auto& r : tx.query("SELECT resource, used FROM network_quota_usages WHERE project_id = ?", project))
        if (json::value* entry = out.if_contains(r.text(0))) entry->as_object()["used"] = r.integer(1);
    });
    return api::reply(200, Object{{"quota", std::move(out)}});
  };
  const auto update = [this](api::Call& call) {
    const std::string project = call.param("project_id");
    require_of(call, project);
    const json::object wanted = call.body_of("quota");
    return api::reply(200, Object{{"quota", database_.write([&](db::Tx& tx) {
      for (const auto& [name, value] : wanted) {
        if (!default_limits().contains(std::string(name))) {
          if (name == "tenant_id" || name == "project_id") continue;
          throw bad_request(fmt::format("Unrecognized attribute(s) '{}'", std::string_view(name)));
        }
        if (!value.is_int64() || value.get_int64() < -1) throw bad_request(fmt::format("Invalid input for {}. Reason: the limit must be a whole number of at least -1.", std::string_view(name)));
        tx.exec("DELETE FROM network_quotas WHERE project_id = ? AND resource = ?", project, std::string_view(name));
        tx.exec("INSERT INTO network_quotas (project_id, resource, hard_limit) VALUES (?, ?, ?)", project, std::string_view(name), value.get_int64());
      }
      return limits_of([&](const std::string& r) { return quota_limit(tx, project, r); });
    })}});
  };
  const auto reset = [this](api::Call& call) {
    require_of(call, call.param("project_id"));
    database_.write([&](db::Tx& tx) { tx.exec("DELETE FROM network_quotas WHERE project_id = ?", call.param("project_id")); });
    return api::reply(204);
  };
  const auto list = [this](api::Call& call) {
    require_of(call, "");
    json::array out;
    database_.read([&](db::Tx& tx) {
      out.clear();
      for (const auto& row : tx.query("SELECT DISTINCT project_id FROM network_quotas")) {
        json::object one = limits_of([&](const std::string& r) { return quota_limit(tx, row.text(0), r); });
        one["tenant_id"] = one["project_id"] = row.text(0);
        out.push_back(std::move(one));
      }
    });
    return api::reply(200, Object{{"quotas", std::move(out)}});
  };
  auto& r = service_.routes;
  r.push_back({"GET", "/v2.0/quotas", "get_quota", list});
  r.push_back({"GET", "/v2.0/quotas/{project_id}", "get_quota", show});
  r.push_back({"GET", "/v2.0/quotas/{project_id}/default", "get_quota", defaults});
  r.push_back({"GET", "/v2.0/quotas/{project_id}/details.json", "get_quota", details});
  r.push_back({"GET", "/v2.0/quotas/{project_id}/details", "get_quota", details});
  r.push_back({"PUT", "/v2.0/quotas/{project_id}", "update_quota", update});
  r.push_back({"DELETE", "/v2.0/quotas/{project_id}", "delete_quota", reset});
}

}  // namespace virga::network
