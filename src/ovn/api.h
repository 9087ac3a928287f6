#pragma once
// OVN and Open vSwitch, through OVSDB (RFC 7047), without their command-line tools.
//
// The network service describes what OVN's northbound database should hold (northbound.h); NorthboundWriter
// compares that with a replica of the database and sends what differs. It is level-triggered: sync() of the
// same content twice sends nothing the second time, so it may be repeated after any doubt, and rows that are
// not ours stay untouched. ovn-northd and each chassis' ovn-controller do the rest; NorthboundWriter and
// SouthboundWatcher hear how far they got. LocalSwitch is an agent's (and the installer's) hold on its own
// host's Open vSwitch.
//
// All classes connect in the background, reconnect for ever, and are thread-safe. Their callbacks come from
// the reader thread of the connection, initial content included (and, after a reconnection, what changed
// meanwhile): they must be quick (hand over to a queue), and must not call back into the object. While not
// connected, calls throw Fault(unavailable); repeat them later.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fault.h"
#include "ovn/northbound.h"

namespace virga::ovn {

class Client;
class Replica;
struct Unit;

struct SyncResult {
  size_t operations = 0;  ///< sent; 0 = everything was right already
  int64_t nb_cfg = 0;  ///< the configuration number of this change, for wait_hypervisors(); 0 if not marked
};

class NorthboundWriter {
 public:
  struct Options {
    std::string remote;  ///< "unix:/run/virga/ovn/ovnnb_db.sock"
    /// A VIF's port came up on its chassis, or went down.
    std::function<void(const std::string& port, bool up)> on_port_status;
    std::function<void(bool connected)> on_state;
    size_t max_operations = 2000;  ///< in one transaction; larger changes are cut between objects
  };
  explicit NorthboundWriter(Options options);
  ~NorthboundWriter();

  bool wait_connected(std::chrono::milliseconds timeout) const;
  /// Makes the whole database equal to `desired`: at start, and when in doubt. `mark` as below.
  SyncResult reconcile(const Northbound& desired, bool mark = true);
  /// Applies a part. `mark` bumps nb_cfg, which makes each chassis write a row of its own when it is done:
  /// use it when someone waits for that, not for each of a thousand ports.
  SyncResult sync(const NorthboundChange& change, bool mark = false);
  /// True once every chassis has applied the change with this number (a dead chassis holds this up).
  bool wait_hypervisors(int64_t nb_cfg, std::chrono::milliseconds timeout) const;
  /// True once ovn-northd has written what follows from that change to the southbound database.
  bool wait_southbound(int64_t nb_cfg, std::chrono::milliseconds timeout) const;
  /// The newest epoch of the cloud's database that OVN's remembers (NB_Global, external_ids "virga:epoch"); 0
  /// if none.
  int64_t seen_epoch() const;
  void see_epoch(int64_t epoch);
  /// Port status of all VIFs as OVN knows it now.
  std::map<std::string, bool> port_status() const;

 private:
  SyncResult apply(const std::function<std::vector<Unit>()>& plan, bool mark);
  Options options_;
  std::unique_ptr<Client> client_;
};

struct Chassis {
  std::string name;  ///< system-id
  std::string hostname;
  std::vector<std::string> encap_types, encap_ips;
  std::vector<std::string> physical_networks;  ///< that it has a bridge for (ovn-bridge-mappings)
  int64_t nb_cfg = 0;                          ///< last configuration number it applied
  int64_t nb_cfg_timestamp = 0;  ///< when, in milliseconds since the epoch: stale after a bump = dead
};

class SouthboundWatcher {
 public:
  struct Options {
    std::string remote;
    std::function<void(const std::string& port, const std::string& hostname)> on_port_up;
    std::function<void(const std::string& port)> on_port_down;
    std::function<void()> on_chassis_change;
  };
  explicit SouthboundWatcher(Options options);
  ~SouthboundWatcher();
  bool wait_connected(std::chrono::milliseconds timeout) const;
  std::vector<Chassis> chassis() const;
  /// The chassis' hostname if the port is bound and up; nothing otherwise.
  std::optional<std::string> port_host(const std::string& port) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::unique_ptr<Client> client_;
};

/// The Open vSwitch of this host. Each change waits until ovs-vswitchd has applied it and throws
/// Fault(internal) with its cause if it could not, Fault(timeout) if ovs-vswitchd does not react.
class LocalSwitch {
 public:
  struct Options {
    std::string remote;                              ///< "unix:/run/openvswitch/db.sock"
    std::chrono::milliseconds apply_timeout{10000};  ///< 0 = do not wait (no ovs-vswitchd yet)
  };
  struct Bridge {
    std::string name;
    std::string datapath_type;  ///< "system" (kernel) or "netdev" (userspace)
    std::string fail_mode;      ///< "", "secure", "standalone"
    TextMap other_config, external_ids;
  };
  struct Port {
    std::string name, bridge;
    std::string type;      ///< "" (an existing device) or "internal"
    TextMap external_ids;  ///< of the interface: iface-id binds it to a logical switch port
  };
  explicit LocalSwitch(Options options);
  ~LocalSwitch();

  bool wait_connected(std::chrono::milliseconds timeout) const;
  std::string version() const;  ///< ovs_version as ovs-ctl notes it; "" if OVS was started without
  std::vector<std::string> datapath_types() const;  ///< "netdev", "system"
  std::vector<std::string> ports(const std::string& bridge) const;
  /// Sets keys of Open_vSwitch.external_ids (system-id, hostname, ovn-remote, ovn-encap-type, ovn-encap-ip,
  /// ovn-bridge-datapath-type, ovn-bridge-mappings, …); no value removes the key; other keys stay.
  void configure(const std::map<std::string, std::optional<std::string>>& external_ids);
  void ensure_bridge(const Bridge& bridge);
  void delete_bridge(const std::string& name);  ///< succeeds if there is none
  void ensure_port(const Port& port);
  void delete_port(const std::string& name);  ///< succeeds if there is none
  /// Deletes the bridge's ports of which `doomed(name)` says so, as they are at that moment: a port that
  /// somebody has made anew under the same name stays. Returns how many. `doomed` must be quick, and not call
  /// back.
  size_t delete_ports(const std::string& bridge, const std::function<bool(const std::string& name)>& doomed);

 private:
  void commit(const std::function<json::array(const Replica&)>& plan);
  Options options_;
  std::unique_ptr<Client> client_;
};

}  // namespace virga::ovn
