// SQL of unified limits, and what both kinds share.
#include <fmt/format.h>

#include "identity/catalog.h"
#include "identity/faults.h"
#include "identity/limits.h"

namespace virga::identity {
namespace {

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

}  // namespace

const LimitModel& limit_model(std::string_view name) {
  static const LimitModel models[] = {
      {"flat", "Limit enforcement and validation does not take project hierarchy into consideration.", {}},
      {"strict_two_level", "This model requires project hierarchy never exceeds a depth of two", 2},
  };
  for (const auto& m : models)
    if (m.name == name) return m;
  throw Fault(FaultKind::bad_request, fmt::format("There is no limit enforcement model '{}'.", name),
              "Use flat or strict_two_level.");
}

LimitRow read_limit(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2),    r.text(3),      r.text(4),
          r.text(5), r.text(6), r.integer(7), r.maybe_text(8)};
}

RegisteredLimitRow read_registered_limit(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3), r.integer(4), r.maybe_text(5)};
}

std::optional<RegisteredLimitRow> find_registered_limit(db::Tx& tx, std::string_view service_id,
                                                        std::string_view region_id,
                                                        std::string_view resource) {
  const auto row = tx.first(
      "SELECT id, service_id, region_id, resource_name, default_limit, description FROM "
      "identity_registered_limits WHERE service_id = ? AND region_id = ? AND resource_name = ?",
      service_id, region_id, resource);
  return row ? std::optional(read_registered_limit(*row)) : std::nullopt;
}

std::optional<LimitRow> find_limit(db::Tx& tx, std::string_view project_id, std::string_view domain_id,
                                   std::string_view registered_limit_id) {
  const auto row = tx.first(
      fmt::format("SELECT {} FROM {} WHERE project_id = ? AND domain_id = ? AND registered_limit_id = ?",
                  kLimitColumns, kLimitTable),
      project_id, domain_id, registered_limit_id);
  return row ? std::optional(read_limit(*row)) : std::nullopt;
}

std::vector<LimitRow> limits_of_project(db::Tx& tx, const std::string& project_id) {
  std::vector<LimitRow> out;
  for (const auto& row :
       tx.query(fmt::format("SELECT {} FROM {} WHERE project_id = ? ORDER BY id", kLimitColumns, kLimitTable),
                project_id))
    out.push_back(read_limit(row));
  return out;
}

json::object limit_view(const LimitRow& l) {
  return {{"id", l.id},
          {"project_id", or_null(l.project_id)},
          {"domain_id", or_null(l.domain_id)},
          {"service_id", l.service_id},
          {"region_id", or_null(l.region_id)},
          {"resource_name", l.resource_name},
          {"resource_limit", l.resource_limit},
          {"description", l.description ? json::value(*l.description) : json::value(nullptr)}};
}

void check_limit_target(const Core& core, db::Tx& tx, std::string_view service_id, std::string_view region_id,
                        std::string_view target) {
  const auto services = all_services(core, tx);
  if (std::none_of(services.begin(), services.end(), [&](const auto& s) { return s.id == service_id; }))
    expecting("service_id", target);
  if (!region_id.empty() && !tx.first("SELECT 1 FROM identity_regions WHERE id = ?", region_id))
    expecting("region_id", target);
}

const json::array& limit_list(api::Call& call, std::string_view name) {
  const json::array* list = find_array(call.body(), name);
  if (!list) throw Fault(FaultKind::bad_request, fmt::format("'{}' must be a list.", name));
  if (list->empty()) throw Fault(FaultKind::bad_request, "[] is too short");
  for (const auto& item : *list)
    if (!item.is_object())
      throw Fault(FaultKind::bad_request, fmt::format("{} is not of type 'object'", json::serialize(item)));
  return *list;
}

}  // namespace virga::identity
