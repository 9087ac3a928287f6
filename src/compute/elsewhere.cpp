// What several controllers have to know of each other's hosts. A host's row says to which controller its agent is connected; that
// is written when it comes, when it goes and when it falls silent, never with a heartbeat.

#include "base/log.h"
#include "compute/agents.h"
#include "compute/remains.h"
#include "compute/server_table.h"

namespace virga::compute {

void Agents::disconnected(const HostId& host) {
  const auto seen = core_.liveness.last_seen(host);
  core_.liveness.disconnected(host);
  if (!core_.options.controllers) return;
  core_.database.write([&](db::Tx& tx) {
    tx.exec("UPDATE hosts SET controller_id = '' WHERE id = ? AND controller_id = ?", host, core_.options.controllers->id());
    if (seen) tx.exec("UPDATE hosts SET last_seen = ? WHERE id = ? AND last_seen < ?", *seen, host, *seen);
  });
}

void Agents::look_again(const std::string& what, const std::string& id) {
  if (what == "server") {
    // Passed on no further: who has the host connected sends it, or nobody has.
    core_.wake(ServerId(id), Core::PassOn::no);
  } else if (what == "host") {
    look_at_hosts();
  }
}

void Agents::look_around() {
  if (!core_.options.controllers) return;
  look_at_hosts();
  look_at_servers();
}

/// Which hosts others hear, and which of ours are not what their rows say.
void Agents::look_at_hosts() {
  const std::string me = core_.options.controllers->id();
  const auto connected = core_.liveness.connected_hosts();
  std::map<HostId, std::string> controller_of;
  std::map<HostId, std::string> others;  // of ours: the newest of what it is to be told besides its own servers
  std::set<HostId> elsewhere;
  core_.database.read([&](db::Tx& tx) {
    controller_of.clear(), others.clear(), elsewhere.clear();
    std::set<std::string> alive;
    for (const auto& c : core_.options.controllers->all(tx))
      if (c.alive && c.id != me) alive.insert(c.id);
    for (const auto& row : tx.query("SELECT id, controller_id FROM hosts WHERE controller_id <> ''")) {
      controller_of[row.id<HostId>(0)] = row.text(1);
      if (alive.contains(row.text(1))) elsewhere.insert(row.id<HostId>(0));
    }
    for (const std::string_view what :
         {"SELECT r.host_id, MAX(r.created_at) FROM server_remains r JOIN hosts h ON h.id = r.host_id WHERE h.controller_id = ? GROUP BY r.host_id",
          "SELECT m.dest_host_id, MAX(m.created_at) FROM server_migrations m JOIN hosts h ON h.id = m.dest_host_id "
          "WHERE m.status = 'preparing' AND h.controller_id = ? GROUP BY m.dest_host_id",
          "SELECT o.resource_id, MAX(o.started_at) FROM operations o JOIN hosts h ON h.id = o.resource_id "
          "WHERE o.state = 'running' AND o.resource_type = 'host' AND h.controller_id = ? GROUP BY o.resource_id"})
      for (const auto& row : tx.query(what, me)) {
        std::string& newest = others[row.id<HostId>(0)];
        newest = std::max(newest, row.text(1));
      }
  });
  core_.liveness.set_elsewhere(std::move(elsewhere));

  const Time oldest = core_.clock.now() - kHostDownAfter;
  const auto heard = [&](const HostId& host) {
    const auto seen = core_.liveness.last_seen(host);
    return core_.liveness.is_connected(host) && seen && *seen > oldest;
  };
  std::vector<HostId> silent, mine, unknown;
  for (const auto& [host, controller] : controller_of)
    if (controller == me && !heard(host)) silent.push_back(host);
  for (const auto& host : connected)
    if (!controller_of.contains(host)) (heard(host) ? mine : unknown).push_back(host);
  if (!silent.empty() || !mine.empty())
    core_.database.write([&](db::Tx& tx) {
      for (const auto& host : silent) tx.exec("UPDATE hosts SET controller_id = '' WHERE id = ? AND controller_id = ?", host, me);
      unknown.clear();
      for (const auto& host : mine)
        if (tx.exec("UPDATE hosts SET controller_id = ? WHERE id = ? AND controller_id = ''", me, host) == 0 &&
            !tx.first("SELECT 1 FROM hosts WHERE id = ?", host))
          unknown.push_back(host);
    });
  auto* hub = core_.hub.load();
  for (const auto& host : unknown) {
    core_.liveness.refused(host);
    if (hub) hub->disconnect(host, "This host was removed from the cloud.");
  }
  for (const auto& [host, newest] : others) {
    if (others_sent_[host] == newest) continue;
    others_sent_[host] = newest;
    push_others(core_, host);
  }
}

/// Servers with something to do on hosts that are connected here, and whose agents were not told by this controller.
void Agents::look_at_servers() {
  struct Pending {
    std::string id;
    Pushed::What what;
  };
  const auto pending = core_.database.read([&](db::Tx& tx) {
    std::vector<Pending> all;
    for (const auto& row : tx.query("SELECT s.id, s.generation, MAX(o.fence) FROM operations o JOIN servers s ON s.id = o.resource_id "
                                    "JOIN hosts h ON h.id = s.host_id WHERE o.state = 'running' AND o.resource_type = 'server' AND "
                                    "h.controller_id = ? GROUP BY s.id, s.generation", core_.options.controllers->id()))
      all.push_back({row.text(0), {row.integer(1), row.integer(2)}});
    // What goes back by itself has no operation any more.
    for (const auto& row : tx.query("SELECT s.id, s.generation, s.fence FROM server_migrations m JOIN servers s ON s.id = m.server_id "
                                    "JOIN hosts h ON h.id = s.host_id WHERE m.status IN ('migrating', 'post-migrating', 'reverting') "
                                    "AND s.deleted = 0 AND h.controller_id = ?", core_.options.controllers->id()))
      all.push_back({row.text(0), {row.integer(1), row.integer(2)}});
    return all;
  });
  std::set<std::string> running;
  for (const auto& server : pending) {
    running.insert(server.id);
    if (core_.pushed.is(server.id, server.what)) continue;
    core_.wake(ServerId(server.id));
    core_.pushed.note(server.id, server.what);  // also if its assignment is of another fence: it was sent what there is
  }
  core_.pushed.keep(running);
}

std::string Agents::controller_of(const HostId& host) const {
  if (!core_.options.controllers) return "";
  return core_.database.read([&](db::Tx& tx) -> std::string {
    const auto row = tx.first("SELECT controller_id FROM hosts WHERE id = ?", host);
    if (!row || row->text(0) == core_.options.controllers->id()) return "";
    for (const auto& c : core_.options.controllers->all(tx))
      if (c.id == row->text(0) && c.alive) return c.link_address;
    return "";
  });
}

}  // namespace virga::compute
