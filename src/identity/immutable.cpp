#include "identity/immutable.h"

#include <fmt/format.h>

#include "base/fault.h"

namespace virga::identity {
namespace {

constexpr std::string_view kImmutable = "immutable";

[[noreturn]] void refuse(std::string_view what, std::string_view type, const std::string& id) {
  throw Fault(
      FaultKind::forbidden,
      fmt::format("Unable to {} immutable {} resource: `{}. Set resource option \"immutable\" to false "
                  "first.",
                  what, type, id));
}

}  // namespace

void check_options(const json::object& attributes) {
  const json::object* options = find_object(attributes, "options");
  if (!options) return;
  for (const auto& [name, value] : *options) {
    if (name != kImmutable)
      throw Fault(FaultKind::bad_request,
                  fmt::format("Additional properties are not allowed ('{}' was unexpected)", name));
    if (!value.is_bool() && !value.is_null())
      throw Fault(FaultKind::bad_request, fmt::format("{} is not of type 'boolean'", json::serialize(value)));
  }
}

void merge_options(json::object& stored, const json::object& attributes) {
  const json::object* options = find_object(attributes, "options");
  if (!options) return;
  for (const auto& [name, value] : *options) {
    if (value.is_null())
      stored.erase(name);
    else
      stored[name] = value;
  }
}

bool is_immutable(const json::object& options) {
  return find_bool(options, kImmutable);
}

void check_mutable(const json::object& options, const json::object& body, std::string_view type,
                   const std::string& id) {
  if (!is_immutable(options)) return;
  const json::object* wanted = find_object(body, "options");
  const json::value* flag = wanted ? wanted->if_contains(kImmutable) : nullptr;
  const bool freed = flag && (flag->is_null() || (flag->is_bool() && !flag->get_bool()));
  if (!freed || body.size() != 1) refuse("update", type, id);
}

void check_deletable(const json::object& options, std::string_view type, const std::string& id) {
  if (is_immutable(options)) refuse("delete", type, id);
}

}  // namespace virga::identity
