#pragma once
// The options of a user, as a table: keystone knows these, and refuses others.

#include "base/json.h"

namespace virga::identity {

/// Throws Fault(bad_request) unless every option is known and of its form; null takes an option away.
void check_user_options(const json::object& options);

}  // namespace virga::identity
