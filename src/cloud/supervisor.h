#pragma once
// Starts and keeps the child services of this machine: OVS, OVN, libvirt, and virga's own `serve` and `agent`.
//
// One thread for each service runs its life: adopt or start (once what it stands on is ready), wait until ready, watch,
// start again with back-off, stop in reverse order. Killing the supervisor kills nothing: the next one adopts the
// survivors, so an upgrade of Virga does not touch a guest. Stopping one service by name leaves the others alone.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "cloud/supervised_process.h"

namespace virga::cloud {

struct SupervisorOptions {
  std::string run_dir;
  std::chrono::milliseconds backoff_min{200};
  std::chrono::milliseconds backoff_max{30'000};
  std::chrono::milliseconds backoff_reset{60'000};  ///< having run that long, the next failure waits backoff_min again
  std::chrono::milliseconds slow_start{3'000};      ///< a start that takes longer shows what the program says
};

enum class ServiceState { stopped, waiting, starting, ready, backoff, stopping };
const char* to_text(ServiceState state);

struct ServiceStatus {
  std::string name;
  std::vector<std::string> aliases;
  ServiceState state = ServiceState::stopped;
  bool wanted = true, adopted = false;
  pid_t pid = 0;
  double uptime_s = 0;
  int64_t memory_kib = 0;
  int restarts = 0;
  int64_t ready_after_ms = 0;  ///< from start to ready, of the last start
  std::string problem;         ///< how it ended last, or why it is not ready
  json::object to_json() const;
};

class Supervisor {
 public:
  /// Throws Fault(internal) if `after` names an unknown service or goes in circles.
  Supervisor(SupervisorOptions options, std::vector<ServiceSpec> services);
  /// Leaves the children running (they are adopted next time), unless shutdown() was called.
  ~Supervisor();

  /// Starts the threads; returns at once.
  void run();
  /// By name, alias or group; all that match. Throws Fault(not_found) with the nearest name. Returns at once.
  void start(const std::string& name);
  void stop(const std::string& name);
  void restart(const std::string& name);
  /// Stops everything in reverse order; returns when all are gone.
  void shutdown();

  std::vector<ServiceStatus> status() const;
  /// True once all wanted services are ready; false after `timeout`.
  bool wait_ready(std::chrono::milliseconds timeout) const;

 private:
  struct Service;
  void live(Service& s);
  bool become_ready(Service& s);
  bool begin(Service& s);
  void watch(Service& s);
  void back_off(Service& s);
  void end(Service& s);
  void set_state(Service& s, ServiceState state, const std::string& problem = {});
  bool dependencies_ready(const Service& s) const;
  bool dependents_stopped(const Service& s) const;
  bool leave(const Service& s) const;
  std::vector<Service*> matching(const std::string& name) const;
  void wake(Service& s);

  const SupervisorOptions options_;
  std::vector<std::unique_ptr<Service>> services_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool shutting_down_ = false, detaching_ = false;
};

}  // namespace virga::cloud
