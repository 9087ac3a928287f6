#include "compute/live_moves.h"

#include <charconv>

#include "base/kill_point.h"
#include "compute/assignment.h"
#include "compute/materialise.h"
#include "compute/move_parts.h"
#include "compute/placing.h"
#include "compute/remains.h"
#include "compute/servers.h"
#include "compute/settle.h"

namespace virga::compute {
namespace {

bool is_on(int64_t power) { return compute::is_on(static_cast<link::Power>(power)); }

std::optional<Migration> live_migration(db::Tx& tx, const ServerRow& row) {
  if (row.move != kLive) return std::nullopt;
  return active_migration(tx, row.id);
}

/// It runs on its destination.
HostId land(Core& core, db::Tx& tx, ServerRow& row, const Migration& migration) {
  row.move.clear();
  ++row.generation;
  leave_remains(tx, row, migration.source_host_id, core.clock.now());
  ++row.generation;
  put_on_host(tx, row, migration.dest_host_id, migration.dest_host);
  row.seen_power = is_on(migration.dest_power) ? migration.dest_power : static_cast<int64_t>(link::Power::running);
  row.disk_number = migration.dest_disk;
  save_place(tx, row);
  core.placement.release(tx, migration.uuid);
  core.networks.bind_server_ports(tx, row.server_id(), row.node);
  set_migration_status(tx, migration.id, "completed", core.clock.now());
  tell_step(core, tx, migration, "arrived", fmt::format("it runs on {}", row.node));
  operations::finish(tx, core.clock.now(), OperationId(migration.operation_id), true);
  return HostId(migration.source_host_id);
}

/// It never left.
HostId stay(Core& core, db::Tx& tx, ServerRow& row, const Migration& migration, const std::string& cause, const std::string& hint) {
  row.move.clear();
  ++row.generation;
  leave_remains(tx, row, migration.dest_host_id, core.clock.now());
  ++row.generation;
  save_place(tx, row);
  core.placement.release(tx, migration.uuid);
  core.placement.release(tx, row.id);
  core.placement.allocate(tx, row.id, row.host_id, amounts_of(flavor_of(row)), row.project_id, row.user_id);
  core.networks.bind_server_ports(tx, row.server_id(), row.node);
  set_migration_status(tx, migration.id, migration.wish == "abort" ? "cancelled" : "error", core.clock.now(), cause);
  operations::finish(tx, core.clock.now(), OperationId(migration.operation_id), false,
                     fmt::format("{} The server stays on {}.", cause, migration.source_host), hint);
  return HostId(migration.dest_host_id);
}

// ---- the request ----

struct Wish {
  std::string host;
  bool without_disks = false;
};

bool parse_flag(std::string_view name, const json::value& value) {
  const auto flag = value.is_bool() ? std::optional(value.get_bool()) : value.is_string() ? api::parse_bool(str(value)) : std::nullopt;
  if (!flag) throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute {}. It is not a boolean.", name));
  return *flag;
}

void require_keys(const json::object& in, std::initializer_list<std::string_view> keys) {
  for (const auto key : keys)
    if (!in.contains(key))
      throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute os-migrateLive. '{}' is a required property", key));
}

Wish parse(const api::Call& call, const json::value& arguments) {
  if (!arguments.is_object()) throw Fault(FaultKind::bad_request, "Invalid input for field/attribute os-migrateLive.");
  const auto& in = arguments.get_object();
  const bool automatic = call.since(2, 25), may_force = call.since(2, 30) && !call.since(2, 68);
  if (!automatic) only_keys(in, "os-migrateLive", {"host", "block_migration", "disk_over_commit"});
  else if (may_force) only_keys(in, "os-migrateLive", {"host", "block_migration", "force"});
  else only_keys(in, "os-migrateLive", {"host", "block_migration"});
  require_keys(in, {"host", "block_migration"});
  if (!automatic) require_keys(in, {"disk_over_commit"});
  Wish wish;
  const auto& host = in.at("host");
  if (!host.is_null() && (!host.is_string() || host.get_string().empty() || host.get_string().size() > 255))
    throw Fault(FaultKind::bad_request, "Invalid input for field/attribute host. It is a host's name or null.");
  if (host.is_string()) wish.host = str(host);
  const auto& block = in.at("block_migration");
  const bool chosen = automatic && block.is_string() && block.get_string() == "auto";
  wish.without_disks = !chosen && !parse_flag("block_migration", block);
  // Room on the destination is always taken as the flavor has it, so there is nothing to be stricter or laxer about.
  if (!automatic) parse_flag("disk_over_commit", in.at("disk_over_commit"));
  if (in.contains("force") && parse_flag("force", in.at("force")))
    throw Fault(FaultKind::bad_request, "A host is never chosen against the scheduler here.", "force must be false.");
  return wish;
}

/// What the host that it leaves must be. Its guests' kind, for the destination's.
std::string check_source(Core& core, db::Tx& tx, const ServerRow& row) {
  const auto host = tx.first("SELECT hostname, forced_down, last_seen, link_minor, virt_type FROM hosts WHERE id = ?", row.host_id);
  if (!host || host->boolean(1) || !core.is_up(HostId(row.host_id), host->text(2)))
    throw Fault(FaultKind::bad_request, fmt::format("Compute service of {} is unavailable at this time.", row.node));
  if (host->integer(3) < link::kLiveMigrationMinor)
    throw Fault(FaultKind::bad_request, fmt::format("The agent of {} is of an older version that cannot send a running server.", row.node),
                "Upgrade Virga there, or migrate the server while it is off.");
  return host->text(4);
}

void begin(Core& core, db::Tx& tx, ServerRow& row, const Wish& wish, const operations::Origin& origin) {
  need_state("os-migrateLive", row, {"active", "paused"});
  need_other_host(tx, row, wish.host);
  const std::string virt_type = check_source(core, tx, row);
  if (wish.without_disks && !row.image_id.empty())
    throw Fault(FaultKind::bad_request,
                fmt::format("{} is not on shared storage: Live migration can not be used without shared storage except a booted from volume "
                            "VM which does not have a local disk.", row.node),
                "Ask for block_migration, or leave the choice with \"auto\" (2.25).");
  core.placement.release(tx, row.id);
  Placing placing = placing_of_server(tx, row, flavor_of(row), wish.host);
  placing.ask.never_hosts.insert(row.host_id);
  placing.ask.virt_type = virt_type;
  placing.ask.least_link_minor = link::kLiveMigrationMinor;
  const Placed placed = place(core, tx, placing);
  const auto operation = begin_operation(core, tx, row, kLiveOperation, origin);
  ++row.generation;
  Migration m = new_migration(tx, row, kLiveMigration, core.clock.now());
  m.status = "preparing";
  m.operation_id = operation.id.str();
  m.dest_host_id = placed.host_id;
  m.dest_host = placed.hostname;
  m.dest_disk = row.generation;  // grows, so it never was a disk's
  m.source_generation = row.generation;
  insert_migration(tx, m);
  core.placement.allocate(tx, m.uuid, m.source_host_id, amounts_of(flavor_of(row)), row.project_id, row.user_id);
  core.networks.bind_server_ports_also(tx, row.server_id(), placed.hostname);
  row.move = kLive;
  save_place(tx, row);
  tell_step(core, tx, m, "schedule", fmt::format("from {} to {}, as it runs", m.source_host, m.dest_host));
}

// ---- /servers/{id}/migrations ----

json::object view(const api::Call& call, const Migration& m) {
  const auto when = [](const std::string& text) { return to_iso_us_no_zone(parse_time(text)); };
  json::object out{{"id", m.id},
                   {"server_uuid", m.server_id},
                   {"status", m.status},
                   {"source_compute", m.source_host},
                   {"source_node", m.source_host},
                   {"dest_compute", m.dest_host},
                   {"dest_node", m.dest_host},
                   {"dest_host", nullptr},
                   {"memory_total_bytes", m.progress.memory.total},
                   {"memory_processed_bytes", m.progress.memory.processed},
                   {"memory_remaining_bytes", m.progress.memory.remaining},
                   {"disk_total_bytes", m.progress.disk.total},
                   {"disk_processed_bytes", m.progress.disk.processed},
                   {"disk_remaining_bytes", m.progress.disk.remaining},
                   {"created_at", when(m.created_at)},
                   {"updated_at", when(m.updated_at)}};
  if (call.since(2, 59)) out["uuid"] = m.uuid;
  if (call.since(2, 80)) {
    out["user_id"] = m.user_id;
    out["project_id"] = m.project_id;
  }
  return out;
}

Fault not_found(const std::string& server, const std::string& migration) {
  return Fault(FaultKind::not_found, fmt::format("In-progress live migration {} is not found for server {}.", migration, server));
}

/// The one that the call names, if it is under way.
Migration need_migration(db::Tx& tx, const api::Call& call, const ServerRow& row) {
  const std::string text = call.param("migration_id");
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool number = error == std::errc() && end == text.data() + text.size();
  const auto found = number ? find_migration(tx, row.id, id) : std::nullopt;
  if (!found)
    throw Fault(FaultKind::not_found, fmt::format("Migration {} for server {} could not be found.", text, row.id));
  const auto active = live_migration(tx, row);
  if (!active || active->id != found->id) throw not_found(row.id, text);
  return *active;
}

http::Response list(Core& core, api::Call& call) {
  json::array all;
  core.database.read([&](db::Tx& tx) {
    all.clear();
    const ServerRow row = need_server(tx, call, call.param("id"));
    if (const auto migration = live_migration(tx, row)) all.push_back(view(call, *migration));
  });
  return api::reply(200, json::object{{"migrations", std::move(all)}});
}

http::Response show(Core& core, api::Call& call) {
  const Migration found = core.database.read([&](db::Tx& tx) {
    return need_migration(tx, call, need_server(tx, call, call.param("id")));
  });
  return api::reply(200, json::object{{"migration", view(call, found)}});
}

/// What is wished of it goes to the source with the action; before that nothing has begun which it could end.
http::Response wish_of(Core& core, api::Call& call, std::string_view what) {
  std::optional<HostId> left;
  const http::Response accepted = change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    left.reset();
    if (row.move != kLive) {
      need_migration(tx, call, row);  // 404 if there was none
      throw Fault(FaultKind::conflict, fmt::format("Cannot '{}' instance {} while it is in task_state {}", what, row.id, row.task_state.value_or("None")));
    }
    Migration migration = need_migration(tx, call, row);
    const bool early = migration.status == "preparing";
    if (early && (what == "force" || !call.since(2, 65)))
      throw Fault(FaultKind::bad_request,
                  fmt::format("Migration {} state of instance {} is preparing. Cannot {} while the migration is in this state.", migration.id, row.id,
                              what == "force" ? "force_complete" : "abort"));
    migration.wish = what;
    save_migration_progress(tx, migration, core.clock.now());
    ++row.generation;
    if (early) left = stay(core, tx, row, migration, "It was aborted.", "");
  });
  if (left) push_others(core, *left);
  return accepted;
}

