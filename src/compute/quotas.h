#pragma once
// Quotas: limits by project, class "default" and built-in default; use as counter rows changed with a
// condition, so that two requests that race for the last unit can never both have it.

#include <map>
#include <optional>
#include <string>

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

using Uses = std::map<std::string, int64_t>;  ///< resource -> amount

struct QuotaResource {
  std::string_view name;
  int64_t fallback;
  api::Version until;  ///< last microversion that shows it; {} = all
  api::Version since;
};
const std::vector<QuotaResource>& quota_resources();

/// All limits that hold for a project; -1 = none.
Uses quota_limits(Core& core, db::Tx& tx, const std::string& project_id);
Uses quota_class_limits(Core& core, db::Tx& tx, const std::string& class_name);
Uses quota_uses(db::Tx& tx, const std::string& project_id);
/// Limits and uses of a project, read by one statement.
struct Standing {
  Uses limits, uses;  ///< uses: of what was used ever
  /// How much more of it may be used; nothing if there is no limit.
  std::optional<int64_t> room(const std::string& resource) const;
};
Standing standing_of(Core& core, db::Tx& tx, const std::string& project_id);
/// Throws what take_quota would throw, as far as `standing` shows.
void need_room(db::Tx& tx, const std::string& project_id, const Uses& amounts, const Standing& standing);
/// Takes the amounts; `standing` was read a moment ago. Throws Fault(forbidden) in nova's words if a limit refuses.
void take_quota(db::Tx& tx, const std::string& project_id, const Uses& amounts, const Standing& standing);
inline void take_quota(Core& core, db::Tx& tx, const std::string& project_id, const Uses& amounts) {
  take_quota(tx, project_id, amounts, standing_of(core, tx, project_id));
}
void give_back_quota(db::Tx& tx, const std::string& project_id, const Uses& amounts);

void add_quota_routes(Routes& routes, Core& core);

}  // namespace virga::compute
