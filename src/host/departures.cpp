#include "host/departures.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <list>

#include "base/log.h"
#include "base/scope_exit.h"
#include "base/unix_socket.h"
#include "host/qemu_user.h"

namespace virga::host {
namespace {

namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;

/// Listens on a socket; each connection becomes a tunnel of its own.
class Relay {
 public:
  Relay(const std::string& path, std::function<void(int socket)> tunnel) : tunnel_(std::move(tunnel)), listener_(listen_unix(path)) {
    thread_ = std::thread([this] { run(); });
  }
  ~Relay() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (auto& c : connections_) ::shutdown(c.socket, SHUT_RDWR);
    for (auto& c : connections_) {
      c.thread.join();
      ::close(c.socket);
    }
    ::close(listener_);
  }

 private:
  struct Connection {
    int socket = -1;
    std::thread thread;
  };
  void run() {
    while (!stopping_) {
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      if (socket < 0) return;
      connections_.push_back({socket, std::thread([this, socket] {
                                tunnel_(socket);
                                ::shutdown(socket, SHUT_RDWR);
                              })});
    }
  }

  const std::function<void(int)> tunnel_;
  const int listener_;
  std::atomic<bool> stopping_{false};
  std::list<Connection> connections_;  ///< run()'s, then the destructor's
  std::thread thread_;
};

/// Nothing if it is longer than any description.
std::optional<std::string> read_description(int socket) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(socket, buffer, sizeof buffer, 0)) > 0 || (n < 0 && errno == EINTR);) {
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    if (text.size() > kLongestDescription) return std::nullopt;
  }
  return text;
}

}  // namespace

MigrationPath migration_sockets(const std::string& folder, const std::string& domain) {
  const auto path = [&](const char* what) { return fmt::format("{}/{}.tunnelmigrate.dest.{}", folder, what, domain); };
  return {path("control"), path("memory"), path("disk"), ""};
}

void clear_sockets(const std::string& folder, const std::string& domain) {
  fs::create_directories(folder);
  fs::permissions(folder, fs::perms(0711));
  give_to_qemu(folder);
  const auto sockets = migration_sockets(folder, domain);
  for (const auto& socket : {sockets.control, sockets.memory, sockets.disk}) fs::remove(socket);
}

class Departures::Departure {
 public:
  Departure(Departures& owner, ServerId server, std::string domain, OperationId operation)
      : owner_(owner), server_(std::move(server)), domain_(std::move(domain)), operation_(std::move(operation)), thread_([this] { run(); }) {}
  ~Departure() { thread_.join(); }

  const OperationId& operation() const { return operation_; }
  State state() {
    State state;
    {
      std::lock_guard lock(mutex_);
      state = state_;
    }
    if (state.over) return state;
    state.progress = owner_.hypervisor_.migration_progress(server_);
    state.lasts = std::chrono::duration_cast<std::chrono::milliseconds>(Steady::now() - began_);
    return state;
  }
  bool over() {
    std::lock_guard lock(mutex_);
    return state_.over;
  }
  /// Until the hypervisor has begun there is nothing to cancel there: then the next step is not taken.
  void hurry() {
    std::lock_guard lock(mutex_);
    if (!state_.over && owner_.hypervisor_.hurry_migration(server_)) hurried_ = true;
  }
  void abort(const std::string& cause) {
    aborted_ = true;
    std::lock_guard lock(mutex_);
    if (why_.empty()) why_ = cause;
    if (description_ >= 0) ::shutdown(description_, SHUT_RDWR);
    if (!state_.over) owner_.hypervisor_.cancel_migration(server_);
  }

 private:
  void run() {
    State end{.over = true};
    try {
      leave();
      end.ok = true;
    } catch (const Fault& fault) {
      run_on();
      end.cause = aborted_ ? why() : fault.message;
      end.hint = aborted_ ? "" : fault.hint;
    } catch (const std::exception& e) {
      end.cause = e.what();
    }
    {
      std::lock_guard lock(mutex_);
      state_ = std::move(end);
    }
    owner_.changed_(server_);
  }

  std::string why() {
    std::lock_guard lock(mutex_);
    return why_;
  }

  /// A guest that was held still for nothing.
  void run_on() try {
    if (hurried_) owner_.hypervisor_.resume(server_);
  } catch (const Fault& fault) {
    log::warn("server {}: {}", server_.str(), fault.message);
  }

