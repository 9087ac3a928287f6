#pragma once
// Each resource group adds its rows to the service's table.

#include <vector>

#include "identity/core.h"

namespace virga::identity {

using Routes = std::vector<api::Route>;

void add_discovery_routes(Core& core, Routes& to);
void add_auth_routes(Core& core, Routes& to);
void add_token_routes(Core& core, Routes& to);
void add_available_scope_routes(Core& core, Routes& to);
void add_revocation_routes(Core& core, Routes& to);
void add_application_credential_routes(Core& core, Routes& to);
void add_access_rule_routes(Core& core, Routes& to);
void add_trust_routes(Core& core, Routes& to);
void add_credential_routes(Core& core, Routes& to);
void add_ec2_credential_routes(Core& core, Routes& to);
void add_ec2_token_routes(Core& core, Routes& to);
void add_user_routes(Core& core, Routes& to);
void add_group_routes(Core& core, Routes& to);
void add_project_routes(Core& core, Routes& to);
void add_domain_routes(Core& core, Routes& to);
void add_role_routes(Core& core, Routes& to);
void add_grant_routes(Core& core, Routes& to);
void add_assignment_routes(Core& core, Routes& to);
void add_catalog_routes(Core& core, Routes& to);
void add_region_routes(Core& core, Routes& to);
void add_domain_config_routes(Core& core, Routes& to);
void add_policy_routes(Core& core, Routes& to);
void add_endpoint_filter_routes(Core& core, Routes& to);
void add_limit_routes(Core& core, Routes& to);
void add_registered_limit_routes(Core& core, Routes& to);
void add_identity_provider_routes(Core& core, Routes& to);
void add_federation_routes(Core& core, Routes& to);
void add_oauth1_routes(Core& core, Routes& to);
void add_oauth2_routes(Core& core, Routes& to);
void add_oauth1_flow_routes(Core& core, Routes& to);

}  // namespace virga::identity
