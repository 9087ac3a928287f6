#include "lab/plan.h"

#include <gtest/gtest.h>

#include "base/config.h"
#include "base/fault.h"
#include "lab/api.h"

namespace virga::lab {
namespace {

TEST(LabPlan, AHostIsNamedAsItsNumber) {
  EXPECT_EQ(node_number("node2", 3), 2);
  for (const char* wrong : {"node4", "node0", "node", "node02", "2", "node2 ", ""})
    EXPECT_THROW(node_number(wrong, 3), Fault) << wrong;
  try {
    node_number("node4", 3);
    FAIL();
  } catch (const Fault& f) {
    EXPECT_EQ(f.kind, FaultKind::not_found);
    EXPECT_EQ(f.hint, "It has node1 to node3.");
  }
}

TEST(LabPlan, NamesFitIntoDevices) {
  EXPECT_LT(wire_name(kMostHosts, kMostHosts - 1).size(), 16u);
  EXPECT_LT(port_name(kMostHosts).size(), 16u);
  EXPECT_NE(node_mac(1), node_mac(2));
  EXPECT_NE(wire_name(1, 2), wire_name(2, 1));
}

TEST(LabPlan, TheFirstNodesSettingsAreAHostsWithTlsThatOthersReach) {
  const Config c = parse_config(controller_settings(true), "virga.toml");
  EXPECT_FALSE(c.trial());
  EXPECT_TRUE(c.tls.enabled);
  EXPECT_FALSE(c.demo.server);
  EXPECT_EQ(c.hosts_address(), "172.31.0.1");
  EXPECT_EQ(c.network.encap_ip, "172.31.0.1");
  EXPECT_EQ(c.network.datapath, "netdev");
  EXPECT_EQ(c.network.underlay_interface, "und0");
  EXPECT_EQ(c.cloud.package_cache, parse_config(machine_settings(), "virga.toml").cloud.package_cache);
  const Config kernel = parse_config(controller_settings(false), "virga.toml");
  EXPECT_EQ(kernel.network.datapath, "auto");
  EXPECT_EQ(kernel.network.underlay_interface, "");
}

TEST(LabPlan, EachNodeKnowsAllNames) {
  EXPECT_NE(hosts_file(2).find("172.31.0.2\tnode2\n"), std::string::npos);
  EXPECT_EQ(hosts_file(2).find("node3"), std::string::npos);
}

TEST(LabPlan, ANodeJoinsWithTheLastLine) {
  const std::string said =
      "The token is good for an hour.\n\nvirga join https://172.31.0.1:5000 --token abc.def\n\n";
  EXPECT_EQ(join_command(said, 3, true),
            (std::vector<std::string>{"virga", "join", "https://172.31.0.1:5000", "--token", "abc.def",
                                      "--address", "172.31.0.3", "--underlay-interface", "und0"}));
  EXPECT_EQ(join_command(said, 3, false).back(), "172.31.0.3");
  EXPECT_THROW(join_command("", 2, true), Fault);
  EXPECT_THROW(join_command("rm -rf /\n", 2, true), Fault);
}

TEST(LabPlan, CutsOfPairsAndOfOneFromAll) {
  Cuts cuts;
  cuts.set(true, 3, 1, 3);
  EXPECT_TRUE(cuts.has(1, 3) && cuts.has(3, 1));
  EXPECT_FALSE(cuts.has(1, 2));
  cuts.set(true, 2, 0, 3);
  EXPECT_EQ(cuts.text(), "1 2\n1 3\n2 3\n");
  cuts.set(false, 1, 3, 3);
  EXPECT_EQ(cuts.text(), "1 2\n2 3\n");
  cuts.set(false, 2, 0, 3);
  EXPECT_TRUE(cuts.pairs().empty());
  EXPECT_THROW(cuts.set(true, 2, 2, 3), Fault);
}

TEST(LabPlan, CutsAreReadAsTheyAreWritten) {
  Cuts cuts;
  cuts.set(true, 2, 0, 4);
  EXPECT_EQ(Cuts::parse(cuts.text()).pairs(), cuts.pairs());
  EXPECT_EQ(Cuts::parse("2 1\n1 1\nx y\n0 3\n\n1").text(), "1 2\n");
}

}  // namespace
}  // namespace virga::lab
