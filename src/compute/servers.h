#pragma once
// The servers API, by file: create (server_create.cpp), lists (server_list.cpp), one server and its actions
// (server_actions.cpp), its parts: metadata, tags, addresses, interfaces, groups, actions (server_parts.cpp).

#include <functional>

#include "compute/core.h"
#include "compute/routes.h"
#include "compute/server_table.h"
#include "operations/api.h"

namespace virga::compute {

void add_server_create_routes(Routes& routes, Core& core);
void add_server_list_routes(Routes& routes, Core& core);
void add_server_action_routes(Routes& routes, Core& core);
void add_server_part_routes(Routes& routes, Core& core);

/// What policies ask of a server.
api::Target target_of(const ServerRow& row);
/// The server if this caller may know of it; throws Fault(not_found) in nova's words otherwise, Fault(forbidden) if the
/// rule that was required does not hold for this very server.
ServerRow need_server(db::Tx& tx, const api::Call& call, const std::string& id);
/// The same, locked for a write.
ServerRow need_locked_server(db::Tx& tx, const api::Call& call, const std::string& id);
/// Throws Fault(conflict) if the server is locked and the caller may not override that.
void refuse_if_locked(const api::Call& call, const ServerRow& row);
/// Throws Fault(conflict) in nova's words unless the server is in one of these states. `task_states` empty: in any.
void need_state(std::string_view action, const ServerRow& row, std::initializer_list<std::string_view> vm_states,
                std::initializer_list<std::string_view> task_states = {""});
/// Fault(conflict) about the console of a server that does not run.
Fault not_ready(const ServerRow& row);
operations::Origin origin_of(const api::Call& call);
/// Changes the server that the call names in one transaction, and has its agents see it afterwards: 202. Throws what `decide`
/// throws; if that is NoHost, each host's reason.
http::Response change_server(Core& core, api::Call& call, const std::function<void(db::Tx& tx, ServerRow& row)>& decide);

/// An address as nova shows it ("::babe:dc0c:1602"); "" for "" or null. Throws Fault(bad_request).
std::string parse_access_ip(const json::object& body, std::string_view key, int family);
/// Text members with nova's bounds (255 characters). Throws Fault(bad_request).
Metadata parse_metadata(const json::object& body);
void check_tag(const json::value& tag);
/// Shown value of a name as nova checks it: not empty, at most 255, no leading or trailing blanks.
std::string parse_name(const json::object& body, std::string_view key);
/// "My Server!" -> "my-server": what a guest's host name is made of.
std::string host_name_from(const std::string& name, const std::string& id);

}  // namespace virga::compute
