#include "identity/password_rules.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "identity/password.h"

namespace virga::identity {

PasswordRules::PasswordRules(const std::string& regex, std::string description)
    : description_(description.empty() ? regex : std::move(description)) {
  if (regex.empty()) return;
  try {
    regex_.emplace(regex, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw Fault(FaultKind::bad_request,
                fmt::format("The password rule {} is no regular expression: {}.", regex, error.what()),
                "Change security_compliance.password_regex.");
  }
}

void PasswordRules::check(std::string_view password) const {
  check_password(password);  // its length too, which bounds what the expression has to do
  if (regex_ &&
      !std::regex_search(password.begin(), password.end(), *regex_, std::regex_constants::match_continuous))
    throw Fault(FaultKind::bad_request,
                fmt::format("The password does not match the requirements: {}.", description_));
}

}  // namespace virga::identity
