// Ports of servers, snapshots and the reconciler, through the real API, tables and (for the reconciler) a
// real OVSDB.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <set>
#include <thread>

#include "base/process.h"
#include "network/plan.h"
#include "network/snapshot.h"
#include "tests/support/network_fixture.h"

namespace virga::network {
namespace {

TEST_F(FacadeTest, SecurityGroupsAndAllTheirRulesAreCountedAndGivenBack) {
  start();
  ASSERT_EQ(cloud_.get("/network/v2.0/security-groups", "demo").status, 200);
  EXPECT_EQ(quota_used("security_group"), 1);
  EXPECT_EQ(quota_used("security_group_rule"), 4);  // of the default group
  const std::string web = make("security-groups", "security_group", {{"name", "web"}});
  const std::string other = make("security-groups", "security_group", {{"name", "other"}});
  make("security-group-rules", "security_group_rule",
       {{"security_group_id", web},
        {"direction", "ingress"},
        {"protocol", "tcp"},
        {"port_range_min", 80},
        {"port_range_max", 80}});
  make("security-group-rules", "security_group_rule",
       {{"security_group_id", other}, {"direction", "ingress"}, {"remote_group_id", web}});
  EXPECT_EQ(quota_used("security_group"), 3);
  EXPECT_EQ(quota_used("security_group_rule"), 10);
  EXPECT_EQ(cloud_.del("/network/v2.0/security-groups/" + web, "demo").status, 204);
  EXPECT_EQ(quota_used("security_group"), 2);
  EXPECT_EQ(quota_used("security_group_rule"), 6);  // the other group's rule about it went, too
  EXPECT_EQ(cloud_.del("/network/v2.0/security-groups/" + other, "demo").status, 204);
  EXPECT_EQ(quota_used("security_group_rule"), 4);
}

TEST_F(FacadeTest, AMacThatIsTakenIsDrawnAgainUnlessItWasAskedFor) {
  start();
  make_private();
  auto& service = dynamic_cast<NetworkService&>(*networks_);
  std::vector<std::string> drawn = {"fa:16:3e:00:00:02", "fa:16:3e:00:00:01", "fa:16:3e:00:00:01"};
  service.draw_mac = [&] {
    const std::string mac = drawn.back();
    if (drawn.size() > 1) drawn.pop_back();
    return mac;
  };
  EXPECT_EQ(boot("server-a", {{.network_id = net_}}).at(0).mac, "fa:16:3e:00:00:01");
  EXPECT_EQ(boot("server-b", {{.network_id = net_}}).at(0).mac, "fa:16:3e:00:00:02");

  const Reply asked = cloud_.post(
      "/network/v2.0/ports",
      json::object{{"port", {{"network_id", net_}, {"mac_address", "FA:16:3E:00:00:01"}}}}, "demo");
  EXPECT_EQ(asked.status, 409) << asked.body;
  EXPECT_EQ(asked.at("NeutronError.type"), "MacAddressInUse");

  const Fault fault = boot_fault({{.network_id = net_}});  // every draw is taken
  EXPECT_EQ(fault.status(), 503);
  EXPECT_EQ(fault.type, "MacAddressGenerationFailure");
  EXPECT_EQ(port_quota_used(), 2);
}

TEST_F(FacadeTest, GroupsAndAddressesOfARunningServer) {
  start();
  make_private();
  boot("s1", {{net_, "", ""}});
  const std::string group = make("security-groups", "security_group", {{"name", "web"}});
  auto& groups = networks_->security_groups();
  const auto names = [&] {
    std::set<std::string> out;
    for (const auto& g :
         cloud_.database().read([&](db::Tx& tx) { return groups.of_server(tx, ServerId("s1")); }))
      out.insert(find_string(g, "name"));
    return out;
  };
  const auto write = [&](auto f) { cloud_.database().write([&](db::Tx& tx) { f(tx); }); };

  write([&](db::Tx& tx) { groups.add_to_server(tx, demo_, ServerId("s1"), "web"); });
  write([&](db::Tx& tx) { groups.add_to_server(tx, demo_, ServerId("s1"), group); });  // once is enough
  EXPECT_EQ(names(), (std::set<std::string>{"default", "web"}));
  EXPECT_EQ(cloud_.del("/network/v2.0/security-groups/" + group, "demo").status, 409);
  write([&](db::Tx& tx) { groups.remove_from_server(tx, demo_, ServerId("s1"), "web"); });
  EXPECT_EQ(names(), std::set<std::string>{"default"});
  EXPECT_THROW(write([&](db::Tx& tx) { groups.remove_from_server(tx, demo_, ServerId("s1"), "web"); }),
               Fault);

  const auto addresses = [&] {
    std::vector<std::string> out;
    for (const auto& port :
         cloud_.database().read([&](db::Tx& tx) { return networks_->server_ports(tx, ServerId("s1")); }))
      for (const auto& ip : port.fixed_ips) out.push_back(ip.address);
    return out;
  };
  const auto before = addresses();
  write([&](db::Tx& tx) { networks_->add_fixed_ip(tx, ServerId("s1"), net_); });
  const auto after = addresses();
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after.front(), before.front());
  write([&](db::Tx& tx) { networks_->remove_fixed_ip(tx, ServerId("s1"), after.back()); });
  EXPECT_EQ(addresses(), before);
  EXPECT_THROW(write([&](db::Tx& tx) { networks_->remove_fixed_ip(tx, ServerId("s1"), "10.9.9.9"); }), Fault);
  EXPECT_THROW(write([&](db::Tx& tx) { networks_->add_fixed_ip(tx, ServerId("s1"), "elsewhere"); }), Fault);
}

TEST_F(FacadeTest, BootShowsWhatAServerNeeds) {
  start();
  make_private();
  boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = "10.0.0.77"}});
  const auto all = ports("s1");
  ASSERT_EQ(all.size(), 1u);
  const PortInfo& p = all[0];
  EXPECT_EQ(p.network_name, "private");
  EXPECT_EQ(p.status, "ACTIVE");  // no OVN: up when bound
  EXPECT_EQ(p.security_group_names, std::vector<std::string>{"default"});
  ASSERT_EQ(p.fixed_ips.size(), 1u);
  EXPECT_EQ(p.fixed_ips[0].address, "10.0.0.77");
  EXPECT_EQ(p.fixed_ips[0].cidr, "10.0.0.0/24");
  EXPECT_EQ(p.fixed_ips[0].gateway, "10.0.0.1");
  EXPECT_EQ(p.fixed_ips[0].dns_servers, std::vector<std::string>{"10.0.0.53"});
  EXPECT_TRUE(p.dhcp);
  EXPECT_TRUE(p.made_by_compute);
  EXPECT_FALSE(p.metadata_port.empty());
  EXPECT_EQ(p.metadata_cidr, "10.0.0.2/24");
  EXPECT_EQ(p.mtu, 1442);
  const auto server = cloud_.database().read(
      [&](db::Tx& tx) { return networks_->server_by_address(tx, NetworkId(net_), "10.0.0.77"); });
  EXPECT_EQ(server, ServerId("s1"));
  EXPECT_FALSE(cloud_.database().read(
      [&](db::Tx& tx) { return networks_->server_by_address(tx, NetworkId(net_), "10.0.0.2"); }));
}

