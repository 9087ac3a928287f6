// Keystone's names of its resources in a home document (JSON-home), and the document made of them.
#include "identity/json_home.h"

#include <algorithm>
#include <vector>

namespace virga::identity {
namespace {

struct Relation {
  std::string_view name, path;  ///< below {base}, and below /v3
  bool experimental = false;
};

constexpr std::string_view kBase = "https://docs.openstack.org/api/openstack-identity/3/";

constexpr Relation kRelations[] = {
    {"ext/OS-EP-FILTER/1.0/rel/endpoint_groups", "/OS-EP-FILTER/endpoint_groups"},
    {"ext/OS-EP-FILTER/1.0/rel/endpoint_group", "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"},
    {"ext/OS-EP-FILTER/1.0/rel/endpoints_in_endpoint_group",
     "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints"},
    {"ext/OS-EP-FILTER/1.0/rel/projects_associated_with_endpoint_group",
     "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects"},
    {"ext/OS-EP-FILTER/1.0/rel/endpoint_group_to_project_association",
     "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}"},
    {"ext/OS-EP-FILTER/1.0/rel/endpoint_projects", "/OS-EP-FILTER/endpoints/{endpoint_id}/projects"},
    {"ext/OS-EP-FILTER/1.0/rel/project_endpoint_groups",
     "/OS-EP-FILTER/projects/{project_id}/endpoint_groups"},
    {"ext/OS-EP-FILTER/1.0/rel/project_endpoints", "/OS-EP-FILTER/projects/{project_id}/endpoints"},
    {"ext/OS-EP-FILTER/1.0/rel/project_endpoint",
     "/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}"},
    {"ext/OS-FEDERATION/1.0/rel/identity_providers", "/OS-FEDERATION/identity_providers"},
    {"ext/OS-FEDERATION/1.0/rel/identity_provider", "/OS-FEDERATION/identity_providers/{idp_id}"},
    {"ext/OS-FEDERATION/1.0/rel/identity_provider_protocols",
     "/OS-FEDERATION/identity_providers/{idp_id}/protocols"},
    {"ext/OS-FEDERATION/1.0/rel/identity_provider_protocol",
     "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"},
    {"ext/OS-FEDERATION/1.0/rel/identity_provider_protocol_auth",
     "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth"},
    {"ext/OS-FEDERATION/1.0/rel/mappings", "/OS-FEDERATION/mappings"},
    {"ext/OS-FEDERATION/1.0/rel/mapping", "/OS-FEDERATION/mappings/{mapping_id}"},
    {"ext/OS-FEDERATION/1.0/rel/metadata", "/OS-FEDERATION/saml2/metadata"},
    {"ext/OS-FEDERATION/1.0/rel/service_providers", "/OS-FEDERATION/service_providers"},
    {"ext/OS-FEDERATION/1.0/rel/service_provider", "/OS-FEDERATION/service_providers/{sp_id}"},
    {"ext/OS-INHERIT/1.0/rel/domain_group_roles_inherited_to_projects",
     "/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/inherited_to_projects"},
    {"ext/OS-INHERIT/1.0/rel/domain_group_role_inherited_to_projects",
     "/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects"},
    {"ext/OS-INHERIT/1.0/rel/domain_user_roles_inherited_to_projects",
     "/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects"},
    {"ext/OS-INHERIT/1.0/rel/domain_user_role_inherited_to_projects",
     "/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects"},
    {"ext/OS-INHERIT/1.0/rel/project_group_role_inherited_to_projects",
     "/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects"},
    {"ext/OS-INHERIT/1.0/rel/project_user_role_inherited_to_projects",
     "/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/{role_id}/inherited_to_projects"},
    {"ext/OS-OAUTH1/1.0/rel/access_tokens", "/OS-OAUTH1/access_token"},
    {"ext/OS-OAUTH1/1.0/rel/authorize_request_token", "/OS-OAUTH1/authorize/{request_token_id}"},
    {"ext/OS-OAUTH1/1.0/rel/consumers", "/OS-OAUTH1/consumers"},
    {"ext/OS-OAUTH1/1.0/rel/consumer", "/OS-OAUTH1/consumers/{consumer_id}"},
    {"ext/OS-OAUTH1/1.0/rel/request_tokens", "/OS-OAUTH1/request_token"},
    {"ext/OS-OAUTH2/1.0/rel/token", "/OS-OAUTH2/token"},
    {"ext/OS-REVOKE/1.0/rel/events", "/OS-REVOKE/events"},
    {"ext/OS-TRUST/1.0/rel/trusts", "/OS-TRUST/trusts"},
    {"ext/OS-TRUST/1.0/rel/trust", "/OS-TRUST/trusts/{trust_id}"},
    {"ext/OS-TRUST/1.0/rel/trust_roles", "/OS-TRUST/trusts/{trust_id}/roles"},
    {"ext/OS-TRUST/1.0/rel/trust_role", "/OS-TRUST/trusts/{trust_id}/roles/{role_id}"},
    {"ext/OS-FEDERATION/1.0/rel/identity_providers_websso",
     "/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso"},
    {"ext/OS-FEDERATION/1.0/rel/saml2", "/auth/OS-FEDERATION/saml2"},
    {"ext/OS-FEDERATION/1.0/rel/ecp", "/auth/OS-FEDERATION/saml2/ecp"},
    {"ext/OS-FEDERATION/1.0/rel/websso", "/auth/OS-FEDERATION/websso/{protocol_id}"},
    {"rel/auth_catalog", "/auth/catalog"},
    {"rel/auth_domains", "/auth/domains"},
    {"ext/OS-FEDERATION/1.0/rel/domains", "/auth/domains"},
    {"rel/auth_projects", "/auth/projects"},
    {"ext/OS-FEDERATION/1.0/rel/projects", "/auth/projects"},
    {"rel/auth_system", "/auth/system"},
    {"rel/auth_tokens", "/auth/tokens"},
    {"rel/credentials", "/credentials"},
    {"rel/credential", "/credentials/{credential_id}"},
    {"rel/domains", "/domains"},
    {"rel/domain_config_default", "/domains/config/default"},
    {"rel/domain_config_default_group", "/domains/config/{group}/default"},
    {"rel/domain_config_default_option", "/domains/config/{group}/{option}/default"},
    {"rel/domain", "/domains/{domain_id}"},
    {"rel/domain_config", "/domains/{domain_id}/config"},
    {"rel/domain_config_group", "/domains/{domain_id}/config/{group}"},
    {"rel/domain_config_option", "/domains/{domain_id}/config/{group}/{option}"},
    {"rel/domain_group_roles", "/domains/{domain_id}/groups/{group_id}/roles"},
    {"rel/domain_group_role", "/domains/{domain_id}/groups/{group_id}/roles/{role_id}"},
    {"rel/domain_user_roles", "/domains/{domain_id}/users/{user_id}/roles"},
    {"rel/domain_user_role", "/domains/{domain_id}/users/{user_id}/roles/{role_id}"},
    {"ext/OS-EC2/1.0/rel/ec2tokens", "/ec2tokens"},
    {"rel/endpoints", "/endpoints"},
    {"rel/endpoint", "/endpoints/{endpoint_id}"},
    {"ext/OS-ENDPOINT-POLICY/1.0/rel/endpoint_policy", "/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy"},
    {"rel/groups", "/groups"},
    {"rel/group", "/groups/{group_id}"},
    {"rel/group_users", "/groups/{group_id}/users"},
    {"rel/group_user", "/groups/{group_id}/users/{user_id}"},
    {"rel/limits", "/limits", true},
    {"rel/limit_model", "/limits/model", true},
    {"rel/limit", "/limits/{limit_id}", true},
    {"rel/policies", "/policies"},
    {"rel/policy", "/policies/{policy_id}"},
    {"ext/OS-ENDPOINT-POLICY/1.0/rel/policy_endpoints", "/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints"},
    {"ext/OS-ENDPOINT-POLICY/1.0/rel/endpoint_policy_association",
     "/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints/{endpoint_id}"},
    {"ext/OS-ENDPOINT-POLICY/1.0/rel/service_policy_association",
     "/policies/{policy_id}/OS-ENDPOINT-POLICY/services/{service_id}"},
    {"ext/OS-ENDPOINT-POLICY/1.0/rel/region_and_service_policy_association",
     "/policies/{policy_id}/OS-ENDPOINT-POLICY/services/{service_id}/regions/{region_id}"},
    {"rel/projects", "/projects"},
    {"rel/project", "/projects/{project_id}"},
    {"rel/project_group_roles", "/projects/{project_id}/groups/{group_id}/roles"},
    {"rel/project_group_role", "/projects/{project_id}/groups/{group_id}/roles/{role_id}"},
    {"rel/project_tags", "/projects/{project_id}/tags/{value}"},
    {"rel/project_user_roles", "/projects/{project_id}/users/{user_id}/roles"},
    {"rel/project_user_role", "/projects/{project_id}/users/{user_id}/roles/{role_id}"},
    {"rel/regions", "/regions"},
    {"rel/region", "/regions/{region_id}"},
    {"rel/registered_limits", "/registered_limits", true},
    {"rel/registered_limit", "/registered_limits/{registered_limit_id}", true},
    {"rel/role_assignments", "/role_assignments"},
    {"rel/role_inferences", "/role_inferences"},
    {"rel/roles", "/roles"},
    {"rel/implied_roles", "/roles/{prior_role_id}/implies"},
    {"rel/implied_role", "/roles/{prior_role_id}/implies/{implied_role_id}"},
    {"rel/role", "/roles/{role_id}"},
    {"ext/s3tokens/1.0/rel/s3tokens", "/s3tokens"},
    {"rel/services", "/services"},
    {"rel/service", "/services/{service_id}"},
    {"rel/system_group_roles", "/system/groups/{group_id}/roles"},
    {"rel/system_group_role", "/system/groups/{group_id}/roles/{role_id}"},
    {"rel/system_user_roles", "/system/users/{user_id}/roles"},
    {"rel/system_user_role", "/system/users/{user_id}/roles/{role_id}"},
    {"rel/users", "/users"},
    {"rel/user", "/users/{user_id}"},
    {"ext/OS-OAUTH1/1.0/rel/user_access_tokens", "/users/{user_id}/OS-OAUTH1/access_tokens"},
    {"ext/OS-OAUTH1/1.0/rel/user_access_token", "/users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}"},
    {"ext/OS-OAUTH1/1.0/rel/user_access_token_roles",
     "/users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}/roles"},
    {"ext/OS-OAUTH1/1.0/rel/user_access_token_role",
     "/users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}/roles/{role_id}"},
    {"rel/access_rules", "/users/{user_id}/access_rules"},
    {"rel/access_rule", "/users/{user_id}/access_rules/{access_rule_id}"},
    {"rel/application_credentials", "/users/{user_id}/application_credentials"},
    {"rel/application_credential", "/users/{user_id}/application_credentials/{application_credential_id}"},
    {"ext/OS-EC2/1.0/rel/user_credentials", "/users/{user_id}/credentials/OS-EC2"},
    {"ext/OS-EC2/1.0/rel/user_credential", "/users/{user_id}/credentials/OS-EC2/{credential_id}"},
    {"rel/user_groups", "/users/{user_id}/groups"},
    {"rel/user_change_password", "/users/{user_id}/password"},
    {"rel/user_projects", "/users/{user_id}/projects"},
};

/// What a variable of a path is, where it is not simply "param/NAME".
constexpr std::pair<std::string_view, std::string_view> kVariables[] = {
    {"idp_id", "ext/OS-FEDERATION/1.0/param/idp_id"},
    {"protocol_id", "ext/OS-FEDERATION/1.0/param/protocol_id"},
    {"mapping_id", "ext/OS-FEDERATION/1.0/param/mapping_id"},
    {"sp_id", "ext/OS-FEDERATION/1.0/param/sp_id"},
    {"endpoint_group_id", "ext/OS-EP-FILTER/1.0/param/endpoint_group_id"},
    {"trust_id", "ext/OS-TRUST/1.0/param/trust_id"},
    {"access_token_id", "ext/OS-OAUTH1/1.0/param/access_token_id"},
    {"request_token_id", "ext/OS-OAUTH1/1.0/param/request_token_id"},
    {"consumer_id", "ext/OS-OAUTH1/1.0/param/consumer_id"},
    {"group", "param/config_group"},
    {"option", "param/config_option"},
    {"value", "param/tag_value"},
    {"prior_role_id", "param/role_id"},
    {"implied_role_id", "param/role_id"},
};

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    path.remove_prefix(path.front() == '/' ? 1 : 0);
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    out.push_back(part);
  }
  return out;
}

