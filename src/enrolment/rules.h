#pragma once
// Who may make hosts of this cloud.

#include <span>

#include "api/policy.h"

namespace virga::enrolment {

std::span<const api::RuleDefault> rules();

}  // namespace virga::enrolment
