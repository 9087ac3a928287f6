#pragma once
// Who a user would be with a token: for `virga policy check`, which has none.

#include "identity/core.h"

namespace virga::identity {

api::Caller caller_of(Core& core, const CallerQuestion& question);

}  // namespace virga::identity
