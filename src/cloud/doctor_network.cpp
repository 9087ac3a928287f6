// Doctor's checks of the host's network and of the installed software.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "cloud/doctor.h"

namespace virga::cloud {
namespace {

bool process_runs(const HostView& host, const std::string& name) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(host.root + "/proc", ignored)) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") == std::string::npos && host.read("/proc/" + pid + "/comm") == name + "\n") return true;
  }
  return false;
}

/// In a trial the ranges live in a namespace: a collision only hides that part of the world from `virga`'s users. In host
/// mode the external range is the world's own, so a route to it is right if it leads through the external bridge or a
/// gateway; private ranges are never the host's.
CheckRow ranges(const Config& config, const HostView& host) {
  if (!config.has_compute()) return {"ranges", "Address ranges", Health::pass, "no guests here", ""};
  std::vector<std::string> hits;
  std::vector<std::string> ranges = {config.network.external_cidr};
  if (config.trial()) ranges.push_back(config.network.private_cidr);
  const auto leads_out = [&](const netns::Route& route) {
    if (config.trial()) return false;
    return !route.gateway.empty() || std::any_of(config.network.bridge_mappings.begin(), config.network.bridge_mappings.end(), [&](const std::string& m) {
      return m.substr(m.find(':') + 1) == route.device;
    });
  };
  for (const netns::Route& route : host.routes())
    for (const std::string& range : ranges)
      if (!leads_out(route) && route.destination != "default" && ranges_overlap(route.destination, range))
        hits.push_back(fmt::format("{} meets the route {} ({})", range, route.destination, route.device));
  if (hits.empty()) return {"ranges", "Address ranges", Health::pass, "none of the cloud's ranges is routed here", ""};
  return {"ranges", "Address ranges", config.trial() ? Health::warn : Health::fail, fmt::format("{}", fmt::join(hits, "; ")),
          "Choose other ranges: network.external_cidr (with its gateway and pool), network.private_cidr."};
}

/// Host mode's two addresses that must fit this machine.
CheckRow uplink(const Config& config, const HostView& host) {
  const std::string& device = config.network.external_interface;
  if (config.trial()) return {"uplink", "External interface", Health::pass, "a trial has none", ""};
  if (device.empty())
    return {"uplink", "External interface", Health::pass, "none: this host itself is the gateway of the external network", ""};
  if (!host.exists("/sys/class/net/" + device))
    return {"uplink", "External interface", Health::fail, fmt::format("{} is not an interface of this host", device), "network.external_interface; `ip link` lists them."};
  for (const netns::Route& route : host.routes())
    if (route.device == device)
      return {"uplink", "External interface", Health::fail, fmt::format("the route {} leads over {}: it would be cut off", route.destination, device),
              "Use an interface without addresses, or give the bridge to the distribution's Open vSwitch."};
  return {"uplink", "External interface", Health::pass, fmt::format("{} is there and free", device), ""};
}

/// Whether the kernel has it, or would load it in host mode (load_kernel_datapath).
bool kernel_datapath(const Config& config, const HostView& host) {
  if (config.network.datapath == "netdev") return false;
  return host.exists("/sys/module/openvswitch") || (!config.trial() && host.run({"modprobe", "--dry-run", "openvswitch"}).ok());
}

