#pragma once
// Identity's rules with their defaults, as keystone documents them for Zed.

#include <span>

#include "api/policy.h"

namespace virga::identity {

std::span<const api::RuleDefault> rules();

}  // namespace virga::identity