http::Response act(Core& core, api::Call& call) {
  const auto& body = call.body();
  if (body.size() != 1 || !body.contains("force_complete") || !body.at("force_complete").is_null())
    throw Fault(FaultKind::bad_request, "Invalid input for field/attribute force_complete. The body is {\"force_complete\": null}.");
  return wish_of(core, call, "force");
}

}  // namespace

http::Response migrate_live(Core& core, api::Call& call, const json::value& arguments) {
  const Wish wish = parse(call, arguments);
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) { begin(core, tx, row, wish, origin_of(call)); });
}

void add_live_migration_routes(Routes& routes, Core& core) {
  const std::string all = "/servers/{id}/migrations", one = all + "/{migration_id}";
  routes.add("GET", all, "servers:migrations:index", [&core](api::Call& call) { return list(core, call); }, {2, 23});
  routes.add("GET", one, "servers:migrations:show", [&core](api::Call& call) { return show(core, call); }, {2, 23});
  routes.add("DELETE", one, "servers:migrations:delete", [&core](api::Call& call) { return wish_of(core, call, "abort"); }, {2, 24});
  routes.add("POST", one + "/action", "servers:migrations:force_complete", [&core](api::Call& call) { return act(core, call); }, {2, 22});
}

// ---- what hosts are told ----

