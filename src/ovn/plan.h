#pragma once
// What to send so that the northbound database becomes what it should be: pure functions of replica and
// desired rows.

#include <string>
#include <vector>

#include "base/json.h"
#include "ovn/northbound.h"
#include "ovn/replica.h"
#include "ovn/rows.h"

namespace virga::ovn {

/// A reference to add to or take from a set column of another row. Kept apart from the operations, so that
/// thousands of ports joining one switch or group become one mutation.
struct Link {
  std::string table, uuid, column, child;
  bool add = true;
};

/// What one object needs; always sent in one transaction.
struct Unit {
  json::array operations;
  std::vector<Link> links;
  bool empty() const { return operations.empty() && links.empty(); }
};

/// Units with something to do, in the order in which they must be sent.
std::vector<Unit> plan_change(const Replica& replica, const NorthboundChange& change);
/// The same for the whole content: what is ours and not in `desired` goes.
std::vector<Unit> plan_reconcile(const Replica& replica, const Northbound& desired);
/// The operations of some units, their links merged.
json::array merge(const Unit* begin, const Unit* end);

}  // namespace virga::ovn
