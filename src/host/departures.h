#pragma once
// Servers that leave this host while they run, and the way for those that come: between the hypervisors of both hosts there is
// no network, only sockets, each of which is one channel of the agents' link.
//
//     hypervisor -- control -- agent == controller(s) == agent -- the other hypervisor
//     QEMU ------- memory ---- agent == controller(s) == agent -- memory --- QEMU
//     QEMU ------- disk ------ agent == controller(s) == agent -- disk ----- QEMU
//
// A departure is on one thread of its own, so that it holds none of the agent's workers. If the agent ends, so do the sockets,
// and with them the departure: the domain runs on where it is.
//
// Thread-safe.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "host/hypervisor.h"
#include "link/api.h"

namespace virga::host {

constexpr std::string_view kControlChannel = "control", kMemoryChannel = "memory", kDiskChannel = "disk",
                           kDescriptionChannel = "description";

constexpr size_t kLongestDescription = 64 << 10;

/// A domain's sockets in a folder. QEMU's own end in what libvirt's AppArmor profiles let each domain use:
/// /run/libvirt/**/*.tunnelmigrate.dest.NAME.
MigrationPath migration_sockets(const std::string& folder, const std::string& domain);
/// Makes the folder, which is QEMU's, and removes those sockets.
void clear_sockets(const std::string& folder, const std::string& domain);

class Departures {
 public:
  /// Passes bytes between a socket and the channel's other end; see link::AgentConnection::tunnel.
  using Tunnel = std::function<void(const ServerId&, const std::string& channel, int socket)>;
  struct State {
    bool over = false, ok = false;
    std::string cause, hint;
    std::optional<MigrationProgress> progress;
    std::chrono::milliseconds lasts{0};  ///< since it began, while it is not over
  };

  /// `changed` is told when one is over.
  Departures(Hypervisor& hypervisor, std::string folder, Tunnel tunnel, std::function<void(const ServerId&)> changed);
  /// Breaks off what is under way, and waits.
  ~Departures();

  /// What this operation has come to; nothing if it was not begun since the agent started.
  std::optional<State> look(const ServerId& server, const OperationId& operation);
  void begin(const ServerId& server, const std::string& domain, const OperationId& operation);
  /// Both without effect on one that is over. `cause`: what it then ends with.
  void abort(const ServerId& server, const std::string& cause = "It was aborted.");
  void hurry(const ServerId& server);
  /// One that is over, and was told of.
  void forget(const ServerId& server);
  /// Forgets one that is over, and removes the sockets of a server that is not just leaving.
  void tidy(const ServerId& server, const std::string& domain);
  void stop();

 private:
  class Departure;
  std::shared_ptr<Departure> find(const ServerId& server);

  Hypervisor& hypervisor_;
  const std::string folder_;
  const Tunnel tunnel_;
  const std::function<void(const ServerId&)> changed_;
  std::mutex mutex_;
  std::map<ServerId, std::shared_ptr<Departure>> all_;
};

}  // namespace virga::host
