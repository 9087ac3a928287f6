#pragma once
// network.underlay_interface: where tunnels leave a host on Open vSwitch's userspace datapath.
//
// That datapath sends and receives tunnels itself, so the tunnel address must lie on a bridge of its own
// kind: br-phy, which takes the interface as its port, and takes over the interface's MAC, IPv4 addresses and
// routes. The kernel still sees what arrives on the interface, and would answer it a second time; two
// settings of the interface (rp_filter, arp_ignore) stop that. What the interface had is remembered in
// state_dir/underlay.json until it is given back.
//
// All functions are idempotent, block, and throw Fault.

#include "base/config.h"
#include "base/json.h"
#include "cloud/engines.h"

namespace virga::cloud {

inline constexpr const char* kUnderlayBridge = "br-phy";

/// Throws Fault if the interface is missing, the datapath is the kernel's (which needs none), or encap_ip is
/// no address of it.
void check_underlay(const Config& config);
/// After Open vSwitch has made br-phy with the interface as port: moves addresses and routes. Nothing is out
/// of reach in between, since br-phy has an address before the interface loses it.
void take_underlay(const Config& config);
/// After br-phy, or the daemon that carried it, is gone: the interface gets back what it had.
void give_underlay_back(const Config& config);
/// The interface whose addresses br-phy has taken, or "".
std::string taken_underlay(const Config& config);

}  // namespace virga::cloud
