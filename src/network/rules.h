#pragma once
// Network's rules with their defaults, as neutron documents them for Zed.

#include <span>

#include "api/policy.h"

namespace virga::network {

std::span<const api::RuleDefault> rules();

}  // namespace virga::network