TEST_F(FacadeTest, ReleaseGivesEverythingBack) {
  start();
  make_private();
  const std::string own = make("ports", "port", {{"network_id", net_}});
  EXPECT_EQ(port_quota_used(), 1);
  boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}},
              {.network_id = {}, .port_id = own, .fixed_ip = {}},
              {.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  EXPECT_EQ(port_quota_used(), 3);
  EXPECT_EQ(ports("s1").size(), 3u);
  EXPECT_EQ(boot_fault({{.network_id = {}, .port_id = own, .fixed_ip = {}}}).kind, FaultKind::conflict);
  cloud_.database().write([&](db::Tx& tx) { networks_->bind_server_ports(tx, ServerId("s1"), "node1"); });
  const Reply in_use = cloud_.del("/network/v2.0/ports/" + own, "admin");
  EXPECT_EQ(in_use.status, 409);
  EXPECT_EQ(in_use.at("NeutronError.type"), "PortInUse");
  release("s1");
  release("s1");  // again does nothing
  EXPECT_EQ(ports("s1").size(), 0u);
  EXPECT_EQ(port_quota_used(), 1);
  const Reply kept = cloud_.get("/network/v2.0/ports/" + own, "admin");
  EXPECT_EQ(kept.at("port.device_id"), "");
  EXPECT_EQ(kept.at("port.status"), "DOWN");
  EXPECT_EQ(kept.at("port.binding:host_id"), "");
  EXPECT_EQ(cloud_.del("/network/v2.0/ports/" + own, "admin").status, 204);
}

