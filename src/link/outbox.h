#pragma once
// What an agent still has to report. Reports are levels: of a server only the newest observation counts (its
// steps add up), action reports are all kept. A full report does not replace what it does not mention: that a
// server is gone is told only once, and the agent forgets the server then.

#include <map>

#include "link/api.h"

namespace virga::link {

class Outbox {
 public:
  struct Batch {
    bool full = false;
    std::vector<ObservedServer> servers;
    std::vector<ActionReport> actions;
    bool empty() const { return !full && servers.empty() && actions.empty(); }
  };

  void add(bool full, std::vector<ObservedServer> servers, std::vector<ActionReport> actions) {
    full_ = full_ || full;
    for (auto& server : servers) {
      if (auto it = servers_.find(server.id); it != servers_.end()) keep_steps(std::move(it->second), server);
      servers_[server.id] = std::move(server);
    }
    for (auto& action : actions) actions_.push_back(std::move(action));
  }

  Batch take() {
    Batch batch;
    batch.full = std::exchange(full_, false);
    for (auto& [id, server] : servers_) batch.servers.push_back(std::move(server));
    servers_.clear();
    batch.actions = std::exchange(actions_, {});
    return batch;
  }

  /// A batch that could not be sent: older than whatever was added since.
  void put_back(Batch batch) {
    Batch newer = take();
    add(batch.full, std::move(batch.servers), std::move(batch.actions));
    add(newer.full, std::move(newer.servers), std::move(newer.actions));
  }

  bool empty() const { return !full_ && servers_.empty() && actions_.empty(); }

 private:
  static void keep_steps(ObservedServer older, ObservedServer& newer) {
    constexpr size_t kMaxSteps = 200;
    auto& steps = older.steps;
    steps.insert(steps.end(), std::make_move_iterator(newer.steps.begin()),
                 std::make_move_iterator(newer.steps.end()));
    if (steps.size() > kMaxSteps) steps.erase(steps.begin(), steps.end() - kMaxSteps);
    newer.steps = std::move(steps);
  }

  bool full_ = false;
  std::map<ServerId, ObservedServer> servers_;
  std::vector<ActionReport> actions_;
};

}  // namespace virga::link
