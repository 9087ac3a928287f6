#pragma once
// What a server has left behind on a host that it is no longer on: domain and disks, which that host is told to remove when
// it comes back. Absence never destroys, so each has a row here, and a tombstone in the host's assignment, until the host
// has said that it is gone. They outlive the host's removal from the cloud: the machine may be switched on again.

#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "compute/core.h"
#include "compute/server_table.h"

namespace virga::compute {

/// Notes the server's remains on a host. Its fence and generation must be beyond what that host has seen.
void leave_remains(db::Tx& tx, const ServerRow& row, const std::string& host_id, Time now);
/// Tells a host, wherever it is connected, of servers that are not its own, at once: what it is to remove, and what comes to it
/// as it runs. After the commit.
void push_others(Core& core, const HostId& host);
/// Tombstones for a host.
std::vector<link::DesiredServer> remains_on(db::Tx& tx, const HostId& host);
/// Hosts that have remains of a server.
std::set<std::string> hosts_with_remains(db::Tx& tx, const std::string& server_id);
/// Takes note of what a host says of a server that is not on it. True if the host was told to remove it.
bool observe_remains(db::Tx& tx, const HostId& host, const link::ObservedServer& seen);

}  // namespace virga::compute
