#include "cloud/supervised_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/fault.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string marker(const std::string& run_dir, const std::string& service) {
  return fmt::format("VIRGA_SERVICE={}:{}", run_dir, service);
}

/// "" if it cannot be read, as when it is of a process that ends.
std::string slurp(const std::string& path) {
  try {
    return read_file(path);
  } catch (const Fault&) {
    return "";
  }
}

/// Another machine's process, as it were: a lab's nodes use the same folders, which are not ours.
bool lives_elsewhere(pid_t pid) {
  std::error_code ignored;
  const auto own = std::filesystem::read_symlink("/proc/self/ns/pid", ignored);
  return std::filesystem::read_symlink(fmt::format("/proc/{}/ns/pid", pid), ignored) != own;
}

/// True if the process carries the service's marker; an empty service matches all of run_dir.
bool carries_marker(pid_t pid, const std::string& run_dir, const std::string& service) {
  const std::string environ = '\0' + slurp(fmt::format("/proc/{}/environ", pid));
  const std::string wanted = '\0' + marker(run_dir, service);
  return environ.find(service.empty() ? wanted : wanted + '\0') != std::string::npos && !lives_elsewhere(pid);
}

pid_t group_of(pid_t pid) {
  const std::string stat = slurp(fmt::format("/proc/{}/stat", pid));
  const size_t after_name = stat.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(after_name + 2));
  std::string state;
  pid_t parent = 0, group = 0;
  fields >> state >> parent >> group;
  return group;
}

/// Everything that the child does between fork and exec, prepared before: only system calls are left.
std::function<void()> child_setup(const ServiceSpec& spec, int namespace_fd, const std::vector<int>& inherited) {
  return [&spec, namespace_fd, inherited] {
    if (namespace_fd >= 0 && !netns::enter_fd(namespace_fd)) _exit(126);
    if (!spec.mounts.empty()) {
      if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) _exit(126);
      for (const auto& [source, target] : spec.mounts)
        if (mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) _exit(126);
    }
    for (const int fd : inherited) fcntl(fd, F_SETFD, 0);
  };
}

int open_pidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

std::string describe(int status) {
  return WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                           : fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
}

}  // namespace

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored))
    if (const pid_t pid = std::atoi(entry.path().filename().c_str()); pid > 0) found.push_back(pid);
  return found;
}

bool ProcessName::alive() const { return start_ticks != 0 && process_start_ticks(pid) == start_ticks; }

ProcessName start_service(const ServiceSpec& spec, const std::string& run_dir, const std::string& pid_file) {
  kill_leftovers(run_dir, spec.name);
  const std::vector<int> inherited = spec.listeners ? spec.listeners() : std::vector<int>{};
  const int namespace_fd = spec.name_space.empty() ? -1 : netns::open_fd(spec.name_space);
  ScopeExit closer([namespace_fd] {
    if (namespace_fd >= 0) close(namespace_fd);
  });
  Command command;
  command.argv = spec.argv;
  command.environment = spec.environment;
  command.environment.push_back(marker(run_dir, spec.name));
  if (!inherited.empty()) command.environment.push_back(fmt::format("VIRGA_LISTEN_FDS={}", fmt::join(inherited, ",")));
  command.in_child = child_setup(spec, namespace_fd, inherited);
  ProcessName started;
  started.pid = spawn(command, spec.log_file);
  started.start_ticks = process_start_ticks(started.pid);
  write_file(pid_file, fmt::format("{} {}\n", started.pid, started.start_ticks));
  return started;
}

ProcessName adopt_service(const std::string& pid_file, const std::string& run_dir, const std::string& service) {
  std::istringstream text(slurp(pid_file));
  ProcessName found;
  text >> found.pid >> found.start_ticks;
  if (found.start_ticks == 0 || !found.alive() || !carries_marker(found.pid, run_dir, service)) return {};
  return found;
}

bool wait_for_end(const ProcessName& process, int wake_fd, int timeout_ms, std::string& status) {
  const int pidfd = open_pidfd(process.pid);
  ScopeExit closer([pidfd] {
    if (pidfd >= 0) close(pidfd);
  });
  const auto ended = [&] {
    int code = 0;
    if (waitpid(process.pid, &code, WNOHANG) == process.pid) {
      status = describe(code);
      return true;
    }
    if (process.alive()) return false;
    if (status.empty()) status = "ended (adopted, so its exit code is unknown)";
    return true;
  };
  if (ended()) return true;
  pollfd fds[2] = {{pidfd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
  poll(fds, 2, timeout_ms);
  return ended();
}

void stop_service(const ProcessName& process, milliseconds deadline) {
  if (!process.alive()) return;
  kill(-process.pid, SIGTERM);
  const auto end = steady_clock::now() + deadline;
  std::string ignored;
  while (steady_clock::now() < end)
    if (wait_for_end(process, -1, 100, ignored)) break;
  if (process.alive()) kill(-process.pid, SIGKILL);
  while (!wait_for_end(process, -1, 100, ignored)) {
  }
}

void kill_leftovers(const std::string& run_dir, const std::string& service) {
  std::vector<ProcessName> found;
  for (const pid_t pid : all_processes())
    if (pid != getpid() && carries_marker(pid, run_dir, service)) found.push_back({pid, process_start_ticks(pid)});
  for (const ProcessName& p : found)
    if (p.alive()) kill(p.pid, SIGKILL);
  const auto end = steady_clock::now() + std::chrono::seconds(5);
  for (const ProcessName& p : found) {
    while (p.alive() && steady_clock::now() < end) std::this_thread::sleep_for(milliseconds(5));
    waitpid(p.pid, nullptr, WNOHANG);  // reaps it if it was a child of ours
  }
}

int64_t memory_kib_of(pid_t pid) {
  int64_t total = 0;
  std::ifstream in(fmt::format("/proc/{}/smaps_rollup", pid));
  for (std::string line; std::getline(in, line);)
    if (line.rfind("Pss:", 0) == 0) total += std::atoll(line.c_str() + 4);
  return total;
}

int64_t memory_kib(pid_t group) {
  int64_t total = 0;
  for (const pid_t pid : all_processes())
    if (group_of(pid) == group) total += memory_kib_of(pid);
  return total;
}

double uptime_s(const ProcessName& process) {
  std::istringstream uptime(slurp("/proc/uptime"));
  double now = 0;
  uptime >> now;
  return now - static_cast<double>(process.start_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

bool socket_answers(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path) return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  ScopeExit closer([fd] { close(fd); });
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

std::string log_tail(const std::string& path, size_t lines) {
  constexpr std::streamoff kMost = 16384;  // a log may be large
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = in ? std::max(std::streamoff(in.tellg()), std::streamoff(0)) : 0;
  std::string text(static_cast<size_t>(std::min(size, kMost)), '\0');
  in.seekg(size - static_cast<std::streamoff>(text.size()));
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t at = text.size();
  while (lines-- > 0 && at != std::string::npos && at > 0) at = text.rfind('\n', at - 1);
  return at == std::string::npos ? text : text.substr(text[at] == '\n' ? at + 1 : at);
}

}  // namespace virga::cloud
