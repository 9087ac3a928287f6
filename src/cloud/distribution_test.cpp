#include "cloud/distribution.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/fault.h"
#include "base/ids.h"
#include "base/process.h"
#include "cloud/engines.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;

class DistributionTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    config_.network.mode = "host";
    config_.cloud.state_dir = folder_;
    config_.cloud.run_dir = folder_ + "/run";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ = "/tmp/virga-distribution-" + new_hex_id().substr(0, 8);
  Config config_;
  std::set<std::string> sockets_;
  Answers answers_ = [this](const std::string& path) { return sockets_.count(path) > 0; };
};

TEST_F(DistributionTest, WithoutItsSwitchNothingOfItIsUsed) {
  sockets_ = {"/run/ovn/ovnnb_db.sock", "/run/libvirt/libvirt-sock"};
  const Distribution d = look_at_distribution(answers_);
  EXPECT_FALSE(d.openvswitch || d.ovn || d.controller || d.libvirt);
  sockets_.insert("/run/openvswitch/db.sock");
  const Distribution all = look_at_distribution(answers_);
  EXPECT_TRUE(all.openvswitch && all.ovn && all.libvirt);
}

TEST_F(DistributionTest, TheChoiceStays) {
  settle_distribution(config_, true, answers_);
  sockets_ = {"/run/openvswitch/db.sock", "/run/libvirt/libvirt-sock"};  // started later
  settle_distribution(config_, true, answers_);
  EXPECT_FALSE(chosen_distribution(config_)->openvswitch);
  const Engines e = find_engines(config_, {});
  EXPECT_TRUE(e.own_ovs && e.own_ovn && e.own_controller && e.own_libvirt);
  EXPECT_EQ(e.ovs_socket, folder_ + "/run/ovs/db.sock");
}

TEST_F(DistributionTest, TwoSwitchesOnTheKernelsDatapathAreRefused) {
  settle_distribution(config_, false, answers_);
  sockets_ = {"/run/openvswitch/db.sock"};
  try {
    settle_distribution(config_, false, answers_);
    FAIL();
  } catch (const Fault& f) {
    EXPECT_EQ(f.kind, FaultKind::conflict);
    EXPECT_NE(f.hint.find("openvswitch-switch"), std::string::npos);
  }
}

TEST_F(DistributionTest, AChosenDaemonThatIsAwayIsNamed) {
  Distribution d;
  d.openvswitch = d.libvirt = true;
  d.chassis = "0badc0de";
  d.before = SwitchBefore{{{"hostname", "h"}}, {{"br0", {"netdev", {{"a", "b"}}}}}, {"br0", "eth1"}};
  keep_distribution(config_, d);
  sockets_ = {"/run/openvswitch/db.sock"};
  try {
    settle_distribution(config_, true, answers_, milliseconds(0));
    FAIL();
  } catch (const Fault& f) {
    EXPECT_NE(f.message.find("libvirtd"), std::string::npos) << f.message;
  }
  const Distribution back = *chosen_distribution(config_);
  EXPECT_EQ(back.before->external_ids.at("hostname"), "h");
  EXPECT_EQ(back.before->ports, d.before->ports);
  EXPECT_EQ(back.before->bridges.at("br0").datapath_type, "netdev");
  EXPECT_EQ(back.before->bridges.at("br0").external_ids.at("a"), "b");
  const Engines e = find_engines(config_, {});
  EXPECT_EQ(e.chassis, "0badc0de");
  EXPECT_FALSE(e.own_ovs || e.own_libvirt);
  EXPECT_TRUE(e.own_ovn && e.own_controller);
  EXPECT_EQ(e.ovs_socket, "/run/openvswitch/db.sock");
  EXPECT_EQ(e.libvirt_socket, "/run/libvirt/libvirt-sock");
}

TEST_F(DistributionTest, ATrialHasNone) {
  config_.network.mode = "trial";
  keep_distribution(config_, {.openvswitch = true});
  EXPECT_FALSE(chosen_distribution(config_));
  EXPECT_TRUE(find_engines(config_, {}).own_ovs);
}

}  // namespace
}  // namespace virga::cloud
