#pragma once
// Compute's rules with their defaults, as nova documents them for Zed.

#include <span>

#include "api/policy.h"

namespace virga::compute {

std::span<const api::RuleDefault> rules();

}  // namespace virga::compute