TEST_F(FacadeTest, ManyServersAtOnceKeepOrder) {
  start();
  make_private();
  std::vector<ServerId> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(ServerId(fmt::format("s{}", i)));
    if (i % 3 == 0)
      boot(ids.back().str(),
           {{.network_id = net_, .port_id = {}, .fixed_ip = fmt::format("10.0.0.{}", 200 - i)},
            {.network_id = net_, .port_id = {}, .fixed_ip = fmt::format("10.0.0.{}", 100 + i)}});
  }
  const auto all = cloud_.database().read([&](db::Tx& tx) { return networks_->server_ports(tx, ids); });
  const auto shown =
      cloud_.database().read([&](db::Tx& tx) { return networks_->server_ports(tx, ids, PortDetail::shown); });
  ASSERT_EQ(all.size(), ids.size());
  ASSERT_EQ(shown.size(), ids.size());
  EXPECT_EQ(shown[3][1].fixed_ips[0].address, all[3][1].fixed_ips[0].address);
  EXPECT_EQ(shown[3][1].security_group_names, all[3][1].security_group_names);
  EXPECT_FALSE(all[3][1].fixed_ips[0].cidr.empty());
  EXPECT_TRUE(shown[3][1].fixed_ips[0].cidr.empty());
  const auto active = [&] {
    return cloud_.database().read([&](db::Tx& tx) { return networks_->server_ports_active(tx, ids[3]); });
  };
  EXPECT_TRUE(active());
  cloud_.database().write(
      [&](db::Tx& tx) { tx.exec("UPDATE network_ports SET status = 'DOWN' WHERE id = ?", all[3][1].id); });
  EXPECT_FALSE(active());
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(all[static_cast<size_t>(i)].size(), i % 3 == 0 ? 2u : 0u);
    if (i % 3 == 0)
      EXPECT_EQ(all[static_cast<size_t>(i)][0].fixed_ips[0].address, fmt::format("10.0.0.{}", 200 - i));
  }
}

