#include "compute/agents.h"

#include "base/kill_point.h"
#include "base/log.h"
#include "compute/assignment.h"
#include "compute/guest_metadata.h"
#include "compute/hosts.h"
#include "compute/live_moves.h"
#include "compute/moves.h"
#include "compute/prefetch.h"
#include "compute/remains.h"
#include "compute/settle.h"

namespace virga::compute {

void Agents::admit(const link::HostFacts& facts, const std::string& certificate) {
  const auto& ask = core_.options.admit;
  if (!ask) return;
  // Each connection of each host comes by here, all at once after a restart: no commit unless there is news.
  if (core_.database.read([&](db::Tx& tx) { return ask(tx, facts, certificate); }))
    core_.database.write([&](db::Tx& tx) { core_.options.settle_certificate(tx, facts, certificate); });
}

link::Assignment Agents::connect(const link::HostFacts& facts) {
  const bool older = core_.database.write([&](db::Tx& tx) {
    if (db::is_older_than(tx, facts.seen_epoch)) {
      tx.exec("UPDATE hosts SET last_seen = ? WHERE id = ?", Time{}, facts.id);
      return true;
    }
    register_host(core_, tx, facts);
    if (core_.options.controllers)
      tx.exec("UPDATE hosts SET controller_id = ? WHERE id = ?", core_.options.controllers->id(), facts.id);
    db::grow_epoch(tx);
    return false;
  });
  if (older) {
    core_.liveness.refused(facts.id);
    const Fault fault(FaultKind::forbidden,
                      fmt::format("REFUSED: the database is older than the host {}, as if restored from a backup. "
                                  "Nothing was touched.", facts.hostname),
                      "Put the newer database back, or take this one for the truth with `virga db accept-restored`: "
                      "servers it does not know stay on their hosts, in quarantine.");
    log::error("{} {}", fault.message, fault.hint);
    throw fault;
  }
  core_.liveness.connected(facts.id, core_.clock.now());
  return core_.database.read([&](db::Tx& tx) { return full_assignment(core_, tx, facts.id); });
}

namespace {

bool says_nothing_new(const ServerRow& row, const link::ObservedServer& seen) {
  return seen.steps.empty() && row.seen_power == static_cast<int64_t>(seen.power) &&
         row.seen_generation == seen.generation && row.failed_generation == seen.failed_generation &&
         row.cause == seen.cause && (row.failed_permanently != 0) == seen.permanent &&
         row.desired_state != "absent" && !seen.migration;
}

/// Of the running operation, or of the last that ran.
void record_steps(db::Tx& tx, const ServerRow& row, const link::ObservedServer& seen, const std::optional<operations::Operation>& running) {
  if (seen.steps.empty()) return;
  if (running) return record_seen_steps(tx, *running, row.node, seen.steps);
  const auto all = operations::of_resource(tx, "server", row.id);
  if (!all.empty()) record_seen_steps(tx, all.front(), row.node, seen.steps);
}

/// The host that has something left to remove then, if any.
std::optional<HostId> apply(Core& core, db::Tx& tx, ServerRow& row, const link::ObservedServer& seen) {
  const auto operation = operations::running(tx, "server", row.id);
  record_steps(tx, row, seen, operation);
  if (row.deleted) {
    // Deleted here while its host was away: only its removal there, with its files, ends the tombstone.
    const bool gone = seen.power == link::Power::absent && seen.generation >= row.generation;
    update_server(tx, row.id, {{"tombstone", !gone}, {"seen_power", static_cast<int64_t>(seen.power)}});
    return std::nullopt;
  }
  row.seen_power = static_cast<int64_t>(seen.power);
  row.seen_generation = seen.generation;
  row.failed_generation = seen.failed_generation;
  row.failed_permanently = seen.permanent;
  row.cause = seen.cause;
  row.hint = seen.hint;
  observe_departure(core, tx, row, seen);
  const bool moves = !row.move.empty();
  auto left = advance_move(core, tx, row);
  if (moves) settle(core, tx, row);  // which may have ended its operation, and begun another
  else settle(core, tx, row, operation);
  return left;
}

}  // namespace

void Agents::observe(const HostId& host, bool full, const std::vector<link::ObservedServer>& servers,
                     const std::vector<link::ActionReport>& actions) {
  core_.liveness.beat(host, core_.clock.now());
  // A full report of a quiet host says nothing new: it costs a read and no commit.
  std::map<std::string, ServerRow> known;
  if (full || servers.size() > 8)
    core_.database.read([&](db::Tx& tx) {
      known.clear();
      for (const auto& row :
           tx.query("SELECT " + server_columns() +
                        " FROM servers WHERE host_id = ? AND (deleted = 0 OR tombstone = 1)",
                    host)) {
        auto server = server_from_row(row);
        known.emplace(server.id, std::move(server));
      }
    });
  std::vector<const link::ObservedServer*> news;
  for (const auto& seen : servers) {
    const auto it = known.find(seen.id.str());
    if (it == known.end() || it->second.deleted || !says_nothing_new(it->second, seen)) news.push_back(&seen);
  }
  if (news.empty() && actions.empty()) return;
  After after;
  kill_point("serve.before_observe");
  core_.database.write([&](db::Tx& tx) {
    after = {};
    for (const auto* seen : news) take_observation(tx, host, *seen, after);
    for (const auto& report : actions) take_report(tx, host, report, after);
  });
  kill_point("serve.after_observe");
  for (const auto& id : after.again) core_.wake(id);
  for (const auto& id : after.left) push_others(core_, id);
}

/// A host speaks of its own servers, and of those that it keeps, removes or is about to get, and of no others.
void Agents::take_observation(db::Tx& tx, const HostId& host, const link::ObservedServer& seen, After& after) {
  auto row = lock_server(tx, seen.id);
  const bool own = row && row->host_id == host.str();
  const bool is_over = row && row->deleted && !row->tombstone;
  if ((!own || is_over) && observe_remains(tx, host, seen)) {
    if (!row || row->move != kReturning) return;
    advance_move(core_, tx, *row);  // which waited for that
    settle(core_, tx, *row);
    after.again.push_back(seen.id);
    return;
  }
  if (!row)
    return log::warn("host {} has server {}, which this cloud does not know; it stays quarantined there", host.str(), seen.id.str());
  if (!own && is_kept_on(tx, host, row->id)) return;
  const auto coming = own ? std::nullopt : coming_to(tx, host, *row);
  if (!own && !coming)
    return log::warn("host {} has server {}, which belongs to host {}; the report is ignored", host.str(), row->id, row->host_id);
  const int64_t generation = row->generation;
  const bool lingers = is_over && seen.power != link::Power::absent;
  std::optional<HostId> left;
  if (coming) {
    left = observe_incoming(core_, tx, *row, *coming, seen);
    settle(core_, tx, *row);
  } else {
    left = apply(core_, tx, *row, seen);
  }
  if (left) after.left.insert(*left);
  if (row->generation != generation || lingers) after.again.push_back(seen.id);
}

void Agents::take_report(db::Tx& tx, const HostId& host, const link::ActionReport& report, After& after) {
  const auto operation = operations::find(tx, report.operation);
  if (!operation || report.fence < operation->fence) return;
  if (operation->kind == kPrefetchOperation) return end_prefetch(core_, tx, host, *operation, report);
  auto row = lock_server(tx, ServerId(operation->resource_id));
  if (row && row->host_id != host.str()) return;
  if (row && operation->kind == kLiveOperation) {
    const auto left = end_departure(core_, tx, *row, report);
    if (!left) return;
    after.left.insert(*left);
    after.again.push_back(row->server_id());
  } else if (!operations::finish(tx, core_.clock.now(), report.operation, report.ok, report.message)) {
    return;
  }
  if (row && !row->deleted) settle(core_, tx, *row);
}

namespace {

class Source final : public link::ByteSource {
 public:
  explicit Source(std::function<size_t(std::span<char>)> read) : read_(std::move(read)) {}
  size_t read(std::span<char> buffer) override { return read_(buffer); }

