// Application credentials: what a user lets a program do in a project, without the user's password.
#include <fmt/format.h>

#include "identity/application_credential_table.h"
#include "identity/faults.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/secrets.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "application_credential",
      .plural = "application_credentials",
      .attributes =
          {{.name = "name", .type = Type::string, .create = Set::required, .min = 1},
           {.name = "description", .type = Type::string, .create = Set::optional, .nullable = true, .max = 0},
           {.name = "secret", .type = Type::string, .create = Set::optional, .nullable = true, .max = 0},
           {.name = "expires_at", .type = Type::string, .create = Set::optional, .nullable = true},
           {.name = "roles", .type = Type::array, .create = Set::optional, .max = 0},
           {.name = "unrestricted", .type = Type::boolean, .create = Set::optional},
           {.name = "access_rules", .type = Type::array, .create = Set::optional, .max = 0}},
      .extra = true};
  return r;
}

json::object rule_view(const api::AccessRule& rule) {
  return {{"id", rule.id}, {"service", rule.service}, {"path", rule.path}, {"method", rule.method}};
}

json::object view(const api::Call& call, const ApplicationCredentialRow& c, const RoleGraph& graph) {
  json::array roles;
  for (const auto& id : c.role_ids)
    if (const auto* role = graph.find(id))
      roles.push_back(json::object{
          {"id", role->id},
          {"name", role->name},
          {"domain_id", role->domain_id.empty() ? json::value(nullptr) : json::value(role->domain_id)}});
  json::object out{
      {"id", c.id},
      {"name", c.name},
      {"description", c.description ? json::value(*c.description) : json::value(nullptr)},
      {"user_id", c.user_id},
      {"project_id", c.project_id},
      {"system", nullptr},
      {"expires_at", time_view(c.expires_at)},
      {"unrestricted", c.unrestricted},
      {"roles", std::move(roles)},
      {"links", self_link(call, fmt::format("users/{}/application_credentials", c.user_id), c.id)}};
  if (c.access_rules.empty()) return out;
  json::array rules;
  for (const auto& rule : c.access_rules) rules.push_back(rule_view(rule));
  out["access_rules"] = std::move(rules);
  return out;
}

[[noreturn]] void invalid(std::string_view detail) {
  refuse_body(fmt::format("Invalid application credential: {}", detail));
}

/// The roles asked for, which the token must have: nobody delegates more than the rights at hand.
std::set<std::string> wanted_roles(db::Tx& tx, const api::Caller& caller, const json::object& a) {
  const std::set<std::string> have(caller.role_ids.begin(), caller.role_ids.end());
  const json::array* roles = find_array(a, "roles");
  if (!roles || roles->empty()) return have;
  std::set<std::string> out;
  for (const auto& role : *roles) {
    const std::string id = named_role(tx, role);
    if (!have.contains(id)) invalid("Cannot create an application credential with unassigned role");
    out.insert(id);
  }
  return out;
}

std::string rule_text(const json::object& rule, std::string_view key) {
  const auto* value = rule.if_contains(key);
  if (value && !value->is_string())
    refuse_body(fmt::format("Invalid input for field 'access_rules/{}': it must be a string.", key));
  return value ? str(*value) : "";
}

