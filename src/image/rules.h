#pragma once
// Image's rules with their defaults, as glance documents them for Zed.

#include <span>

#include "api/policy.h"

namespace virga::image {

std::span<const api::RuleDefault> rules();

}  // namespace virga::image
