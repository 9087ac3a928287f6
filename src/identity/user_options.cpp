#include "identity/user_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/fault.h"

namespace virga::identity {
namespace {

[[noreturn]] void refuse(std::string_view name, std::string_view why) {
  throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field 'options/{}': {}", name, why));
}

void check_boolean(std::string_view name, const json::value& value) {
  if (!value.is_bool()) refuse(name, fmt::format("{} is not of type 'boolean'", json::serialize(value)));
}

void check_rules(std::string_view name, const json::value& value) {
  const auto bad = [&] {
    refuse(
        name,
        "Invalid data type, must be a list of lists comprised of strings. Sub-lists may not be duplicated. "
        "Strings in sub-lists may not be duplicated.");
  };
  if (!value.is_array()) bad();
  const json::array& rules = value.get_array();
  for (const auto& rule : rules) {
    if (!rule.is_array() || rule.get_array().empty() || std::count(rules.begin(), rules.end(), rule) > 1)
      bad();
    std::set<std::string_view> names;
    for (const auto& method : rule.get_array())
      if (!method.is_string() || !names.insert(method.get_string()).second) bad();
  }
}

struct UserOption {
  std::string_view name;
  void (*check)(std::string_view, const json::value&);
};

constexpr UserOption kOptions[] = {
    {"ignore_change_password_upon_first_use", check_boolean},
    {"ignore_password_expiry", check_boolean},
    {"ignore_lockout_failure_attempts", check_boolean},
    {"lock_password", check_boolean},
    {"ignore_user_inactivity", check_boolean},
    {"multi_factor_auth_enabled", check_boolean},
    {"multi_factor_auth_rules", check_rules},
};

}  // namespace

void check_user_options(const json::object& options) {
  for (const auto& [name, value] : options) {
    const auto* known =
        std::find_if(std::begin(kOptions), std::end(kOptions),
                     [n = std::string_view(name)](const UserOption& o) { return o.name == n; });
    if (known == std::end(kOptions))
      throw Fault(
          FaultKind::bad_request,
          fmt::format("Invalid input for field 'options': Additional properties are not allowed ('{}' "
                      "was unexpected)",
                      std::string_view(name)));
    if (!value.is_null()) known->check(name, value);
  }
}

}  // namespace virga::identity
