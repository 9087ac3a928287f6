#pragma once
// The servers table. One list of columns drives reading and inserting; changes name their columns.
//
// `lock_server` comes first in every write that decides something from a server's row: it takes the row's
// lock on engines that run closures concurrently, so that what is read after it is the newest.

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "db/api.h"

namespace virga::compute {

// Values of ServerRow::move: moves.h, and live_moves.h for the last.
constexpr std::string_view kLeaving = "leaving", kArriving = "arriving", kResized = "resized", kReturning = "returning", kLive = "live";

struct ServerRow {
  std::string id, name, hostname, project_id, user_id;
  std::optional<std::string> description;
  std::string image_id, boot;  ///< boot: JSON of BootPlan (assignment.h)
  std::string flavor_id, flavor_name, extra_specs;
  std::optional<std::string> key_name;
  std::string key_type, public_key;
  std::optional<std::string> user_data;
  std::string guest_password, disk_config, access_ip_v4, access_ip_v6, zone, host_id, node, reservation_id,
      group_id, locked_by;
  std::optional<std::string> locked_reason;
  std::string vm_state;
  std::optional<std::string> task_state;
  std::string desired_state, state_override, cause, hint, fault_message, fault_details;
  std::string move;  ///< where in a change of host or size it is, or ""
  std::optional<std::string> fault_at;
  std::string created_at, updated_at;
  std::optional<std::string> launched_at, terminated_at;
  int64_t number = 0, vcpus = 0, memory_mb = 0, root_gb = 0, ephemeral_gb = 0, swap_mb = 0, config_drive = 0,
          launch_index = 0, power_state = 0, generation = 0, fence = 0, seen_power = 0, seen_generation = 0,
          failed_generation = 0, failed_permanently = 0, fault_code = 0, deleted = 0, tombstone = 0,
          revision = 0,  ///< stays 0: programs of the schema before lock the row by adding to it
          placed_generation = 0, disk_number = 0, old_disk = -1;  ///< see link::DesiredServer; -1: none

  ServerId server_id() const { return ServerId(id); }
  std::string instance_name() const;  ///< "instance-0000002a"
  /// The server is another host's now, which has said nothing of it yet.
  void forget_observed();
  bool locked() const { return !locked_by.empty(); }
};

/// Lists read what they show and no more; the rest of a ServerRow then has its initial values.
enum class ServerColumns { brief, shown, shown_to_admin, all };
/// "id, name, …" in the order that `server_from_row` reads.
const std::string& server_columns(ServerColumns set = ServerColumns::all);
ServerRow server_from_row(const db::Row& row, ServerColumns set = ServerColumns::all);
void insert_server(db::Tx& tx, const ServerRow& row);
std::optional<ServerRow> find_server(db::Tx& tx, const ServerId& id);
/// Locks and reads (see above); nullopt if there is none.
std::optional<ServerRow> lock_server(db::Tx& tx, const ServerId& id);
using Changes = std::vector<std::pair<std::string_view, db::Value>>;
void update_server(db::Tx& tx, const std::string& id, const Changes& changes);

using Metadata = std::map<std::string, std::string>;
Metadata server_metadata(db::Tx& tx, const std::string& id);
std::map<std::string, Metadata> server_metadata(db::Tx& tx, const std::vector<ServerId>& ids);
void put_server_metadata(db::Tx& tx, const std::string& id, const Metadata& items);
std::vector<std::string> server_tags(db::Tx& tx, const std::string& id);
std::map<std::string, std::vector<std::string>> server_tags(db::Tx& tx, const std::vector<ServerId>& ids);

}  // namespace virga::compute
