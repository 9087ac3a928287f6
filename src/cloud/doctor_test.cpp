#include "cloud/doctor.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/ids.h"

namespace virga::cloud {
namespace {

/// A machine made of files and canned answers; healthy until a test spoils it.
class DoctorTest : public testing::Test {
 protected:
  void SetUp() override {
    file("/proc/cpuinfo", "flags : fpu vmx sse\n");
    file("/proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n");
    file("/sys/module/kvm_intel/parameters/nested", "Y\n");
    file("/sys/module/openvswitch/version", "x");
    host_.root = root_;
    host_.routes = [this] { return routes_; };
    host_.kvm_problem = [this] { return kvm_problem_; };
    host_.socket_answers = [](const std::string&) { return false; };
    host_.port_free = [this](int port) { return port != used_port_; };
    host_.free_disk = [](const std::string&) { return GiB{50}; };
    host_.run = [this](const std::vector<std::string>& argv) { return answer(argv); };
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    write_file(root_ + path, text);
  }
  Outcome answer(const std::vector<std::string>& argv) {
    Outcome o;
    o.exit_code = 0;
    if (argv[0] == "modprobe") o.exit_code = loadable_ ? 0 : 1;
    if (argv[0] == "ovs-vswitchd") o.out = "ovs-vswitchd (Open vSwitch) " + ovs_version_ + "\n";
    if (argv[0] == "timedatectl") o.out = "yes\n";
    if (argv[0] == "nft") o.out = ruleset_;
    if (argv[0] == "dpkg-query")
      for (size_t i = 3; i < argv.size(); ++i)
        if (argv[i] != missing_) o.out += argv[i] + " installed\n";
    return o;
  }
  CheckRow row(const std::string& id) {
    for (CheckRow& r : run_doctor(config_, host_))
      if (r.id == id) return r;
    return {id, "", Health::pass, "no such row", ""};
  }

