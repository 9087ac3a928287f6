#pragma once
// Servers of a host that is lost: built again elsewhere, from their images, with their names, ports and addresses. Their
// disks were the host's.

#include "compute/core.h"
#include "compute/routes.h"
#include "compute/server_table.h"
#include "operations/api.h"

namespace virga::compute {

/// nova's action "evacuate". Only of a host that is silent and that somebody has declared off (forced down): a silent host
/// may have lost its network and nothing else, and the same server must never run twice.
http::Response evacuate(Core& core, api::Call& call, const json::value& arguments);

/// The same for one server, as part of a larger write: chooses a host, moves room and ports there, begins the operation.
/// `host`: where it must go, or "". Throws NoHost (placing.h) if nobody takes it; why not is asked outside the write.
void rebuild_elsewhere(Core& core, db::Tx& tx, ServerRow& row, const std::string& host, const operations::Origin& origin);

/// See Compute.
std::vector<LostHost> lost_hosts(Core& core);
int64_t host_fenced(Core& core, const HostId& host);

}  // namespace virga::compute
