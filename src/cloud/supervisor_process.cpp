// The supervisor's own process: prepares, supervises, answers the control socket.

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "base/allocator.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/bring_up.h"
#include "cloud/control_socket.h"
#include "cloud/distribution.h"
#include "cloud/fencing.h"
#include "cloud/guests.h"
#include "cloud/purge.h"
#include "cloud/supervisor.h"
#include "cloud/tls.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// One supervisor for each run_dir. The kernel drops the lock with the process, however it ends.
int take_lock(const std::string& run_dir) {
  std::filesystem::create_directories(run_dir);
  const int fd = open((run_dir + "/supervisor.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

std::vector<std::string> own_command(const LaunchOptions& options, const char* role) {
  std::vector<std::string> argv = {options.program};
  if (!options.config_path.empty()) argv.insert(argv.end(), {"--config", options.config_path});
  argv.push_back(role);
  return argv;
}

/// The supervisor holds the API's sockets, so that a restart of `serve` refuses no connection.
void add_serve(std::vector<ServiceSpec>& all, const Config& c, const LaunchOptions& options) {
  ServiceSpec serve;
  serve.name = "serve";
  serve.aliases = {"virga-serve"};
  serve.argv = own_command(options, "serve");
  serve.environment = thread_caches_environment();
  serve.log_file = c.cloud.log_dir + "/serve.log";
  serve.ready_timeout = std::chrono::hours(1);  // it waits for its database itself, and says so to clients
  serve.ready_sockets = {c.cloud.run_dir + "/link/agent.sock", c.cloud.run_dir + "/serve.sock"};
  serve.listeners = [c, held = std::make_shared<std::vector<int>>()] {
    if (held->empty()) *held = open_api_listeners(c);
    return *held;
  };
  all.push_back(std::move(serve));
}

void add_agent(std::vector<ServiceSpec>& all, const Config& c, const LaunchOptions& options, bool kvm) {
  ServiceSpec agent;
  agent.name = "agent";
  agent.aliases = {"nova-compute", "virga-agent"};
  agent.argv = own_command(options, "agent");
  agent.name_space = c.data_namespace();
  agent.environment = thread_caches_environment();
  agent.environment.push_back(fmt::format("VIRGA_VIRT_TYPE={}", kvm ? "kvm" : "qemu"));  // found out once, at the start
  agent.log_file = c.cloud.log_dir + "/agent.log";
  if (c.has_control()) agent.after = {"serve"};
  for (const ServiceSpec& s : all)
    if (s.name == "libvirtd" || s.name == "ovs-vswitchd") agent.after.push_back(s.name);
  all.push_back(std::move(agent));
}

void add_own_services(std::vector<ServiceSpec>& all, const Config& c, const LaunchOptions& options, bool kvm) {
  if (options.program.empty()) return;
  if (c.has_control()) add_serve(all, c, options);
  if (c.has_compute()) add_agent(all, c, options, kvm);
}

/// The state that the control socket shows, shared by its thread and the main one.
class Run {
 public:
  Run(const Config& config, const LaunchOptions& options) : config_(config), options_(options) {}

  void prepare() {
    step("directories", [&] {
      if (!std::filesystem::exists("/run/libvirt")) remember_made(config_, "dir:/run/libvirt");
    });
    step("kernel's datapath", [&] { load_kernel_datapath(config_); });
    step("accelerator", [&] { engines_ = find_engines(config_, options_.kvm_usable); });
    if (!config_.trial() && !engines_.none) step("distribution", [&] { settle(); });
    step("namespace", [&] {
      // In host mode the agent makes namespaces too, one for each network's metadata.
      if (!std::filesystem::exists("/run/netns")) remember_made(config_, "mount:/run/netns");
      if (config_.trial()) netns::ensure(config_.network.name_space);
    });
    step("databases", [&] { prepare_databases(config_, engines_); });
    step("libvirt", [&] { prepare_libvirt(config_, engines_); });
    if (!engines_.own_ovs && !engines_.none && ((engines_.central && !engines_.stand_in) || config_.has_compute())) step("switch", [&] { set_up_switch(config_, engines_); });
    std::vector<ServiceSpec> services = engine_services(config_, engines_);
    add_own_services(services, config_, options_, engines_.kvm);
    std::lock_guard lock(mutex_);
    supervisor_ = std::make_unique<Supervisor>(SupervisorOptions{config_.cloud.run_dir}, std::move(services));
    supervisor_->run();
    phase_ = "running";
  }

  void fail(const std::string& why) {
    std::lock_guard lock(mutex_);
    phase_ = "failed";
    problem_ = why;
  }

  json::object answer(const json::object& request) {
    const std::string command = find_string(request, "command"), service = find_string(request, "service");
    if (command == "status") return status();
    if (command == "shutdown") {
      std::lock_guard lock(mutex_);
      phase_ = "stopping";
      graceful_ = find_bool(request, "graceful", true);
      purge_ = find_bool(request, "purge");
      kill(getpid(), SIGUSR1);
      return {{"ok", true}};
    }
    Supervisor& s = supervisor();
    if (command == "start") s.start(service);
    else if (command == "stop") s.stop(service);
    else if (command == "restart") s.restart(service);
    else throw Fault(FaultKind::bad_request, fmt::format("Unknown command '{}'.", command));
    return {{"ok", true}};
  }

  /// Agent first, so that it starts no guest again; then guests; then the rest.
  void shutdown() {
    if (!supervisor_) return;
    stop_and_wait("agent");
    if (graceful_) shut_guests_down(engines_, std::chrono::seconds(30));
    stop_guests(engines_, std::chrono::seconds(10));
    tolerate([&] { end_system_guests(engines_, false); });
    if (purge_ && !config_.trial()) {  // while the engines run; `serve` would write its rows again
      stop_and_wait("serve");
      tolerate([&] { leave_engines(config_, engines_); });
    }
    supervisor_->shutdown();
  }

 private:
  /// Daemons of the distribution are chosen, and waited for; then what stands on them is known.
  void settle() {
    settle_distribution(config_, engines_.userspace_datapath, socket_answers);
    const bool kvm = engines_.kvm;
    engines_ = find_engines(config_, {});
    engines_.kvm = kvm;
    if (engines_.own_ovs) check_uplink(config_);
  }
  static void tolerate(const std::function<void()>& f) {
    try {
      f();
    } catch (const std::exception& e) {
      log::warn("{}", e.what());  // `virga down --purge` tries again, and says it
    }
  }
  void step(const char* name, const std::function<void()>& f) {
    const auto start = steady_clock::now();
    f();
    const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start).count();
    std::lock_guard lock(mutex_);
    steps_.push_back(json::object{{"name", name}, {"took_ms", took}});
  }
  Supervisor& supervisor() {
    std::lock_guard lock(mutex_);
    if (!supervisor_) throw Fault(FaultKind::unavailable, "The cloud is still being prepared.", "Try again in a second.");
    return *supervisor_;
  }
  /// Nothing if the machine's role has no such service.
  void stop_and_wait(const std::string& service) {
    const auto all = supervisor_->status();
    if (std::none_of(all.begin(), all.end(), [&](const ServiceStatus& s) { return s.name == service; })) return;
    supervisor_->stop(service);
    const auto runs = [&] {
      for (const ServiceStatus& s : supervisor_->status())
        if (s.name == service) return s.state != ServiceState::stopped;
      return false;
    };
    for (int i = 0; i < 500 && runs(); ++i) usleep(20'000);
  }
  json::object status() {
    std::lock_guard lock(mutex_);
    json::array services;
    if (supervisor_)
      for (const ServiceStatus& s : supervisor_->status()) services.push_back(s.to_json());
    return {{"phase", phase_}, {"problem", problem_}, {"pid", getpid()}, {"steps", steps_}, {"services", services},
            {"namespace", config_.data_namespace()}, {"userspace_datapath", engines_.userspace_datapath},
            {"virt_type", engines_.kvm ? "kvm" : "qemu"}};
  }

  const Config& config_;
  const LaunchOptions& options_;
  Engines engines_;
  std::mutex mutex_;
  std::string phase_ = "preparing", problem_;
  std::atomic<bool> graceful_{true}, purge_{false};
  json::array steps_;
  std::unique_ptr<Supervisor> supervisor_;
};

sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) sigaddset(&set, s);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return set;
}

}  // namespace

int run_supervisor(const Config& config, const LaunchOptions& options) {
  const sigset_t signals = block_signals();
  umask(022);
  claim_directories(config);
  const int lock = take_lock(config.cloud.run_dir);
  if (lock < 0) return 3;
  ScopeExit unlock([lock] { close(lock); });
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  Run run(config, options);
  ControlSocket control(supervisor_socket(config), [&run](const json::object& request) { return run.answer(request); });
  try {
    run.prepare();
  } catch (const std::exception& e) {
    log::error("the cloud could not be prepared: {}", e.what());
    run.fail(e.what());
    // Stays a moment, so that whoever waits learns why.
    const timespec moment{2, 0};
    sigtimedwait(&signals, nullptr, &moment);
    return 1;
  }
  CertificateKeeper certificate(config, options.watched_config);
  const Fencing fencing(config, options.watched_config);
  int received = 0;
  while (received != SIGUSR1 && received != SIGTERM && received != SIGINT) {
    sigwait(&signals, &received);
    if (received == SIGHUP) certificate.look_now();
  }
  if (received == SIGUSR1) run.shutdown();
  return 0;
}

}  // namespace virga::cloud
