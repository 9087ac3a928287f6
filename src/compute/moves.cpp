#include "compute/moves.h"

#include "base/kill_point.h"
#include "compute/live_moves.h"
#include "compute/materialise.h"
#include "compute/move_parts.h"
#include "compute/placing.h"
#include "compute/quotas.h"
#include "compute/remains.h"
#include "compute/servers.h"
#include "compute/settle.h"

namespace virga::compute {
namespace {

using placement::Amounts;

/// What a host must have free, in total, so that either of two sizes fits.
Amounts larger(Amounts a, const Amounts& b) {
  for (const auto& [what, amount] : b) a[what] = std::max(a[what], amount);
  return a;
}

/// While a change can still go both ways, a server is charged for the larger of its two sizes.
Uses charged_above(const Flavor& size, const Flavor& other) {
  return {{"cores", std::max<int64_t>(0, other.vcpus - size.vcpus)}, {"ram", std::max<int64_t>(0, other.memory_mb - size.memory_mb)}};
}

bool is_on(const ServerRow& row) { return compute::is_on(static_cast<link::Power>(row.seen_power)); }

bool is_off(const ServerRow& row) { return compute::is_off(static_cast<link::Power>(row.seen_power)); }

bool is_applied(const ServerRow& row) { return row.seen_generation >= row.generation; }

bool has_failed(const ServerRow& row) { return row.failed_permanently && row.failed_generation >= row.generation; }

/// Off on its source: from here on it is its destination's, with its new size.
void arrive(Core& core, db::Tx& tx, ServerRow& row) {
  Migration migration = need_active(tx, row);
  ++row.generation;
  row.move = kArriving;
  row.disk_number = migration.dest_disk;
  put_flavor(row, flavor_from_text(migration.new_flavor));
  if (!migration.same_host()) {
    put_on_host(tx, row, migration.dest_host_id, migration.dest_host);
    row.placed_generation = row.generation;
    core.networks.bind_server_ports(tx, row.server_id(), row.node);
  }
  save_place(tx, row);
  set_migration_status(tx, migration.id, "post-migrating", core.clock.now());
  tell_step(core, tx, migration, "stopped", fmt::format("it is off on {}", migration.source_host));
}

/// Up, or off as wanted, on its destination: now somebody confirms or reverts.
void wait_for_word(Core& core, db::Tx& tx, ServerRow& row) {
  const Migration migration = need_active(tx, row);
  row.move = kResized;
  save_place(tx, row);
  set_migration_status(tx, migration.id, "finished", core.clock.now());
}

/// It could not even be stopped: everything stays as it was.
void stay(Core& core, db::Tx& tx, ServerRow& row) {
  const Migration migration = need_active(tx, row);
  const std::string cause = row.cause, hint = row.hint;
  drop_move(core, tx, row, cause);
  ++row.generation;
  row.failed_permanently = 0;
  operations::finish(tx, core.clock.now(), OperationId(migration.operation_id), false, cause, hint);
}

/// Off, or gone, where it went: it is its source's again, as it was.
void come_back(Core& core, db::Tx& tx, ServerRow& row) {
  const Migration migration = need_active(tx, row);
  const Flavor before = flavor_from_text(migration.old_flavor), after = flavor_from_text(migration.new_flavor);
  ++row.generation;
  row.move.clear();
  row.disk_number = migration.source_disk;
  row.old_disk = migration.same_host() ? migration.dest_disk : -1;
  put_flavor(row, before);
  save_place(tx, row);
  give_back_quota(tx, row.project_id, charged_above(before, after));
  core.placement.release(tx, migration.uuid);
  core.placement.release(tx, row.id);
  core.placement.allocate(tx, row.id, migration.source_host_id, amounts_of(before), row.project_id, row.user_id);
  if (!migration.same_host()) core.networks.bind_server_ports(tx, row.server_id(), row.node);
  const bool failed = !migration.cause.empty();
  set_migration_status(tx, migration.id, failed ? "error" : "reverted", core.clock.now());
}

bool destination_is_clear(db::Tx& tx, const Migration& migration) {
  if (migration.same_host() || !hosts_with_remains(tx, migration.server_id).contains(migration.dest_host_id)) return true;
  // A host that was declared off runs nothing, and removes what it has when it is back.
  const auto host = tx.first("SELECT forced_down FROM hosts WHERE id = ?", migration.dest_host_id);
  return !host || host->boolean(0);
}

}  // namespace

bool turn_back(Core& core, db::Tx& tx, ServerRow& row, std::string cause, std::string hint) {
  if (row.move != kArriving && row.move != kResized) return false;
  const Migration migration = need_active(tx, row);
  ++row.generation;
  row.move = kReturning;
  if (!migration.same_host()) {
    leave_remains(tx, row, row.host_id, core.clock.now());
    ++row.generation;
    put_on_host(tx, row, migration.source_host_id, migration.source_host);
    row.placed_generation = 0;
    row.disk_number = migration.source_disk;
    put_flavor(row, flavor_from_text(migration.old_flavor));
    row.seen_power = static_cast<int64_t>(link::Power::shutoff);
  }
  row.failed_permanently = 0;
  save_place(tx, row);
  set_migration_status(tx, migration.id, "reverting", core.clock.now(), cause);
  if (cause.empty()) return true;
  set_fault(core, row, 500, cause, hint);
  operations::finish(tx, core.clock.now(), OperationId(migration.operation_id), false,
                     fmt::format("{} The server stays on {}, as it was.", cause, migration.source_host), hint);
  return true;
}

std::optional<HostId> advance_move(Core& core, db::Tx& tx, ServerRow& row) {
  if (row.move.empty()) {
    if (row.old_disk < 0 || !is_applied(row)) return std::nullopt;
    row.old_disk = -1;
    save_place(tx, row);
  } else if (row.move == kLeaving) {
    if (has_failed(row)) stay(core, tx, row);
    else if (is_applied(row) && !is_on(row)) arrive(core, tx, row);
  } else if (row.move == kArriving) {
    const HostId there(row.host_id);
    if (has_failed(row) && turn_back(core, tx, row, row.cause, row.hint)) return there;
    if (is_applied(row) && (is_on(row) || is_off(row))) wait_for_word(core, tx, row);  // off: if its guest died at once
  } else if (row.move == kReturning) {
    if (is_applied(row) && !is_on(row) && destination_is_clear(tx, need_active(tx, row))) come_back(core, tx, row);
  }
  return std::nullopt;
}

std::vector<ServerId> give_up_destination(Core& core, db::Tx& tx, const HostId& host) {
  std::vector<ServerId> moved = give_up_live(core, tx, host);
  const auto rows = tx.query("SELECT s.id FROM server_migrations m JOIN servers s ON s.id = m.server_id WHERE m.dest_host_id = ? AND "
                             "m.source_host_id <> ? AND m.status IN ('post-migrating', 'reverting') AND s.deleted = 0", host, host);
  for (const auto& found : rows) {
    auto row = lock_server(tx, found.id<ServerId>(0));
    if (!row || row->move.empty()) continue;
    if (row->move == kArriving) turn_back(core, tx, *row, fmt::format("The host {}, where it was going, was lost.", row->node), "");
    else advance_move(core, tx, *row);
    settle(core, tx, *row);
    moved.push_back(row->server_id());
  }
  return moved;
}

std::optional<HostId> drop_move(Core& core, db::Tx& tx, ServerRow& row, const std::string& why) {
  if (row.move.empty()) return std::nullopt;
  const Migration migration = need_active(tx, row);
  const Flavor before = flavor_from_text(migration.old_flavor), after = flavor_from_text(migration.new_flavor), now = flavor_of(row);
  const bool kept_elsewhere = !migration.same_host() && row.host_id != migration.source_host_id;
  std::optional<HostId> other;
  if (kept_elsewhere || row.move == kLive) {
    ++row.generation;  // beyond what that host has seen
    other = HostId(row.move == kLive ? migration.dest_host_id : migration.source_host_id);
    leave_remains(tx, row, other->str(), core.clock.now());
  }
  // It counts as its larger size until now, and as what its row says from here on.
  give_back_quota(tx, row.project_id, charged_above(now, row.flavor_id == before.id ? after : before));
  core.placement.release(tx, migration.uuid);
  core.placement.release(tx, row.id);
  core.placement.allocate(tx, row.id, row.host_id, amounts_of(now), row.project_id, row.user_id);
  set_migration_status(tx, migration.id, row.move == kResized ? "confirmed" : "error", core.clock.now(), why);
  row.move.clear();
  save_place(tx, row);
  return other;
}

// ---- the actions ----

namespace {

struct NewSize {
  Flavor flavor;
  int64_t number = 0;
  std::string disk_config;  ///< "" = as it is
};

/// Where it goes: to stay on its host is best for a resize, whose room there is the larger of both sizes; a migration leaves.
Placed find_place(Core& core, db::Tx& tx, const ServerRow& row, const NewSize& size, bool may_stay, const std::string& host) {
  Placing placing = placing_of_server(tx, row, size.flavor, host);
  if (may_stay && (host.empty() || host == row.node)) {
    Placing here = placing;
    here.ask.host = row.node;
    here.ask.zone.clear();
    here.ask.never_hosts.erase(row.host_id);
    here.demand.amounts = larger(here.demand.amounts, amounts_of(flavor_of(row)));
    try {
      return place(core, tx, here);
    } catch (const NoHost&) {
      if (!host.empty()) throw;
    }
  }
  placing.ask.never_hosts.insert(row.host_id);
  return place(core, tx, placing);
}

/// The first step of both: it is to stop where it is.
void begin_move(Core& core, db::Tx& tx, ServerRow& row, std::string_view kind, const NewSize& size, const std::string& host,
                const operations::Origin& origin) {
  const Flavor before = flavor_of(row);
  core.placement.release(tx, row.id);
  const Placed placed = find_place(core, tx, row, size, kind == kResize, host);
  const auto operation = begin_operation(core, tx, row, kind == kResize ? "resize" : "migrate", origin);
  ++row.generation;
  Migration m = new_migration(tx, row, kind, core.clock.now());
  m.status = "migrating";
  m.operation_id = operation.id.str();
  m.dest_host_id = placed.host_id;
  m.dest_host = placed.hostname;
  m.dest_disk = row.generation;  // grows, so it never was a disk's
  m.source_generation = row.generation;
  m.new_flavor = to_text(size.flavor);
  m.new_flavor_number = size.number;
  insert_migration(tx, m);
  if (!m.same_host()) core.placement.allocate(tx, m.uuid, m.source_host_id, amounts_of(before), row.project_id, row.user_id);
  row.move = kLeaving;
  if (!size.disk_config.empty()) row.disk_config = size.disk_config;
  save_place(tx, row);
  tell_step(core, tx, m, "schedule",
       m.same_host() ? fmt::format("it stays on {}, which has the room", m.dest_host) : fmt::format("from {} to {}", m.source_host, m.dest_host));
}

/// Throws unless the server is what may be moved.
void need_movable(const ServerRow& row, std::string_view action) {
  need_state(action, row, {"active", "stopped"});
  if (row.old_disk >= 0)
    throw Fault(FaultKind::conflict, fmt::format("Instance {} is not ready: its disk of before the last change is just being removed.", row.id),
                "Try again in a moment.");
}

NewSize parse_size(Core& core, const api::Call& call, const json::value& arguments) {
  if (!arguments.is_object()) throw Fault(FaultKind::bad_request, "Invalid input for field/attribute resize.");
  const auto& in = arguments.get_object();
  only_keys(in, "resize", {"flavorRef", "OS-DCF:diskConfig"});
  const auto* ref = in.if_contains("flavorRef");
  const std::string id = ref && ref->is_int64() ? std::to_string(ref->get_int64()) : ref && ref->is_string() ? str(*ref) : "";
  if (id.empty()) throw Fault(FaultKind::bad_request, "Invalid input for field/attribute flavorRef. It names the new flavor by its id.");
  NewSize size;
  if (in.contains("OS-DCF:diskConfig")) {
    size.disk_config = find_string(in, "OS-DCF:diskConfig");
    if (size.disk_config != "AUTO" && size.disk_config != "MANUAL")
      throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute OS-DCF:diskConfig. Value: {}. It is not one of ['AUTO', "
                                                      "'MANUAL'].", size.disk_config));
  }
  const std::string last = id.substr(id.rfind('/') + 1);  // a client may send the flavor's address
  core.database.read([&](db::Tx& tx) {
    need_server(tx, call, call.param("id"));  // who may not know of it learns nothing of flavors either
    const auto flavor = find_flavor(tx, last, call);
    if (!flavor) throw Fault(FaultKind::bad_request, fmt::format("Flavor {} could not be found.", last));
    size.flavor = *flavor;
  });
  return size;
}

void check_resize(const ServerRow& row, const Flavor& flavor) {
  if (flavor.id == row.flavor_id) throw Fault(FaultKind::bad_request, "When resizing, instances must change flavor!");
  if (flavor.root_gb >= row.root_gb || row.image_id.empty()) return;
  throw Fault(FaultKind::bad_request,
              fmt::format("Server disk was unable to be resized because: {} GB is less than the {} GB that it has.", flavor.root_gb, row.root_gb),
              "A disk never shrinks: choose a flavor with at least that.");
}

}  // namespace