bool is_variable(std::string_view segment) {
  return !segment.empty() && segment.front() == '{';
}

/// The same path, whatever its variables are called.
bool same_path(std::string_view a, std::string_view b) {
  const auto x = segments(a), y = segments(b);
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](std::string_view p, std::string_view q) {
    return p == q || (is_variable(p) && is_variable(q));
  });
}

std::string relation_of(std::string_view variable) {
  const auto found = std::find_if(std::begin(kVariables), std::end(kVariables),
                                  [&](const auto& v) { return v.first == variable; });
  return std::string(kBase) +
         (found == std::end(kVariables) ? "param/" + std::string(variable) : std::string(found->second));
}

json::object resource(const Relation& r, std::string_view prefix) {
  json::object out, variables;
  for (std::string_view part : segments(r.path))
    if (is_variable(part)) {
      const std::string_view name = part.substr(1, part.size() - 2);
      variables[name] = relation_of(name);
    }
  out[variables.empty() ? "href" : "href-template"] = std::string(prefix) + std::string(r.path);
  if (!variables.empty()) out["href-vars"] = std::move(variables);
  if (r.experimental) out["hints"] = json::object{{"status", "experimental"}};
  return out;
}

}  // namespace

json::object home_document(const Routes& routes, std::string_view prefix) {
  json::object resources;
  for (const auto& r : kRelations) {
    const std::string path = "/v3" + std::string(r.path);
    if (std::any_of(routes.begin(), routes.end(),
                    [&](const auto& route) { return same_path(route.path, path); }))
      resources[std::string(kBase) + std::string(r.name)] = resource(r, prefix);
  }
  return {{"resources", std::move(resources)}};
}

bool wants_home_document(std::string_view accept) {
  double home = 0, plain = 0;
  while (!accept.empty()) {
    std::string_view one = accept.substr(0, accept.find(','));
    accept.remove_prefix(std::min(one.size() + 1, accept.size()));
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    const std::string_view type = one.substr(0, one.find_first_of("; "));
    const size_t q = one.find("q=");
    const double weight = q == std::string_view::npos ? 1 : std::atof(std::string(one.substr(q + 2)).c_str());
    if (type == "application/json-home") home = std::max(home, weight);
    if (type == "application/json" || type == "application/*" || type == "*/*")
      plain = std::max(plain, weight);
  }
  return home > plain;
}

}  // namespace virga::identity
