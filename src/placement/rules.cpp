// Placement's rules as Zed documents them: the default of secure RBAC, the scopes it is made for, and the older default
// that lets a call through as well until policy.new_defaults is set.
#include "placement/rules.h"

namespace virga::placement {
namespace {

constexpr std::string_view kSystem = "system";
constexpr std::string_view kSystemProject = "system project";

constexpr std::string_view kReader = "rule:system_reader_api";
constexpr std::string_view kAdmin = "rule:system_admin_api";
constexpr std::string_view kBefore = "role:admin";

constexpr api::RuleDefault kRules[] = {
    {"admin_api", kBefore},
    {"system_admin_api", "role:admin and system_scope:all", {}, kBefore},
    {"system_reader_api", "role:reader and system_scope:all", {}, kBefore},
    {"project_reader_api", "role:reader and project_id:%(project_id)s", {}, kBefore},
    {"system_or_project_reader", "rule:system_reader_api or rule:project_reader_api", {}, kBefore},
    {"placement:resource_providers:list", kReader, kSystem},
    {"placement:resource_providers:create", kAdmin, kSystem},
    {"placement:resource_providers:show", kReader, kSystem},
    {"placement:resource_providers:update", kAdmin, kSystem},
    {"placement:resource_providers:delete", kAdmin, kSystem},
    {"placement:resource_classes:list", kReader, kSystem},
    {"placement:resource_classes:create", kAdmin, kSystem},
    {"placement:resource_classes:show", kReader, kSystem},
    {"placement:resource_classes:update", kAdmin, kSystem},
    {"placement:resource_classes:delete", kAdmin, kSystem},
    {"placement:resource_providers:inventories:list", kReader, kSystem},
    {"placement:resource_providers:inventories:create", kAdmin, kSystem},
    {"placement:resource_providers:inventories:show", kReader, kSystem},
    {"placement:resource_providers:inventories:update", kAdmin, kSystem},
    {"placement:resource_providers:inventories:delete", kAdmin, kSystem},
    {"placement:resource_providers:aggregates:list", kReader, kSystem},
    {"placement:resource_providers:aggregates:update", kAdmin, kSystem},
    {"placement:resource_providers:usages", kReader, kSystem},
    {"placement:usages", "rule:system_or_project_reader", kSystemProject},
    {"placement:traits:list", kReader, kSystem},
    {"placement:traits:show", kReader, kSystem},
    {"placement:traits:update", kAdmin, kSystem},
    {"placement:traits:delete", kAdmin, kSystem},
    {"placement:resource_providers:traits:list", kReader, kSystem},
    {"placement:resource_providers:traits:update", kAdmin, kSystem},
    {"placement:resource_providers:traits:delete", kAdmin, kSystem},
    {"placement:allocations:manage", kAdmin, kSystem},
    {"placement:allocations:list", kReader, kSystem},
    {"placement:allocations:update", kAdmin, kSystem},
    {"placement:allocations:delete", kAdmin, kSystem},
    {"placement:resource_providers:allocations:list", kReader, kSystem},
    {"placement:allocation_candidates:list", kReader, kSystem},
};

}  // namespace

std::span<const api::RuleDefault> rules() { return kRules; }

}  // namespace virga::placement
