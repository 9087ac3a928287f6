#pragma once
// Bringing a server's row up to date with itself: after its desired or observed columns changed, `settle`
// materialises what users see, ends the running operation, and completes a deletion. In the causing
// transaction, always.

#include "compute/core.h"
#include "compute/server_table.h"
#include "operations/api.h"

namespace virga::compute {

/// Writes all state columns of `row` as they follow from its desired and observed ones.
void settle(Core& core, db::Tx& tx, ServerRow& row);
/// The same where the running operation was read already.
void settle(Core& core, db::Tx& tx, ServerRow& row, const std::optional<operations::Operation>& running);
/// Starts an operation on a server; one that was still running ends as superseded, and the server's fence
/// grows.
operations::Operation begin_operation(Core& core, db::Tx& tx, ServerRow& row, std::string_view kind,
                                      const operations::Origin& origin, std::string_view detail = {});
/// What a host reports of its work on an operation, as steps of it.
void record_seen_steps(db::Tx& tx, const operations::Operation& operation, const std::string& host, const std::vector<link::StepReport>& steps);
/// Gives back quota, allocation and ports and marks the row deleted. `tombstone`: its host has still to
/// remove it.
void release_server(Core& core, db::Tx& tx, ServerRow& row, bool tombstone);
/// Puts a fault on the row, as users see it.
void set_fault(Core& core, ServerRow& row, int64_t code, const std::string& message,
               const std::string& details);

}  // namespace virga::compute
