#pragma once
// Who may do what: named rules in oslo.policy's language ("role:admin or project_id:%(project_id)s"), declared beside
// each route. Supported: role:, rule:, user_id:/project_id:/domain_id:/system_scope: and any target or literal
// comparison, and, or, not, parentheses, "" and "@" (always), "!" (never).
// (oslo.policy, "Policy rule expressions".)

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/context.h"

namespace virga::api {

/// Attributes of the thing acted on: {"project_id", "…"}.
using Target = std::vector<std::pair<std::string, std::string>>;

class PolicyCheck;

/// All rules of the cloud. Declaring happens at start; checking is thread-safe afterwards.
class Policy {
 public:
  Policy();
  ~Policy();
  /// Adds or replaces a rule. Throws Fault(bad_request) if `check` does not parse. Depth at most 32, 4 KiB at most.
  void declare(std::string_view name, std::string_view check);
  bool allows(std::string_view name, const Caller& caller, const Target& target) const;
  /// Throws Fault(forbidden) that names the rule, as OpenStack does.
  void require(std::string_view name, const Caller& caller, const Target& target) const;
  /// True if the rule looks at the target: then a route's handler must check it, with the target in hand.
  bool needs_target(std::string_view name) const;
  std::vector<std::pair<std::string, std::string>> list() const;  ///< name, check; sorted

 private:
  struct Rule;
  std::map<std::string, Rule, std::less<>> rules_;
};

}  // namespace virga::api
