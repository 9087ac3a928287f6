#pragma once
// `virga host drain`: moves a host's servers to others, a few at a time, each off while its disk travels.

#include <string>

#include "base/config.h"

namespace virga::cli {

/// The host takes no new servers from the beginning, and none after. Prints what becomes of each server. Returns how many are
/// still there. Throws Fault if there is no such host.
int drain_host(const Config& config, const std::string& name, const std::string& reason, int at_once);

}  // namespace virga::cli
