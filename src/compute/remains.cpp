#include "compute/remains.h"

#include "compute/live_moves.h"
#include "compute/prefetch.h"

namespace virga::compute {

void leave_remains(db::Tx& tx, const ServerRow& row, const std::string& host_id, Time now) {
  tx.exec("DELETE FROM server_remains WHERE server_id = ? AND host_id = ?", row.id, host_id);
  tx.exec(
      "INSERT INTO server_remains (server_id, host_id, name, instance_name, generation, fence, created_at) VALUES (?, ?, ?, "
      "?, ?, ?, ?)",
      row.id, host_id, row.name, row.instance_name(), row.generation, row.fence, now);
}

std::vector<link::DesiredServer> remains_on(db::Tx& tx, const HostId& host) {
  std::vector<link::DesiredServer> all;
  for (const auto& row : tx.query(
           "SELECT server_id, name, instance_name, generation, fence FROM server_remains WHERE host_id = ?", host)) {
    link::DesiredServer gone;
    gone.id = row.id<ServerId>(0);
    gone.name = row.text(1);
    gone.instance_name = row.text(2);
    gone.generation = row.integer(3);
    gone.fence = row.integer(4);
    gone.state = link::DesiredServer::State::absent;
    all.push_back(std::move(gone));
  }
  return all;
}

void push_others(Core& core, const HostId& host) {
  auto* hub = core.hub.load();
  if (!hub || !hub->connected(host)) return core.tell_others("host", host.str());
  hub->push(host, core.database.read([&](db::Tx& tx) {
    link::Assignment others{db::cloud_epoch(tx), false, remains_on(tx, host)};
    for (auto& coming : incoming_on(core, tx, host)) others.servers.push_back(std::move(coming));
    others.prefetches = prefetches_on(core, tx, host);
    return others;
  }));
}

std::set<std::string> hosts_with_remains(db::Tx& tx, const std::string& server_id) {
  std::set<std::string> hosts;
  for (const auto& row : tx.query("SELECT host_id FROM server_remains WHERE server_id = ?", server_id)) hosts.insert(row.text(0));
  return hosts;
}

bool observe_remains(db::Tx& tx, const HostId& host, const link::ObservedServer& seen) {
  const auto row = tx.first("SELECT generation FROM server_remains WHERE server_id = ? AND host_id = ?", seen.id, host);
  if (!row) return false;
  if (seen.power == link::Power::absent && seen.generation >= row->integer(0))
    tx.exec("DELETE FROM server_remains WHERE server_id = ? AND host_id = ?", seen.id, host);
  return true;
}

}  // namespace virga::compute
