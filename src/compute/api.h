#pragma once
// Compute: the Compute API v2.1 (microversions 2.1 to 2.93). A boot is one transaction: quota, placement allocation,
// ports, server row and operation, or nothing. The agent of the chosen host pulls its assignment and reports what it
// sees; vm_state, task_state and power_state are materialised by one function from desired + observed + operation.
//
// Threads: everything here is thread-safe.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/clock.h"
#include "controllers/api.h"
#include "db/api.h"
#include "identity/api.h"
#include "image/api.h"
#include "link/api.h"
#include "network/api.h"
#include "placement/api.h"

namespace virga::compute {

struct Options {
  double cpu_allocation_ratio = 16.0, ram_allocation_ratio = 1.5, disk_allocation_ratio = 1.0;
  int64_t reserved_host_memory_mb = 512, reserved_host_disk_gb = 0;
  std::map<std::string, int64_t> quotas;  ///< "instances", "cores", "ram", "key_pairs", … ; absent = nova's default
  bool force_config_drive = false;
  bool restart_servers = false;  ///< of lost hosts, by themselves; else only those with the metadata ha:restart=auto
  std::chrono::seconds fence_after{30};  ///< of silence
  std::string console_base_url;           ///< "" = from the request
  std::vector<std::string> novnc_folders;  ///< the first that has a file serves it at /console

  // With several controllers: who they are, and a word to the others after a commit that "server" or "host" ID is to be looked at
  // again. A word may be lost: look_around() finds the same.
  const controllers::Controllers* controllers = nullptr;
  std::function<void(std::string_view what, const std::string& id)> tell_others = {};
  /// A stream of the bytes of an upload that is here; see link::Controller::open_upload.
  std::function<std::function<size_t(std::span<char>)>(const std::string&)> open_upload = {};

  // What enrolment knows of hosts; without these every host may connect.
  /// Throws Fault(forbidden) unless who has this certificate (PEM, or "" on this machine) may speak for the host. Only
  /// reads; true if it is to be remembered that the host uses this certificate now: then `settle_certificate` writes that.
  std::function<bool(db::Tx&, const link::HostFacts&, const std::string&)> admit = {};
  std::function<void(db::Tx&, const link::HostFacts&, const std::string&)> settle_certificate = {};
  std::function<std::string(const HostId&, const std::string&)> renew = {};  ///< see link::Controller
  std::function<void(db::Tx&, const HostId&)> forget_host = {};             ///< it was removed
};

/// A compute host that is silent, with servers that are to be built again elsewhere as soon as somebody has made sure that it
/// is off.
struct LostHost {
  HostId id;
  std::string name, address;
  int64_t servers = 0;  ///< that wait for that
  bool fenced = false;  ///< somebody has: they wait for room elsewhere
};

/// Something an operator should look at now.
struct Problem {
  std::string where;  ///< a host's name, or "database"
  std::string what;
  Time since;
};

class Compute : public link::Controller {
 public:
  /// What keeps hosts from their work, for `virga status`.
  virtual std::vector<Problem> problems() = 0;
  /// Hosts to be fenced now, as far as that is this controller's work (one's at a time).
  virtual std::vector<LostHost> lost_hosts() = 0;
  /// The host is off: it counts as forced down, and its servers that wait for that are built again elsewhere. How many were;
  /// what does not find a host is tried again at the next call. Throws Fault(conflict) if the host was heard meanwhile.
  virtual int64_t host_fenced(const HostId& host) = 0;
  /// Another controller's word (Options::tell_others).
  virtual void look_again(const std::string& what, const std::string& id) = 0;
  /// What other controllers have done since: which hosts they hear, what they want of hosts that are connected here. To be
  /// called every second or so when there may be others. Throws Fault(unavailable).
  virtual void look_around() = 0;
  /// Address of the link of the living controller that this host is connected to, if that is another one; else "".
  virtual std::string controller_of(const HostId& host) = 0;
  virtual api::Service& service() = 0;
  /// Consoles: noVNC-style WebSocket at /console (vnc and serial), one-time tokens, Origin checked.
  virtual api::Service& console_service() = 0;
  /// Gives the hub once the link serves; before that, pushes are skipped (agents get full assignments on connect).
  virtual void attach(link::AgentHub& hub) = 0;
  /// Starts and stops the background work (port-status wake-ups, dead-host detection).
  virtual void start() = 0;
  virtual void stop() = 0;
};

std::unique_ptr<Compute> make_compute(Options options, db::Database& database, const Clock& clock,
                                      identity::Identity& identity, image::Images& images, network::Networks& networks,
                                      placement::Placement& placement);

/// The operator takes a database that is older than its hosts (a restored backup) for the truth: hosts accept it
/// again, what it does not know stays there in quarantine. False if no host has found it older.
bool accept_restored_database(db::Database& database);

}  // namespace virga::compute
