#pragma once
// What a new password must look like: a regular expression of the operator's.

#include <optional>
#include <regex>
#include <string>
#include <string_view>

namespace virga::identity {

class PasswordRules {
 public:
  /// "" lets every password through. Throws Fault(bad_request) if it is no regular expression.
  PasswordRules(const std::string& regex, std::string description);
  /// Throws Fault(bad_request) in keystone's words. The expression must fit the password's beginning.
  void check(std::string_view password) const;

 private:
  std::optional<std::regex> regex_;
  std::string description_;
};

}  // namespace virga::identity
