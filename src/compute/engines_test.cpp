// The same boots on both engines, raced by many clients: the last unit of a quota goes to one of them.

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/compute_fixture.h"
#include "tests/support/mariadb.h"

namespace virga::test {
namespace {

class ComputeEngines : public ::testing::TestWithParam<db::Dialect> {};

TEST_P(ComputeEngines, RacingBootsKeepQuotaAndAllocations) {
  ComputeCloud cloud(GetParam() == db::Dialect::mariadb ? mariadb_server().new_database() : "");
  cloud.add_host("node1", 16, 65536);
  cloud.put("/compute/v2.1/os-quota-sets/demo", json::object{{"quota_set", json::object{{"instances", 3}}}},
            "admin");
  std::atomic<int> accepted{0}, refused{0}, other{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&, i] {
      const auto r = cloud.boot("vm" + std::to_string(i));
      ++(r.status == 202 ? accepted : r.status == 403 ? refused : other);
      if (r.status != 202 && r.status != 403) ADD_FAILURE() << r.body;
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(accepted, 3);
  EXPECT_EQ(refused, 5);
  const auto list = cloud.get("/compute/v2.1/servers/detail", "demo");
  ASSERT_EQ(list.count("servers"), 3u) << list.body;
  for (const auto& status : list.each("servers", "status")) EXPECT_EQ(status, "ACTIVE");
  for (const auto& id : list.each("servers", "id"))
    EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + id, "demo").status, 204);
  const auto left = cloud.database().read([](db::Tx& tx) {
    return tx.first("SELECT (SELECT COUNT(*) FROM allocations) + (SELECT SUM(used) FROM inventories) + "
                    "(SELECT SUM(used) FROM compute_usages)")->integer(0);
  });
  EXPECT_EQ(left, 0);
}

TEST_P(ComputeEngines, RacingBootsFillEachHostOnce) {
  ComputeCloud cloud(GetParam() == db::Dialect::mariadb ? mariadb_server().new_database() : "");
  for (const char* host : {"node1", "node2", "node3"}) cloud.add_host(host, 4, 1024);  // room for one server
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&, i] {
      const auto r = cloud.boot("vm" + std::to_string(i));
      EXPECT_EQ(r.status, 202) << r.body;
    });
  for (auto& client : clients) client.join();
  std::map<std::string, int> on;
  const auto list = cloud.get("/compute/v2.1/servers/detail?all_tenants=1", "admin");
  for (const auto& host : list.each("servers", "OS-EXT-SRV-ATTR:host")) ++on[host];
  EXPECT_EQ(on["node1"] + on["node2"] + on["node3"], 3) << list.body;
  EXPECT_EQ(on.size(), 4u);  // and five with none
}

TEST_P(ComputeEngines, RacingZonesLeaveAHostInOne) {
  ComputeCloud cloud(GetParam() == db::Dialect::mariadb ? mariadb_server().new_database() : "");
  const std::string all = "/compute/v2.1/os-aggregates";
  std::vector<std::string> ids;
  for (const char* zone : {"z1", "z2", "z3", "z4"})
    ids.push_back(cloud.post(all, json::object{{"aggregate", {{"name", zone}, {"availability_zone", zone}}}}, "admin").at("aggregate.id"));
  for (int round = 0; round < 4; ++round) {
    const std::string host = "node" + std::to_string(round);
    cloud.add_host(host);
    std::atomic<int> added{0};
    std::vector<std::thread> clients;
    for (const auto& id : ids)
      clients.emplace_back([&, id] {
        const auto r = cloud.post(all + "/" + id + "/action", json::object{{"add_host", {{"host", host}}}}, "admin");
        if (r.status == 200) ++added;
        if (r.status != 200 && r.status != 409) ADD_FAILURE() << r.body;
      });
    for (auto& client : clients) client.join();
    EXPECT_EQ(added, 1);
    const auto odd = cloud.database().read([&](db::Tx& tx) {
      return tx.query("SELECT h.hostname, h.zone FROM hosts h JOIN aggregate_hosts a ON a.host_id = h.id JOIN aggregates g ON "
                      "g.number = a.aggregate_number WHERE h.zone <> g.name").size();
    });
    EXPECT_EQ(odd, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, ComputeEngines, engines(), engine_name);

}  // namespace
}  // namespace virga::test
