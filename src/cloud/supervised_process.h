#pragma once
// One child service as a process: started in a session of its own, named for ever by (pid, start time), found again by
// a supervisor that was itself killed and restarted. Children carry VIRGA_SERVICE=RUN_DIR:NAME in their environment, so
// that even one whose pid was never written down is found.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace virga::cloud {

/// What a service is and needs. Hooks run on the supervisor's thread of that service; they may block and throw.
struct ServiceSpec {
  std::string name;
  std::vector<std::string> aliases;       ///< OpenStack's names and groups: "nova", "nova-compute"
  std::vector<std::string> argv;
  std::vector<std::string> environment;
  std::string name_space;                 ///< network namespace; "" = the supervisor's
  std::vector<std::pair<std::string, std::string>> mounts;  ///< source, target: bind mounts nobody else sees
  std::vector<std::string> after;         ///< started once these are ready, stopped before them
  std::vector<std::string> ready_sockets; ///< unix sockets that accept when it is ready
  std::string log_file;
  std::chrono::milliseconds ready_timeout{60'000};
  std::chrono::milliseconds stop_timeout{10'000};
  std::function<void()> before_start;
  std::function<void()> on_ready;         ///< also after adoption, so idempotent; dependents wait for it
  std::function<std::vector<int>()> listeners;  ///< sockets it inherits, told in VIRGA_LISTEN_FDS="7,8"
};

struct ProcessName {
  pid_t pid = 0;
  uint64_t start_ticks = 0;
  bool alive() const;
};

/// All that /proc shows.
std::vector<pid_t> all_processes();

/// Starts it and writes its name into `pid_file`.
ProcessName start_service(const ServiceSpec& spec, const std::string& run_dir, const std::string& pid_file);
/// The process of `pid_file` if it still runs and is this service; pid 0 otherwise.
ProcessName adopt_service(const std::string& pid_file, const std::string& run_dir, const std::string& service);
/// SIGTERM to its process group, SIGKILL after the deadline. Returns when it is gone.
void stop_service(const ProcessName& process, std::chrono::milliseconds deadline);
/// Kills whatever still carries the marker of this service (or, with an empty name, of any service of run_dir).
void kill_leftovers(const std::string& run_dir, const std::string& service);
/// Waits for the end of the process or for `wake_fd` to become readable. True if the process ended; `status` says how.
bool wait_for_end(const ProcessName& process, int wake_fd, int timeout_ms, std::string& status);

/// Proportional memory of one process, and of the process and its group, KiB.
int64_t memory_kib_of(pid_t pid);
int64_t memory_kib(pid_t group);
/// Seconds since the process began.
double uptime_s(const ProcessName& process);
/// True if something accepts connections there.
bool socket_answers(const std::string& path);
/// The last lines of a log, for a person.
std::string log_tail(const std::string& path, size_t lines);

}  // namespace virga::cloud