/// The userspace datapath sends tunnels only from a bridge of its own.
CheckRow tunnels(const Config& config, const HostView& host) {
  const char* title = "Tunnels to other hosts";
  const auto& n = config.network;
  if (config.trial()) return {"tunnels", title, Health::pass, "a trial has none", ""};
  if (!config.has_compute()) return {"tunnels", title, Health::pass, "no guests here", ""};
  if (!n.underlay_interface.empty() && !host.exists("/sys/class/net/" + n.underlay_interface))
    return {"tunnels", title, Health::fail, fmt::format("{} is not an interface of this host", n.underlay_interface),
            "network.underlay_interface (or virga join --underlay-interface); `ip link` lists them."};
  if (kernel_datapath(config, host)) return {"tunnels", title, Health::pass, fmt::format("the kernel's, from {}", n.encap_ip), ""};
  if (!n.underlay_interface.empty()) return {"tunnels", title, Health::pass, fmt::format("through {}", n.underlay_interface), ""};
  return {"tunnels", title, Health::warn,
          fmt::format("the userspace datapath does not reach {}: guests here and on other hosts will not hear each other", n.encap_ip),
          fmt::format("network.underlay_interface (or virga join --underlay-interface) = the interface that has {}; or modprobe openvswitch.", n.encap_ip)};
}

CheckRow manager(const Config& config, const HostView& host, const char* id, const char* process, const char* title,
                 const char* harm, const char* fix) {
  if (!process_runs(host, process)) return {id, title, Health::pass, "not running", ""};
  if (config.trial()) return {id, title, Health::pass, "running; a trial stays out of its reach", ""};
  return {id, title, Health::warn, harm, fix};
}

CheckRow nftables(const Config& config, const HostView& host) {
  const std::string rules = host.run({"nft", "list", "ruleset"}).out;
  const size_t forward = rules.find("hook forward");
  const bool drops = forward != std::string::npos && rules.find("policy drop", forward) < rules.find('\n', forward);
  if (!drops || config.trial())
    return {"nftables", "nftables", Health::pass, drops ? "forwarding is dropped; a trial does not forward through the host" : "nothing in the way", ""};
  return {"nftables", "nftables", Health::warn, "a forward chain has policy drop: guests' traffic through bridges may be lost",
          fmt::format("Accept what comes from and goes to {}.", config.network.external_cidr)};
}

CheckRow openvswitch(const Config& config, const HostView& host) {
  const Outcome o = host.run({"ovs-vswitchd", "--version"});
  if (!o.ok()) return {"openvswitch", "Open vSwitch", Health::fail, "not installed", "apt-get install openvswitch-switch"};
  const std::string first = o.out.substr(0, o.out.find('\n'));
  const std::string version = first.substr(first.rfind(' ') + 1);
  const bool kernel = kernel_datapath(config, host);
  CheckRow row{"openvswitch", "Open vSwitch", Health::pass,
               fmt::format("{}, {}", version, kernel ? "kernel datapath" : "userspace datapath (netdev)"), ""};
  if (!kernel && (version == "3.1.0" || version == "3.1.1" || version == "3.1.2")) {
    row.health = Health::warn;
    row.detail += "; this version's userspace datapath aborts now and then under load (back within 0.2 s)";
    row.fix = "modprobe openvswitch, or a package of 3.1.3 or later.";
  }
  return row;
}

/// What the programs of this cloud will listen on here.
std::vector<int> own_ports(const Config& config) {
  if (!config.has_control()) return {};
  std::vector<int> all = {config.cloud.api_port};
  all.insert(all.end(), config.cloud.alias_ports.begin(), config.cloud.alias_ports.end());
  // The address of a machine that is about to become a controller is known once it has joined.
  if (!config.hosts_address().empty() || !config.has_compute()) all.insert(all.end(), {config.hosts.link_port, config.hosts.southbound_port});
  if (config.ha.nats_server) all.push_back(config.ha.nats_port);
  return all;
}

CheckRow ports(const Config& config, const HostView& host) {
  const std::vector<int> wanted = own_ports(config);
  std::vector<int> used;
  for (const int port : wanted)
    if (!host.port_free(port)) used.push_back(port);
  if (wanted.empty()) return {"ports", "Ports", Health::pass, "a host listens on none", ""};
  if (used.empty()) return {"ports", "Ports", Health::pass, fmt::format("{} free", fmt::join(wanted, ", ")), ""};
  if (host.socket_answers(config.cloud.run_dir + "/supervisor.sock"))
    return {"ports", "Ports", Health::pass, "this cloud runs", ""};
  return {"ports", "Ports", Health::fail, fmt::format("in use: {}", fmt::join(used, ", ")),
          "`ss -ltnp` names the program (4222: systemctl disable --now nats-server); or choose others: cloud.api_port, hosts.link_port, "
          "hosts.southbound_port, ha.nats_port."};
}

