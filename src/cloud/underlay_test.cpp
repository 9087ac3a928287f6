// On devices of a network namespace of the test's own; a Linux bridge stands for Open vSwitch's br-phy.
#include "cloud/underlay.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/fault.h"
#include "base/ids.h"
#include "base/netns.h"
#include "base/process.h"

namespace virga::cloud {
namespace {

using Texts = std::vector<std::string>;

class Underlay : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    folder_ = std::filesystem::temp_directory_path() / ("virga-underlay-" + new_hex_id().substr(0, 8));
    std::filesystem::create_directories(folder_);
    config_.network.mode = "host";
    config_.network.datapath = "netdev";
    config_.network.underlay_interface = "eth0";
    config_.network.encap_ip = "192.0.2.10";
    config_.cloud.state_dir = folder_;
    netns::ensure(space_);
    netns::ensure(far_);
    netns::ensure_veth(space_, "eth0", far_, "far0");
    netns::add_address(far_, "far0", "192.0.2.1/24");
    netns::set_up(far_, "far0");
    boot({"192.0.2.10/24", "192.0.2.11/24"});
  }
  void TearDown() override {
    netns::remove(space_);
    netns::remove(far_);
    std::filesystem::remove_all(folder_);
  }
  /// As the machine's own configuration sets the interface up.
  void boot(const Texts& addresses) {
    for (const auto& cidr : addresses) netns::add_address(space_, "eth0", cidr);
    netns::set_up(space_, "eth0");
    netns::add_route(space_, "default", "192.0.2.1", "eth0");
  }
  void make_bridge() { netns::ensure_bridge(space_, kUnderlayBridge); }
  void inside(void (*f)(const Config&)) {
    netns::run_in(space_, [&] { f(config_); });
  }
  Texts addresses(const char* device) { return netns::addresses(space_, device); }
  std::string default_route() {
    for (const auto& route : netns::routes(space_))
      if (route.destination == "default") return route.device;
    return "";
  }
  std::string setting(const char* name) {
    return netns::call_in(space_,
                          [&] { return read_file(std::string("/proc/sys/net/ipv4/conf/eth0/") + name); });
  }

  const std::string space_ = "vt-" + new_hex_id().substr(0, 8), far_ = space_ + "f";
  std::filesystem::path folder_;
  Config config_;
};

TEST_F(Underlay, TheBridgeTakesAddressesAndRoutesAndGivesThemBack) {
  const std::string filter = setting("rp_filter"), arp = setting("arp_ignore");
  for (int twice = 0; twice < 2; ++twice) {
    make_bridge();
    for (int again = 0; again < 2; ++again) {
      inside(check_underlay);
      inside(take_underlay);
      EXPECT_EQ(addresses("eth0"), Texts{});
      EXPECT_EQ(addresses(kUnderlayBridge), (Texts{"192.0.2.10/24", "192.0.2.11/24"}));
      EXPECT_EQ(default_route(), kUnderlayBridge);
      EXPECT_EQ(setting("rp_filter"), "1\n");
      EXPECT_EQ(setting("arp_ignore"), "8\n");
    }
    EXPECT_EQ(netns::call_in(space_, [&] { return taken_underlay(config_); }), "eth0");
    for (int again = 0; again < 2; ++again) {
      inside(give_underlay_back);
      EXPECT_EQ(addresses("eth0"), (Texts{"192.0.2.10/24", "192.0.2.11/24"}));
      EXPECT_FALSE(netns::find_link(space_, kUnderlayBridge));
      EXPECT_EQ(default_route(), "eth0");
      EXPECT_EQ(setting("rp_filter"), filter);
      EXPECT_EQ(setting("arp_ignore"), arp);
    }
    EXPECT_TRUE(netns::ping(space_, "192.0.2.1", 2000));
  }
}

TEST_F(Underlay, ABridgeThatWentWithItsDaemonGetsThemAgain) {
  make_bridge();
  inside(take_underlay);
  netns::remove_link(space_, kUnderlayBridge);
  EXPECT_EQ(default_route(), "");
  make_bridge();
  inside(check_underlay);
  inside(take_underlay);
  EXPECT_EQ(addresses(kUnderlayBridge), (Texts{"192.0.2.10/24", "192.0.2.11/24"}));
  EXPECT_EQ(default_route(), kUnderlayBridge);
}

TEST_F(Underlay, AfterABootWhatTheMachineSetsUpCounts) {
  make_bridge();
  inside(take_underlay);
  netns::remove_link(space_, kUnderlayBridge);  // a boot: nothing is given back
  boot({"192.0.2.10/24"});
  make_bridge();
  inside(take_underlay);
  EXPECT_EQ(addresses(kUnderlayBridge), Texts{"192.0.2.10/24"});
}

TEST_F(Underlay, WhatCannotWorkIsRefused) {
  const auto refused = [&](const Config& c) {
    try {
      netns::run_in(space_, [&] { check_underlay(c); });
    } catch (const Fault& f) {
      return f.kind;
    }
    return FaultKind::internal;
  };
  Config c = config_;
  c.network.underlay_interface = "eth7";
  EXPECT_EQ(refused(c), FaultKind::not_found);
  c = config_;
  c.network.encap_ip = "192.0.2.99";
  EXPECT_EQ(refused(c), FaultKind::conflict);
  c = config_;
  c.network.datapath = "system";
  EXPECT_EQ(refused(c), FaultKind::bad_request);
  c.network.underlay_interface = "";
  EXPECT_NO_THROW(check_underlay(c));
}

}  // namespace
}  // namespace virga::cloud
