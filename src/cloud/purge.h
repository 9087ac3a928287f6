#pragma once
// `virga down --purge`: removes what the cloud made on this machine, and only that.

#include <sys/types.h>

#include <string>

#include "base/config.h"
#include "cloud/engines.h"

namespace virga::cloud {

/// Makes a folder and marks it as ours. Throws Fault(conflict) if it holds something that is not.
void claim_folder(const std::string& path, mode_t mode);
/// Removes a folder that is marked as ours, with all that is in it; leaves any other alone. If something is mounted there,
/// the empty folder stays.
void remove_claimed_folder(const std::string& path);
/// Makes the cloud's folders and marks them as ours, so that a purge with a wrong path removes nothing foreign.
/// Throws Fault(conflict) if a folder holds something that is not Virga's.
void claim_directories(const Config& config);
/// Remembers in state_dir that this cloud made something outside its folders ("dir:/run/libvirt", "mount:/run/netns", "up:eth1",
/// "promiscuous:eth1").
void remember_made(const Config& config, const std::string& what);
/// Undoes it: removes those folders if they are empty, and so on.
void undo_made(const Config& config);
/// Host mode: takes out of Open vSwitch, and out of the distribution's OVN and libvirt, what this cloud put there. Agent,
/// guests and `serve` must have ended; Open vSwitch and OVN run. Done twice, it finds nothing the second time.
/// Throws Fault(unavailable) if a daemon of the distribution that must be cleaned does not run.
void leave_engines(const Config& config, const Engines& engines);
/// On a MariaDB server: drops this cloud's tables. The (then empty) database stays: it may be an operator's. False, and nothing is
/// dropped, if the cloud goes on: other controllers live, or this one joined others.
bool empty_database(const Config& config);
/// Removes folders, namespaces and what was remembered. Everything must have ended before.
void remove_all_traces(const Config& config);

}  // namespace virga::cloud
