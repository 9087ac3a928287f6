#pragma once
// What other commands need of `virga up`.

#include "cli/api.h"

namespace virga::cli {

/// Throws Fault(forbidden) unless the caller is root.
void require_root();
/// What `virga up` does: on a controller the cloud, on a compute host its part of one.
void up(const Shared& shared, bool foreground);
/// Stops everything; with `purge` state and traces go too.
void down(const Shared& shared, bool purge);

}  // namespace virga::cli
