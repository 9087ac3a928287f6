#pragma once
// In the supervisor of a controller: makes sure that lost compute hosts are off, with the operator's program, and tells
// `serve`, which then builds their servers again elsewhere. What is lost, and what follows, `serve` decides; it has not the
// rights to run programs.

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/config.h"

namespace virga::cloud {

class Fencing {
 public:
  /// Does nothing without ha.fence_command.
  explicit Fencing(const Config& config);
  ~Fencing();
  Fencing(const Fencing&) = delete;
  Fencing& operator=(const Fencing&) = delete;

 private:
  void run();
  void look();

  const Config config_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

/// Runs the operator's program on a host. Throws Fault(conflict) with what it said if it does not end with 0 within a minute.
void fence(const Config& config, const std::string& name, const std::string& address);

}  // namespace virga::cloud
