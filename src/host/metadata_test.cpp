// The metadata service through a real Open vSwitch (userspace datapath), in a network namespace of its own.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "host/metadata.h"
#include "ovn/api.h"

namespace virga::host {
namespace {

using namespace std::chrono_literals;
constexpr char kGuest[] = "vmd-guest";

TEST(MetadataCache, AnswersARepeatedGetItself) {
  int asked = 0;
  MetadataCache cache([&](const link::MetadataRequest& r) {
    ++asked;
    return link::MetadataReply{r.path == "/broken" ? 500 : 200, "text/plain", r.source_address};
  });
  EXPECT_EQ(cache.get({NetworkId("n"), "10.0.0.5", "GET", "/a", ""}).body, "10.0.0.5");
  EXPECT_EQ(cache.get({NetworkId("n"), "10.0.0.5", "GET", "/a", ""}).body, "10.0.0.5");
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(cache.get({NetworkId("n"), "10.0.0.6", "GET", "/a", ""}).body, "10.0.0.6");
  cache.get({NetworkId("n"), "10.0.0.5", "POST", "/a", ""});
  cache.get({NetworkId("n"), "10.0.0.5", "GET", "/broken", ""});
  cache.get({NetworkId("n"), "10.0.0.5", "GET", "/broken", ""});
  EXPECT_EQ(asked, 5);
}

/// ovsdb-server and ovs-vswitchd in this process's namespace.
class Switch {
 public:
  Switch() {
    char name[] = "/tmp/virga-ovs-XXXXXX";
    dir_ = mkdtemp(name);
    run_or_throw(
        {.argv = {"ovsdb-tool", "create", dir_ + "/conf.db", "/usr/share/openvswitch/vswitch.ovsschema"}});
    start({"ovsdb-server", dir_ + "/conf.db", "--remote=punix:" + dir_ + "/db.sock",
           "--unixctl=" + dir_ + "/db.ctl"});
    while (!std::filesystem::exists(dir_ + "/db.sock")) std::this_thread::yield();
    run_or_throw({.argv = {"ovs-vsctl", "--db=unix:" + dir_ + "/db.sock", "--no-wait", "init"}});
    start({"ovs-vswitchd", "unix:" + dir_ + "/db.sock", "--unixctl=" + dir_ + "/switch.ctl"});
  }
  ~Switch() {
    for (auto it = children_.rbegin(); it != children_.rend(); ++it)
      ::kill(*it, SIGKILL), ::waitpid(*it, nullptr, 0);
    std::filesystem::remove_all(dir_);
  }
  std::string remote() const { return "unix:" + dir_ + "/db.sock"; }

 private:
  void start(std::vector<std::string> argv) {
    Command command{.argv = std::move(argv)};
    command.environment = {"OVS_RUNDIR=" + dir_, "OVS_LOGDIR=" + dir_, "OVS_DBDIR=" + dir_,
                           "OVS_SYSCONFDIR=" + dir_};
    children_.push_back(spawn(command, dir_ + "/log"));
  }
  std::string dir_;
  std::vector<pid_t> children_;
};

std::string ask(const std::string& request) {
  const int fd = netns::connect_tcp(kGuest, "169.254.169.254", 80, 1000);
  ScopeExit closer([&] { ::close(fd); });
  timeval limit{2, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  std::string reply;
  char buffer[1000];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) reply.append(buffer, n);
  return reply;
}

/// Runs inside the test's namespace, in a process of its own.
TEST(MetadataProcess, Child) {
  if (!std::getenv("VIRGA_TEST_METADATA")) GTEST_SKIP() << "started by Metadata.ServesAGuest only";
  Switch ovs;
  ovn::LocalSwitch bridge({.remote = ovs.remote()});
  ASSERT_TRUE(bridge.wait_connected(5s));
  bridge.ensure_bridge({.name = "br-int", .datapath_type = "netdev"});
  netns::ensure(kGuest);
  ScopeExit remove([] { netns::remove(kGuest); });
  netns::ensure_veth("", "guest0", kGuest, "eth0");
  netns::set_up("", "guest0");
  netns::add_address(kGuest, "eth0", "10.0.0.5/24");
  netns::set_up(kGuest, "eth0");
  netns::add_route(kGuest, "169.254.169.254/32", "10.0.0.2", "eth0");
  bridge.ensure_port({"guest0", "br-int", "", {}});

  const MetadataNetwork network{NetworkId("12345678-0000-4000-8000-000000000001"),
                                PortId("22222222-0000-4000-8000-000000000001"), "fa:16:3e:00:00:02",
                                "10.0.0.2/24"};
  std::string name;
  // What agents leave behind that were killed: a namespace with its devices and port, and a port without a
  // device.
  const std::string left = "vmeta-87654321-test", others = "vmeta-87654321-else";
  ScopeExit remove_others([&] { netns::remove(others); });
  for (const std::string& space : {left, others}) netns::ensure(space);
  netns::ensure_veth("", "vm87654321-00", left, "eth0");
  bridge.ensure_port({"vm87654321-00", "br-int", "", {}});
  netns::ensure_veth("", "tap12345678-00", kGuest, "gone");
  bridge.ensure_port({"tap12345678-00", "br-int", "", {}});
  netns::remove_link("", "tap12345678-00");
  {
    MetadataService service({ovs.remote(), "br-int", "test"}, [](const link::MetadataRequest& r) {
      return link::MetadataReply{200, "text/plain", r.network.str() + " " + r.source_address + " " + r.path};
    });
    name = service.namespace_of(network.network);
    service.want({network});
    std::string reply;
    for (const auto end = std::chrono::steady_clock::now() + 20s; reply.empty();) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "no answer";
      try {
        reply = ask(
            "GET /openstack HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.9\r\nConnection: close\r\n\r\n");
      } catch (const Fault&) {
        std::this_thread::yield();  // not plugged yet
      }
    }
    EXPECT_NE(reply.find("12345678-0000-4000-8000-000000000001 10.0.0.5 /openstack"), std::string::npos)
        << reply;
    EXPECT_TRUE(netns::exists(name));
    for (const auto end = std::chrono::steady_clock::now() + 20s; bridge.ports("br-int").size() != 3u;)
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "what was left is still there";
    EXPECT_FALSE(netns::exists(left));
    EXPECT_TRUE(netns::exists(others));
  }
  EXPECT_FALSE(netns::exists(name));
  EXPECT_EQ(bridge.ports("br-int").size(), 2u);
}

TEST(Metadata, ServesAGuest) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for network namespaces";
  const std::string name = "vmd-test";
  netns::ensure(name);
  ScopeExit remove([&] { netns::remove(name); });
  const int fd = netns::open_fd(name);
  Command command{
      .argv = {std::filesystem::read_symlink("/proc/self/exe"), "--gtest_filter=MetadataProcess.Child"}};
  command.environment = {"VIRGA_TEST_METADATA=1"};
  command.in_child = [fd] { netns::enter_fd(fd); };
  const auto outcome = run(command);
  ::close(fd);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

}  // namespace
}  // namespace virga::host