 private:
  std::function<size_t(std::span<char>)> read_;
};

}  // namespace

/// A host gets the images of its own servers, and those it is to fetch ahead, and no others: they may be private.
std::unique_ptr<link::ByteSource> Agents::open_image(const HostId& host, const ImageId& image, uint64_t from) {
  const bool needs = looks_like_uuid(image.str()) && core_.database.read([&](db::Tx& tx) {
    // Kernel and ramdisk stand in the boot plan.
    const std::string in_boot = "%\"" + image.str() + "\"%";
    if (tx.first("SELECT id FROM servers WHERE host_id = ? AND deleted = 0 AND (image_id = ? OR boot LIKE ?)", host, image, in_boot)) return true;
    if (is_prefetched_on(tx, host, image)) return true;
    return tx.first("SELECT s.id FROM server_migrations m JOIN servers s ON s.id = m.server_id WHERE m.dest_host_id = ? AND m.status = 'preparing' "
                    "AND s.deleted = 0 AND (s.image_id = ? OR s.boot LIKE ?)", host, image, in_boot).has_value();
  });
  if (!needs)
    throw Fault(FaultKind::forbidden, fmt::format("no server of this host needs image {}", image.str()));
  return std::make_unique<Source>(core_.images.open_data(image, from));
}

/// A host gets the disks of the servers that are coming to it, and no others.
HostId Agents::disk_source(const HostId& host, const ServerId& server, int64_t disk) {
  return core_.database.read([&](db::Tx& tx) {
    const auto row = find_server(tx, server);
    const auto migration = row ? active_migration(tx, server.str()) : std::nullopt;
    if (!migration || row->move != kArriving || row->host_id != host.str() || migration->same_host() || migration->source_disk != disk)
      throw Fault(FaultKind::forbidden, fmt::format("server {} is not on its way to this host", server.str()));
    return HostId(migration->source_host_id);
  });
}

HostId Agents::tunnel_end(const HostId& from, const ServerId& server) {
  return core_.database.read([&](db::Tx& tx) {
    const auto row = find_server(tx, server);
    const auto migration = row && row->move == kLive && row->host_id == from.str() ? active_migration(tx, server.str()) : std::nullopt;
    if (!migration || migration->status != "running")
      throw Fault(FaultKind::forbidden, fmt::format("server {} is not on its way from this host", server.str()));
    return HostId(migration->dest_host_id);
  });
}

std::unique_ptr<link::ByteSource> Agents::open_upload(const std::string& upload) {
  if (!core_.options.open_upload || !looks_like_uuid(upload)) throw Fault(FaultKind::not_found, "no such upload here");
  return std::make_unique<Source>(core_.options.open_upload(upload));
}

link::MetadataReply Agents::metadata(const HostId& host, const link::MetadataRequest& request) {
  std::optional<ServerRow> row;
  link::MetadataReply reply;
  core_.database.read([&](db::Tx& tx) {
    row.reset();
    const auto id = core_.networks.server_by_address(tx, request.network, request.source_address);
    if (id) row = find_server(tx, *id);
    // A host speaks for its own guests only.
    if (!row || row->deleted || (row->host_id != host.str() && !coming_to(tx, host, *row))) {
      row.reset();
      return;
    }
    if (request.method == "GET" || request.method == "HEAD")
      reply = guest_metadata(
          {*row, server_metadata(tx, row->id), core_.networks.server_ports(tx, row->server_id())},
          request.path);
  });
  if (!row || request.method == "GET" || request.method == "HEAD") return row ? reply : link::MetadataReply{};
  if (request.method != "POST" || !is_password_path(request.path)) return {405, "text/plain", ""};
  if (request.body.size() > 1020) return {400, "text/plain", "Password too long\n"};
  const bool set = core_.database.write([&](db::Tx& tx) {
    return tx.exec("UPDATE servers SET guest_password = ? WHERE id = ? AND guest_password = ''", request.body,
                   row->id) == 1;
  });
  return {set ? 200 : 409, "text/plain", ""};
}

void Agents::settle_servers(const std::vector<ServerId>& servers) {
  core_.database.write([&](db::Tx& tx) {
    for (const auto& id : servers)
      if (auto row = lock_server(tx, id); row && !row->deleted) settle(core_, tx, *row);
  });
}

std::vector<Problem> Agents::problems() const {
  std::vector<Problem> all;
  core_.database.read([&](db::Tx& tx) {
    all.clear();
    if (db::is_known_older(tx))
      all.push_back({"database",
                     "older than the cloud, as if restored from a backup: no host is served and no network changed. Put the "
                     "newer one back, or take this one for the truth with `virga db accept-restored`",
                     core_.clock.now()});
    for (const auto& host : all_hosts(tx)) {
      const HostId id(host.id);
      if (!core_.liveness.is_connected(id) && !core_.liveness.is_elsewhere(id)) {
        all.push_back({host.hostname, "its agent is not connected", parse_time(last_seen(core_, id, host.last_seen))});
      }
      for (const auto& [what, since] : core_.liveness.problems(id)) all.push_back({host.hostname, what, since});
    }
  });
  return all;
}

void Agents::persist_seen() {
  const auto seen = core_.liveness.take_seen();
  if (seen.empty()) return;
  core_.database.write([&](db::Tx& tx) {
    for (const auto& [host, when] : seen) tx.exec("UPDATE hosts SET last_seen = ? WHERE id = ?", when, host);
    db::grow_epoch(tx);
  });
}

}  // namespace virga::compute
