#pragma once
// Each resource group adds its rows to the service's table.

#include <vector>

#include "identity/core.h"

namespace virga::identity {

using Routes = std::vector<api::Route>;

void add_discovery_routes(Core& core, Routes& to);
void add_auth_routes(Core& core, Routes& to);
void add_user_routes(Core& core, Routes& to);
void add_group_routes(Core& core, Routes& to);
void add_project_routes(Core& core, Routes& to);
void add_domain_routes(Core& core, Routes& to);
void add_role_routes(Core& core, Routes& to);
void add_grant_routes(Core& core, Routes& to);
void add_assignment_routes(Core& core, Routes& to);
void add_catalog_routes(Core& core, Routes& to);
void add_region_routes(Core& core, Routes& to);

}  // namespace virga::identity
