#pragma once
// Which methods together are enough for a user: the options multi_factor_auth_rules and
// multi_factor_auth_enabled. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace virga::identity {

/// A set of methods that is enough; names of methods this cloud does not have are left out.
struct MfaRule {
  uint16_t methods = 0;
  std::vector<std::string> names;
};

/// The user's rules in force for what was proved; empty: it is enough. A rule of which nothing is left is
/// none, so that a wrong name locks nobody out. A passcode alone has six digits to guess: without a rule that
/// wants no more, a password must go with it.
std::vector<MfaRule> mfa_rules(const json::object& user_options, uint16_t methods);
bool enough(const std::vector<MfaRule>& rules, uint16_t methods);
/// The rules that what was proved so far can still become: what a receipt tells.
json::array required_methods(const std::vector<MfaRule>& rules, uint16_t methods);

}  // namespace virga::identity
