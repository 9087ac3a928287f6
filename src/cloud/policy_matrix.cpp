// Who may do what at every route, computed from the rules: the table that a reviewer reads and a test holds.
#include <fmt/format.h>

#include <map>
#include <set>

#include "cloud/policy_report.h"

namespace virga::cloud {
namespace {

constexpr std::string_view kOwn = "own", kOther = "other";

api::Caller with_roles(std::string_view role) {
  api::Caller c;
  c.user_id = c.user_name = kOwn;
  c.user_domain_id = kOwn;
  std::vector<std::string> roles{"reader"};  // admin implies member implies reader
  if (role != "reader") roles.insert(roles.begin(), "member");
  if (role == "admin") roles.insert(roles.begin(), "admin");
  c.role_names = c.role_ids = std::move(roles);
  c.expires = Time::max();
  return c;
}

/// The attributes of targets that the rules ask for.
std::set<std::string> attributes_in(const api::RuleTable& table) {
  std::set<std::string> out;
  for (const auto& [name, rules] : table.rules)
    for (const auto& rule : rules) out.insert(rule.attributes.begin(), rule.attributes.end());
  return out;
}

api::Target target_of(const std::set<std::string>& attributes, std::string_view whose) {
  api::Target target;
  for (const auto& name : attributes)
    target.emplace_back(name, name == "visibility" ? "private" : std::string(whose));
  return target;
}

struct Setting {
  std::string_view title;
  api::PolicyOptions options;
};
const std::vector<Setting>& settings() {
  static const std::vector<Setting> all{{"default", {}},
                                        {"new_defaults", {"", true, false}},
                                        {"new_defaults and enforce_scope", {"", true, true}}};
  return all;
}

/// The letters of one rule, scope by scope: "AAA AAA Aoo o".
std::string letters(const Verdicts& verdicts, std::string_view service, std::string_view rule) {
  if (rule.empty()) return "AAA AAA AAA A";
  std::string out;
  for (size_t i = 0; i < personas().size(); ++i) {
    if (i > 0 && i % 3 == 0) out += ' ';
    out += verdicts.of(service, rule, personas()[i].caller);
  }
  return out;
}

std::string cells(const std::vector<Verdicts>& settings, std::string_view service, std::string_view rule) {
  std::string out;
  for (const auto& verdicts : settings) out += fmt::format(" | `{}`", letters(verdicts, service, rule));
  return out;
}

/// Nova serves each path four times; the matrix shows it once.
bool is_repetition(const api::Service& service, const std::string& path) {
  return service.name == "nova" && (path.rfind("/v2/", 0) == 0 || path.rfind("/v2.1/{project_id}", 0) == 0);
}

constexpr std::string_view kIntro = R"(# Who may do what

Made by `virga policy matrix` from the routes and the rules; a test compares it, and another sends each of these requests
as each of these callers, about things of their own and of somebody else. Three letters for a token of the system (admin,
member, reader), three for a domain's, three for a project's, and one for a token without scope. `A`: whatever the target;
`o`: if the target is the caller's own (its user, project or domain); `-`: never. Without a token each route that has a
rule answers 401. Three settings: as OpenStack Zed ships it, with `policy.new_defaults`, and with `policy.enforce_scope`
besides.

A service may refuse what a rule allows: who is no administrator sees no other project's servers, networks or images.
)";

}  // namespace

const std::vector<Persona>& personas() {
  static const std::vector<Persona> all = [] {
    std::vector<Persona> out;
    for (std::string_view scope : {"system", "domain", "project"})
      for (std::string_view role : {"admin", "member", "reader"}) {
        api::Caller c = with_roles(role);
        c.system = scope == "system";
        if (scope == "domain") c.domain_id = kOwn;
        if (scope == "project") c.project_id = c.project_domain_id = kOwn;
        out.push_back({fmt::format("{} {}", scope, role), std::move(c)});
      }
    api::Caller unscoped = with_roles("reader");
    unscoped.role_names.clear();
    unscoped.role_ids.clear();
    out.push_back({"unscoped", std::move(unscoped)});
    return out;
  }();
  return all;
}

Verdicts::Verdicts(const api::Policy& policy)
    : table_(policy.table()),
      own_(target_of(attributes_in(*table_), kOwn)),
      other_(target_of(attributes_in(*table_), kOther)) {}

char Verdicts::of(std::string_view service, std::string_view rule, const api::Caller& persona) const {
  const api::PolicyRule* found = table_->find(rule, service);
  if (!found) return '-';
  if (found->holds(persona, other_)) return 'A';
  return found->holds(persona, own_) ? 'o' : '-';
}

std::string policy_matrix(const std::vector<const api::Service*>& services) {
  std::vector<Verdicts> verdicts;
  for (const auto& setting : settings()) {
    api::Policy policy(setting.options);
    for (const auto* service : services) policy.declare(service->name, service->rules);
    verdicts.emplace_back(policy);
  }
  std::string out(kIntro);
  for (const auto* service : services) {
    if (service->rules.empty()) continue;
    std::string head = "| rule", line = "| ---";
    for (const auto& setting : settings()) head += fmt::format(" | {}", setting.title), line += " | ---";
    std::set<std::string> of_routes;
    out += fmt::format("\n## {}\n\n| route {} |\n| --- {} |\n", service->name, head, line);
    for (const auto& route : service->routes) {
      of_routes.insert(route.policy.text);
      if (is_repetition(*service, route.path.text)) continue;
      out += fmt::format("| {} {} | {}{} |\n", route.method.text, route.path.text, route.policy.text,
                         cells(verdicts, service->name, route.policy.text));
    }
    out += fmt::format("\nAsked by handlers besides:\n\n{} |\n{} |\n", head, line);
    for (const auto& rule : service->rules)
      if (!rule.scopes.empty() && !of_routes.count(std::string(rule.name)))
        out += fmt::format("| {}{} |\n", rule.name, cells(verdicts, service->name, rule.name));
  }
  return out;
}

}  // namespace virga::cloud
