#include "compute/evacuate.h"

#include "base/crypto.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "compute/moves.h"
#include "compute/placing.h"
#include "compute/prefetch.h"
#include "compute/move_parts.h"
#include "compute/remains.h"
#include "compute/servers.h"
#include "compute/settle.h"

namespace virga::compute {
namespace {

struct Wish {
  std::string host;        ///< "" = any
  std::string admin_pass;  ///< answered before 2.14; guests get none here, as with nova's libvirt driver
};

Wish parse(const api::Call& call, const json::value& arguments) {
  if (!arguments.is_object()) throw Fault(FaultKind::bad_request, "Invalid input for field/attribute evacuate.");
  Wish wish;
  for (const auto& [key, value] : arguments.get_object()) {
    const bool known = key == "host" || key == "adminPass" || (key == "onSharedStorage" && !call.since(2, 14)) ||
                       (key == "force" && call.since(2, 29) && !call.since(2, 68));
    if (!known)
      throw Fault(FaultKind::bad_request,
                  fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
    if (key == "host") wish.host = value.is_null() ? "" : value.is_string() ? str(value) : throw Fault(FaultKind::bad_request, "host must be text.");
    if (key == "adminPass" && value.is_string()) wish.admin_pass = str(value);
    if (key == "onSharedStorage" && api::parse_bool(value.is_bool() ? (value.get_bool() ? "true" : "false") : value.is_string() ? str(value) : "").value_or(false))
      throw Fault(FaultKind::bad_request, "Servers' disks are their hosts' own here.", "onSharedStorage must be false.");
    if (key == "force" && value.is_bool() && value.get_bool())
      throw Fault(FaultKind::bad_request, "A host is never chosen against the scheduler here.", "force must be false.");
  }
  if (!call.since(2, 14) && !arguments.get_object().contains("onSharedStorage"))
    throw Fault(FaultKind::bad_request, "'onSharedStorage' is a required property");
  if (wish.admin_pass.empty()) wish.admin_pass = new_secret().substr(0, 12);
  return wish;
}

void need_lost_host(Core& core, db::Tx& tx, const ServerRow& row) {
  if (row.host_id.empty()) throw Fault(FaultKind::conflict, fmt::format("Instance {} is on no host.", row.id));
  const auto host = tx.first("SELECT hostname, forced_down, last_seen FROM hosts WHERE id = ?", row.host_id);
  if (!host || host->boolean(1)) return;
  if (core.is_up(HostId(row.host_id), host->text(2)))
    throw Fault(FaultKind::bad_request, fmt::format("Compute service of {} is still in use.", host->text(0)));
  throw Fault(FaultKind::bad_request,
              fmt::format("The host {} is silent, and nobody has said that it is off: its guests may still run.", host->text(0)),
              fmt::format("Make sure that it is off, and say so: openstack compute service set --down {} nova-compute", host->text(0)));
}

void need_state(const ServerRow& row) {
  const bool state = row.vm_state == "active" || row.vm_state == "stopped" || row.vm_state == "error";
  if (state && row.task_state.value_or("").empty()) return;
  if (state && row.task_state == "rebuilding") return;  // its next host was lost too
  throw Fault(FaultKind::conflict, fmt::format("Cannot 'evacuate' instance {} while it is in {} {}", row.id, state ? "task_state" : "vm_state",
                                               state ? *row.task_state : row.vm_state));
}

/// On its way to another host, while the one that has its disk was declared off.
bool waits_for_lost_disk(db::Tx& tx, const ServerRow& row) {
  if (row.move != kArriving) return false;
  const auto migration = active_migration(tx, row.id);
  if (!migration || migration->same_host()) return false;
  const auto source = tx.first("SELECT forced_down FROM hosts WHERE id = ?", migration->source_host_id);
  return !source || source->boolean(0);
}

operations::Operation begin_evacuation(Core& core, db::Tx& tx, ServerRow& row, const std::string& to_id, const std::string& to,
                                       const operations::Origin& origin) {
  auto operation = begin_operation(core, tx, row, "evacuate", origin);
  Migration migration = new_migration(tx, row, kEvacuation, core.clock.now());
  migration.status = "accepted";
  migration.operation_id = operation.id.str();
  migration.dest_host_id = to_id;
  migration.dest_host = to;
  insert_migration(tx, migration);
  ++row.generation;
  return operation;
}

/// Built from its image where it was going. What its source has of it goes when that is back.
void rebuild_in_place(Core& core, db::Tx& tx, ServerRow& row, const operations::Origin& origin) {
  drop_move(core, tx, row, "The host that had its disk was lost.");
  begin_evacuation(core, tx, row, row.host_id, row.node, origin);
  row.placed_generation = row.generation;
  row.updated_at = to_db(core.clock.now());
  update_server(tx, row.id, {{"placed_generation", row.placed_generation}});
  settle(core, tx, row);
}

}  // namespace

void rebuild_elsewhere(Core& core, db::Tx& tx, ServerRow& row, const std::string& host, const operations::Origin& origin) {
  drop_move(core, tx, row, fmt::format("The host {} was lost.", row.node));
  Placing placing = placing_of_server(tx, row, flavor_of(row), host);
  placing.ask.never_hosts.insert(row.host_id);
  placing.ask.only_hosts.reset();  // a group that keeps together was on the lost host: it is built again wherever there is room
  core.placement.release(tx, row.id);
  const Placed placed = place(core, tx, placing);
  const std::string from = row.node;
  const auto operation = begin_evacuation(core, tx, row, placed.host_id, placed.hostname, origin);
  leave_remains(tx, row, row.host_id, core.clock.now());
  row.host_id = placed.host_id;
  row.node = placed.hostname;
  row.zone = placed.zone;
  row.placed_generation = row.generation;
  // A disk with a number of its own: that host may have been the server's before, and have one of then, which goes.
  row.old_disk = row.disk_number;
  row.disk_number = row.generation;
  row.state_override.clear();
  row.forget_observed();
  row.updated_at = to_db(core.clock.now());
  save_place(tx, row);
  core.networks.bind_server_ports(tx, row.server_id(), row.node);
  operations::record_step(tx, operation.id,
                          {.step = "schedule", .ok = true, .message = fmt::format("from {}, which is lost, to {}", from, placed.hostname),
                           .host = placed.hostname, .at = to_db(core.clock.now())});
  settle(core, tx, row);
}

http::Response evacuate(Core& core, api::Call& call, const json::value& arguments) {
  const Wish wish = parse(call, arguments);
  const ServerId id(call.param("id"));
  const HostId from = place_or_say_why(core, [&](db::Tx& tx) {
    ServerRow row = need_locked_server(tx, call, id.str());
    refuse_if_locked(call, row);
    const HostId lost(row.host_id);
    if (waits_for_lost_disk(tx, row)) {
      rebuild_in_place(core, tx, row, origin_of(call));
      return lost;
    }
    need_lost_host(core, tx, row);
    need_state(row);
    rebuild_elsewhere(core, tx, row, wish.host, origin_of(call));
    return lost;
  });
  kill_point("serve.after_commit");
  core.wake(id);
  push_others(core, from);
  return call.since(2, 14) ? api::reply(200) : api::reply(200, json::object{{"adminPass", wish.admin_pass}});
}

// ---- by themselves ----

namespace {

constexpr std::string_view kRestart = "ha:restart";

/// Servers of a host that are to be built again elsewhere without being told to.
std::vector<ServerId> waiting_on(const Core& core, db::Tx& tx, const std::string& host) {
  std::vector<ServerId> all;
  for (const auto& row : tx.query("SELECT s.id, m.value FROM servers s LEFT JOIN server_metadata m ON m.server_id = s.id AND m.name = ? "
                                  "WHERE s.host_id = ? AND s.deleted = 0 AND s.desired_state <> 'absent' AND s.locked_by = '' AND "
                                  "s.vm_state IN ('active', 'stopped') ORDER BY s.number", kRestart, host)) {
    const std::string wish = row.text(1);
    if (wish == "auto" || (core.options.restart_servers && wish != "never")) all.emplace_back(row.text(0));
  }
  return all;
}

}  // namespace

/// Two doubts keep a controller from having hosts fenced. It may have been away itself, and hears its hosts again only now.
/// And if most of them fall silent together, it is likely the controller that has lost its network.
///
/// A host that is connected to another controller counts as heard as long as that one is: what is silent may be the controller.
std::vector<LostHost> lost_hosts(Core& core) {
  const Time silent_since = core.clock.now() - core.options.fence_after;
  if (core.began > silent_since) return {};
  constexpr std::chrono::seconds kLease{60};
  if (core.options.controllers && !core.database.write([&](db::Tx& tx) {
        return controllers::take_lease(tx, "fencing", core.options.controllers->id(), kLease);
      }))
    return {};
  const std::string oldest = to_db(silent_since);
  return core.database.read([&](db::Tx& tx) {
    std::vector<LostHost> lost;
    size_t hosts = 0, silent_hosts = 0;
    for (const auto& row : tx.query("SELECT h.id, h.hostname, h.address, h.forced_down, h.last_seen, c.seen_at FROM hosts h LEFT JOIN controllers c "
                                    "ON c.id = h.controller_id ORDER BY h.hostname")) {
      const HostId id(row.text(0));
      const auto heard = core.liveness.last_seen(id);
      const bool silent = !core.is_up(id, row.text(4)) && std::max({heard ? to_db(*heard) : "", row.text(4), row.text(5)}) < oldest;
      ++hosts;
      if (silent && !row.boolean(3)) ++silent_hosts;
      if (!silent && !row.boolean(3)) continue;
      const auto servers = static_cast<int64_t>(waiting_on(core, tx, id.str()).size());
      if (servers > 0) lost.push_back({id, row.text(1), row.text(2), servers, row.boolean(3)});
    }
    if (silent_hosts > 1 && silent_hosts * 2 > hosts) std::erase_if(lost, [](const LostHost& h) { return !h.fenced; });
    return lost;
  });
}

int64_t host_fenced(Core& core, const HostId& host) {
  std::vector<ServerId> back;
  const auto servers = core.database.write([&](db::Tx& tx) {
    const auto row = tx.first("SELECT hostname, forced_down, last_seen FROM hosts WHERE id = ?", host);
    if (!row) throw Fault(FaultKind::not_found, fmt::format("There is no host {}.", host.str()));
    if (!row->boolean(1) && core.is_up(host, row->text(2)))
      throw Fault(FaultKind::conflict, fmt::format("The host {} was heard meanwhile.", row->text(0)));
    tx.exec("UPDATE hosts SET forced_down = 1, updated_at = ? WHERE id = ?", core.clock.now(), host);
    back = give_up_destination(core, tx, host);
    give_up_prefetches(core, tx, host, fmt::format("The host {} was lost.", row->text(0)));
    return waiting_on(core, tx, host.str());
  });
  for (const auto& id : back) core.wake(id);
  kill_point("serve.after_fence");
  int64_t moved = 0, homeless = 0;
  std::string why;
  for (const auto& id : servers) try {
      place_or_say_why(core, [&](db::Tx& tx) {
        auto row = lock_server(tx, id);
        if (row && row->host_id == host.str() && !row->deleted)
          rebuild_elsewhere(core, tx, *row, "", {row->project_id, row->user_id, "req-" + new_uuid()});
      });
      core.wake(id);
      ++moved;
    } catch (const Fault& fault) {
      ++homeless;
      why = fault.message;
    }
  if (core.homeless.exchange(homeless) != homeless && homeless > 0)
    log::warn("{} servers of the lost host {} find no other yet, and are tried again: {}", homeless, host.str(), why);
  push_others(core, host);
  return moved;
}

}  // namespace virga::compute