TEST_F(FacadeTest, RefusesInNovasWords) {
  start({.quotas = {{"port", 1}}});
  make_private();
  EXPECT_EQ(boot_fault({{.network_id = "nope", .port_id = {}, .fixed_ip = {}}}).message,
            "Network nope could not be found.");
  EXPECT_EQ(boot_fault({{.network_id = {}, .port_id = "nope", .fixed_ip = {}}}).message,
            "Port id nope could not be found.");
  EXPECT_EQ(boot_fault({{.network_id = net_, .port_id = {}, .fixed_ip = {}}}, {"nope"}).message,
            "Unable to find security_group with name or id 'nope'");
  EXPECT_EQ(boot_fault({{.network_id = net_, .port_id = {}, .fixed_ip = "10.0.0.2"}}).kind,
            FaultKind::bad_request);
  EXPECT_EQ(boot_fault({{.network_id = net_, .port_id = {}, .fixed_ip = "192.0.2.1"}}).kind,
            FaultKind::bad_request);
  const std::string bare = make("networks", "network", {{"name", "bare"}});
  EXPECT_EQ(boot_fault({{.network_id = bare, .port_id = {}, .fixed_ip = {}}}).kind, FaultKind::bad_request);
  const Fault full = boot_fault({{.network_id = net_, .port_id = {}, .fixed_ip = {}},
                                 {.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  EXPECT_EQ(full.kind, FaultKind::forbidden);
  EXPECT_EQ(full.message, "Maximum number of ports exceeded");
  EXPECT_EQ(port_quota_used(), 0);
  const auto nets = cloud_.database().read([&](db::Tx& tx) { return networks_->available(tx, demo_); });
  EXPECT_EQ(nets, std::vector<NetworkId>{NetworkId(net_)});
}

/// Ids of everything in a plan, with enough of the content to compare.
std::set<std::string> digest(const ovn::Northbound& n) {
  std::set<std::string> out;
  for (const auto& s : n.switches) out.insert("switch " + s.id);
  for (const auto& p : n.ports) {
    out.insert(fmt::format("port {} {} {} {} {}", p.id, p.type, fmt::join(p.addresses, ","), p.dhcpv4_options,
                           fmt::join(p.port_groups, ",")));
  }
  for (const auto& d : n.dhcp_options)
    for (const auto& [k, v] : d.options) out.insert(fmt::format("dhcp {} {}={}", d.id, k, v));
  for (const auto& r : n.routers) {
    for (const auto& p : r.ports)
      out.insert(fmt::format("lrp {} {} {}", r.id, p.id, fmt::join(p.networks, ",")));
    for (const auto& nat : r.nats)
      out.insert(fmt::format("nat {} {} {} {}", r.id, nat.type, nat.external_ip, nat.logical_ip));
    for (const auto& route : r.static_routes)
      out.insert(fmt::format("route {} {} {}", r.id, route.ip_prefix, route.nexthop));
  }
  for (const auto& g : n.port_groups)
    for (const auto& acl : g.acls) out.insert(fmt::format("acl {} {} {}", g.id, acl.id, acl.match));
  return out;
}

TEST_F(FacadeTest, PlanOfAPartIsPartOfThePlan) {
  start();
  make_private();
  const std::string router = make_public_with_router();
  const auto made = boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  make("floatingips", "floatingip", {{"floating_network_id", ext_}, {"port_id", made[0].id.str()}});
  EXPECT_EQ(ports("s1")[0].floating_ips.size(), 1u);
  const PlanOptions options{.dns_servers = {}, .dns_domain = {}, .chassis = {"ch1"}};
  const auto whole = digest(plan(cloud_.database().read(read_everything), options));
  EXPECT_EQ(std::count_if(whole.begin(), whole.end(), [](const auto& t) { return t.starts_with("nat "); }),
            2);
  const std::string group = cloud_.get("/network/v2.0/security-groups", "demo").at("security_groups.0.id");
  const Dirty each[] = {{Dirty::Kind::network, net_},
                        {Dirty::Kind::network, ext_},
                        {Dirty::Kind::router, router},
                        {Dirty::Kind::port, made[0].id.str()},
                        {Dirty::Kind::security_group, group}};
  for (const Dirty& one : each) {
    DirtySet dirty;
    dirty.add(one);
    const auto part =
        digest(plan(cloud_.database().read([&](db::Tx& tx) { return read_part(tx, dirty); }), options));
    EXPECT_GE(part.size(), 3u) << one.id;
    for (const auto& line : part) EXPECT_TRUE(whole.contains(line)) << line;
  }
}

// ---- with a real northbound database
// --------------------------------------------------------------------------------------

class OvsdbServer {
 public:
  explicit OvsdbServer(const std::string& schema) {
    run_or_throw(
        {.argv = {"ovsdb-tool", "create", dir_.path() + "/db", "/usr/share/ovn/" + schema + ".ovsschema"}});
    start();
  }
  ~OvsdbServer() { stop(); }
  void start() {
    pid_ = spawn({.argv = {"ovsdb-server", dir_.path() + "/db", "--remote=punix:" + dir_.path() + "/sock",
                           "--unixctl=" + dir_.path() + "/ctl", "--no-chdir"}},
                 dir_.path() + "/log");
  }
  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string remote() const { return "unix:" + dir_.path() + "/sock"; }
  /// OVN's own tool, as a second opinion on what was written.
  std::string tool(const std::string& program, std::vector<std::string> arguments) const {
    std::vector<std::string> argv{program, "--db=" + remote(), "--timeout=10", "--bare"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run({.argv = argv}).out;
  }

 private:
  test::ScratchDir dir_;
  pid_t pid_ = -1;
};

/// What a test sees of the northbound database, and northd's part: saying that ports are up.
class Northd {
 public:
  explicit Northd(const OvsdbServer& server) : server_(server) {}
  std::string list(const std::string& table, const std::string& column) const {
    return server_.tool("ovn-nbctl", {"--columns=" + column, "list", table});
  }
  bool has_port(const std::string& name) const {
    return list("Logical_Switch_Port", "name").find(name) != std::string::npos;
  }
  size_t count(const std::string& table) const {
    const std::string text = list(table, "_uuid");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '-')) / 4;
  }
  void set_up(const std::string& name, bool up) {
    server_.tool("ovn-nbctl", {"set", "Logical_Switch_Port", name, up ? "up=true" : "up=false"});
  }

 private:
  const OvsdbServer& server_;
};

class ReconcilerTest : public FacadeTest {
 protected:
  ~ReconcilerTest() override {
    if (networks_) networks_->stop();
  }
  template <class F>
  bool eventually(F condition) {
    for (int i = 0; i < 500; ++i, std::this_thread::sleep_for(std::chrono::milliseconds(20)))
      if (condition()) return true;
    return false;
  }
  OvsdbServer server_{"ovn-nb"};
};

TEST_F(ReconcilerTest, FollowsTheDatabaseAndHearsOfPorts) {
  start({.northbound = server_.remote(), .southbound = {}});
  std::atomic<int> told{0};
  networks_->on_port_status([&](const ServerId& id) { told += id.str() == "s1"; });
  make_private();  // before the start: found by looking at everything
  networks_->start();
  Northd northd(server_);
  ASSERT_TRUE(eventually([&] { return northd.count("Logical_Switch") == 1; }));
  const std::string port = boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}})[0].id.str();
  EXPECT_EQ(ports("s1")[0].status, "DOWN");
  ASSERT_TRUE(eventually([&] { return northd.has_port(port); }));
  northd.set_up(port, true);
  EXPECT_TRUE(eventually([&] { return ports("s1")[0].status == "ACTIVE" && told == 1; }));
  northd.set_up(port, false);
  EXPECT_TRUE(eventually([&] { return ports("s1")[0].status == "DOWN" && told == 2; }));
  release("s1");
  EXPECT_TRUE(eventually([&] { return !northd.has_port(port); }));
  EXPECT_EQ(cloud_.del("/network/v2.0/subnets/" + subnet_, "demo").status, 204);
  EXPECT_TRUE(eventually([&] { return northd.count("DHCP_Options") == 0; }));
  EXPECT_EQ(cloud_.del("/network/v2.0/networks/" + net_, "demo").status, 204);
  EXPECT_TRUE(eventually([&] { return northd.count("Logical_Switch") == 0; }));
  EXPECT_TRUE(eventually([&] { return northd.count("Logical_Switch_Port") == 0; }));
}

