#pragma once
// The cloud's epoch: a number in the database that only grows, at each connection of a host and every half
// minute while hosts are connected. Hosts remember the highest they have seen, so a host that knows a later one
// than the database shows that the database is older: restored from a backup. Then the host is refused and the
// epoch stands still, or it would catch up by itself, until the operator accepts the older database.

#include "compute/core.h"

namespace virga::compute {

/// What assignments carry.
int64_t cloud_epoch(db::Tx& tx);
void grow_epoch(db::Tx& tx);
/// True if a host that has seen this epoch shows that the database is older than the host; remembered.
bool is_older_than_host(db::Tx& tx, int64_t seen);

}  // namespace virga::compute