  void leave() {
    MigrationPath path = migration_sockets(owner_.folder_, domain_);
    path.description = ask_for_description();
    clear_sockets(owner_.folder_, domain_);
    ScopeExit remove([&] { clear_sockets(owner_.folder_, domain_); });
    std::list<Relay> relays;
    const auto relay = [&](std::string_view channel, const std::string& socket) {
      relays.emplace_back(socket, [this, channel](int fd) { tunnel(channel, fd); });
    };
    relay(kControlChannel, path.control);
    relay(kMemoryChannel, path.memory);
    relay(kDiskChannel, path.disk);
    for (const auto& socket : {path.memory, path.disk}) give_to_qemu(socket);
    if (aborted_) throw Fault(FaultKind::conflict, "aborted");
    owner_.hypervisor_.migrate(server_, path);
  }

  std::string ask_for_description() {
    const auto ends = socket_pair();
    {
      std::lock_guard lock(mutex_);
      description_ = ends[0];
    }
    std::optional<Fault> broken;
    std::thread far([&] {
      try {
        owner_.tunnel_(server_, std::string(kDescriptionChannel), ends[1]);
      } catch (const Fault& fault) {
        broken = fault;
      }
      ::shutdown(ends[1], SHUT_RDWR);
    });
    ::shutdown(ends[0], SHUT_WR);
    const auto text = read_description(ends[0]);
    ::shutdown(ends[0], SHUT_RDWR);
    far.join();
    {
      std::lock_guard lock(mutex_);
      description_ = -1;
    }
    ::close(ends[0]);
    ::close(ends[1]);
    if (text && !text->empty()) return *text;
    if (!text) throw Fault(FaultKind::unavailable, "the other host describes the server at too great a length");
    throw broken.value_or(Fault(FaultKind::unavailable, "the other host does not say what the server is to be there"));
  }

  void tunnel(std::string_view channel, int socket) try {
    owner_.tunnel_(server_, std::string(channel), socket);
  } catch (const Fault& fault) {
    if (!aborted_) log::warn("server {}: the {} channel to its next host: {}", server_.str(), channel, fault.message);
  }

  Departures& owner_;
  const ServerId server_;
  const std::string domain_;
  const OperationId operation_;
  const Steady::time_point began_ = Steady::now();
  std::atomic<bool> aborted_{false}, hurried_{false};
  std::mutex mutex_;
  State state_;
  std::string why_;  ///< it is to end
  int description_ = -1;
  std::thread thread_;
};

Departures::Departures(Hypervisor& hypervisor, std::string folder, Tunnel tunnel, std::function<void(const ServerId&)> changed)
    : hypervisor_(hypervisor), folder_(std::move(folder)), tunnel_(std::move(tunnel)), changed_(std::move(changed)) {}

Departures::~Departures() { stop(); }

void Departures::stop() {
  std::map<ServerId, std::shared_ptr<Departure>> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(all_);
  }
  for (auto& [id, departure] : all) try {
      departure->abort("The agent of its host ended.");
    } catch (const std::exception& e) {
      log::warn("server {}: {}", id.str(), e.what());
    }
}

void Departures::tidy(const ServerId& server, const std::string& domain) {
  forget(server);  // of one that was deleted on its way nobody asks any more
  if (!find(server) && fs::exists(folder_)) clear_sockets(folder_, domain);
}

std::shared_ptr<Departures::Departure> Departures::find(const ServerId& server) {
  std::lock_guard lock(mutex_);
  const auto it = all_.find(server);
  return it == all_.end() ? nullptr : it->second;
}

std::optional<Departures::State> Departures::look(const ServerId& server, const OperationId& operation) {
  const auto departure = find(server);
  if (!departure || departure->operation() != operation) return std::nullopt;
  return departure->state();
}

void Departures::begin(const ServerId& server, const std::string& domain, const OperationId& operation) {
  std::lock_guard lock(mutex_);
  auto& departure = all_[server];
  if (departure && !departure->over()) throw Fault(FaultKind::unavailable, "the server is just leaving this host");
  departure = std::make_shared<Departure>(*this, server, domain, operation);
}

void Departures::abort(const ServerId& server, const std::string& cause) {
  if (const auto departure = find(server)) departure->abort(cause);
}

void Departures::hurry(const ServerId& server) {
  if (const auto departure = find(server)) departure->hurry();
}

void Departures::forget(const ServerId& server) {
  std::shared_ptr<Departure> gone;
  std::lock_guard lock(mutex_);
  const auto it = all_.find(server);
  if (it == all_.end() || !it->second->over()) return;
  gone = std::move(it->second);
  all_.erase(it);
}

}  // namespace virga::host
