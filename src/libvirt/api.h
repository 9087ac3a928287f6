#pragma once
// The libvirt driver: host::Hypervisor on libvirt's C API.
//
// One connection per driver, opened and re-opened by a thread of its own. While libvirtd is away every call
// throws Fault(unavailable) at once; when it is back, on_change is called for every domain seen before or
// now, since anything may have happened meanwhile. Guests do not depend on libvirtd and run on.
//
// A domain is ours if it carries our metadata element (xmlns https://virga.cloud/xmlns/1); list() shows the
// others with `ours` false, so that the agent can report them and leave them alone. The driver itself refuses
// (Fault conflict) to redefine, stop or undefine a domain that is not ours.
//
// Threads: any thread may call; a call blocks until libvirt answers. A libvirtd that stops answering is cut
// off by keepalive after 20 s, and the call then throws Fault(unavailable).

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "host/hypervisor.h"

namespace virga::libvirt {

struct Options {
  std::string uri = "qemu:///system";  ///< or "qemu+unix:///system?socket=/run/virga/libvirt/libvirt-sock"
  std::string virt_type = "auto";      ///< "kvm", "qemu" (TCG), "auto"; "test" for libvirt's test:///default
  /// Asked once when virt_type is "auto": qemu::probe_kvm, usually. Without it, "auto" means "qemu".
  std::function<bool()> kvm_usable;
  std::string cpu_mode;    ///< libvirt's <cpu mode=…>; "" chooses by virt_type
  std::string disk_cache;  ///< libvirt's cache=…; "" is QEMU's default
  /// OVS runs its userspace datapath, which needs checksum offload off in the guest's NIC.
  bool userspace_datapath = false;
  /// Path prefixes as libvirtd sees them -> as this process does, for a libvirtd in a mount namespace of its
  /// own.
  std::map<std::string, std::string> path_map;
};

/// Never throws because libvirtd is away; the calls do.
std::unique_ptr<host::Hypervisor> connect(Options options);

}  // namespace virga::libvirt
