#include "host/serial_queues.h"

#include "base/fault.h"
#include "base/log.h"

namespace virga::host {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

SerialQueues::SerialQueues(std::function<void(const ServerId&)> job, Limits limits)
    : job_(std::move(job)), limits_(limits) {}

SerialQueues::~SerialQueues() { stop(); }

void SerialQueues::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& t : threads_)
    if (t.joinable()) t.join();
}

void SerialQueues::post(const ServerId& server) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  auto& entry = entries_[server];
  if (entry.running) entry.again = true;
  if (entry.running || entry.queued) return;
  entry.queued = true;
  ready_.push_back(server);
  grow();
  wake_.notify_one();
}

void SerialQueues::grow() {
  const int busy = static_cast<int>(threads_.size()) - hung_;
  if (idle_ >= static_cast<int>(ready_.size()) || busy >= limits_.threads) return;
  if (static_cast<int>(threads_.size()) >= limits_.threads + limits_.hung_threads) return;
  threads_.emplace_back([this] { run(); });
}

void SerialQueues::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    wake_.wait(lock, [this] { return stopping_ || (!ready_.empty()); });
    --idle_;
    if (stopping_) return;
    const auto server = ready_.front();
    ready_.pop_front();
    auto& entry = entries_[server];
    entry = Entry{.running = true, .step = "begin", .since = Steady::now()};
    lock.unlock();
    try {
      job_(server);
    } catch (const std::exception& e) {
      log::error("server {}: {}", server.str(), e.what());
    }
    lock.lock();
    finish(server);
  }
}

void SerialQueues::finish(const ServerId& server) {
  auto it = entries_.find(server);
  if (it->second.hung) --hung_;
  if (!it->second.again) {
    entries_.erase(it);
    return;
  }
  it->second = Entry{.queued = true};
  ready_.push_back(server);
  wake_.notify_one();
}

void SerialQueues::step(const ServerId& server, const std::string& name) {
  std::lock_guard lock(mutex_);
  auto it = entries_.find(server);
  if (it == entries_.end()) return;
  if (it->second.hung) --hung_;
  it->second.hung = false;
  it->second.step = name;
  it->second.since = Steady::now();
}

std::vector<SerialQueues::Overdue> SerialQueues::watch(std::optional<milliseconds> deadline, std::string_view patient) {
  std::lock_guard lock(mutex_);
  std::vector<Overdue> found;
  const auto now = Steady::now();
  for (auto& [server, entry] : entries_) {
    const auto allowed = deadline && entry.step != patient ? std::min(*deadline, limits_.deadline) : limits_.deadline;
    if (!entry.running || entry.hung || now - entry.since < allowed) continue;
    entry.hung = true;
    ++hung_;
    found.push_back({server, entry.step, duration_cast<milliseconds>(now - entry.since)});
  }
  if (!found.empty() && !ready_.empty()) {
    for (size_t i = 0; i < found.size(); ++i) grow();
  }
  return found;
}

std::vector<SerialQueues::Overdue> SerialQueues::overdue() const {
  std::lock_guard lock(mutex_);
  std::vector<Overdue> found;
  const auto now = Steady::now();
  for (const auto& [server, entry] : entries_)
    if (entry.hung) found.push_back({server, entry.step, duration_cast<milliseconds>(now - entry.since)});
  return found;
}

}  // namespace virga::host
