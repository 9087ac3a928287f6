// On each database engine: requests that race. On MariaDB they run beside each other, each in a snapshot of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <mutex>
#include <set>
#include <thread>

#include "network/service.h"
#include "tests/support/api_client.h"
#include "tests/support/mariadb.h"

namespace virga::network {
namespace {

api::Caller member_of(const std::string& project) {
  api::Caller caller;
  caller.user_id = "user-" + project;
  caller.project_id = project;
  caller.role_names = {"member", "reader"};
  caller.expires = Time::max();
  return caller;
}

class NetworkEngines : public ::testing::TestWithParam<db::Dialect> {};

TEST_P(NetworkEngines, RacingPortsGetAnAddressEach) {
  test::TestCloud cloud(GetParam() == db::Dialect::mariadb ? test::mariadb_server().new_database() : "");
  const auto networks = make_networks({}, cloud.database(), cloud.clock());
  cloud.sign_in("demo", member_of("demo"));
  cloud.mount(networks->service());
  const auto net = cloud.post("/network/v2.0/networks", {{"network", {{"name", "n"}}}}, "demo").at("network.id");
  // 61 addresses: 64, without the ends and the gateway
  cloud.post("/network/v2.0/subnets", {{"subnet", {{"network_id", net}, {"ip_version", 4}, {"cidr", "10.0.0.0/26"}, {"enable_dhcp", false}}}}, "demo");
  std::mutex mutex;
  std::set<std::string> addresses;
  std::atomic<int> full{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&] {
      for (int n = 0; n < 8; ++n) {
        const auto r = cloud.post("/network/v2.0/ports", {{"port", {{"network_id", net}}}}, "demo");
        if (r.status == 409 && r.body.find("No more IP addresses available") != std::string::npos) {
          ++full;
          continue;
        }
        EXPECT_EQ(r.status, 201) << r.body;
        if (r.status != 201) continue;
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(addresses.insert(r.at("port.fixed_ips.0.ip_address")).second) << r.body;
      }
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(addresses.size(), 61u);
  EXPECT_EQ(full, 3);
}

// A project's first requests race for the row that counts what it uses: none of them is told that a quota is exceeded.
TEST_P(NetworkEngines, RacingFirstGroupsAreAllMade) {
  test::TestCloud cloud(GetParam() == db::Dialect::mariadb ? test::mariadb_server().new_database() : "");
  const auto networks = make_networks({}, cloud.database(), cloud.clock());
  cloud.mount(networks->service());
  constexpr int kClients = 4;
  for (int n = 0; n < 12; ++n) {
    const std::string project = "project-" + std::to_string(n);
    cloud.sign_in(project, member_of(project));
    std::barrier start(kClients);
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i)
      clients.emplace_back([&] {
        start.arrive_and_wait();
        const auto r = cloud.post("/network/v2.0/security-groups", {{"security_group", {{"name", "g"}}}}, project);
        EXPECT_EQ(r.status, 201) << r.body;
      });
    for (auto& client : clients) client.join();
    EXPECT_EQ(cloud.get("/network/v2.0/security-groups", project).count("security_groups"), kClients + 1u) << "with the default one";
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, NetworkEngines, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::network
