#pragma once
// The engines that are not ours, as services: Open vSwitch, OVN and libvirt, each on sockets and databases of its own
// under the cloud's directories, so that several clouds, and the distribution's own daemons, live side by side.
//
// In a trial they run in the network namespace; libvirtd also has a mount namespace in which /etc/libvirt,
// /run/libvirt and the rest are folders of the cloud. In host mode daemons of the distribution that already run are
// used as they are (distribution.h): Open vSwitch, on it OVN, ovn-controller and libvirtd. `serve` has no right to the
// sockets of the distribution's OVN, so ours are then relays of its databases (ovsdb-server's own relay mode).

#include <string>
#include <vector>

#include "base/config.h"
#include "cloud/supervised_process.h"

namespace virga::cloud {

/// What stands where, after looking at the machine.
struct Engines {
  std::string ovs_run, ovn_run, libvirt_home, libvirt_run;
  std::string ovs_socket, nb_socket, sb_socket, libvirt_socket;
  std::string chassis_remote;        ///< the southbound database for ovn-controller: "unix:…", or "ssl:…" of controllers
  std::string chassis;               ///< OVN's name of this host
  bool none = false;                 ///< the fake hypervisor needs no engine at all
  bool central = true;               ///< OVN's databases and ovn-northd are here
  bool stand_in = false;             ///< …for when the first controller is away, see network::Options
  bool own_ovs = true, own_ovn = true, own_controller = true, own_libvirt = true;
  bool userspace_datapath = false;
  bool kvm = false;                  ///< guests run under KVM
};

/// Has the kernel load Open vSwitch's module, if the configuration lets it use that datapath and the kernel has one. A trial
/// takes the module only if it is loaded already.
void load_kernel_datapath(const Config& config);
/// Decides; changes nothing. `kvm_usable` is asked if virt_type is "auto".
Engines find_engines(const Config& config, const std::function<bool()>& kvm_usable);
std::string compute_host_name(const Config& config);
/// OVN's southbound databases for the ovn-controller of a host that joined, one at each controller: "ssl:…,ssl:…".
std::string southbound_of(const Config& config);
/// Lets ovn-controllers of other hosts in to the southbound database here, over TLS, or puts them out.
void serve_chassis(const Config& config, const std::string& southbound_socket, bool open);

/// Creates or converts the OVS and OVN databases. Idempotent.
void prepare_databases(const Config& config, const Engines& engines);
/// libvirt's folders and settings. Idempotent.
void prepare_libvirt(const Config& config, const Engines& engines);
/// Bridges, the external interface, OVN's settings in OVS, and where this host is the outside: the gateway's address on
/// br-ex. Idempotent.
void set_up_switch(const Config& config, const Engines& engines);
/// Host mode: throws Fault if external_interface is missing, or holds addresses that would be cut off.
void check_uplink(const Config& config);
/// Host mode: takes out of Open vSwitch what set_up_switch put in. Throws Fault(unavailable) if it does not run.
void restore_switch(const Config& config, const Engines& engines);

/// The services, in starting order.
std::vector<ServiceSpec> engine_services(const Config& config, const Engines& engines);

/// Powers off the guests of our own libvirtd: SIGTERM to QEMU, which closes the disks; SIGKILL after the deadline.
void stop_guests(const Engines& engines, std::chrono::milliseconds deadline);

}  // namespace virga::cloud
