#pragma once
// Unified limits: a registered limit is what every project gets of a service's resource, a limit is what one
// project or domain gets instead. Keystone keeps them; the services hold them.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.h"
#include "identity/core.h"

namespace virga::identity {

struct RegisteredLimitRow {
  std::string id, service_id, region_id, resource_name;  ///< region_id "" = of no region
  int64_t default_limit = 0;                             ///< -1 = unlimited
  std::optional<std::string> description;
};

struct LimitRow {
  std::string id, project_id, domain_id, registered_limit_id;  ///< one of project_id, domain_id is ""
  std::string service_id, region_id, resource_name;            ///< of the registered limit
  int64_t resource_limit = 0;                                  ///< -1 = unlimited
  std::optional<std::string> description;
};

/// How limits of projects relate to those above them.
struct LimitModel {
  std::string_view name, description;
  std::optional<size_t>
      max_depth;  ///< levels of projects below a domain; nullopt = as many as projects may have
};
/// By its name in the configuration: "flat" or "strict_two_level". Throws Fault(bad_request) on another.
const LimitModel& limit_model(std::string_view name);

inline constexpr std::string_view kLimitTable =
    "(SELECT l.id, l.project_id, l.domain_id, l.registered_limit_id, r.service_id, r.region_id, "
    "r.resource_name, "
    "l.resource_limit, l.description FROM identity_limits l JOIN identity_registered_limits r ON r.id = "
    "l.registered_limit_id) limits";
inline constexpr std::string_view kLimitColumns =
    "id, project_id, domain_id, registered_limit_id, service_id, region_id, resource_name, resource_limit, "
    "description";

LimitRow read_limit(const db::Row& row);
RegisteredLimitRow read_registered_limit(const db::Row& row);
std::optional<RegisteredLimitRow> find_registered_limit(db::Tx& tx, std::string_view service_id,
                                                        std::string_view region_id,
                                                        std::string_view resource);
/// What is set for exactly that project or domain.
std::optional<LimitRow> find_limit(db::Tx& tx, std::string_view project_id, std::string_view domain_id,
                                   std::string_view registered_limit_id);
std::vector<LimitRow> limits_of_project(db::Tx& tx, const std::string& project_id);

/// As a project's answer shows it with include_limits: without links.
json::object limit_view(const LimitRow& limit);
/// Refuses (400) a service or region that is not there.
void check_limit_target(const Core& core, db::Tx& tx, std::string_view service_id, std::string_view region_id,
                        std::string_view target);
/// Checks the rows of "limits" and "registered_limits" in a body: a list with at least one object.
const json::array& limit_list(api::Call& call, std::string_view name);

}  // namespace virga::identity