TEST_F(ReconcilerTest, CatchesUpAfterOvnWasAway) {
  start({.northbound = server_.remote(), .southbound = {}});
  networks_->start();
  make_private();
  server_.stop();
  boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  boot("s2", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  release("s2");
  server_.start();
  Northd northd(server_);
  EXPECT_TRUE(eventually([&] { return northd.has_port(ports("s1")[0].id.str()); }));
  EXPECT_TRUE(eventually(
      [&] { return northd.count("Logical_Switch_Port") == 2; }));  // the server's and the metadata port
}

TEST_F(ReconcilerTest, OneOfTwoControllersWritesAndTheOtherTakesOver) {
  controllers::Controllers a({.id = "a", .name = "a"}, cloud_.database()), b({.id = "b", .name = "b"}, cloud_.database());
  Options options{.northbound = server_.remote(), .southbound = {}};
  options.controllers = &b;
  std::unique_ptr<Networks> other = make_networks(options, cloud_.database(), cloud_.clock());
  options.controllers = &a;
  start(options);
  const auto holder = [&] { return cloud_.database().read([](db::Tx& tx) { return controllers::lease_holder(tx, "network"); }); };
  const auto queued = [&] {
    return cloud_.database().read([](db::Tx& tx) { return tx.first("SELECT COUNT(*) FROM network_dirty")->integer(0); });
  };
  networks_->start();
  ASSERT_TRUE(eventually([&] { return holder() == "a"; }));
  other->start();
  make_private();
  Northd northd(server_);
  EXPECT_TRUE(eventually([&] { return northd.count("Logical_Switch") == 1 && queued() == 0; }));
  // What one changes the other writes.
  std::swap(networks_, other);
  const std::string port = boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}})[0].id.str();
  EXPECT_TRUE(eventually([&] { return northd.has_port(port) && queued() == 0; }));
  northd.set_up(port, true);
  EXPECT_TRUE(eventually([&] { return ports("s1")[0].status == "ACTIVE"; }));
  EXPECT_EQ(holder(), "a");
  // It ends, and gives the lease back; nor is it the first any more.
  other->stop();
  cloud_.database().write([](db::Tx& tx) { controllers::give_lease(tx, "network.home", "a"); });
  ASSERT_TRUE(eventually([&] { return holder() == "b"; }));
  boot("s2", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  EXPECT_TRUE(eventually([&] { return northd.has_port(ports("s2")[0].id.str()) && queued() == 0; }));
  // It died with the lease: until that ends nothing is lost, only late.
  networks_->stop();
  ASSERT_TRUE(cloud_.database().write([](db::Tx& tx) { return controllers::take_lease(tx, "network", "dead", std::chrono::seconds(2)); }));
  boot("s3", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}});
  networks_->start();
  EXPECT_GT(queued(), 0);
  EXPECT_TRUE(eventually([&] { return northd.has_port(ports("s3")[0].id.str()) && queued() == 0; }));
  EXPECT_EQ(holder(), "b");
  networks_->stop();
}

