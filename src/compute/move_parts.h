#pragma once
// What changes of host or size have in common.

#include <initializer_list>

#include "compute/core.h"
#include "compute/migrations.h"
#include "compute/server_table.h"

namespace virga::compute {

/// What a size takes of a host.
placement::Amounts amounts_of(const Flavor& flavor);
/// Writes the columns that settle() does not.
void save_place(db::Tx& tx, const ServerRow& row);
/// The server is another host's now, which has said nothing of it yet. Not written.
void put_on_host(db::Tx& tx, ServerRow& row, const std::string& host_id, const std::string& hostname);
/// The server's migration that is not over. Throws Fault(internal) if there is none.
Migration need_active(db::Tx& tx, const ServerRow& row);
/// A line of the operation that began the migration.
void tell_step(Core& core, db::Tx& tx, const Migration& migration, std::string_view step, const std::string& message);
/// Throws Fault(bad_request) if a host that was asked for ("": none) is not there, or has the server already.
void need_other_host(db::Tx& tx, const ServerRow& row, const std::string& host);
/// Throws Fault(bad_request) in nova's words if an action has another argument.
void only_keys(const json::object& in, std::string_view action, std::initializer_list<std::string_view> keys);

}  // namespace virga::compute
