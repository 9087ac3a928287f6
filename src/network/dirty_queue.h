#pragma once
// What is to be looked at again, as rows: with several controllers, who changes something need not be who writes to OVN.

#include <string>
#include <vector>

#include "network/service.h"

namespace virga::network {

struct QueuedDirty {
  std::string id;  ///< of the row
  Dirty dirty;
};

void enqueue(db::Tx& tx, const Dirty& dirty);
/// Some of them, `most` at most.
std::vector<QueuedDirty> queued(db::Tx& tx, size_t most);
void dequeue(db::Tx& tx, const std::vector<QueuedDirty>& done);

}  // namespace virga::network
