#include "compute/move_parts.h"

#include "compute/placing.h"
#include "operations/api.h"

namespace virga::compute {

placement::Amounts amounts_of(const Flavor& flavor) {
  Placing placing;
  ask_flavor(flavor, placing);
  return placing.demand.amounts;
}

void save_place(db::Tx& tx, const ServerRow& row) {
  update_server(tx, row.id,
                {{"host_id", row.host_id}, {"node", row.node}, {"zone", row.zone}, {"move", row.move},
                 {"placed_generation", row.placed_generation}, {"disk_number", row.disk_number}, {"old_disk", row.old_disk},
                 {"flavor_id", row.flavor_id}, {"flavor_name", row.flavor_name}, {"vcpus", row.vcpus},
                 {"memory_mb", row.memory_mb}, {"root_gb", row.root_gb}, {"ephemeral_gb", row.ephemeral_gb},
                 {"swap_mb", row.swap_mb}, {"extra_specs", row.extra_specs}, {"disk_config", row.disk_config}});
}

void put_on_host(db::Tx& tx, ServerRow& row, const std::string& host_id, const std::string& hostname) {
  const auto host = tx.first("SELECT zone FROM hosts WHERE id = ?", host_id);
  row.host_id = host_id;
  row.node = hostname;
  if (host) row.zone = host->text(0);
  row.forget_observed();
}

Migration need_active(db::Tx& tx, const ServerRow& row) {
  if (auto migration = active_migration(tx, row.id)) return *migration;
  throw Fault(FaultKind::internal, fmt::format("server {} is {}, but no migration of it is under way", row.id, row.move));
}

void tell_step(Core& core, db::Tx& tx, const Migration& migration, std::string_view step, const std::string& message) {
  operations::record_step(tx, OperationId(migration.operation_id),
                          {.step = std::string(step), .ok = true, .message = message, .host = migration.dest_host, .at = to_db(core.clock.now())});
}

void need_other_host(db::Tx& tx, const ServerRow& row, const std::string& host) {
  if (!host.empty() && !tx.first("SELECT id FROM hosts WHERE hostname = ?", host))
    throw Fault(FaultKind::bad_request, fmt::format("Compute host {} could not be found.", host));
  if (host == row.node)
    throw Fault(FaultKind::bad_request, fmt::format("Unable to migrate instance ({}) to current host ({}).", row.id, host));
}

void only_keys(const json::object& in, std::string_view action, std::initializer_list<std::string_view> keys) {
  for (const auto& [key, value] : in)
    if (std::find(keys.begin(), keys.end(), std::string_view(key)) == keys.end())
      throw Fault(FaultKind::bad_request,
                  fmt::format("Invalid input for field/attribute {}. Additional properties are not allowed ('{}' was unexpected)", action,
                              std::string_view(key)));
}

}  // namespace virga::compute
