#pragma once
// One job at a time per domain, many domains at once, on a bounded number of threads. A job that hangs in a
// hypervisor call keeps its thread but does not count against the bound any more, so it delays no other
// domain.
//
// A post of a domain whose job runs makes the job run once more afterwards; posts in between fold into one.

#include <condition_variable>
#include <deque>
#include <optional>
#include <string_view>
#include <thread>

#include "base/ids.h"

namespace virga::host {

class SerialQueues {
 public:
  using Steady = std::chrono::steady_clock;
  struct Limits {
    int threads = 8;        ///< that make progress
    int hung_threads = 64;  ///< more that may be stuck
    std::chrono::milliseconds deadline{60'000};
  };
  struct Overdue {
    ServerId server;
    std::string step;
    std::chrono::milliseconds running{0};
  };

  SerialQueues(std::function<void(const ServerId&)> job, Limits limits);
  /// Waits for running jobs; drops waiting ones.
  ~SerialQueues();
  /// The same, with the object still usable by those jobs (a unique_ptr is null already while its object is destroyed).
  void stop();

  void post(const ServerId& server);
  /// The running job of `server` begins a step; its deadline starts anew.
  void step(const ServerId& server, const std::string& name);
  /// Steps that passed their deadline since the last call, once each.
  /// `deadline`: a shorter one for this time, except for steps named in `patient`.
  std::vector<Overdue> watch(std::optional<std::chrono::milliseconds> deadline = {}, std::string_view patient = {});
  /// All that are past it now.
  std::vector<Overdue> overdue() const;

 private:
  struct Entry {
    bool queued = false, running = false, again = false, hung = false;
    std::string step;
    Steady::time_point since;
  };
  void run();
  void finish(const ServerId& server);
  void grow();

  const std::function<void(const ServerId&)> job_;
  const Limits limits_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<ServerId, Entry> entries_;
  std::deque<ServerId> ready_;
  std::vector<std::thread> threads_;
  int idle_ = 0, hung_ = 0;
  bool stopping_ = false;
};

}  // namespace virga::host
