// Which address a port gets, and when it gets none.

#include <set>

#include "tests/support/network_fixture.h"

namespace virga::network {
namespace {

TEST_F(FacadeTest, AddressesThatNobodyGotAreFoundWhenTheCursorComesRound) {
  start();
  net_ = make("networks", "network", {{"name", "small"}});
  subnet_ = make("subnets", "subnet",
                 {{"network_id", net_}, {"ip_version", 4}, {"cidr", "10.0.0.0/26"}, {"enable_dhcp", false}});  // .2 to .62 are free
  const auto last_byte = [](const std::vector<PortInfo>& ports) {
    const std::string& address = ports.at(0).fixed_ips.at(0).address;
    return std::stoi(address.substr(address.rfind('.') + 1));
  };
  const auto boot_at = [&](Networks& networks, const std::string& server, bool fails = false) {
    return cloud_.database().write([&](db::Tx& tx) {
      networks.create_server_ports(tx, demo_, ServerId(server), "nova", "host1", {{.network_id = net_}}, {"default"});
      if (fails) throw Fault(FaultKind::conflict, "for the test");
      return last_byte(networks.server_ports(tx, ServerId(server)));
    });
  };
  const int first = boot_at(*networks_, "one");
  EXPECT_THROW(boot_at(*networks_, "two", true), Fault);
  EXPECT_EQ(boot_at(*networks_, "three"), first + 2);
  // A second controller, or this one after a restart, begins behind what the first has taken.
  const auto other = make_networks({}, cloud_.database(), cloud_.clock());
  EXPECT_EQ(boot_at(*other, "four"), first + 32);
  EXPECT_EQ(boot_at(*networks_, "five"), first + 3);
  std::set<int> all{first, first + 2, first + 3, first + 32};
  for (int i = 0; i < 57; ++i) EXPECT_TRUE(all.insert(boot_at(i % 2 == 0 ? *networks_ : *other, fmt::format("more{}", i))).second) << i;
  EXPECT_EQ(all.size(), 61u);
  EXPECT_EQ(*all.begin(), 2);
  EXPECT_EQ(*all.rbegin(), 62);
  EXPECT_EQ(boot_fault({{.network_id = net_}}).type, "IpAddressGenerationFailure");
  release("three");
  EXPECT_EQ(boot_at(*other, "again"), first + 2);
}

TEST_F(FacadeTest, APortQuotaOfTheProjectsOwnGoesBeforeTheDefault) {
  start({.quotas = {{"port", 1}}});
  make_private();
  const auto limit = [&](int64_t most) {
    EXPECT_EQ(cloud_.put("/network/v2.0/quotas/demo-project", json::object{{"quota", json::object{{"port", most}}}}, "admin").status, 200);
  };
  boot("one", {{.network_id = net_}});
  boot_fault({{.network_id = net_}});
  limit(2);
  boot("two", {{.network_id = net_}});
  boot_fault({{.network_id = net_}});
  limit(-1);
  boot("three", {{.network_id = net_}});
  EXPECT_EQ(port_quota_used(), 3);
  limit(0);
  boot_fault({{.network_id = net_}});
  release("three");
  EXPECT_EQ(port_quota_used(), 2);
}

}  // namespace
}  // namespace virga::network
