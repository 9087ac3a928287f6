// The client, the writer and the switch helper against real ovsdb-servers, started in a temporary directory.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/process.h"
#include "ovn/api.h"
#include "ovn/client.h"
#include "ovn/rows.h"

namespace virga::ovn {
namespace {

using std::chrono::seconds;

class Server {
 public:
  explicit Server(const std::string& schema) {
    char name[] = "/tmp/virga-ovn-XXXXXX";
    dir_ = mkdtemp(name);
    run_or_throw({.argv = {"ovsdb-tool", "create", dir_ + "/db", schema}});
    start();
  }
  ~Server() {
    kill_it();
    std::filesystem::remove_all(dir_);
  }
  void start() {
    pid_ = spawn({.argv = {"ovsdb-server", dir_ + "/db", "--remote=punix:" + dir_ + "/sock",
                           "--unixctl=" + dir_ + "/ctl", "--no-chdir"}},
                 dir_ + "/log");
  }
  void kill_it() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string remote() const { return "unix:" + dir_ + "/sock"; }

 private:
  std::string dir_;
  pid_t pid_ = -1;
};

constexpr char kNbSchema[] = "/usr/share/ovn/ovn-nb.ovsschema";

Northbound sample(int ports = 3) {
  Northbound n;
  n.switches.push_back({.id = "net1", .revision = 1});
  n.switches.push_back({.id = "ext", .revision = 1});
  n.dhcp_options.push_back({.id = "subnet1", .cidr = "10.0.0.0/24", .options = {{"router", "10.0.0.1"}}});
  n.port_groups.push_back(drop_group());
  n.port_groups.push_back({.id = "pg_sg1"});
  n.port_groups[1].acls.push_back({.id = "r1",
                                   .direction = "to-lport",
                                   .priority = 1002,
                                   .match = "outport == @pg_sg1 && ip4",
                                   .action = "allow-related"});
  n.address_sets.push_back({.id = "as1", .addresses = {"10.0.0.9", "10.0.0.8"}});
  for (int i = 0; i < ports; ++i)
    n.ports.push_back({.id = fmt::format("port{}", i),
                       .revision = 1,
                       .logical_switch = "net1",
                       .addresses = {fmt::format("fa:16:3e:00:{:02x}:{:02x} 10.{}.{}.10", i / 250, i % 250,
                                                 i / 250, i % 250)},
                       .dhcpv4_options = "subnet1",
                       .port_groups = {"pg_sg1", kDropGroup}});
  n.ports.push_back(localnet_port("provnet", "ext", "physnet1", 100));
  LogicalRouter r{.id = "r1", .revision = 1};
  r.ports.push_back({.id = "lrp-int", .mac = "fa:16:3e:00:00:01", .networks = {"10.0.0.1/24"}});
  r.ports.push_back({.id = "lrp-ext",
                     .mac = "fa:16:3e:00:01:01",
                     .networks = {"172.24.4.10/24"},
                     .gateway_chassis = {{"ch1", 2}, {"ch2", 1}}});
  r.static_routes.push_back({.ip_prefix = "0.0.0.0/0", .nexthop = "172.24.4.1", .output_port = "lrp-ext"});
  r.nats.push_back({.type = "snat", .external_ip = "172.24.4.10", .logical_ip = "10.0.0.0/24"});
  r.nats.push_back({.type = "dnat_and_snat",
                    .external_ip = "172.24.4.101",
                    .logical_ip = "10.0.0.10",
                    .logical_port = "port0",
                    .external_mac = "fa:16:3e:22:22:01",
                    .gateway_port = "lrp-ext"});
  n.routers.push_back(r);
  return n;
}

/// A second, independent client: what is really in the database.
class Observer {
 public:
  explicit Observer(const Server& server)
      : client_({.remote = server.remote(),
                 .database = "OVN_Northbound",
                 .monitors = {{"Logical_Switch", {"name", "ports"}},
                              {"Logical_Switch_Port", {"name", "external_ids"}},
                              {"NAT", {"external_ip"}},
                              {"ACL", {"match"}},
                              {"Gateway_Chassis", {"name"}},
                              {"Port_Group", {"name", "ports"}}}}) {
    client_.require_ready(seconds(5));
  }
  bool eventually(const std::string& table, size_t rows) {
    return client_.wait_for(seconds(5), [&](const Replica& r) { return r.table(table).size() == rows; });
  }
  bool members(const std::string& group, size_t count) {
    return client_.wait_for(seconds(5), [&](const Replica& r) {
      const Row* row = r.find_by_name("Port_Group", group).second;
      return row && column(*row, "ports").size() == count;
    });
  }
  Client& client() { return client_; }

