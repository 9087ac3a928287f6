#pragma once
// Consoles: one-time tokens, and the WebSocket that pipes bytes between a browser and the agent.

#include "compute/core.h"
#include "compute/server_table.h"

namespace virga::compute {

/// Makes a token and returns the URL a client opens: nova's noVNC page for "novnc", a WebSocket URL for
/// "serial". Throws Fault(conflict) if the server cannot have a console now.
std::string make_console(Core& core, const api::Call& call, const ServerRow& row, const std::string& type);
/// The /console service.
void add_console_routes(api::Service& service, Core& core);

}  // namespace virga::compute
