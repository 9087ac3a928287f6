#pragma once
// Host mode: which of the distribution's daemons this cloud uses. Looked at when the cloud comes up for the first time,
// and kept in state_dir from then on: bridges, ports and domains lie in the daemons that were chosen, so a daemon that
// starts later, or is away for a moment, must not change the choice. `virga down --purge` forgets it.

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace virga::cloud {

inline constexpr const char* kSystemSwitchRun = "/run/openvswitch";
inline constexpr const char* kSystemOvnRun = "/run/ovn";
inline constexpr const char* kSystemLibvirtSocket = "/run/libvirt/libvirt-sock";

/// What the distribution's Open vSwitch held before this cloud changed it; a purge makes it so again.
struct SwitchBefore {
  struct Bridge {
    std::string datapath_type;
    std::map<std::string, std::string> external_ids;
  };
  std::map<std::string, std::string> external_ids;
  std::map<std::string, Bridge> bridges;
  std::vector<std::string> ports;
};

struct Distribution {
  bool openvswitch = false;  ///< without it, nothing else of the distribution is used: its daemons know only this one
  bool ovn = false;          ///< northbound, southbound, northd
  bool controller = false;   ///< ovn-controller
  bool libvirt = false;
  std::string chassis;       ///< its Open vSwitch's system-id, or ""
  std::optional<SwitchBefore> before;
};

/// True if something accepts connections on a unix socket.
using Answers = std::function<bool(const std::string& socket_path)>;

/// What runs now.
Distribution look_at_distribution(const Answers& answers);
/// What was chosen; nothing before the first start, and never in a trial.
std::optional<Distribution> chosen_distribution(const Config& config);
void keep_distribution(const Config& config, const Distribution& choice);

/// Chooses at the first start; later waits until the chosen daemons answer (the machine may be booting).
/// Throws Fault(unavailable) that names the daemon, Fault(conflict) if the distribution's Open vSwitch came up beside
/// ours on the kernel's datapath, where each would remove the other's ports.
void settle_distribution(const Config& config, bool userspace_datapath, const Answers& answers,
                         std::chrono::milliseconds patience = std::chrono::seconds(30));

}  // namespace virga::cloud
