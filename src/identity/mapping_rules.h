#pragma once
// The rules of a federation mapping: what of an assertion becomes which user, groups and projects. Pure.

#include "base/json.h"

namespace virga::identity {

/// Refuses (400) what is no list of rules, and says where and why.
void check_mapping_rules(const json::value& rules);

}  // namespace virga::identity
