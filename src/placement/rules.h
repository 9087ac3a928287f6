#pragma once
// Placement's rules with their defaults, as placement documents them for Zed.

#include <span>

#include "api/policy.h"

namespace virga::placement {

std::span<const api::RuleDefault> rules();

}  // namespace virga::placement
