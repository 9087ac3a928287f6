#include "compute/core.h"

#include <algorithm>

#include "base/kill_point.h"
#include "base/log.h"
#include "compute/assignment.h"
#include "compute/migrations.h"
#include "compute/remains.h"

namespace virga::compute {

void Liveness::connected(const HostId& host, Time now) {
  std::lock_guard lock(mutex_);
  auto& entry = hosts_[host];
  entry.connected = true;
  entry.seen = now;
  entry.dirty = true;
}

void Liveness::beat(const HostId& host, Time now, const std::vector<std::string>* problems) {
  std::lock_guard lock(mutex_);
  auto& entry = hosts_[host];
  entry.connected = true;  // whoever came back while the end of its old connection was still being told
  entry.seen = now;
  entry.dirty = true;
  if (!problems) return;
  std::map<std::string, Time> all;
  for (const auto& problem : *problems) {
    const auto known = entry.problems.find(problem);
    all[problem] = known == entry.problems.end() ? now : known->second;
  }
  entry.problems = std::move(all);
}

void Liveness::disconnected(const HostId& host) {
  std::lock_guard lock(mutex_);
  auto& entry = hosts_[host];
  if (!std::exchange(entry.connected, false)) return;
  entry.problems.clear();
}

void Liveness::refused(const HostId& host) {
  std::lock_guard lock(mutex_);
  hosts_[host] = Entry{};
}

bool Liveness::is_connected(const HostId& host) const {
  std::lock_guard lock(mutex_);
  const auto it = hosts_.find(host);
  return it != hosts_.end() && it->second.connected;
}

std::map<HostId, Time> Liveness::take_seen() {
  std::lock_guard lock(mutex_);
  std::map<HostId, Time> seen;
  for (auto& [host, entry] : hosts_) {
    if (!entry.dirty) continue;
    seen[host] = entry.seen;
    entry.dirty = false;
  }
  return seen;
}

std::map<std::string, Time> Liveness::problems(const HostId& host) const {
  std::lock_guard lock(mutex_);
  const auto it = hosts_.find(host);
  return it == hosts_.end() ? std::map<std::string, Time>{} : it->second.problems;
}

std::optional<std::set<std::string>> Liveness::seen_since(Time oldest, size_t most) const {
  std::lock_guard lock(mutex_);
  std::set<std::string> seen;
  for (const auto& [host, entry] : hosts_) {
    if (entry.seen <= oldest) continue;
    if (seen.size() == most) return std::nullopt;
    seen.insert(host.str());
  }
  for (const auto& host : elsewhere_) seen.insert(host.str());
  if (seen.size() > most) return std::nullopt;
  return seen;
}

std::optional<Time> Liveness::last_seen(const HostId& host) const {
  std::lock_guard lock(mutex_);
  const auto it = hosts_.find(host);
  if (it == hosts_.end()) return std::nullopt;
  return it->second.seen;
}

std::vector<HostId> Liveness::connected_hosts() const {
  std::lock_guard lock(mutex_);
  std::vector<HostId> all;
  for (const auto& [host, entry] : hosts_)
    if (entry.connected) all.push_back(host);
  return all;
}

void Liveness::set_elsewhere(std::set<HostId> hosts) {
  std::lock_guard lock(mutex_);
  elsewhere_ = std::move(hosts);
}

bool Liveness::is_elsewhere(const HostId& host) const {
  std::lock_guard lock(mutex_);
  return elsewhere_.contains(host);
}

void Pushed::note(const std::string& server, What what) {
  std::lock_guard lock(mutex_);
  all_[server] = what;
}

bool Pushed::is(const std::string& server, What what) const {
  std::lock_guard lock(mutex_);
  const auto it = all_.find(server);
  return it != all_.end() && it->second == what;
}

void Pushed::keep(const std::set<std::string>& servers) {
  std::lock_guard lock(mutex_);
  std::erase_if(all_, [&](const auto& entry) { return !servers.contains(entry.first); });
}

bool Core::is_up(const HostId& host, const std::string& db_last_seen) const {
  const Time oldest = clock.now() - kHostDownAfter;
  if (const auto seen = liveness.last_seen(host); seen && *seen > oldest) return true;
  return db_last_seen > to_db(oldest) || liveness.is_elsewhere(host);
}

std::optional<std::set<std::string>> Core::few_up(db::Tx& tx, size_t most) const {
  const Time oldest = clock.now() - kHostDownAfter;
  auto up = liveness.seen_since(oldest, most);
  if (!up) return std::nullopt;
  for (const auto& row :
       tx.query(fmt::format("SELECT id FROM hosts WHERE last_seen > ? LIMIT {}", most + 1), to_db(oldest)))
    up->insert(row.text(0));
  return up->size() > most ? std::nullopt : std::move(up);
}

void Core::wake(const ServerId& server, PassOn pass_on) {
  auto* agents = hub.load();
  if (!agents) return;
  const auto tell = [&] {
    if (pass_on == PassOn::yes) tell_others("server", server.str());
  };
  try {
    link::Assignment change;
    HostId host, destination;
    bool here = true;
    database.read([&](db::Tx& tx) {
      const auto row = find_server(tx, server);
      change.servers.clear();
      here = true;
      if (!row || row->host_id.empty()) return;
      host = HostId(row->host_id);
      destination = HostId();
      // Whoever has the host reads what it is told; a host that nobody has reads it when it comes.
      here = row->move == kLive || agents->connected(host);
      if (!here) return;
      change.epoch = db::cloud_epoch(tx);
      change.servers = desired_servers(*this, tx, {*row});
      if (row->move != kLive) return;
      if (const auto migration = active_migration(tx, row->id); migration && migration->status == "preparing")
        destination = HostId(migration->dest_host_id);
    });
    kill_point("serve.before_push");
    if (!here) return tell();
    if (change.servers.empty()) return;
    if (!destination.empty()) push_others(*this, destination);
    if (!agents->push(host, change)) return tell();
    if (options.controllers) pushed.note(server.str(), {change.servers.front().generation, change.servers.front().fence});
  } catch (const std::exception& error) {
    log::warn("could not wake the agent of server {}, which is tried again: {}", server.str(), error.what());
    untold.add(server);
  }
}

void Core::wake(const ServerId& server, const HostId& host) {
  const auto* agents = hub.load();
  if (!agents || agents->connected(host)) return wake(server);
  kill_point("serve.before_push");
  tell_others("server", server.str());
}

int64_t next_number(db::Tx& tx, std::string_view counter, int64_t count) {
  tx.exec("UPDATE compute_counters SET value = value + ? WHERE name = ?", count, counter);
  return tx.first("SELECT value FROM compute_counters WHERE name = ?", counter)->integer(0);
}

int64_t ServerNumbers::take(db::Database& database, int64_t count) {
  constexpr int64_t kBlock = 32;
  std::lock_guard lock(mutex_);
  if (end_ - next_ < count) {
    const int64_t taken = std::max(count, kBlock);
    const int64_t last = database.write([&](db::Tx& tx) { return next_number(tx, "server", taken); });
    next_ = last - taken + 1;
    end_ = last + 1;
  }
  return std::exchange(next_, next_ + count);
}

}  // namespace virga::compute
