#include "cloud/bring_up.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <thread>

#include "base/fault.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/control_socket.h"
#include "cloud/guests.h"
#include "cloud/purge.h"
#include "cloud/underlay.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// In a process of its own: this one may have threads, and must not wait for the supervisor.
void launch_supervisor(const Config& config, const LaunchOptions& options) {
  const std::string log_file = config.cloud.log_dir + "/supervisor.log";
  if (!options.program.empty()) {
    Command command;
    command.argv = {options.program};
    if (!options.config_path.empty()) command.argv.insert(command.argv.end(), {"--config", options.config_path});
    command.argv.push_back("supervisor");
    spawn(command, log_file);
    return;
  }
  const pid_t child = fork();
  if (child < 0) throw Fault(FaultKind::internal, "No process could be forked.");
  if (child > 0) {
    waitpid(child, nullptr, 0);
    return;
  }
  setsid();
  if (fork() != 0) _exit(0);
  const int null = open("/dev/null", O_RDWR);
  const int log = open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0640);
  dup2(null, 0);
  dup2(log, 1);
  dup2(log, 2);
  for (int fd = 3; fd < 256; ++fd) close(fd);
  int code = 1;
  try {
    code = run_supervisor(config, options);
  } catch (const std::exception& e) {
    log::error("the supervisor failed: {}", e.what());
  }
  _exit(code);
}

std::optional<json::object> try_status(const Config& config) {
  try {
    return supervisor_status(config);
  } catch (const Fault& f) {
    if (f.kind != FaultKind::unavailable) throw;
    return std::nullopt;
  }
}

/// Reports what became done since the last look. True if everything is ready.
bool report(const json::object& status, std::set<std::string>& reported, const StepDone& done) {
  const auto once = [&](const std::string& name, int64_t took_ms) {
    if (reported.insert(name).second && done) done(name, milliseconds(took_ms));
  };
  for (const json::value& step : *find_array(status, "steps"))
    once(find_string(step.as_object(), "name"), find_int(step.as_object(), "took_ms"));
  bool ready = find_string(status, "phase") == "running";
  for (const json::value& value : *find_array(status, "services")) {
    const json::object& service = value.as_object();
    if (find_string(service, "state") == "ready") once(find_string(service, "name"), find_int(service, "ready_after_ms"));
    else if (find_bool(service, "wanted")) ready = false;
  }
  return ready;
}

/// True if a service has failed so often that waiting longer is of no use.
bool hopeless(const json::object& status) {
  for (const json::value& value : *find_array(status, "services")) {
    const json::object& s = value.as_object();
    if (find_int(s, "restarts") >= 6 && find_string(s, "state") == "backoff") return true;
  }
  return false;
}

[[noreturn]] void not_ready(const Config& config, const std::optional<json::object>& status) {
  const std::string logs = fmt::format("Logs are in {}.", config.cloud.log_dir);
  if (!status)
    throw Fault(FaultKind::timeout, "The supervisor did not start. " + log_tail(config.cloud.log_dir + "/supervisor.log", 5), logs);
  std::string what = find_string(*status, "problem");
  for (const json::value& value : *find_array(*status, "services")) {
    const json::object& s = value.as_object();
    if (find_string(s, "state") != "ready" && find_bool(s, "wanted"))
      what += fmt::format(" {} is {}: {}.", find_string(s, "name"), find_string(s, "state"), find_string(s, "problem"));
  }
  throw Fault(FaultKind::timeout, "Not everything became ready." + what, logs);
}

}  // namespace

std::string supervisor_socket(const Config& config) { return config.cloud.run_dir + "/supervisor.sock"; }

json::object supervisor_status(const Config& config) {
  return ask(supervisor_socket(config), {{"command", "status"}});
}

void bring_up(const Config& config, const LaunchOptions& options, const StepDone& done) {
  const auto began = steady_clock::now();
  const auto deadline = began + options.timeout;
  std::optional<json::object> status = try_status(config);
  if (!status) {
    claim_directories(config);
    launch_supervisor(config, options);
  }
  std::set<std::string> reported;
  while (steady_clock::now() < deadline) {
    status = try_status(config);
    if (status && find_string(*status, "phase") == "failed") not_ready(config, status);
    if (status && report(*status, reported, done)) return;
    if (status && hopeless(*status)) not_ready(config, status);
    if (!status && steady_clock::now() - began > std::chrono::seconds(10)) break;
    std::this_thread::sleep_for(milliseconds(20));
  }
  not_ready(config, status);
}