TEST_F(ReconcilerTest, AStandInWritesAndLetsHostsInOnlyWhileTheFirstIsAway) {
  OvsdbServer second("ovn-nb");
  second.tool("ovn-nbctl", {"init"});
  second.tool("ovn-nbctl", {"set", "NB_Global", ".", "sb_cfg=1000"});  // ovn-northd's part
  controllers::Controllers a({.id = "a", .name = "a"}, cloud_.database()), b({.id = "b", .name = "b"}, cloud_.database());
  std::atomic<int> door{-1};
  Options options{.northbound = second.remote(), .southbound = {}};
  options.controllers = &b;
  options.stand_in = true;
  options.serve_chassis = [&](bool open) { door = open; };
  const std::unique_ptr<Networks> stand_in = make_networks(options, cloud_.database(), cloud_.clock());
  options = {.northbound = server_.remote(), .southbound = {}};
  options.controllers = &a;
  start(options);
  const auto holder = [&] { return cloud_.database().read([](db::Tx& tx) { return controllers::lease_holder(tx, "network"); }); };
  Northd northd(server_), other(second);
  networks_->start();
  ASSERT_TRUE(eventually([&] { return holder() == "a"; }));
  stand_in->start();
  make_private();
  EXPECT_TRUE(eventually([&] { return northd.count("Logical_Switch") == 1; }));
  EXPECT_TRUE(eventually([&] { return door == 0; }));  // whatever it was before
  EXPECT_EQ(other.count("Logical_Switch"), 0u);
  networks_->stop();  // a restart is no reason to stand in
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(holder(), "");
  cloud_.database().write([](db::Tx& tx) { tx.exec("UPDATE leases SET until = ? WHERE name = 'network.home'", Time{}); });
  ASSERT_TRUE(eventually([&] { return holder() == "b"; }));
  EXPECT_TRUE(eventually([&] { return door == 1 && other.count("Logical_Switch") == 1; }));
  const std::string port = boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}})[0].id.str();
  EXPECT_TRUE(eventually([&] { return other.has_port(port); }));
  other.set_up(port, true);
  EXPECT_TRUE(eventually([&] { return ports("s1")[0].status == "ACTIVE"; }));
  networks_->start();
  ASSERT_TRUE(eventually([&] { return holder() == "a"; }));
  EXPECT_TRUE(eventually([&] { return northd.has_port(port); }));
  EXPECT_TRUE(eventually([&] { return door == 0; }));
  EXPECT_EQ(ports("s1")[0].status, "ACTIVE");  // its host has not come back to the first's databases yet
  networks_->stop();
  stand_in->stop();
}

