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

INSTANTIATE_TEST_SUITE_P(Engines, ComputeEngines, engines(), engine_name);

}  // namespace
}  // namespace virga::test
