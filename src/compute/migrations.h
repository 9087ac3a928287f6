#pragma once
// The table of migrations: each change of a server's host or size, also those that are over. It is nova's os-migrations.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compute/flavors.h"
#include "compute/server_table.h"
#include "link/api.h"

namespace virga::compute {

/// nova's migration_type.
constexpr std::string_view kCold = "migration", kResize = "resize", kEvacuation = "evacuation", kLiveMigration = "live-migration";

struct Migration {
  int64_t id = 0;
  std::string uuid, server_id;
  std::string kind;
  /// nova's words. migrating: the server stops on its source. post-migrating: it comes up on its destination. finished: it
  /// waits for confirmation. reverting: it goes back. Over: confirmed, reverted, error. An evacuation's: accepted, done, error.
  /// One that moves as it runs: preparing (its destination makes ready), running; over: completed, cancelled, error.
  std::string status;
  std::string operation_id;  ///< that began it
  std::string source_host_id, source_host, dest_host_id, dest_host;
  int64_t source_disk = 0, dest_disk = 0;
  int64_t source_generation = 0;  ///< with which it was stopped on its source
  std::string old_flavor, new_flavor;  ///< JSON, see to_text
  int64_t old_flavor_number = 0, new_flavor_number = 0;
  int64_t dest_power = 0;  ///< link::Power, as its destination saw it last
  std::string wish;        ///< of one that runs: "", "abort", "force"
  MigrationProgress progress;
  std::string cause;  ///< why it goes back, or failed
  std::string project_id, user_id, created_at, updated_at;

  bool same_host() const { return source_host_id == dest_host_id; }
};

/// Sizes as they were when the change began: flavors may be changed or deleted meanwhile.
std::string to_text(const Flavor& flavor);
Flavor flavor_from_text(const std::string& text);
Flavor flavor_of(const ServerRow& row);
void put_flavor(ServerRow& row, const Flavor& flavor);
/// nova's number of a flavor; 0 if it was deleted.
int64_t flavor_number(db::Tx& tx, const std::string& id);

/// A new row's beginning: its number, what the server is now, and both sizes as they are. The rest is the caller's.
Migration new_migration(db::Tx& tx, const ServerRow& row, std::string_view kind, Time now);
void insert_migration(db::Tx& tx, const Migration& migration);
/// The one that is not over, if any.
std::optional<Migration> active_migration(db::Tx& tx, const std::string& server_id);
/// Of one server.
std::optional<Migration> find_migration(db::Tx& tx, const std::string& server_id, int64_t id);
/// Of one that moves as it runs; what it has come to in the meantime.
void save_migration_progress(db::Tx& tx, const Migration& migration, Time now);
void set_migration_status(db::Tx& tx, int64_t id, std::string_view status, Time now, std::string_view cause = {});
/// The evacuation that this operation is.
void end_evacuation(db::Tx& tx, const OperationId& operation, const std::string& server_id, bool ok, Time now);

struct MigrationFilter {
  std::string host, source, status, kind, server_id, project_id, user_id, changes_since, changes_before;
  std::string after_uuid;  ///< newest first; those after this one
  int64_t limit = 1000;
};
/// Those of that kind that are not over, to and from a host.
std::vector<Migration> migrations_to(db::Tx& tx, const HostId& host, std::string_view kind);
std::vector<Migration> migrations_from(db::Tx& tx, const HostId& host, std::string_view kind);
std::vector<Migration> list_migrations(db::Tx& tx, const MigrationFilter& filter);

/// Servers that have left a host and are kept there, stopped, until their change is confirmed: what the host is told.
std::vector<link::DesiredServer> kept_on(db::Tx& tx, const HostId& host);
/// True if this host keeps the server so.
bool is_kept_on(db::Tx& tx, const HostId& host, const std::string& server_id);

}  // namespace virga::compute
