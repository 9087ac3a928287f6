#pragma once
// Servers that move to another host while they run: nova's live migration.
//
// Its destination makes ready ("preparing"): base image, an empty overlay, config drive. Then its source is to send it
// ("running"): one action of that agent, whose report ends the migration. If it says that the server has left, it is the
// destination's ("completed"); if not, it never was anywhere but on its source, and the destination removes what it has
// ("error", "cancelled"). Only a source that was lost before it could say anything is not waited for: then the destination's
// word counts.
//
// Meanwhile the server is its source's, its ports are bound to both (network/api.h), and its room is taken on both.

#include "compute/core.h"
#include "compute/migrations.h"
#include "compute/routes.h"
#include "compute/server_table.h"
#include "operations/api.h"

namespace virga::compute {

/// nova's name of the action, which is our operation's kind.
constexpr std::string_view kLiveOperation = "live-migration";

/// The action os-migrateLive.
http::Response migrate_live(Core& core, api::Call& call, const json::value& arguments);
/// /servers/{id}/migrations: those under way, to look at, abort, or have completed soon.
void add_live_migration_routes(Routes& routes, Core& core);

/// What servers are coming to a host: what the host is told.
std::vector<link::DesiredServer> incoming_on(Core& core, db::Tx& tx, const HostId& host);
/// The migration with which the server is coming to the host, if it is.
std::optional<Migration> coming_to(db::Tx& tx, const HostId& host, const ServerRow& row);
/// What is wished of the server's source now, if it is to leave.
std::optional<link::Action> departure_of(db::Tx& tx, const ServerRow& row, const operations::Operation& operation);

// What hosts report. Each returns a host that has something to remove now, if any.

/// The destination's word; what coming_to() found.
std::optional<HostId> observe_incoming(Core& core, db::Tx& tx, ServerRow& row, Migration migration, const link::ObservedServer& seen);
/// The source's word while the server moves.
void observe_departure(Core& core, db::Tx& tx, const ServerRow& row, const link::ObservedServer& seen);
/// The source's last word.
std::optional<HostId> end_departure(Core& core, db::Tx& tx, ServerRow& row, const link::ActionReport& report);

/// The host was declared off: what was coming to it stays where it is, and what was leaving it is wherever it is known to run.
/// Whom to wake after the commit.
std::vector<ServerId> give_up_live(Core& core, db::Tx& tx, const HostId& host);

}  // namespace virga::compute