std::vector<link::DesiredServer> incoming_on(Core& core, db::Tx& tx, const HostId& host) {
  std::vector<ServerRow> rows;
  std::vector<Migration> migrations;
  for (auto& migration : migrations_to(tx, host, kLiveMigration)) {
    auto row = find_server(tx, ServerId(migration.server_id));
    if (!row || row->deleted || row->move != kLive) continue;
    rows.push_back(std::move(*row));
    migrations.push_back(std::move(migration));
  }
  auto all = desired_servers(core, tx, rows);
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].state = link::DesiredServer::State::incoming;
    all[i].generation = all[i].placed_generation = migrations[i].source_generation;
    all[i].disk = migrations[i].dest_disk;
    all[i].actions.clear();
  }
  return all;
}

std::optional<Migration> coming_to(db::Tx& tx, const HostId& host, const ServerRow& row) {
  auto migration = live_migration(tx, row);
  if (!migration || migration->dest_host_id != host.str()) return std::nullopt;
  return migration;
}

std::optional<link::Action> departure_of(db::Tx& tx, const ServerRow& row, const operations::Operation& operation) {
  const auto migration = live_migration(tx, row);
  if (!migration || migration->status != "running") return std::nullopt;
  return link::Action{operation.id, operation.fence, migration->wish.empty() ? "migrate_live" : "migrate_live_" + migration->wish};
}