void service_command(const Config& config, const std::string& command, const std::string& service) {
  ask(supervisor_socket(config), {{"command", command}, {"service", service}});
  const auto deadline = steady_clock::now() + std::chrono::seconds(30);
  const char* wished = command == "stop" ? "stopped" : "ready";
  std::string problem;
  while (steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(50));
    const json::object status = supervisor_status(config);
    bool all = true;
    for (const json::value& value : *find_array(status, "services")) {
      const json::object& s = value.as_object();
      bool meant = find_string(s, "name") == service;
      for (const json::value& alias : *find_array(s, "aliases")) meant |= str(alias) == service;
      if (!meant) continue;
      all &= find_string(s, "state") == wished;
      problem = find_string(s, "problem");
    }
    if (all) return;
  }
  throw Fault(FaultKind::timeout, fmt::format("{} is not {} after 30 s. {}", service, wished, problem), "`virga service status` says how it is.");
}

void tear_down(const Config& config, bool purge, const StepDone& done) {
  const auto timed = [&](const char* step, const std::function<void()>& f) {
    const auto start = steady_clock::now();
    f();
    if (done) done(step, std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
  };
  timed("services stopped", [&] {
    try {
      ask(supervisor_socket(config), {{"command", "shutdown"}, {"graceful", !purge}, {"purge", purge}});
      const auto deadline = steady_clock::now() + std::chrono::seconds(90);
      while (steady_clock::now() < deadline && socket_answers(supervisor_socket(config)))
        std::this_thread::sleep_for(milliseconds(20));
    } catch (const Fault& f) {
      if (f.kind != FaultKind::unavailable) throw;
    }
    // Whatever a killed supervisor left behind.
    stop_guests(find_engines(config, {}), std::chrono::seconds(10));
    end_system_guests(find_engines(config, {}), purge);
    kill_leftovers(config.cloud.run_dir, "");
    if (find_engines(config, {}).own_ovs) give_underlay_back(config);
  });
  // What the supervisor could not, or was not there to do; the distribution's daemons run on.
  if (purge) leave_engines(config, find_engines(config, {}));
  if (!purge) return;
  std::optional<Fault> left;
  if (!config.database.url.empty()) {
    const auto start = steady_clock::now();
    bool emptied = false;
    try {
      emptied = empty_database(config);
    } catch (const Fault& f) {
      left = f;
    }
    if (done) done(emptied ? "database emptied" : "database left as it is", std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
  }
  timed("state removed", [&] { remove_all_traces(config); });
  if (left)
    throw Fault(left->kind, "Everything is gone but what lies in the database of database.url. " + left->message,
                "Drop that database by hand: its servers are no more.");
}

std::vector<int> open_api_listeners(const Config& config) {
  std::vector<int> fds;
  ScopeExit closer([&] {
    for (const int fd : fds) close(fd);
  });
  std::vector<int> ports = {config.cloud.api_port};
  ports.insert(ports.end(), config.cloud.alias_ports.begin(), config.cloud.alias_ports.end());
  const std::string hosts = config.hosts_address();
  const bool theirs = config.tls.enabled && !hosts.empty() && hosts != config.cloud.api_address && config.cloud.api_address != "0.0.0.0";
  if (theirs) fds.push_back(netns::listen_tcp("", hosts, static_cast<uint16_t>(config.cloud.api_port)));  // new hosts enrol there
  for (const int port : ports) {
    fds.push_back(netns::listen_tcp("", config.cloud.api_address, static_cast<uint16_t>(port)));
    if (config.trial()) fds.push_back(netns::listen_tcp(config.data_namespace(), "127.0.0.1", static_cast<uint16_t>(port)));
  }
  closer.release();
  return fds;
}

std::vector<int> inherited_listeners() {
  std::vector<int> fds;
  const char* text = getenv("VIRGA_LISTEN_FDS");
  while (text && *text) {
    char* end = nullptr;
    const int fd = static_cast<int>(strtol(text, &end, 10));
    if (end == text) break;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) fds.push_back(fd);
    text = *end == ',' ? end + 1 : end;
  }
  unsetenv("VIRGA_LISTEN_FDS");
  return fds;
}

}  // namespace virga::cloud
