#pragma once
// The agent: what runs on each compute host. It dials a controller, takes its assignment (what should be
// here), makes it so, and reports what it observes. It never touches the database, and no message is a
// command: the assignment is a state, `plan(desired, present)` in plan.h says which steps lead there, and a
// crash at any point only means that the plan is made again from what the hypervisor and the files then show.
//
// What it refuses: an assignment whose cloud epoch went backwards; a server whose fence is below one seen
// before. What it never does: remove something because nobody mentions it. Such domains and folders are
// reported as quarantined and left alone; removal needs State::absent.
//
// Threads: a loop (timers, inbox, reports), one serial queue per server on a few workers (serial_queues.h),
// gRPC's own, one per open console, one for metadata. Agent's functions are thread-safe.

#include <memory>

#include "base/clock.h"
#include "host/hypervisor.h"
#include "host/storage.h"
#include "link/api.h"

namespace virga::host {

struct AgentOptions {
  std::string state_dir;    ///< host id, journal
  std::vector<std::string> link_targets;  ///< "unix:/run/virga/agent.sock", or ADDRESS:PORT of each controller
  std::string identity_dir = {};  ///< where an enrolled host keeps its proof, for addresses; see read_credentials
  std::string hostname, address, chassis;
  HostId host_id;  ///< empty: kept in state_dir/host_id, made at first start
  std::function<void()> on_controllers = {};  ///< there are others now than known_controllers() gave before
  std::string status_file = {};  ///< what run_agent writes AgentStatus to, as JSON, when it changes; "": nowhere
  GiB disk;        ///< 0: the size of the file system of the instances
  std::string bridge = "br-int";
  std::string migrate_dir = {};  ///< sockets of servers that come or leave as they run, for libvirt the same on each host; "": state_dir/migrate
  std::string ovsdb;  ///< "unix:/run/virga/ovs/db.sock"; empty: no metadata service here
  int workers = 8;
  std::chrono::milliseconds shutdown_timeout{60'000};  ///< a guest's time to power off when asked
  std::chrono::milliseconds shutdown_repeat{2'000};    ///< a guest that still boots misses the first request
  std::chrono::milliseconds resync{10'000};
  std::chrono::milliseconds step_deadline{60'000};  ///< then a step is reported as hung
  /// For each GiB of memory and disk, and for two at least: a server that has not left by then stays (nova's
  /// live_migration_completion_timeout and its default).
  std::chrono::milliseconds departure_limit{800'000};
  std::chrono::milliseconds retry_min{500}, retry_max{30'000};
  int max_attempts = 5;  ///< of a step that fails for an unknown reason; "unavailable" is retried for ever
};

/// ADDRESS:PORT of the controllers that the host was given, and of those its agent was told of since.
std::vector<std::string> known_controllers(const std::vector<std::string>& given, const std::string& state_dir);

struct AgentStatus {
  bool connected = false;
  std::string problem;  ///< why it is not connected, or ""
  int64_t epoch = 0;
  size_t servers = 0;
  std::string refused;            ///< the last assignment refused and why, or ""
  std::vector<std::string> hung;  ///< "server … step … for … s"
};

class Agent {
 public:
  /// Starts at once. `hypervisor` and `storage` must outlive it.
  Agent(AgentOptions options, Hypervisor& hypervisor, Storage& storage, Clock& clock);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  AgentStatus status() const;
  /// Gets an enrolled host another certificate if less than four months are left of the one it has. True if it did.
  /// Throws Fault(unavailable) if it is not connected.
  bool refresh_certificate();
  class Core;

 private:
  std::shared_ptr<Core> core_;
};

/// Runs an agent until SIGTERM or SIGINT; the process's exit code. Call before any other thread starts.
int run_agent(const AgentOptions& options, Hypervisor& hypervisor, Storage& storage);

/// An enrolled host's proof: DIR/host.pem (certificate and key in one file, so that nobody reads halves of two) and
/// DIR/ca.pem, 0600. Throws Fault(not_found).
link::Credentials read_credentials(const std::string& dir);
void write_credentials(const std::string& dir, const link::Credentials& credentials);

/// The fake hypervisor and its files, for benches and API tests. `state_file` empty: memory only.
struct FakeHost {
  std::unique_ptr<Hypervisor> hypervisor;
  std::unique_ptr<Storage> storage;  ///< refers to the hypervisor: destroyed first
};
FakeHost make_fake_host(const std::string& state_file);

}  // namespace virga::host