// ---- what hosts say ----

std::optional<HostId> observe_incoming(Core& core, db::Tx& tx, ServerRow& row, Migration migration, const link::ObservedServer& seen) {
  if (!seen.steps.empty())
    if (const auto operation = operations::find(tx, OperationId(migration.operation_id)))
      record_seen_steps(tx, *operation, migration.dest_host, seen.steps);
  if (seen.permanent && seen.failed_generation >= migration.source_generation)
    return stay(core, tx, row, migration, fmt::format("{} cannot take it: {}", migration.dest_host, seen.cause), seen.hint);
  const auto power = static_cast<int64_t>(seen.power);
  if (migration.dest_power != power) {
    migration.dest_power = power;
    save_migration_progress(tx, migration, core.clock.now());
  }
  if (migration.status == "preparing" && seen.generation >= migration.source_generation) {
    set_migration_status(tx, migration.id, "running", core.clock.now());
    ++row.generation;  // its source has something new to do
  }
  return std::nullopt;
}

void observe_departure(Core& core, db::Tx& tx, const ServerRow& row, const link::ObservedServer& seen) {
  auto migration = seen.migration ? live_migration(tx, row) : std::nullopt;
  if (!migration || migration->progress == *seen.migration) return;
  migration->progress = *seen.migration;
  save_migration_progress(tx, *migration, core.clock.now());
}

std::optional<HostId> end_departure(Core& core, db::Tx& tx, ServerRow& row, const link::ActionReport& report) {
  const auto migration = live_migration(tx, row);
  if (!migration || migration->operation_id != report.operation.str()) return std::nullopt;
  // A source that does not know how it ended, because it was without power, and a guest that runs over there: it ended well.
  if (report.ok || (!is_on(row.seen_power) && is_on(migration->dest_power))) return land(core, tx, row, *migration);
  return stay(core, tx, row, *migration, report.message.empty() ? "Its host could not send it." : report.message, "");
}

std::vector<ServerId> give_up_live(Core& core, db::Tx& tx, const HostId& host) {
  std::vector<ServerId> changed;
  const auto each = [&](const std::vector<Migration>& migrations, const auto& end) {
    for (const auto& migration : migrations) {
      auto row = lock_server(tx, ServerId(migration.server_id));
      if (!row || row->move != kLive) continue;
      end(*row, migration);
      settle(core, tx, *row);
      changed.push_back(row->server_id());
    }
  };
  each(migrations_to(tx, host, kLiveMigration), [&](ServerRow& row, const Migration& m) {
    stay(core, tx, row, m, fmt::format("The host {} was lost.", m.dest_host), "");
  });
  each(migrations_from(tx, host, kLiveMigration), [&](ServerRow& row, const Migration& m) {
    if (is_on(m.dest_power)) land(core, tx, row, m);
    else stay(core, tx, row, m, fmt::format("The host {} was lost.", m.source_host), "");
  });
  return changed;
}

}  // namespace virga::compute