api::AccessRule read_rule(const json::value& value) {
  if (!value.is_object()) refuse_body("Invalid input for field 'access_rules': each must be an object.");
  const json::object& o = value.get_object();
  for (const auto& [key, ignored] : o)
    if (key != "id" && key != "service" && key != "path" && key != "method")
      refuse_body(
          fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
  api::AccessRule r{rule_text(o, "id"), rule_text(o, "service"), rule_text(o, "path"),
                    rule_text(o, "method")};
  if (!r.id.empty() && r.service.empty() && r.path.empty() && r.method.empty()) return r;
  const auto bad = [](std::string_view field, std::string_view why) {
    refuse_body(fmt::format("Invalid input for field 'access_rules/{}': {}", field, why));
  };
  constexpr std::string_view kMethods[] = {"POST", "GET", "HEAD", "PATCH", "PUT", "DELETE"};
  if (std::find(std::begin(kMethods), std::end(kMethods), r.method) == std::end(kMethods))
    bad("method", fmt::format("'{}' does not match '^(POST|GET|HEAD|PATCH|PUT|DELETE)$'", r.method));
  if (r.path.empty() || r.path.front() != '/' || r.path.size() > 225)
    bad("path", fmt::format("'{}' must begin with '/' and have at most 225 characters", r.path));
  const bool word = std::all_of(r.service.begin(), r.service.end(),
                                [](unsigned char c) { return std::isalnum(c) || c == '-'; });
  if (r.service.empty() || r.service.size() > 64 || !word)
    bad("service", fmt::format("'{}' does not match '^[a-zA-Z0-9-]+$'", r.service));
  return r;
}

std::vector<api::AccessRule> read_rules(const json::object& a) {
  std::vector<api::AccessRule> out;
  if (const json::array* rules = find_array(a, "access_rules"))
    for (const auto& rule : *rules) out.push_back(read_rule(rule));
  return out;
}

void refuse_restricted(const api::Caller& caller) {
  if (caller.restricted)
    forbid_action(
        "Using method 'application_credential' is not allowed for managing additional application "
        "credentials.");
}

/// They would outlive the trust, or what else gave the token.
void refuse_other_delegation(const api::Caller& caller) {
  if (!caller.trust_id.empty() || !caller.access_token_id.empty())
    forbid_action("Application credentials are not made with delegated rights");
}

ApplicationCredentialRow read_new(Core& core, const api::Call& call, const json::object& a) {
  ApplicationCredentialRow c{
      .id = new_hex_id(), .user_id = call.caller().user_id, .project_id = call.caller().project_id};
  c.name = find_string(a, "name");
  if (has_value(a, "description")) c.description = find_string(a, "description");
  if (has_value(a, "expires_at")) c.expires_at = read_expiry(find_string(a, "expires_at"), core.clock.now());
  c.unrestricted = find_bool(a, "unrestricted");
  c.access_rules = read_rules(a);
  return c;
}

http::Response create(Core& core, api::Call& call) {
  call.require({{"user_id", call.param("user_id")}});
  const json::object a = api::validate_create(resource(), call.body_of("application_credential"));
  refuse_restricted(call.caller());
  refuse_other_delegation(call.caller());
  if (call.caller().user_id != call.param("user_id"))
    forbid_action("Cannot create an application credential for another user.");
  if (call.caller().project_id.empty())
    invalid("Application credentials are made with a token of a project.");
  const ApplicationCredentialRow wanted = read_new(core, call, a);
  std::string secret = find_string(a, "secret");
  if (secret.empty()) secret = new_secret();
  const std::string hash = hash_secret(core, secret);
  json::object shown;
  core.change([&](db::Tx& tx) {
    ApplicationCredentialRow c = wanted;
    c.secret_hash = hash;
    c.role_ids = wanted_roles(tx, call.caller(), a);
    const auto held = role_ids_of(tx, c.user_id, {"project", c.project_id});
    for (const auto& id : c.role_ids)
      if (!held.contains(id))
        invalid(
            fmt::format("Could not find role assignment with role: {}, user or group: {}, project, domain, "
                        "or system: {}.",
                        id, c.user_id, c.project_id));
    insert_application_credential(tx, c);
    shown = view(call, c, RoleGraph(tx));
  });
  shown["secret"] = secret;
  return item_reply(201, "application_credential", std::move(shown));
}

http::Response list(Core& core, api::Call& call) {
  call.require({{"user_id", call.param("user_id")}});
  const auto name = call.request.query_value("name");
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const RoleGraph graph(tx);
    for (const auto& c : application_credentials_of(tx, call.param("user_id")))
      if (!name || c.name == *name) out.push_back(view(call, c, graph));
  });
  return list_reply(call, "application_credentials", std::move(out));
}

/// The credential of the path; whose it is decides, not the user in the path.
ApplicationCredentialRow read_target(Core& core, api::Call& call) {
  const std::string& id = call.param("application_credential_id");
  const auto found = core.database.read([&](db::Tx& tx) { return find_application_credential(tx, id); });
  call.require({{"user_id", found ? found->user_id : call.param("user_id")}});
  if (!found) not_found("Application Credential", id);
  return *found;
}

http::Response show(Core& core, api::Call& call) {
  const auto found = read_target(core, call);
  return item_reply(200, "application_credential",
                    core.database.read([&](db::Tx& tx) { return view(call, found, RoleGraph(tx)); }));
}

http::Response erase(Core& core, api::Call& call) {
  const auto found = read_target(core, call);
  refuse_restricted(call.caller());
  core.change([&](db::Tx& tx) { erase_application_credential(tx, found.id); });
  return api::reply(204);
}

}  // namespace

void add_application_credential_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string all = "/v3/users/{user_id}/application_credentials",
                    one = all + "/{application_credential_id}";
  to.push_back({"POST", all, "identity:create_application_credential", on(create)});
  to.push_back({"GET", all, "identity:list_application_credentials", on(list)});
  to.push_back({"GET", one, "identity:get_application_credential", on(show)});
  to.push_back({"DELETE", one, "identity:delete_application_credential", on(erase)});
}

}  // namespace virga::identity
