#include "cloud/supervisor.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/config.h"
#include "base/fault.h"
#include "base/log.h"

namespace virga::cloud {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr auto kLookAtLog = std::chrono::seconds(1);  ///< of a slow start

}  // namespace

struct Supervisor::Service {
  explicit Service(ServiceSpec s) : spec(std::move(s)), wake_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Service() { close(wake_fd); }

  const ServiceSpec spec;
  const int wake_fd;
  std::string pid_file;
  std::thread thread;
  // Guarded by the supervisor's mutex; `process` and `delay` are written by the service's own thread only.
  ServiceState state = ServiceState::stopped;
  bool wanted = true, adopted = false, restart_asked = false;
  bool hurry = false;  ///< its pause is over
  ProcessName process;
  int restarts = 0;
  milliseconds delay{0};
  steady_clock::time_point started;
  int64_t ready_after_ms = 0;
  std::string problem;
};

const char* to_text(ServiceState state) {
  static constexpr const char* kNames[] = {"stopped", "waiting", "starting", "ready", "backoff", "stopping"};
  return kNames[static_cast<int>(state)];
}

json::object ServiceStatus::to_json() const {
  return {{"name", name},
          {"aliases", json::value_from(aliases)},
          {"state", to_text(state)},
          {"wanted", wanted},
          {"adopted", adopted},
          {"pid", pid},
          {"uptime_s", uptime_s},
          {"memory_kib", memory_kib},
          {"restarts", restarts},
          {"ready_after_ms", ready_after_ms},
          {"problem", problem}};
}

Supervisor::Supervisor(SupervisorOptions options, std::vector<ServiceSpec> specs) : options_(std::move(options)) {
  std::filesystem::create_directories(options_.run_dir + "/pid");
  // Only earlier services may be named in `after`: that forbids circles, and the list reads in starting order.
  for (ServiceSpec& spec : specs) {
    for (const std::string& other : spec.after)
      if (std::none_of(services_.begin(), services_.end(), [&](const auto& s) { return s->spec.name == other; }))
        throw Fault(FaultKind::internal, fmt::format("Service {} stands on {}, which does not come before it.", spec.name, other));
    auto service = std::make_unique<Service>(std::move(spec));
    service->pid_file = fmt::format("{}/pid/{}", options_.run_dir, service->spec.name);
    services_.push_back(std::move(service));
  }
}

Supervisor::~Supervisor() {
  {
    std::lock_guard lock(mutex_);
    detaching_ = true;
    for (auto& s : services_) wake(*s);
  }
  for (auto& s : services_)
    if (s->thread.joinable()) s->thread.join();
}

void Supervisor::run() {
  for (auto& s : services_) s->thread = std::thread([this, &service = *s] { live(service); });
}

/// Called with the mutex held.
void Supervisor::wake(Service& s) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(s.wake_fd, &one, sizeof one);
  changed_.notify_all();
}

void Supervisor::set_state(Service& s, ServiceState state, const std::string& problem) {
  std::lock_guard lock(mutex_);
  if (s.state != state) log::info("{} is {}{}{}", s.spec.name, to_text(state), problem.empty() ? "" : ": ", problem);
  s.state = state;
  if (!problem.empty() || state == ServiceState::ready) s.problem = problem;
  changed_.notify_all();
}

bool Supervisor::dependencies_ready(const Service& s) const {
  return std::all_of(services_.begin(), services_.end(), [&](const auto& other) {
    const auto& after = s.spec.after;
    return std::find(after.begin(), after.end(), other->spec.name) == after.end() || other->state == ServiceState::ready;
  });
}

bool Supervisor::dependents_stopped(const Service& s) const {
  return std::all_of(services_.begin(), services_.end(), [&](const auto& other) {
    const auto& after = other->spec.after;
    return std::find(after.begin(), after.end(), s.spec.name) == after.end() || other->state == ServiceState::stopped;
  });
}

/// True if the process should not go on as it is. Called with the mutex held.
bool Supervisor::leave(const Service& s) const {
  return detaching_ || shutting_down_ || !s.wanted || s.restart_asked;
}

void Supervisor::live(Service& s) {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (shutting_down_ || detaching_) break;
      if (!s.wanted) {
        s.state = ServiceState::stopped;
        changed_.notify_all();
        changed_.wait(lock, [&] { return s.wanted || shutting_down_ || detaching_; });
        continue;
      }
      s.restart_asked = false;
    }
    if (become_ready(s)) watch(s);
    {
      std::lock_guard lock(mutex_);
      if (detaching_ && !shutting_down_) return;
    }
    end(s);
    back_off(s);
  }
  std::unique_lock lock(mutex_);
  if (shutting_down_) {  // a child may be left from a supervisor that was killed
    lock.unlock();
    s.process = adopt_service(s.pid_file, options_.run_dir, s.spec.name);
    end(s);
  }
}

/// Adopts or starts, and waits until it answers. False if it ended, never answered, or should leave.
bool Supervisor::become_ready(Service& s) {
  try {
    if (!begin(s)) return false;
    set_state(s, ServiceState::starting);
    const auto deadline = steady_clock::now() + s.spec.ready_timeout;
    auto look_at = steady_clock::now() + options_.slow_start;
    const auto& sockets = s.spec.ready_sockets;
    std::string status;
    while (!std::all_of(sockets.begin(), sockets.end(), socket_answers)) {
      if (wait_for_end(s.process, -1, 10, status)) {
        set_state(s, ServiceState::backoff, fmt::format("{}; {}", status, log_tail(s.spec.log_file, 3)));
        return false;
      }
      if (steady_clock::now() > deadline) {
        set_state(s, ServiceState::backoff, fmt::format("does not answer; {}", log_tail(s.spec.log_file, 3)));
        return false;
      }
      const auto now = steady_clock::now();
      const std::string said = now > look_at ? log_tail(s.spec.log_file, 1) : "";
      if (now > look_at) look_at = now + kLookAtLog;
      std::lock_guard lock(mutex_);
      if (leave(s)) return false;
      if (!said.empty()) s.problem = said;
    }
    if (s.spec.on_ready) s.spec.on_ready();
  } catch (const std::exception& e) {
    set_state(s, ServiceState::backoff, e.what());
    return false;
  }
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - s.started);
  {
    std::lock_guard lock(mutex_);
    s.ready_after_ms = took.count();
  }
  set_state(s, ServiceState::ready);
  return true;
}