 private:
  Client client_;
};

TEST(Writer, SecondSyncSendsNothing) {
  Server server(kNbSchema);
  NorthboundWriter writer({.remote = server.remote()});
  ASSERT_TRUE(writer.wait_connected(seconds(5)));
  const auto first = writer.reconcile(sample());
  EXPECT_GT(first.operations, 10u);
  EXPECT_EQ(first.nb_cfg, 1);
  EXPECT_EQ(writer.reconcile(sample(), false).operations, 0u);
  EXPECT_EQ(writer.sync({.upsert = sample()}).operations, 0u);
  Observer seen(server);
  EXPECT_TRUE(seen.eventually("Logical_Switch_Port", 4));
  EXPECT_TRUE(seen.eventually("NAT", 2));
  EXPECT_TRUE(seen.eventually("Gateway_Chassis", 2));
  EXPECT_TRUE(seen.members("pg_drop", 3));
}

TEST(Writer, ReconcileRemovesWhatIsOursAndLeavesTheRest) {
  Server server(kNbSchema);
  NorthboundWriter writer({.remote = server.remote()});
  ASSERT_TRUE(writer.wait_connected(seconds(5)));
  writer.reconcile(sample());
  Observer seen(server);
  const json::array set{"set", {json::array{"named-uuid", "p"}}};
  seen.client().transact(
      {json::object{{"op", "insert"},
                    {"table", "Logical_Switch_Port"},
                    {"uuid-name", "p"},
                    {"row", {{"name", "foreign"}}}},
       json::object{{"op", "mutate"},
                    {"table", "Logical_Switch"},
                    {"where", {json::array{"name", "==", "net1"}}},
                    {"mutations", {json::array{"ports", "insert", set}}}},
       json::object{{"op", "insert"}, {"table", "Logical_Switch"}, {"row", {{"name", "theirs"}}}}});
  Northbound less = sample(1);
  less.routers.clear();
  less.port_groups.pop_back();
  less.ports[0].port_groups = {kDropGroup};
  writer.reconcile(less);
  EXPECT_TRUE(seen.eventually("Logical_Switch_Port", 3));  // port0, provnet, foreign
  EXPECT_TRUE(seen.eventually("Logical_Switch", 3));
  EXPECT_TRUE(seen.eventually("NAT", 0));
  EXPECT_TRUE(seen.eventually("Gateway_Chassis", 0));
  EXPECT_TRUE(seen.eventually("ACL", 2));
  writer.reconcile({});
  EXPECT_TRUE(seen.eventually("Logical_Switch", 1));
  EXPECT_TRUE(seen.eventually("Logical_Switch_Port", 0));  // foreign went with its switch
}

TEST(Writer, PartialChanges) {
  Server server(kNbSchema);
  NorthboundWriter writer({.remote = server.remote()});
  ASSERT_TRUE(writer.wait_connected(seconds(5)));
  writer.reconcile(sample());
  Observer seen(server);
  NorthboundChange change;
  change.upsert.ports.push_back({.id = "port9", .logical_switch = "net1", .port_groups = {kDropGroup}});
  change.remove.ports = {"port1", "no-such-port"};
  writer.sync(change);
  EXPECT_EQ(writer.sync(change).operations, 0u);
  EXPECT_TRUE(seen.eventually("Logical_Switch_Port", 4));
  EXPECT_TRUE(seen.members("pg_drop", 3));
  EXPECT_TRUE(seen.members("pg_sg1", 2));
  NorthboundChange router;  // a router is complete: its floating IP goes
  router.upsert.routers = sample().routers;
  router.upsert.routers[0].revision = 3;
  router.upsert.routers[0].nats.pop_back();
  writer.sync(router);
  EXPECT_TRUE(seen.eventually("NAT", 1));
  router.upsert.routers = sample().routers;  // revision 1 comes late: refused
  EXPECT_EQ(writer.sync(router).operations, 0u);
}

TEST(Writer, TenThousandPorts) {
  Server server(kNbSchema);
  NorthboundWriter writer({.remote = server.remote()});
  ASSERT_TRUE(writer.wait_connected(seconds(5)));
  const auto begin = std::chrono::steady_clock::now();
  const Northbound many = sample(10000);
  writer.reconcile(many);
  const auto full = std::chrono::steady_clock::now();
  EXPECT_EQ(writer.reconcile(many, false).operations, 0u);
  const auto again = std::chrono::steady_clock::now();
  NorthboundChange one;
  one.upsert.ports.push_back(
      {.id = "extra", .logical_switch = "net1", .port_groups = {kDropGroup, "pg_sg1"}});
  EXPECT_GT(writer.sync(one).operations, 0u);
  const auto end = std::chrono::steady_clock::now();
  const auto ms = [](auto d) { return std::chrono::duration<double, std::milli>(d).count(); };
  fmt::print("10,000 ports: write {:.0f} ms, compare {:.0f} ms, one port {:.1f} ms\n", ms(full - begin),
             ms(again - full), ms(end - again));
}

TEST(Writer, SurvivesAKilledServer) {
  Server server(kNbSchema);
  std::atomic<int> ups{0};
  NorthboundWriter writer({.remote = server.remote(), .on_state = [&](bool up) { ups += up; }});
  ASSERT_TRUE(writer.wait_connected(seconds(5)));
  writer.reconcile(sample());
  server.kill_it();
  try {
    while (true) writer.sync({.upsert = sample(4)}, true);
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable);
  }
  server.start();
  ASSERT_TRUE(writer.wait_connected(seconds(5)));
  writer.reconcile(sample(4));
  EXPECT_EQ(writer.reconcile(sample(4), false).operations, 0u);
  Observer seen(server);
  EXPECT_TRUE(seen.eventually("Logical_Switch_Port", 5));
  EXPECT_EQ(ups, 2);
}

TEST(Writer, TwoWritersRace) {
  Server server(kNbSchema);
  NorthboundWriter a({.remote = server.remote()}), b({.remote = server.remote()});
  ASSERT_TRUE(a.wait_connected(seconds(5)) && b.wait_connected(seconds(5)));
  std::thread other([&] { b.reconcile(sample(50), false); });
  a.reconcile(sample(50), false);
  other.join();
  Observer seen(server);
  EXPECT_TRUE(seen.eventually("Logical_Switch_Port", 51));
  EXPECT_TRUE(seen.eventually("NAT", 2));
}

TEST(Client, TellsTheCauseOfARefusal) {
  Server server(kNbSchema);
  Observer seen(server);
  const json::object insert{{"op", "insert"}, {"table", "Address_Set"}, {"row", {{"name", "same"}}}};
  try {
    seen.client().transact({insert, insert});
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::conflict);
    EXPECT_EQ(fault.type, "constraint violation");
  }
}

