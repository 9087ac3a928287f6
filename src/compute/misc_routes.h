#pragma once
// Discovery documents, extensions, server groups, security groups, migrations and usage: small APIs beside servers.

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

void add_discovery_routes(Routes& routes);
void add_group_routes(Routes& routes, Core& core);
void add_migration_routes(Routes& routes, Core& core);
void add_old_host_routes(Routes& routes, Core& core);
void add_security_group_routes(Routes& routes, Core& core);
void add_usage_routes(Routes& routes, Core& core);

}  // namespace virga::compute
