#pragma once
// The rows a new cloud starts with.

#include "identity/core.h"

namespace virga::identity {

/// As Identity::bootstrap says. Safe when several processes start at once.
void bootstrap(Core& core, const Bootstrap& what);

}  // namespace virga::identity
