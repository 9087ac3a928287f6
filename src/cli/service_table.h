#pragma once

#include "base/json.h"

namespace virga::cli {

/// Prints the supervisor's status as one line a service: state, uptime, memory, restarts, cause.
void print_service_table(const json::object& status);

}  // namespace virga::cli