CheckRow libvirt(const Config& config, const HostView& host) {
  if (host.socket_answers(config.cloud.run_dir + "/libvirt/libvirt-sock"))
    return {"libvirt", "libvirt", Health::pass, "this cloud's libvirtd answers", ""};
  const Outcome o = host.run({"libvirtd", "--version"});
  if (!o.ok()) return {"libvirt", "libvirt", Health::fail, "not installed", "apt-get install libvirt-daemon libvirt-daemon-driver-qemu"};
  const bool system = host.socket_answers("/run/libvirt/libvirt-sock");
  return {"libvirt", "libvirt", Health::pass,
          o.out.substr(0, o.out.find('\n')) + (system ? "; the system's libvirtd answers" : "; started by `virga up`"), ""};
}

CheckRow packages(const HostView& host) {
  std::vector<std::string> argv = {"dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n"};
  argv.insert(argv.end(), needed_packages().begin(), needed_packages().end());
  const std::string have = "\n" + host.run(argv).out;
  std::vector<std::string> missing;
  for (const std::string& name : needed_packages())
    if (have.find("\n" + name + " installed\n") == std::string::npos) missing.push_back(name);
  if (missing.empty()) return {"packages", "Packages", Health::pass, "all installed", ""};
  return {"packages", "Packages", Health::fail, fmt::format("missing: {}", fmt::join(missing, ", ")),
          fmt::format("apt-get install --no-install-recommends {}", fmt::join(missing, " "))};
}

CheckRow guestfs(const HostView& host) {
  const std::string have = host.run({"dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", "libguestfs-tools", "libguestfs-xfs"}).out;
  const bool tools = have.find("libguestfs-tools installed") != std::string::npos;
  const bool xfs = have.find("libguestfs-xfs installed") != std::string::npos;
  if (tools && xfs) return {"libguestfs", "libguestfs and XFS", Health::pass, "both there", ""};
  return {"libguestfs", "libguestfs and XFS", Health::warn,
          tools ? "libguestfs cannot open XFS images (CentOS, Rocky)" : "no libguestfs: images cannot be customised",
          tools ? "apt-get install libguestfs-xfs" : "apt-get install libguestfs-tools libguestfs-xfs"};
}

}  // namespace

const std::vector<std::string>& needed_packages() {
  static const std::vector<std::string> names = {
      "openvswitch-switch", "openvswitch-common", "ovn-central", "ovn-host", "ovn-common", "libvirt-daemon",
      "libvirt-daemon-driver-qemu", "libvirt-daemon-system", "qemu-system-x86", "qemu-utils", "iproute2"};
  return names;
}

std::vector<CheckRow> check_network(const Config& config, const HostView& host) {
  return {ranges(config, host), uplink(config, host), tunnels(config, host),
          manager(config, host, "networkmanager", "NetworkManager", "NetworkManager",
                  "running: it may take over bridges and the external interface",
                  "nmcli device set br-ex managed no (and the external interface), or disable NetworkManager."),
          manager(config, host, "firewalld", "firewalld", "firewalld", "running: it may drop what crosses the bridges",
                  "systemctl disable --now firewalld, or put br-ex into the trusted zone."),
          nftables(config, host), ports(config, host)};
}

std::vector<CheckRow> check_software(const Config& config, const HostView& host) {
  if (!config.has_compute()) return {packages(host), openvswitch(config, host)};
  return {packages(host), openvswitch(config, host), libvirt(config, host), guestfs(host)};
}

}  // namespace virga::cloud
