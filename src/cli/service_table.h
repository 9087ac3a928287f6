#pragma once

#include "base/config.h"
#include "base/json.h"

namespace virga::cli {

/// Prints the supervisor's status as one line a service: state, uptime, memory, restarts, cause.
void print_service_table(const json::object& status);
/// What keeps hosts from their work, as `serve` knows it: {"where", "what", "for_s"}. Empty if serve does not answer.
json::array problems(const Config& config);
void print_problems(const json::array& problems);

}  // namespace virga::cli
