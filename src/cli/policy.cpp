// `virga policy`: the rules in force as a policy.yaml, and why a rule lets somebody through or does not.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <map>
#include <set>

#include "base/config.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/api.h"
#include "cli/cloud_client.h"
#include "cloud/serve.h"

namespace virga::cli {
namespace {

struct ListOptions {
  std::string service, format = "yaml";
  bool overridden = false;
};

struct CheckOptions {
  std::string rule, user, user_domain = "Default", project, project_domain = "Default", domain;
  bool system = false, unscoped = false, json = false;
  std::vector<std::string> target;
};

/// Serve's rules if it runs, for it may keep older ones than a file with a mistake; else what the
/// configuration gives.
json::array rules_in_force(const Config& config) {
  try {
    return ask_serve(config, "GET", "/policy").as_array();
  } catch (const Fault&) {
    log::open("policy", "", "warn");  // what is printed is for programs
    return cloud::list_configured_rules(config);
  }
}

/// The name its rules have, of a service or of its type. Throws Fault(bad_request) with those there are.
std::string service_name(const std::string& given) {
  static const std::map<std::string, std::string> types{{"identity", "keystone"},
                                                        {"image", "glance"},
                                                        {"placement", "placement"},
                                                        {"network", "neutron"},
                                                        {"compute", "nova"}};
  if (const auto type = types.find(given); type != types.end()) return type->second;
  for (const auto& [type, name] : types)
    if (name == given) return name;
  throw Fault(FaultKind::bad_request, fmt::format("There is no service {} that has rules.", given),
              "There are keystone, glance, placement, neutron and nova.");
}

/// A text that YAML reads back as it is: JSON's strings are YAML.
std::string quoted(const std::string& text) {
  return json::serialize(json::value(text));
}

void print_rules(const Config& config, const ListOptions& o) {
  const std::string wanted = o.service.empty() ? "" : service_name(o.service);
  json::array kept;
  std::map<std::string, std::set<std::string>>
      meanings;  // by name: services may differ, and a file cannot say which is meant
  for (const auto& entry : rules_in_force(config)) {
    const json::object& r = entry.as_object();
    meanings[find_string(r, "name")].insert(find_string(r, "check"));
    if ((wanted.empty() || find_string(r, "service") == wanted) &&
        (!o.overridden || find_bool(r, "overridden")))
      kept.push_back(entry);
  }
  if (o.format == "json") {
    std::printf("%s\n", json::serialize(kept).c_str());
    return;
  }
  if (kept.empty() && config.policy.file.empty()) std::printf("# there is no policy file: policy.file is not set\n");
  if (kept.empty() && !config.policy.file.empty())
    std::printf("# the policy file, %s, changes none of these\n", config.policy.file.c_str());
  std::string service = "\n";
  std::set<std::string> printed;
  for (const auto& entry : kept) {
    const json::object& r = entry.as_object();
    const std::string name = find_string(r, "name"), check = find_string(r, "check"),
                      scopes = find_string(r, "scopes");
    if (find_string(r, "service") != service) {
      service = find_string(r, "service");
      std::printf("\n# ---- %s\n", service.empty() ? "names of your own" : service.c_str());
    }
    std::printf("\n");
    if (!scopes.empty()) std::printf("# for tokens of: %s\n", scopes.c_str());
    if (find_bool(r, "overridden")) std::printf("# from the policy file\n");
    if (meanings.at(name).size() > 1)
      std::printf("# %s's own: ", service.c_str());
    else if (!printed.insert(name).second)
      std::printf("# as above: ");
    std::printf("%s: %s\n", quoted(name).c_str(), quoted(check).c_str());
  }
}

json::object question_of(const CheckOptions& o) {
  json::object target;
  for (const auto& pair : o.target) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Fault(FaultKind::bad_request,
                  fmt::format("\"{}\" is no --target: it has the form name=value.", pair));
    target[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return {{"rule", o.rule},
          {"user", o.user},
          {"user_domain", o.user_domain},
          {"project", o.project},
          {"project_domain", o.project_domain},
          {"domain", o.domain},
          {"system", o.system},
          {"target", std::move(target)}};
}

struct Leaves {
  int all = 0, deciding = 0;
};
Leaves leaves_of(const json::object& e) {
  const json::array* parts = find_array(e, "parts");
  if (!parts) return {1, find_bool(e, "decides")};
  Leaves out;
  for (const auto& part : *parts) {
    const Leaves below = leaves_of(part.as_object());
    out.all += below.all;
    out.deciding += below.deciding;
  }
  return out;
}

void print_tree(const json::object& e, size_t depth, bool marks) {
  std::string text = std::string(2 * depth, ' ') + find_string(e, "text");
  std::printf("%-72s %-4s%s\n", text.c_str(), find_bool(e, "value") ? "yes" : "no",
              marks && find_bool(e, "decides") ? " <- this decides" : "");
  if (const json::array* parts = find_array(e, "parts"))
    for (const auto& part : *parts) print_tree(part.as_object(), depth + 1, marks);
}

void print_target(const json::object& answer) {
  const json::object& target = *find_object(answer, "target");
  if (target.empty()) return;
  std::string words;
  for (const auto& [name, value] : target) words += (words.empty() ? "" : ", ") + std::string(name) + "=" + str(value);
  std::printf("target%s: %s\n",
              find_bool(answer, "own_target") ? " (something of the user's own; --target says otherwise)" : "",
              words.c_str());
}

void check(const Config& config, const CheckOptions& o) {
  if (o.project.empty() && o.domain.empty() && !o.system && !o.unscoped)
    throw Fault(FaultKind::bad_request, "What a user may do depends on the scope of the token.",
                "Say which: --project NAME, --domain NAME, --system or --unscoped.");
  const json::value whole = ask_serve(config, "POST", "/policy/check", std::chrono::seconds(30),
                                      json::serialize(question_of(o)));
  const json::object& answer = whole.as_object();
  const bool allowed = find_bool(answer, "allowed");
  if (o.json) {
    std::printf("%s\n", json::serialize(answer).c_str());
  } else {
    std::string roles;
    for (const auto& role : *find_array(answer, "roles")) roles += (roles.empty() ? "" : ", ") + str(role);
    std::printf("%s: %s\n", allowed ? "allowed" : "refused", o.rule.c_str());
    std::printf("rule (%s): %s\n", find_bool(answer, "overridden") ? "from the policy file" : "default",
                quoted(find_string(answer, "check")).c_str());
    std::printf("roles of %s there: %s\n", o.user.c_str(), roles.empty() ? "none" : roles.c_str());
    if (const std::string refusal = find_string(answer, "scope_refusal"); !refusal.empty())
      std::printf("refused by its scope: %s\n", refusal.c_str());
    print_target(answer);
    for (const auto& note : *find_array(answer, "notes")) std::printf("note: %s\n", str(note).c_str());
    std::printf("\n");
    const json::object& explanation = answer.at("explanation").as_object();
    const Leaves leaves = leaves_of(explanation);
    print_tree(explanation, 0, leaves.deciding < leaves.all);  // where each decides, a mark says nothing
  }
  if (!allowed) throw CLI::RuntimeError(1);
}

void add_check(CLI::App& group, Shared& shared) {
  auto o = std::make_shared<CheckOptions>();
  auto* command = group.add_subcommand(
      "check", "may this user do that? With the part of the rule that decides; exit code 0 or 1");
  command
      ->add_option("rule", o->rule,
                   "a rule: identity:list_users, os_compute_api:servers:delete, create_network, …")
      ->required();
  command->add_option("--user", o->user, "name or id")->required();
  command->add_option("--user-domain", o->user_domain, "name or id (default Default)");
  auto* project = command->add_option("--project", o->project, "the token's scope: a project, by name or id");
  command->add_option("--project-domain", o->project_domain, "name or id (default Default)");
  auto* domain = command->add_option("--domain", o->domain, "the token's scope: a domain, by name or id")
                     ->excludes(project);
  auto* system = command->add_flag("--system", o->system, "the token's scope: the system")
                     ->excludes(project)
                     ->excludes(domain);
  command->add_flag("--unscoped", o->unscoped, "a token without scope")
      ->excludes(project)
      ->excludes(domain)
      ->excludes(system);
  command
      ->add_option("--target", o->target,
                   "an attribute of what is acted on: project_id=…, target.user.domain_id=… (default: something of the user's own)")
      ->allow_extra_args(false);
  command->add_flag("--json", o->json);
  command->callback([&shared, o] { check(shared.load(), *o); });
}

}  // namespace

void add_policy_commands(CLI::App& app, Shared& shared) {
  auto* group = app.add_subcommand(
      "policy", "who may do what: the rules in force, and why one lets a call through or stops it");
  group->require_subcommand(1);
  auto o = std::make_shared<ListOptions>();
  auto* list = group->add_subcommand("list", "the rules in force, as a policy.yaml");
  list->add_option("--service", o->service, "keystone, glance, placement, neutron or nova, or a type: identity, compute, …");
  list->add_option("--format", o->format, "yaml or json")->check(CLI::IsMember({"yaml", "json"}));
  list->add_flag("--overridden", o->overridden, "only what the policy file changes");
  list->callback([&shared, o] { print_rules(shared.load(), *o); });
  add_check(*group, shared);
  group->add_subcommand("matrix", "docs/policy-matrix.md: each route and who may call it")
      ->group("")
      ->callback([&shared] {
        log::open("policy", "", "warn");
        std::fputs(cloud::list_policy_matrix(shared.load()).c_str(), stdout);
      });
}

}  // namespace virga::cli
