// The engines for real, in a trial with names of its own: up, kill -9, adopted, down without a trace.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/fault.h"
#include "base/ids.h"
#include "base/netns.h"
#include "base/process.h"
#include "cloud/bring_up.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;

std::string output(std::vector<std::string> argv) { return run({std::move(argv)}).out; }

/// What must be the same before and after. Other tests may run on this machine, so names of theirs are left out.
std::string host_state() {
  std::string text = output({"ip", "-o", "-4", "addr"}) + output({"ip", "route"}) + output({"ip", "rule"});
  text += output({"nft", "list", "ruleset"}) + output({"ls", "/etc/libvirt/qemu/networks/autostart", "/run/libvirt"});
  for (const char* key : {"ip_forward", "conf/all/rp_filter", "conf/default/forwarding"})
    text += std::string(key) + "=" + read_file(std::string("/proc/sys/net/ipv4/") + key);
  return text;
}

class Engines_E2E : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    if (access("/usr/sbin/ovs-vswitchd", X_OK) != 0 || access("/usr/sbin/libvirtd", X_OK) != 0)
      GTEST_SKIP() << "needs openvswitch-switch and libvirt-daemon";
    const std::string name = "vt" + new_hex_id().substr(0, 6);
    config_.cloud.state_dir = "/tmp/" + name + "/state";
    config_.cloud.run_dir = "/tmp/" + name + "/run";
    config_.cloud.log_dir = "/tmp/" + name + "/log";
    config_.network.name_space = name;
    config_.compute.virt_type = "qemu";
    folder_ = "/tmp/" + name;
    std::filesystem::create_directories(folder_);
    chmod(folder_.c_str(), 0755);
  }
  void TearDown() override {
    if (folder_.empty()) return;
    tear_down(config_, true, {});
    std::filesystem::remove_all(folder_);
  }
  std::map<std::string, pid_t> pids() {
    std::map<std::string, pid_t> found;
    const json::object status = supervisor_status(config_);
    for (const json::value& s : *find_array(status, "services"))
      found[str(s.at("name"))] = static_cast<pid_t>(s.at("pid").as_int64());
    return found;
  }
  Config config_;
  std::string folder_;
};

TEST_F(Engines_E2E, UpKillAdoptDownWithoutATrace) {
  const std::string before = host_state();
  const auto print = [](const std::string& step, milliseconds took) { printf("  %-18s %5ld ms\n", step.c_str(), took.count()); };
  const auto start = std::chrono::steady_clock::now();
  const auto took = [&] {
    return static_cast<long>(std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start).count());
  };
  bring_up(config_, {}, print);
  printf("up after %ld ms\n", took());

  const Engines engines = find_engines(config_, {});
  const std::string& space = config_.network.name_space;
  const std::string nb = "--db=unix:" + engines.nb_socket, sb = "--db=unix:" + engines.sb_socket;
  EXPECT_TRUE(run({{"ovn-nbctl", nb, "--timeout=10", "--wait=hv", "sync"}}).ok()) << "northd and ovn-controller work";
  EXPECT_NE(output({"ovn-sbctl", sb, "show"}).find("Encap geneve"), std::string::npos);
  const std::string uri = "qemu+unix:///system?socket=" + engines.libvirt_socket;
  EXPECT_TRUE(run({{"virsh", "-c", uri, "list", "--all"}}).ok());
  EXPECT_EQ(output({"virsh", "-c", uri, "net-list", "--all", "--name"}), "\n");
  printf("libvirt answers after %ld ms\n", took());
  EXPECT_EQ(netns::addresses(space, "br-ex"), std::vector<std::string>{"172.24.4.1/24"});

  // A second `up` is a no-op.
  const auto first = pids();
  const json::object status = supervisor_status(config_);
  bring_up(config_, {}, {});
  EXPECT_EQ(pids(), first);

  // kill -9 of the supervisor: the next one adopts every child.
  const pid_t supervisor = static_cast<pid_t>(find_int(status, "pid"));
  kill(supervisor, SIGKILL);
  while (process_start_ticks(supervisor) != 0) std::this_thread::sleep_for(milliseconds(5));
  bring_up(config_, {}, {});
  EXPECT_EQ(pids(), first);

  // kill -9 of an engine: it comes back.
  kill(first.at("ovn-nb"), SIGKILL);
  while (pids().at("ovn-nb") == first.at("ovn-nb")) std::this_thread::sleep_for(milliseconds(5));
  bring_up(config_, {}, {});
  EXPECT_TRUE(run({{"ovn-nbctl", nb, "--timeout=10", "--wait=hv", "sync"}}).ok());

  service_command(config_, "stop", "ovn-northd");
  EXPECT_EQ(pids().at("ovn-northd"), 0);
  service_command(config_, "start", "ovn-northd");

  const json::object last = supervisor_status(config_);
  for (const json::value& s : *find_array(last, "services"))
    printf("  %-16s %6ld KiB\n", str(s.at("name")).c_str(), static_cast<long>(s.at("memory_kib").as_int64()));

  // Down keeps the state; a second start is quick.
  tear_down(config_, false, print);
  EXPECT_TRUE(std::filesystem::exists(config_.cloud.state_dir + "/ovn/ovnnb_db.db"));
  EXPECT_THROW(supervisor_status(config_), Fault);
  const long down = took();
  bring_up(config_, {}, {});
  EXPECT_TRUE(run({{"virsh", "-c", uri, "list"}}).ok());
  printf("second start, libvirt answering: %ld ms\n", took() - down);

  netns::ensure("vmeta-00000000-" + space);  // as an agent that was killed leaves one
  tear_down(config_, true, print);
  EXPECT_FALSE(netns::exists("vmeta-00000000-" + space));
  EXPECT_FALSE(netns::exists(space));
  for (const char* gone : {"/state", "/run", "/log"}) EXPECT_FALSE(std::filesystem::exists(folder_ + gone)) << gone;
  EXPECT_EQ(host_state(), before);
  EXPECT_EQ(output({"grep", "-lsF", folder_, "/proc/mounts"}), "");
}

}  // namespace
}  // namespace virga::cloud
