#include "cloud/policy_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
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

/// Whose an attribute of targets is, by its name: "network:tenant_id", "target.user.domain_id", "trustor_id", …
/// Empty if it is nobody's.
std::string own_value(std::string_view attribute, const api::Caller& caller) {
  const auto names = [&](std::string_view part) { return attribute.find(part) != attribute.npos; };
  if (names("domain_id") || names("domain.id")) return names("user") ? caller.user_domain_id : caller.domain_id;
  if (names("user") || names("trust")) return caller.user_id;
  if (names("project") || names("tenant") || names("owner")) return caller.project_id;
  return "";
}

/// Something of the caller's own, as far as the rule looks.
api::Target own_target(const std::vector<std::string>& attributes, const api::Caller& caller) {
  api::Target target;
  for (const auto& name : attributes)
    if (std::string value = own_value(name, caller); !value.empty()) target.emplace_back(name, std::move(value));
  return target;
}

/// What is likely to be meant otherwise.
json::array notes_on(const api::Target& target, const std::vector<std::string>& attributes,
                     identity::Identity& identity, db::Database& database) {
  json::array notes;
  const auto ends_in = [](std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
  };
  for (const auto& [name, value] : target) {
    if (std::find(attributes.begin(), attributes.end(), name) == attributes.end())
      notes.emplace_back(fmt::format("The rule does not look at {}{}{}.", name, attributes.empty() ? "" : ", but at ",
                                     fmt::join(attributes, ", ")));
    else if ((ends_in(name, "project_id") || ends_in(name, "tenant_id")) &&
             !database.read([&](db::Tx& tx) { return identity.project_name(tx, value); }))
      notes.emplace_back(fmt::format("No project has the id {0}; if it is a name, its id is what `openstack project show {0} "
                                     "-f value -c id` prints.", value));
  }
  return notes;
}

json::object view(const api::Target& target) {
  json::object out;
  for (const auto& [name, value] : target) out[name] = value;
  return out;
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

json::object check_rule(const api::Policy& policy, identity::Identity& identity, db::Database& database,
                        const json::object& question) {
  const std::string rule = find_string(question, "rule");
  policy.explain(rule, {}, {});  // says which is meant if there is none of that name
  const api::Caller caller = identity.caller_of(question_of(question));
  const std::vector<std::string> attributes = policy.attributes(rule);
  const json::object* given = find_object(question, "target");
  const bool own = !given || given->empty();
  api::Target target;
  if (own)
    target = own_target(attributes, caller);
  else
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
          {"target", view(target)},
          {"own_target", own},
          {"notes", notes_on(target, attributes, identity, database)},
          {"roles", std::move(roles)},
          {"explanation", view(answer.explanation, {leaves.begin(), leaves.end()})}};
}

}  // namespace virga::cloud
