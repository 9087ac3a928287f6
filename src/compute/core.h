#pragma once
// What the parts of compute share: the facades below it, the clock, who is connected, and the wake-up of
// agents.

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "compute/api.h"

namespace virga::compute {

/// Which hosts are alive: heartbeats live in memory, and the database learns of them at most every 30 s, for
/// all hosts in one transaction, because a commit per heartbeat would be most of a quiet cloud's writes.
/// Thread-safe.
class Liveness {
 public:
  void connected(const HostId& host, Time now);
  /// `problems`: all it has now; none given = nothing new about them.
  void beat(const HostId& host, Time now, const std::vector<std::string>* problems = nullptr);
  void disconnected(const HostId& host);
  /// Not let in: down at once.
  void refused(const HostId& host);
  bool is_connected(const HostId& host) const;
  /// Hosts that were seen since the last call, with when.
  std::map<HostId, Time> take_seen();
  /// What the host says keeps it from its work, and since when.
  std::map<std::string, Time> problems(const HostId& host) const;
  /// Hosts heard of since then, by any controller; nothing if they are more than `most`.
  std::optional<std::set<std::string>> seen_since(Time oldest, size_t most) const;
  /// Latest sign of life known here, if any.
  std::optional<Time> last_seen(const HostId& host) const;
  std::vector<HostId> connected_hosts() const;
  /// Hosts that another controller, which lives, hears.
  void set_elsewhere(std::set<HostId> hosts);
  bool is_elsewhere(const HostId& host) const;

 private:
  struct Entry {
    bool connected = false;  // no count: of a connection that a newer one replaced nobody hears the end
    Time seen;
    bool dirty = false;
    std::map<std::string, Time> problems;
  };
  mutable std::mutex mutex_;
  std::unordered_map<HostId, Entry> hosts_;
  std::set<HostId> elsewhere_;
};

/// What agents connected here were last sent of each server, as far as operations run: whose change was not sent by this
/// controller is found by comparison. Thread-safe.
class Pushed {
 public:
  struct What {
    int64_t generation = 0, fence = 0;
    bool operator==(const What&) const = default;
  };
  void note(const std::string& server, What what);
  bool is(const std::string& server, What what) const;
  /// Forgets all but these.
  void keep(const std::set<std::string>& servers);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, What> all_;
};

/// Servers whose agents could not be told what changed, since the database did not answer or the link broke down: an agent
/// that stays connected would never ask. Thread-safe.
class Untold {
 public:
  void add(const ServerId& server) {
    std::lock_guard lock(mutex_);
    all_.insert(server);
  }
  std::set<ServerId> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(all_, {});
  }

 private:
  std::mutex mutex_;
  std::set<ServerId> all_;
};

/// Numbers of servers, which their domains are named by. They are taken in blocks, with a transaction of their own: one
/// counter for all boots of the cloud, held until each commits, would let them through one by one. A block that was not used
/// up when the controller ends leaves a gap. Thread-safe.
class ServerNumbers {
 public:
  /// The first of `count` in a row. Not from inside a transaction.
  int64_t take(db::Database& database, int64_t count);

 private:
  std::mutex mutex_;
  int64_t next_ = 0, end_ = 0;
};

/// nova's service_down_time: a host silent for longer counts as down. Agents speak every 5 s.
constexpr std::chrono::seconds kHostDownAfter{16};

struct Core {
  Options options;
  db::Database& database;
  const Clock& clock;
  identity::Identity& identity;
  image::Images& images;
  network::Networks& networks;
  placement::Placement& placement;
  Liveness liveness{};
  Pushed pushed{};
  Untold untold{};
  ServerNumbers server_numbers{};
  std::atomic<link::AgentHub*> hub{nullptr};
  const Time began = clock.now();  ///< this controller has heard of hosts since
  std::atomic<int64_t> homeless{0};  ///< servers of lost hosts that find no other, as last logged

  /// Sends the server's desired state to its agent; tells the other controllers if that is not connected here. After the
  /// commit, never inside it. What fails is tried again every second.
  enum class PassOn { yes, no };
  void wake(const ServerId& server, PassOn pass_on = PassOn::yes);
  /// The same for a server that was just put on that host.
  void wake(const ServerId& server, const HostId& host);
  void tell_others(std::string_view what, const std::string& id) const {
    if (options.tell_others) options.tell_others(what, id);
  }
  /// True if the host was heard lately, here or by another controller: a connection alone proves nothing, since a host
  /// whose power is cut does not end it.
  bool is_up(const HostId& host, const std::string& db_last_seen) const;
  /// All hosts of which is_up says so, by id; nothing if they are more than `most`.
  std::optional<std::set<std::string>> few_up(db::Tx& tx, size_t most) const;
};

/// Next value of a counter row, the last of `count` that are taken.
int64_t next_number(db::Tx& tx, std::string_view counter, int64_t count = 1);

}  // namespace virga::compute
