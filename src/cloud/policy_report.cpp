#include "cloud/policy_report.h"

#include <fmt/format.h>

#include <set>

namespace virga::cloud {
namespace {

json::object view(const api::Explanation& e, const std::set<const api::Explanation*>& deciding) {
  json::object out{{"text", e.text}, {"value", e.value}};
  if (deciding.count(&e)) out["decides"] = true;
  if (!e.parts.empty()) {
    json::array& parts = out["parts"].emplace_array();
    for (const auto& part : e.parts) parts.push_back(view(part, deciding));
  }
  return out;
}

identity::CallerQuestion question_of(const json::object& in) {
  identity::CallerQuestion q;
  q.user = find_string(in, "user");
  q.user_domain = find_string(in, "user_domain", q.user_domain);
  q.project = find_string(in, "project");
  q.project_domain = find_string(in, "project_domain", q.project_domain);
  q.domain = find_string(in, "domain");
  q.system = find_bool(in, "system");
  return q;
}

}  // namespace

json::array list_rules(const api::Policy& policy) {
  json::array out;
  for (const auto& r : policy.list())
    out.push_back(json::object{{"service", r.service},
                               {"name", r.name},
                               {"check", r.check},
                               {"scopes", r.scopes},
                               {"overridden", r.overridden}});
  return out;
}

json::object check_rule(const api::Policy& policy, identity::Identity& identity,
                        const json::object& question) {
  const std::string rule = find_string(question, "rule");
  policy.explain(rule, {}, {});  // says which is meant if there is none of that name
  const api::Caller caller = identity.caller_of(question_of(question));
  api::Target target;
  if (const json::object* given = find_object(question, "target"))
    for (const auto& [name, value] : *given)
      target.emplace_back(name, value.is_string() ? str(value) : json::serialize(value));
  const api::PolicyAnswer answer = policy.explain(rule, caller, target);
  const auto leaves = api::deciding_leaves(answer.explanation);
  json::array roles;
  for (const auto& role : caller.role_names) roles.emplace_back(role);
  return {{"allowed", answer.allowed},
          {"rule", rule},
          {"check", answer.text},
          {"overridden", answer.overridden},
          {"scope_refusal", answer.scope_refusal},
          {"needs_target", policy.needs_target(rule)},
          {"roles", std::move(roles)},
          {"explanation", view(answer.explanation, {leaves.begin(), leaves.end()})}};
}

}  // namespace virga::cloud