http::Response resize(Core& core, api::Call& call, const json::value& arguments) {
  const NewSize size = parse_size(core, call, arguments);
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_movable(row, "resize");
    check_resize(row, size.flavor);
    take_quota(core, tx, row.project_id, charged_above(flavor_of(row), size.flavor));
    NewSize numbered = size;
    numbered.number = flavor_number(tx, size.flavor.id);
    begin_move(core, tx, row, kResize, numbered, "", origin_of(call));
  });
}

http::Response migrate(Core& core, api::Call& call, const json::value& arguments) {
  std::string host;
  if (arguments.is_object() && call.since(2, 56)) {
    only_keys(arguments.get_object(), "migrate", {"host"});
    host = find_string(arguments.get_object(), "host");
  } else if (!arguments.is_null() && !(arguments.is_object() && arguments.get_object().empty())) {
    throw Fault(FaultKind::bad_request, "Invalid input for field/attribute migrate. Before 2.56 it takes nothing.");
  }
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_movable(row, "migrate");
    need_other_host(tx, row, host);
    const NewSize same{flavor_of(row), flavor_number(tx, row.flavor_id), ""};
    begin_move(core, tx, row, kCold, same, host, origin_of(call));
  });
}

http::Response confirm_resize(Core& core, api::Call& call, const json::value&) {
  std::optional<HostId> source;
  core.database.write([&](db::Tx& tx) {
    ServerRow row = need_locked_server(tx, call, call.param("id"));
    refuse_if_locked(call, row);
    need_state("confirmResize", row, {"resized"});
    const Migration migration = need_active(tx, row);
    begin_operation(core, tx, row, "confirmResize", origin_of(call));
    source = drop_move(core, tx, row, "");
    if (migration.same_host()) {
      row.old_disk = migration.source_disk;
      ++row.generation;
      save_place(tx, row);
    }
    row.updated_at = to_db(core.clock.now());
    settle(core, tx, row);
  });
  kill_point("serve.after_commit");
  core.wake(ServerId(call.param("id")));
  if (source) push_others(core, *source);
  return api::reply(204);
}

http::Response revert_resize(Core& core, api::Call& call, const json::value&) {
  HostId left;
  const http::Response accepted = change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_state("revertResize", row, {"resized"});
    left = HostId(row.host_id);
    begin_operation(core, tx, row, "revertResize", origin_of(call));
    turn_back(core, tx, row, "", "");
  });
  push_others(core, left);
  return accepted;
}

}  // namespace virga::compute
