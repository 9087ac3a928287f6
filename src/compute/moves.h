#pragma once
// Servers that change their size, or their host while they are off: nova's resize and cold migration, which are one thing.
//
// The server is stopped where it is ("leaving"); then it is the destination's, which makes a disk of its own from the one
// there was and starts it ("arriving"); then somebody confirms or reverts ("resized"). Until then nothing is lost: the source
// keeps the server, off, with its disk. Going back ("returning") begins the same way: first it must be off, or gone, where it
// is. If it cannot come up on its destination, it goes back by itself, and its operation says why.
//
// A resize stays on its host if that has the room, because no disk need travel then.
//
// Each step is a transaction on the server's row, taken when a host reports what the step before waits for; so a crash
// between any two only delays the next report.

#include "compute/core.h"
#include "compute/migrations.h"
#include "compute/routes.h"
#include "compute/server_table.h"
#include "operations/api.h"

namespace virga::compute {

// The actions.
http::Response resize(Core& core, api::Call& call, const json::value& arguments);
http::Response migrate(Core& core, api::Call& call, const json::value& arguments);
http::Response confirm_resize(Core& core, api::Call& call, const json::value& arguments);
http::Response revert_resize(Core& core, api::Call& call, const json::value& arguments);

/// After a report of the server's host was put into `row`: takes the next step if it can be taken now. The host that has
/// something left to remove then, if any.
std::optional<HostId> advance_move(Core& core, db::Tx& tx, ServerRow& row);
/// The server is about to be deleted, or built again elsewhere: its change ends here, and what the other host keeps of it
/// goes. That host, if any.
std::optional<HostId> drop_move(Core& core, db::Tx& tx, ServerRow& row, const std::string& why);
/// The host was declared off: servers that were on their way there go back, and those that wait for it to let go of them do not
/// any more. Whom to wake after the commit.
std::vector<ServerId> give_up_destination(Core& core, db::Tx& tx, const HostId& host);
/// A server that cannot come up on its destination goes back. True if it can.
bool turn_back(Core& core, db::Tx& tx, ServerRow& row, std::string cause, std::string hint);

}  // namespace virga::compute