  const std::string root_ = "/tmp/virga-doctor-" + new_hex_id().substr(0, 8);
  Config config_;
  HostView host_;
  std::vector<netns::Route> routes_ = {{"default", "192.0.2.1", "eth0"}, {"192.0.2.0/24", "", "eth0"}};
  std::optional<std::string> kvm_problem_;
  std::string ovs_version_ = "3.1.0", ruleset_, missing_;
  int used_port_ = 0;
  bool loadable_ = false;  ///< the kernel has openvswitch as a module
};

TEST_F(DoctorTest, AHealthyMachinePasses) {
  for (const CheckRow& r : run_doctor(config_, host_)) EXPECT_EQ(r.health, Health::pass) << r.id << ": " << r.detail;
}

TEST_F(DoctorTest, AModprobeLineThatDoesNothing) {
  file("/etc/modprobe.d/kvm.conf", "# nested\noption kvm_intel nested=1\noptions kvm_intel nested=1\n");
  EXPECT_EQ(row("modprobe").health, Health::warn);
  EXPECT_NE(row("modprobe").detail.find("/etc/modprobe.d/kvm.conf:2"), std::string::npos);
  EXPECT_EQ(row("modprobe").fix, "Write \"options\" for \"option\".");
}

TEST_F(DoctorTest, KvmThatCannotRunAGuest) {
  kvm_problem_ = "/dev/kvm opens, but a guest did not run";
  EXPECT_EQ(row("kvm").health, Health::warn);
  EXPECT_NE(row("kvm").detail.find("TCG"), std::string::npos);
  config_.compute.virt_type = "kvm";
  EXPECT_EQ(row("kvm").health, Health::fail);
}

TEST_F(DoctorTest, NestedOff) {
  file("/sys/module/kvm_intel/parameters/nested", "N\n");
  EXPECT_EQ(row("nested").health, Health::warn);
}

TEST_F(DoctorTest, CollidingRanges) {
  routes_.push_back({"10.0.0.0/8", "192.0.2.1", "tun0"});
  EXPECT_EQ(row("ranges").health, Health::warn);
  EXPECT_NE(row("ranges").detail.find("tun0"), std::string::npos);
}

TEST_F(DoctorTest, HostModesExternalRangeIsTheWorlds) {
  config_.network.mode = "host";
  routes_.push_back({"10.0.0.0/8", "192.0.2.1", "tun0"});     // private ranges never meet the host's
  routes_.push_back({"172.24.4.0/24", "192.0.2.1", "eth0"});  // over a router
  routes_.push_back({"172.24.4.0/24", "", "br-ex"});
  EXPECT_EQ(row("ranges").health, Health::pass);
  routes_.push_back({"172.24.0.0/16", "", "docker0"});
  EXPECT_EQ(row("ranges").health, Health::fail);
  EXPECT_NE(row("ranges").detail.find("docker0"), std::string::npos);
}

TEST_F(DoctorTest, AnExternalInterfaceMustBeFree) {
  config_.network.mode = "host";
  config_.network.external_interface = "eth1";
  EXPECT_EQ(row("uplink").health, Health::fail);
  file("/sys/class/net/eth1/operstate", "up");
  EXPECT_EQ(row("uplink").health, Health::pass);
  routes_.push_back({"198.51.100.0/24", "", "eth1"});
  EXPECT_EQ(row("uplink").health, Health::fail);
  EXPECT_NE(row("uplink").detail.find("198.51.100.0/24"), std::string::npos);
}

TEST_F(DoctorTest, TheOpenVswitchThatAborts) {
  std::filesystem::remove_all(root_ + "/sys/module/openvswitch");
  EXPECT_EQ(row("openvswitch").health, Health::warn);
  ovs_version_ = "3.1.3";
  EXPECT_EQ(row("openvswitch").health, Health::pass);
}

TEST_F(DoctorTest, TunnelsOfTheUserspaceDatapathNeedAnInterface) {
  config_.network.mode = "host";
  config_.network.encap_ip = "192.0.2.10";
  EXPECT_EQ(row("tunnels").health, Health::pass);
  std::filesystem::remove_all(root_ + "/sys/module/openvswitch");
  EXPECT_EQ(row("tunnels").health, Health::warn);
  EXPECT_NE(row("tunnels").fix.find("192.0.2.10"), std::string::npos);
  config_.network.underlay_interface = "eth0";
  EXPECT_EQ(row("tunnels").health, Health::fail) << "there is none";
  file("/sys/class/net/eth0/operstate", "up");
  EXPECT_EQ(row("tunnels").health, Health::pass);
  config_.network.underlay_interface = "";
  config_.network.mode = "trial";
  EXPECT_EQ(row("tunnels").health, Health::pass);
}

TEST_F(DoctorTest, AModuleThatHostModeWouldLoadCounts) {
  config_.network.encap_ip = "192.0.2.10";
  std::filesystem::remove_all(root_ + "/sys/module/openvswitch");
  loadable_ = true;
  EXPECT_EQ(row("openvswitch").health, Health::warn) << "a trial loads none";
  config_.network.mode = "host";
  EXPECT_EQ(row("openvswitch").health, Health::pass);
  EXPECT_EQ(row("tunnels").health, Health::pass);
  config_.network.datapath = "netdev";
  EXPECT_EQ(row("tunnels").health, Health::warn);
}

TEST_F(DoctorTest, HostModeMindsManagersAndFirewalls) {
  file("/proc/77/comm", "NetworkManager\n");
  ruleset_ = "table inet f {\n chain forward {\n type filter hook forward priority 0; policy drop;\n}}\n";
  EXPECT_EQ(row("networkmanager").health, Health::pass);
  EXPECT_EQ(row("nftables").health, Health::pass);
  config_.network.mode = "host";
  EXPECT_EQ(row("networkmanager").health, Health::warn);
  EXPECT_EQ(row("nftables").health, Health::warn);
}

TEST_F(DoctorTest, PortsMemoryAndPackages) {
  used_port_ = 5000;
  missing_ = "ovn-host";
  file("/proc/meminfo", "MemTotal: 900000 kB\nMemAvailable: 100000 kB\n");
  EXPECT_EQ(row("ports").health, Health::fail);
  EXPECT_EQ(row("memory").health, Health::fail);
  EXPECT_EQ(row("packages").fix, "apt-get install --no-install-recommends ovn-host");
  EXPECT_EQ(worst(run_doctor(config_, host_)), Health::fail);
  EXPECT_EQ(to_json(run_doctor(config_, host_)).size(), run_doctor(config_, host_).size());
}

TEST_F(DoctorTest, AMachineIsAskedForTheRoleItHas) {
  used_port_ = 4222;
  EXPECT_EQ(row("ports").health, Health::pass);
  config_.network.mode = "host";
  config_.ha.nats_server = true;
  EXPECT_EQ(row("ports").health, Health::fail);
  EXPECT_NE(row("ports").fix.find("disable --now nats-server"), std::string::npos);
  used_port_ = 5001;
  EXPECT_EQ(row("ports").health, Health::pass) << "nobody else reaches it";
  config_.cloud.api_address = "192.0.2.10";
  EXPECT_EQ(row("ports").health, Health::fail);
  config_.cloud.api_address = "127.0.0.1";
  config_.cloud.role = "controller";
  EXPECT_EQ(row("ports").health, Health::fail);
  EXPECT_TRUE(check_cpu(config_, host_).empty()) << "it has no guests";
  config_.cloud.role = "compute";
  EXPECT_EQ(row("ports").health, Health::pass);
  EXPECT_FALSE(check_cpu(config_, host_).empty());
}

TEST_F(DoctorTest, ThisMachineCanBeLookedAt) {
  const auto rows = run_doctor(config_, this_host(config_, [] { return std::optional<std::string>("not probed here"); }));
  EXPECT_GT(rows.size(), 10u);
  printf("%s", render_rows(rows).c_str());
}

}  // namespace
}  // namespace virga::cloud
