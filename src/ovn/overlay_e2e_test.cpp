// OVN for real: databases, northd, Open vSwitch with the userspace datapath and ovn-controller in a network
// namespace of their own, guests as namespaces on br-int. Skipped unless root with the packages installed.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <thread>

#include "base/ids.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "ovn/api.h"

namespace virga::ovn {
namespace {

using std::chrono::seconds;

class Lab {
 public:
  Lab() : tag_(new_hex_id().substr(0, 5)), ns_("vo" + tag_), outside_("vx" + tag_) {
    char name[] = "/tmp/virga-ovn-e2e-XXXXXX";
    dir_ = mkdtemp(name);
  }

  void up() {  // not in the constructor: what started must be stopped even if the next thing fails
    for (const auto& ns : {ns_, outside_}) add_namespace(ns);
    wire(outside_, "ext0", "ext0");
    ip({"-n", outside_, "addr", "add", "172.24.4.1/24", "dev", "ext0"});
    start("ovsdb-server", "conf",
          {database("conf", "/usr/share/openvswitch/vswitch.ovsschema"), socket("db.sock")});
    start("ovsdb-server", "nb", {database("nb", "/usr/share/ovn/ovn-nb.ovsschema"), socket("nb.sock")});
    start("ovsdb-server", "sb", {database("sb", "/usr/share/ovn/ovn-sb.ovsschema"), socket("sb.sock")});
    // --monitor: the userspace datapath of OVS 3.1.0 can abort under connection tracking; it comes back by
    // itself.
    start("ovs-vswitchd", "vswitchd", {"unix:" + dir_ + "/db.sock", "--monitor"});
    start("ovn-northd", "northd", {"--ovnnb-db=" + remote("nb"), "--ovnsb-db=" + remote("sb")});
    switch_ = std::make_unique<LocalSwitch>(LocalSwitch::Options{.remote = remote("db")});
    if (!switch_->wait_connected(seconds(10))) throw Fault(FaultKind::unavailable, "no ovsdb-server");
    chassis();
  }

