#include "identity/mfa.h"

#include <algorithm>

#include "identity/auth.h"

namespace virga::identity {

namespace {

std::vector<MfaRule> given_rules(const json::object& options) {
  std::vector<MfaRule> out;
  const json::array* rules = find_array(options, "multi_factor_auth_rules");
  if (!rules || !find_bool(options, "multi_factor_auth_enabled", true)) return out;
  for (const auto& rule : *rules) {
    if (!rule.is_array()) continue;
    MfaRule known;
    for (const auto& name : rule.get_array()) {
      const auto bit = name.is_string() ? method_bit(str(name)) : std::nullopt;
      if (!bit || (known.methods & *bit)) continue;
      known.methods |= *bit;
      known.names.push_back(str(name));
    }
    if (known.methods) out.push_back(std::move(known));
  }
  return out;
}

}  // namespace

std::vector<MfaRule> mfa_rules(const json::object& options, uint16_t methods) {
  auto rules = given_rules(options);
  if (rules.empty() && methods == method_totp)
    rules.push_back({method_password | method_totp, {"password", "totp"}});
  return rules;
}

bool enough(const std::vector<MfaRule>& rules, uint16_t methods) {
  return rules.empty() || std::any_of(rules.begin(), rules.end(), [&](const MfaRule& rule) {
           return (rule.methods & methods) == rule.methods;
         });
}

json::array required_methods(const std::vector<MfaRule>& rules, uint16_t methods) {
  json::array out;
  for (const auto& rule : rules)
    if (rule.methods & methods) out.emplace_back(json::array(rule.names.begin(), rule.names.end()));
  return out;
}

}  // namespace virga::identity
