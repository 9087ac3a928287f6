#pragma once
// In the supervisor of a controller: makes sure that lost compute hosts are off, with the operator's program, and tells
// `serve`, which then builds their servers again elsewhere. What is lost, and what follows, `serve` decides; it has not the
// rights to run programs.

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "base/config.h"

namespace virga::cloud {

class Fencing {
 public:
  /// Does nothing without ha.fence_command. `config_path` is read again when it changes ("": `config` for good).
  Fencing(Config config, std::string config_path);
  ~Fencing();
  Fencing(const Fencing&) = delete;
  Fencing& operator=(const Fencing&) = delete;

 private:
  /// Of a host that could not be fenced.
  struct Failure {
    int times = 0;
    std::chrono::steady_clock::time_point again;
  };
  void run();
  void read_again();
  void look();
  /// False if it is not known to be off, and for a while after a try that failed.
  bool is_off(const std::string& name, const std::string& address, int64_t servers);

  Config config_;
  const std::string config_path_;
  std::filesystem::file_time_type read_at_;
  std::map<std::string, Failure> failures_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

/// Runs the operator's program on a host. Throws Fault(conflict) with what it said if it does not end with 0 within a minute.
void fence(const Config& config, const std::string& name, const std::string& address);

}  // namespace virga::cloud
