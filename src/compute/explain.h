#pragma once
// What happened to a server or in an operation, step by step, with causes: what `virga explain` prints.

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

/// Throws Fault(not_found).
json::object explain_server(Core& core, db::Tx& tx, const std::string& id);
json::object explain_operation(db::Tx& tx, const std::string& id);
/// The same for people.
std::string explain_text(const json::object& explained);
void add_explain_routes(Routes& routes, Core& core);

}  // namespace virga::compute
