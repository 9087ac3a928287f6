#pragma once
// The attribute rows of the Networking API's resources (Networking API reference v2.0).

#include "api/schema.h"

namespace virga::network {

const api::Resource& network_resource();
const api::Resource& subnet_resource();
const api::Resource& subnet_pool_resource();
const api::Resource& port_resource();
const api::Resource& router_resource();
const api::Resource& floating_ip_resource();
const api::Resource& security_group_resource();
const api::Resource& security_group_rule_resource();

}  // namespace virga::network
