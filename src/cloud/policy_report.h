#pragma once
// What `virga policy` tells: the rules in force, why a rule lets a caller through, and who may do what at
// every route.

#include <string>
#include <vector>

#include "api/service.h"
#include "base/json.h"
#include "identity/api.h"

namespace virga::cloud {

/// [{service, name, check, scopes, overridden}, …]
json::array list_rules(const api::Policy& policy);

/// Answers {rule, user, user_domain, project, project_domain, domain, system, target: {…}}: {allowed, rule,
/// check, overridden, scope_refusal, roles, target, own_target, notes, explanation: {text, value, decides,
/// parts}}. Without a target it is something of the caller's own, and `own_target` says so. Throws
/// Fault(not_found) if there is no such rule, user or scope.
json::object check_rule(const api::Policy& policy, identity::Identity& identity, db::Database& database,
                        const json::object& question);

/// Who may do what, in Markdown: a line for each route, and for each rule that handlers ask besides; for each
/// way to configure the defaults a letter for each persona (see `personas`).
std::string policy_matrix(const std::vector<const api::Service*>& services);

/// A caller as the matrix knows it.
struct Persona {
  std::string name;  ///< "system admin", …, "unscoped"
  api::Caller caller;
};
/// system, domain and project × admin, member, reader, then a token without scope.
const std::vector<Persona>& personas();

/// What the rules in force let personas do.
class Verdicts {
 public:
  explicit Verdicts(const api::Policy& policy);
  /// 'A': whatever the target; 'o': if the target is the persona's own; '-': never.
  char of(std::string_view service, std::string_view rule, const api::Caller& persona) const;

 private:
  api::Policy::Table table_;
  api::Target own_, other_;  ///< the persona's in every respect, and somebody else's in every one
};

}  // namespace virga::cloud
