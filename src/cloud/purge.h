#pragma once
// `virga down --purge`: removes what the cloud made on this machine, and only that.

#include <string>

#include "base/config.h"

namespace virga::cloud {

/// Makes the cloud's folders and marks them as ours, so that a purge with a wrong path removes nothing foreign.
/// Throws Fault(conflict) if a folder holds something that is not Virga's.
void claim_directories(const Config& config);
/// Remembers in state_dir that this cloud made something outside its folders ("dir:/run/libvirt", "mount:/run/netns").
void remember_made(const Config& config, const std::string& what);
/// Removes folders, namespaces and what was remembered. Everything must have ended before.
void remove_all_traces(const Config& config);

}  // namespace virga::cloud
