#include "base/netns.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/ids.h"

namespace virga::netns {
namespace {

/// Two namespaces with names of their own; gone at the end of each test.
class NetnsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ensure(a_);
    ensure(b_);
  }
  void TearDown() override {
    remove(a_);
    remove(b_);
  }
  const std::string a_ = "vt-" + new_hex_id().substr(0, 8), b_ = a_ + "b";
};

TEST_F(NetnsTest, IsMadeOnceAndRemovedWithoutATrace) {
  ensure(a_);
  EXPECT_TRUE(exists(a_));
  EXPECT_TRUE(find_link(a_, "lo")->up);
  EXPECT_EQ(links(a_).front().name, "lo");
  remove(a_);
  remove(a_);
  EXPECT_FALSE(exists(a_));
}

TEST_F(NetnsTest, APingFromTheMainThreadIsAnswered) {
  EXPECT_TRUE(ping("", "127.0.0.1", 1000));  // an identifier of 0 would not survive NAT
  EXPECT_TRUE(ping(a_, "127.0.0.1", 1000));
  EXPECT_FALSE(ping(a_, "10.9.8.1", 100)) << "there is no route";
}

TEST_F(NetnsTest, FlagsOfADevice) {
  ensure_veth(a_, "d0", b_, "peer");
  EXPECT_FALSE(find_link(a_, "d0")->up || find_link(a_, "d0")->promiscuous);
  set_up(a_, "d0");
  set_promiscuous(a_, "d0", true);
  EXPECT_TRUE(find_link(a_, "d0")->up && find_link(a_, "d0")->promiscuous);
  set_up(a_, "d0", false);
  EXPECT_TRUE(!find_link(a_, "d0")->up && find_link(a_, "d0")->promiscuous);
  set_promiscuous(a_, "d0", false);
  EXPECT_FALSE(find_link(a_, "d0")->promiscuous);
}

TEST_F(NetnsTest, AVethCarriesTcpBetweenNamespaces) {
  for (int twice = 0; twice < 2; ++twice) {
    ensure_veth(a_, "left", b_, "right");
    add_address(a_, "left", "10.9.8.1/24");
    add_address(b_, "right", "10.9.8.2/24");
    set_up(a_, "left");
    set_up(b_, "right");
    add_route(b_, "default", "10.9.8.1");
  }
  set_mac(b_, "right", "fa:16:3e:00:00:02");
  set_mtu(b_, "right", 1442);
  EXPECT_EQ(find_link(b_, "right")->mac, "fa:16:3e:00:00:02");
  EXPECT_EQ(find_link(b_, "right")->mtu, 1442);
  EXPECT_EQ(find_link(b_, "right")->kind, "veth");
  EXPECT_EQ(addresses(b_, "right"), std::vector<std::string>{"10.9.8.2/24"});
  EXPECT_EQ(routes(b_).front().destination, "default");
  const int listener = listen_tcp(a_, "10.9.8.1", 7000);
  const int client = connect_tcp(b_, "10.9.8.1", 7000);
  EXPECT_GE(client, 0);
  EXPECT_THROW(connect_tcp(b_, "10.9.8.1", 7001, 500), Fault);
  EXPECT_THROW(listen_tcp(a_, "10.9.8.1", 7000), Fault);
  close(client);
  close(listener);
}

TEST_F(NetnsTest, TheCallersThreadStaysWhereItIs) {
  char before[64] = "", inside[64] = "", after[64] = "";
  EXPECT_GT(readlink("/proc/thread-self/ns/net", before, 63), 0);
  run_in(a_, [&] { EXPECT_GT(readlink("/proc/thread-self/ns/net", inside, 63), 0); });
  EXPECT_GT(readlink("/proc/thread-self/ns/net", after, 63), 0);
  EXPECT_STREQ(before, after);
  EXPECT_STRNE(before, inside);
}

TEST_F(NetnsTest, BridgeAndMove) {
  ensure_bridge(a_, "br0");
  ensure_veth(a_, "p0", a_, "p1");
  set_master(a_, "p0", "br0");
  move_link(a_, "p1", b_);
  EXPECT_TRUE(find_link(b_, "p1"));
  EXPECT_EQ(find_link(a_, "br0")->kind, "bridge");
  remove_link(a_, "p0");
  remove_link(a_, "p0");
  EXPECT_FALSE(find_link(b_, "p1"));
}

TEST_F(NetnsTest, AnIsolatedPortReachesOnlyPortsThatAreNot) {
  ensure_bridge(a_, "br0");
  add_address(a_, "br0", "10.9.7.1/24");
  set_up(a_, "br0");
  ensure_veth(a_, "p1", b_, "p1");
  ensure_veth(a_, "p2", a_, "q2");  // both ends here: what p1 sends to p2 would come out of q2
  for (const char* port : {"p1", "p2"}) {
    set_master(a_, port, "br0");
    set_isolated(a_, port);
    set_isolated(a_, port);
    set_up(a_, port);
  }
  const std::string c = b_ + "c";
  ensure(c);
  move_link(a_, "q2", c);
  add_address(b_, "p1", "10.9.7.2/24");
  add_address(c, "q2", "10.9.7.3/24");
  set_up(b_, "p1");
  set_up(c, "q2");
  EXPECT_TRUE(ping(b_, "10.9.7.1", 2000)) << "the bridge itself";
  EXPECT_FALSE(ping(b_, "10.9.7.3", 300));
  set_isolated(a_, "p2", false);
  EXPECT_TRUE(ping(b_, "10.9.7.3", 2000));
  remove(c);
}

TEST_F(NetnsTest, AnAddressGoesAndMayGoTwice) {
  ensure_bridge(a_, "d0");
  add_address(a_, "d0", "10.9.8.1/24");
  add_address(a_, "d0", "10.9.9.1/24");
  remove_address(a_, "d0", "10.9.8.1/24");
  remove_address(a_, "d0", "10.9.8.1/24");
  EXPECT_EQ(addresses(a_, "d0"), std::vector<std::string>{"10.9.9.1/24"});
  EXPECT_THROW(remove_address(a_, "d1", "10.9.9.1/24"), Fault);
}

TEST_F(NetnsTest, WhatAFunctionThrowsComesBack) {
  EXPECT_THROW(run_in(a_, [] { throw Fault(FaultKind::conflict, "x"); }), Fault);
  EXPECT_THROW(run_in("no-such-namespace", [] {}), Fault);
}

}  // namespace
}  // namespace virga::netns
