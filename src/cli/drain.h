#pragma once
// `virga host drain`: moves a host's servers to others, a few at a time: those that run as they run, if that can be; the others,
// or all, off while their disks travel.

#include <string>

#include "base/config.h"

namespace virga::cli {

/// The host takes no new servers from the beginning, and none after. Prints what becomes of each server. Returns how many are
/// still there. Throws Fault if there is no such host. `cold`: none as it runs.
int drain_host(const Config& config, const std::string& name, const std::string& reason, int at_once, bool cold);

}  // namespace virga::cli