bool Supervisor::begin(Service& s) {
  ProcessName process = adopt_service(s.pid_file, options_.run_dir, s.spec.name);
  s.started = steady_clock::now();
  const bool adopted = process.pid != 0;
  if (!adopted) {
    set_state(s, ServiceState::waiting);
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return leave(s) || dependencies_ready(s); });
      if (leave(s)) return false;
    }
    s.started = steady_clock::now();
    if (s.spec.before_start) s.spec.before_start();
    process = start_service(s.spec, options_.run_dir, s.pid_file);
  }
  std::lock_guard lock(mutex_);
  s.process = process;
  s.adopted = adopted;
  return true;
}

void Supervisor::watch(Service& s) {
  std::string status;
  while (true) {
    const bool ended = wait_for_end(s.process, s.wake_fd, 60'000, status);
    uint64_t drained;
    [[maybe_unused]] const ssize_t n = read(s.wake_fd, &drained, sizeof drained);
    std::unique_lock lock(mutex_);
    if (leave(s)) return;
    if (!ended) continue;
    lock.unlock();
    log::warn("{} ended: {}", s.spec.name, status);
    set_state(s, ServiceState::backoff, status);
    return;
  }
}

/// Stops the process if one is left. On shutdown it first waits until nothing stands on it any more.
void Supervisor::end(Service& s) {
  {
    std::unique_lock lock(mutex_);
    if (shutting_down_) changed_.wait(lock, [&] { return dependents_stopped(s); });
  }
  if (s.process.alive()) set_state(s, ServiceState::stopping);
  stop_service(s.process, s.spec.stop_timeout);
  {
    std::lock_guard lock(mutex_);
    s.process = {};
    s.adopted = false;
  }
  std::error_code ignored;
  std::filesystem::remove(s.pid_file, ignored);
  std::unique_lock lock(mutex_);
  if (shutting_down_ || !s.wanted || s.restart_asked) {
    lock.unlock();
    set_state(s, ServiceState::stopped);
  }
}

void Supervisor::back_off(Service& s) {
  std::unique_lock lock(mutex_);
  if (leave(s)) return;
  ++s.restarts;
  const bool lasted = steady_clock::now() - s.started > options_.backoff_reset;
  s.delay = lasted || s.delay.count() == 0 ? options_.backoff_min : std::min(s.delay * 2, options_.backoff_max);
  changed_.wait_for(lock, s.delay, [&] { return leave(s) || s.hurry; });
  s.hurry = false;
}

std::vector<Supervisor::Service*> Supervisor::matching(const std::string& name) const {
  std::vector<Service*> found;
  std::vector<std::string> known;
  for (const auto& s : services_) {
    const auto& aliases = s->spec.aliases;
    known.push_back(s->spec.name);
    known.insert(known.end(), aliases.begin(), aliases.end());
    if (s->spec.name == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end()) found.push_back(s.get());
  }
  if (found.empty()) {
    const std::string near = nearest_word(name, known);
    throw Fault(FaultKind::not_found, fmt::format("There is no service {}.", name),
                near.empty() ? "`virga service status` lists them." : fmt::format("Did you mean {}?", near));
  }
  return found;
}

void Supervisor::start(const std::string& name) {
  std::lock_guard lock(mutex_);
  for (Service* s : matching(name)) {
    s->wanted = true;
    s->hurry = s->state == ServiceState::backoff;
    s->delay = milliseconds(0);
    wake(*s);
  }
}

void Supervisor::stop(const std::string& name) {
  std::lock_guard lock(mutex_);
  for (Service* s : matching(name)) {
    s->wanted = false;
    wake(*s);
  }
}

void Supervisor::restart(const std::string& name) {
  std::lock_guard lock(mutex_);
  for (Service* s : matching(name)) {
    s->restart_asked = s->wanted;  // one that is stopped is only started
    s->wanted = true;
    s->delay = milliseconds(0);
    wake(*s);
  }
}

void Supervisor::shutdown() {
  {
    std::lock_guard lock(mutex_);
    shutting_down_ = true;
    for (auto& s : services_) wake(*s);
  }
  for (auto& s : services_)
    if (s->thread.joinable()) s->thread.join();
}

std::vector<ServiceStatus> Supervisor::status() const {
  std::vector<ServiceStatus> all;
  {
    std::lock_guard lock(mutex_);
    for (const auto& s : services_) {
      ServiceStatus row{s->spec.name, s->spec.aliases, s->state, s->wanted, s->adopted, s->process.pid};
      row.restarts = s->restarts;
      row.ready_after_ms = s->ready_after_ms;
      row.problem = s->problem;
      if (s->process.pid) row.uptime_s = uptime_s(s->process);
      all.push_back(std::move(row));
    }
  }
  for (ServiceStatus& row : all)
    if (row.pid) row.memory_kib = memory_kib(row.pid);
  return all;
}

bool Supervisor::wait_ready(milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] {
    return std::all_of(services_.begin(), services_.end(),
                       [](const auto& s) { return !s->wanted || s->state == ServiceState::ready; });
  });
}

}  // namespace virga::cloud