TEST(Client, TransactReturnsAfterItsOwnUpdate) {
  Server server(kNbSchema);
  Observer seen(server);
  for (int i = 0; i < 200; ++i) {
    const std::string name = fmt::format("sw{}", i);
    seen.client().transact(
        {json::object{{"op", "insert"}, {"table", "Logical_Switch"}, {"row", {{"name", name}}}}});
    seen.client().read(
        [&](const Replica& r) { ASSERT_TRUE(r.find_by_name("Logical_Switch", name).second) << i; });
  }
}

TEST(LocalSwitch, BridgesPortsAndConfiguration) {
  Server server("/usr/share/openvswitch/vswitch.ovsschema");
  LocalSwitch ovs({.remote = server.remote(), .apply_timeout = std::chrono::milliseconds(0)});
  ASSERT_TRUE(ovs.wait_connected(seconds(5)));
  ovs.configure({{"system-id", "ch1"}, {"hostname", "h"}});
  ovs.configure({{"hostname", std::nullopt}});
  for (int i = 0; i < 2; ++i) {
    ovs.ensure_bridge({.name = "br-int", .datapath_type = "netdev", .fail_mode = "secure"});
    ovs.ensure_bridge({.name = "br-ex", .datapath_type = "netdev"});
    ovs.ensure_port({.name = "tap1", .bridge = "br-int", .external_ids = {{"iface-id", "port1"}}});
  }
  EXPECT_EQ(ovs.ports("br-int").size(), 2u);
  ovs.ensure_port({.name = "tap1", .bridge = "br-ex", .type = "internal"});
  EXPECT_EQ(ovs.ports("br-int").size(), 1u);
  EXPECT_EQ(ovs.ports("br-ex").size(), 2u);
  ovs.delete_port("tap1");
  ovs.delete_port("tap1");
  EXPECT_EQ(ovs.ports("br-ex"), std::vector<std::string>{"br-ex"});
  for (const char* tap : {"tap1", "tap2", "tap3"}) ovs.ensure_port({.name = tap, .bridge = "br-int"});
  const auto second_or_third = [](const std::string& name) { return name == "tap2" || name == "tap3"; };
  EXPECT_EQ(ovs.delete_ports("br-int", second_or_third), 2u);
  EXPECT_EQ(ovs.delete_ports("br-int", second_or_third), 0u);
  EXPECT_EQ(ovs.delete_ports("br-none", second_or_third), 0u);
  EXPECT_EQ(ovs.ports("br-int").size(), 2u);
  ovs.delete_bridge("br-ex");
  EXPECT_TRUE(ovs.ports("br-ex").empty());
  EXPECT_THROW(ovs.ensure_port({.name = "x", .bridge = "br-none"}), Fault);
}

}  // namespace
}  // namespace virga::ovn