  ~Lab() {
    switch_.reset();
    for (auto it = pid_files_.rbegin(); it != pid_files_.rend(); ++it)
      if (std::filesystem::exists(*it)) kill(std::atoi(read_file(*it).c_str()), SIGTERM);
    for (int i = 0; i < 50 && alive(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    for (const auto& ns : namespaces_) run({.argv = {"ip", "netns", "del", ns}});
    std::filesystem::remove_all(dir_);
  }

  /// A guest: a namespace with one interface on br-int.
  std::string guest(const std::string& port, const std::string& mac) {
    const std::string ns = "vg" + tag_ + port, tap = "t-" + port;
    add_namespace(ns);
    wire(ns, "eth0", tap, mac);
    switch_->ensure_port({.name = tap, .bridge = "br-int", .external_ids = {{"iface-id", port}}});
    return ns;
  }

  /// The lease's address, or "".
  std::string dhcp(const std::string& ns) {
    write_file(dir_ + "/lease.sh",
               "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr replace $ip/$mask dev $interface\n"
               "ip link set $interface mtu ${mtu:-1500}\nip route replace default via $router\necho "
               "lease=$ip mtu=$mtu\n",
               0755);
    return run({.argv = {"ip", "netns", "exec", ns, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5",
                         "-T", "1", "-s", dir_ + "/lease.sh"}})
        .out;
  }

  bool ping(const std::string& ns, const std::string& address, int tries = 10) {
    for (int i = 0; i < tries; ++i)
      if (run({.argv = {"ip", "netns", "exec", ns, "busybox", "ping", "-c1", "-W1", address}}).ok())
        return true;
    return false;
  }

  std::string remote(const std::string& what) const { return "unix:" + dir_ + "/" + what + ".sock"; }
  const std::string& outside() const { return outside_; }
  LocalSwitch& local() { return *switch_; }

 private:
  void chassis() {
    switch_->ensure_bridge({.name = "br-phy", .datapath_type = "netdev"});
    ip({"-n", ns_, "addr", "add", "172.31.0.1/24", "dev", "br-phy"});
    ip({"-n", ns_, "link", "set", "br-phy", "up"});
    switch_->ensure_bridge({.name = "br-ex", .datapath_type = "netdev"});
    switch_->ensure_port({.name = "ext0", .bridge = "br-ex"});
    switch_->configure({{"system-id", "ch1"},
                        {"hostname", "host1"},
                        {"ovn-remote", remote("sb")},
                        {"ovn-encap-type", "geneve"},
                        {"ovn-encap-ip", "172.31.0.1"},
                        {"ovn-bridge-datapath-type", "netdev"},
                        {"ovn-bridge-mappings", "physnet1:br-ex"}});
    switch_->ensure_bridge({.name = "br-int", .datapath_type = "netdev", .fail_mode = "secure"});
    start("ovn-controller", "controller", {"unix:" + dir_ + "/db.sock"});
  }

  void ip(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    run_or_throw({.argv = arguments});
  }
  void add_namespace(const std::string& ns) {
    ip({"netns", "add", ns});
    namespaces_.push_back(ns);
    ip({"-n", ns, "link", "set", "lo", "up"});
  }
  /// A veth between a namespace and the chassis; TCP needs transmit checksum offload off on both ends.
  void wire(const std::string& ns, const std::string& name, const std::string& here,
            const std::string& mac = "") {
    ip({"-n", ns_, "link", "add", here, "type", "veth", "peer", "name", name, "netns", ns});
    if (!mac.empty()) ip({"-n", ns, "link", "set", name, "address", mac});
    for (const auto& [where, what] : {std::pair(ns, name), std::pair(ns_, here)}) {
      ip({"-n", where, "link", "set", what, "up"});
      run_or_throw({.argv = {"ip", "netns", "exec", where, "ethtool", "-K", what, "tx", "off"}});
    }
  }
  std::string database(const std::string& name, const std::string& schema) {
    run_or_throw({.argv = {"ovsdb-tool", "create", dir_ + "/" + name + ".db", schema}});
    return dir_ + "/" + name + ".db";
  }
  std::string socket(const std::string& name) { return "--remote=punix:" + dir_ + "/" + name; }
  void start(const std::string& program, const std::string& name, std::vector<std::string> arguments) {
    std::vector<std::string> argv{"ip", "netns", "exec", ns_, program};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    if (program != "ovn-controller")
      argv.push_back("--unixctl=" + dir_ + "/" + name + ".ctl");  // it has no such option
    for (const std::string& a :
         {"--pidfile=" + dir_ + "/" + name + ".pid", "--log-file=" + dir_ + "/" + name + ".log",
          std::string("-vconsole:off"), std::string("--detach")})
      argv.push_back(a);
    run_or_throw({.argv = argv,
                  .environment = {"OVS_RUNDIR=" + dir_, "OVS_LOGDIR=" + dir_, "OVS_DBDIR=" + dir_,
                                  "OVS_SYSCONFDIR=" + dir_, "OVN_RUNDIR=" + dir_, "OVN_LOGDIR=" + dir_,
                                  "OVN_DBDIR=" + dir_}});
    pid_files_.push_back(dir_ + "/" + name + ".pid");
  }
  bool alive() const {
    for (const auto& file : pid_files_)
      if (std::filesystem::exists(file)) return true;
    return false;
  }

  std::string tag_, ns_, outside_, dir_;
  std::vector<std::string> namespaces_, pid_files_;
  std::unique_ptr<LocalSwitch> switch_;
};

/// One tenant network behind a router with SNAT; port1 lets ping in and has a floating IP, port2 lets nothing
/// in.
Northbound topology() {
  Northbound n;
  n.switches = {{.id = "net1"}, {.id = "public"}};
  n.dhcp_options = {{.id = "subnet1",
                     .cidr = "10.0.0.0/24",
                     .options = {{"server_id", "10.0.0.1"},
                                 {"server_mac", "fa:16:3e:00:00:01"},
                                 {"lease_time", "43200"},
                                 {"router", "10.0.0.1"},
                                 {"mtu", "1442"},
                                 {"dns_server", "{10.0.0.1}"}}}};
  PortGroup open{.id = "pg_open"};
  open.acls = {{.id = "out",
                .direction = "from-lport",
                .priority = 1002,
                .match = "inport == @pg_open && ip4",
                .action = "allow-related"},
               {.id = "icmp",
                .direction = "to-lport",
                .priority = 1002,
                .match = "outport == @pg_open && ip4 && icmp4",
                .action = "allow-related"}};
  PortGroup closed{.id = "pg_closed"};
  closed.acls = {{.id = "out",
                  .direction = "from-lport",
                  .priority = 1002,
                  .match = "inport == @pg_closed && ip4",
                  .action = "allow-related"}};
  n.port_groups = {drop_group(), open, closed};
  for (int i = 1; i <= 2; ++i) {
    const std::string address = fmt::format("fa:16:3e:11:11:0{} 10.0.0.1{}", i, i);
    n.ports.push_back({.id = fmt::format("port{}", i),
                       .logical_switch = "net1",
                       .addresses = {address},
                       .port_security = {address},
                       .dhcpv4_options = "subnet1",
                       .port_groups = {kDropGroup, i == 1 ? "pg_open" : "pg_closed"}});
  }
  LogicalRouter r{.id = "router1"};
  r.ports = {{.id = "lrp-net1", .mac = "fa:16:3e:00:00:01", .networks = {"10.0.0.1/24"}},
             {.id = "lrp-public",
              .mac = "fa:16:3e:00:01:01",
              .networks = {"172.24.4.10/24"},
              .gateway_chassis = {{"ch1", 1}}}};
  r.static_routes = {{.ip_prefix = "0.0.0.0/0", .nexthop = "172.24.4.1", .output_port = "lrp-public"}};
  r.nats = {{.type = "snat", .external_ip = "172.24.4.10", .logical_ip = "10.0.0.0/24"},
            {.type = "dnat_and_snat", .external_ip = "172.24.4.101", .logical_ip = "10.0.0.11"}};
  n.routers = {r};
  n.ports.push_back(localnet_port("provnet", "public", "physnet1"));
  n.ports.push_back(router_peer_port("net1-router1", "net1", "lrp-net1", false));
  n.ports.push_back(router_peer_port("public-router1", "public", "lrp-public", true));
  return n;
}

/// What the callbacks said.
struct Heard {
  std::mutex mutex;
  std::condition_variable more;
  std::map<std::string, std::string> state;
  void note(const std::string& port, const std::string& what) {
    const std::lock_guard lock(mutex);
    state[port] = what;
    more.notify_all();
  }
  bool wait(const std::string& port, const std::string& what) {
    std::unique_lock lock(mutex);
    return more.wait_for(lock, seconds(10), [&] { return state[port] == what; });
  }
};

TEST(Overlay, DhcpRoutingFloatingIpAndSecurityGroups_E2E) {
  if (geteuid() != 0 || !std::filesystem::exists("/usr/bin/ovn-controller"))
    GTEST_SKIP() << "needs root and OVN";
  Lab lab;
  lab.up();
  Heard northbound, southbound;
  SouthboundWatcher watcher({.remote = lab.remote("sb"),
                             .on_port_up = [&](auto& port, auto& host) { southbound.note(port, host); },
                             .on_port_down = [&](auto& port) { southbound.note(port, "down"); }});
  NorthboundWriter writer({.remote = lab.remote("nb"), .on_port_status = [&](auto& port, bool up) {
                             northbound.note(port, up ? "up" : "down");
                           }});
  ASSERT_TRUE(writer.wait_connected(seconds(10)));
  const auto result = writer.reconcile(topology());
  EXPECT_TRUE(writer.wait_hypervisors(result.nb_cfg, seconds(15)));
  EXPECT_EQ(lab.local().datapath_types().size(), 2u);

  const std::string vm1 = lab.guest("port1", "fa:16:3e:11:11:01"),
                    vm2 = lab.guest("port2", "fa:16:3e:11:11:02");
  EXPECT_TRUE(northbound.wait("port1", "up"));
  EXPECT_TRUE(southbound.wait("port1", "host1"));
  EXPECT_EQ(lab.dhcp(vm1), "lease=10.0.0.11 mtu=1442\n");
  EXPECT_EQ(lab.dhcp(vm2), "lease=10.0.0.12 mtu=1442\n");
  EXPECT_TRUE(lab.ping(vm2, "10.0.0.11"));
  EXPECT_TRUE(lab.ping(vm2, "172.24.4.1")) << "SNAT";
  EXPECT_TRUE(lab.ping(lab.outside(), "172.24.4.101")) << "floating IP";
  EXPECT_FALSE(lab.ping(vm1, "10.0.0.12", 2)) << "the security group lets nothing in";

  NorthboundChange open;  // the same port moves to the open group: one partial change
  open.upsert.ports = {topology().ports[1]};
  open.upsert.ports[0].port_groups = {kDropGroup, "pg_open"};
  EXPECT_TRUE(writer.wait_hypervisors(writer.sync(open, true).nb_cfg, seconds(15)));
  EXPECT_TRUE(lab.ping(vm1, "10.0.0.12"));

  ASSERT_EQ(watcher.chassis().size(), 1u);
  EXPECT_EQ(watcher.chassis()[0].hostname, "host1");
  EXPECT_EQ(watcher.chassis()[0].encap_ips, std::vector<std::string>{"172.31.0.1"});
  lab.local().delete_port("t-port1");
  EXPECT_TRUE(northbound.wait("port1", "down"));
  EXPECT_TRUE(southbound.wait("port1", "down"));
}

}  // namespace
}  // namespace virga::ovn