TEST_F(ReconcilerTest, ADatabaseOlderThanOvnTakesNothingAway) {
  start({.northbound = server_.remote(), .southbound = {}});
  networks_->start();
  make_private();
  const auto set_epoch = [&](int64_t epoch) {
    cloud_.database().write(
        [&](db::Tx& tx) { tx.exec("UPDATE compute_counters SET value = ? WHERE name = 'epoch'", epoch); });
  };
  set_epoch(7);
  const std::string port = boot("s1", {{.network_id = net_, .port_id = {}, .fixed_ip = {}}})[0].id.str();
  Northd northd(server_);
  ASSERT_TRUE(eventually([&] { return northd.has_port(port); }));
  EXPECT_EQ(northd.list("NB_Global", "external_ids"), "virga:epoch=7\n");
  networks_->stop();
  set_epoch(6);  // as a backup would have it, without the server
  release("s1");
  networks_->start();
  ASSERT_TRUE(
      eventually([&] { return cloud_.database().read([](db::Tx& tx) { return db::is_known_older(tx); }); }));
  EXPECT_TRUE(northd.has_port(port));
  cloud_.database().write([](db::Tx& tx) { EXPECT_TRUE(db::accept_as_newest(tx)); });
  EXPECT_TRUE(eventually([&] { return !northd.has_port(port); }));
}

TEST_F(ReconcilerTest, GatewaysFollowTheHosts) {
  const OvsdbServer southbound("ovn-sb");
  start({.northbound = server_.remote(), .southbound = southbound.remote()});
  networks_->start();
  make_private();
  make_public_with_router();
  Northd northd(server_);
  EXPECT_TRUE(eventually([&] { return northd.count("Logical_Router_Port") == 2; }));
  const auto add = [&](const char* name, const char* address, const char* mappings) {
    southbound.tool("ovn-sbctl", {"chassis-add", name, "geneve", address});
    southbound.tool("ovn-sbctl",
                    {"set", "Chassis", name, std::string("other_config:ovn-bridge-mappings=") + mappings});
  };
  add("ch0", "127.0.0.3", "\"\"");  // no way out there
  add("ch1", "127.0.0.1", "public:br-ex");
  EXPECT_TRUE(eventually([&] { return northd.list("Gateway_Chassis", "chassis_name") == "ch1\n"; }));
  add("ch2", "127.0.0.2", "\"dc:br-dc,public:br-ex\"");
  EXPECT_TRUE(eventually([&] { return northd.count("Gateway_Chassis") == 2; }));
  southbound.tool("ovn-sbctl", {"chassis-del", "ch1"});
  EXPECT_TRUE(eventually([&] { return northd.list("Gateway_Chassis", "chassis_name") == "ch2\n"; }));
  networks_->stop();
}

}  // namespace
}  // namespace virga::network
