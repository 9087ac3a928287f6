#pragma once
// The agent of this machine, put together: hypervisor and disks as configured, the link to the controller beside it.

#include "base/config.h"

namespace virga::cloud {

/// Runs until SIGTERM or SIGINT; returns the exit code.
int run_agent_role(const Config& config);

}  // namespace virga::cloud
