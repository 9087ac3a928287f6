#include <gtest/gtest.h>

#include <thread>

#include "placement/api.h"
#include "tests/support/api_client.h"

namespace virga::test {
namespace {

const Fields kLatest{{"OpenStack-API-Version", "placement 1.39"}};
const std::string kProvider = "aaaaaaaa-0000-4000-8000-000000000001",
                  kConsumer = "bbbbbbbb-0000-4000-8000-000000000001";

class PlacementTest : public ::testing::Test {
 protected:
  PlacementTest() {
    placement_ = placement::make_placement(cloud_.database(), cloud_.clock());
    cloud_.mount(placement_->service());
    cloud_.sign_in("admin", admin_caller());
    cloud_.database().write([&](db::Tx& tx) {
      placement_->ensure_provider(
          tx, kProvider, "node1",
          {{.resource_class = "VCPU", .total = 4, .max_unit = 4, .allocation_ratio = 2.0},
           {.resource_class = "MEMORY_MB", .total = 1000, .reserved = 100, .max_unit = 1000}});
    });
  }
  json::object allocation(int64_t vcpus, const json::value& generation = nullptr) {
    return {{"allocations",
             json::object{{kProvider, json::object{{"resources", json::object{{"VCPU", vcpus}}}}}}},
            {"project_id", "p"},
            {"user_id", "u"},
            {"consumer_generation", generation},
            {"consumer_type", "INSTANCE"}};
  }
  TestCloud cloud_;
  std::unique_ptr<placement::Placement> placement_;
};

TEST_F(PlacementTest, RootAndProviders) {
  EXPECT_EQ(cloud_.get("/placement/").at("versions.0.max_version"), "1.39");
  EXPECT_EQ(cloud_.get("/placement/resource_providers?name=node1", "admin", kLatest)
                .at("resource_providers.0.root_provider_uuid"),
            kProvider);
  EXPECT_EQ(cloud_.get("/placement/resource_providers").status, 401);
  const auto made =
      cloud_.post("/placement/resource_providers", json::object{{"name", "x"}}, "admin", kLatest);
  EXPECT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(
      cloud_.post("/placement/resource_providers", json::object{{"name", "x"}}, "admin", kLatest).status,
      409);
  EXPECT_EQ(cloud_.del("/placement/resource_providers/" + made.at("uuid"), "admin").status, 204);
}

TEST_F(PlacementTest, InventoryGenerationsConflict) {
  const std::string url = "/placement/resource_providers/" + kProvider + "/inventories";
  const auto before = cloud_.get(url, "admin");
  EXPECT_EQ(before.at("inventories.MEMORY_MB.reserved"), "100");
  const json::object body{{"resource_provider_generation", 99},
                          {"inventories", json::object{{"VCPU", json::object{{"total", 8}}}}}};
  EXPECT_EQ(cloud_.put(url, body, "admin").status, 409);
  json::object right = body;
  right["resource_provider_generation"] = *before.find("resource_provider_generation");
  const auto after = cloud_.put(url, right, "admin");
  EXPECT_EQ(after.status, 200) << after.body;
  EXPECT_EQ(after.at("inventories.VCPU.total"), "8");
  EXPECT_EQ(after.find("inventories.MEMORY_MB"), nullptr);
}

TEST_F(PlacementTest, AllocationsHoldTheCapacity) {
  const std::string url = "/placement/allocations/" + kConsumer;
  EXPECT_EQ(cloud_.put(url, allocation(4), "admin", kLatest).status, 204);
  EXPECT_EQ(cloud_.put(url, allocation(4), "admin", kLatest).status, 409);  // the consumer is not new
  EXPECT_EQ(cloud_.get(url, "admin", kLatest).at("allocations." + kProvider + ".resources.VCPU"), "4");
  EXPECT_EQ(cloud_.get("/placement/resource_providers/" + kProvider + "/usages", "admin").at("usages.VCPU"),
            "4");
  EXPECT_EQ(cloud_.put("/placement/allocations/" + new_uuid(), allocation(4), "admin", kLatest).status, 204);
  EXPECT_EQ(cloud_.put("/placement/allocations/" + new_uuid(), allocation(1), "admin", kLatest).status, 409);
  EXPECT_EQ(
      cloud_.get("/placement/usages?project_id=p", "admin", {{"OpenStack-API-Version", "placement 1.9"}})
          .at("usages.VCPU"),
      "8");
  EXPECT_EQ(cloud_.del(url, "admin").status, 204);
  EXPECT_EQ(cloud_.del(url, "admin").status, 404);
}

TEST_F(PlacementTest, Candidates) {
  const auto fits =
      cloud_.get("/placement/allocation_candidates?resources=VCPU:1,MEMORY_MB:900", "admin", kLatest);
  EXPECT_EQ(fits.count("allocation_requests"), 1u) << fits.body;
  EXPECT_EQ(fits.at("provider_summaries." + kProvider + ".resources.MEMORY_MB.capacity"), "900");
  EXPECT_EQ(cloud_.get("/placement/allocation_candidates?resources=MEMORY_MB:901", "admin", kLatest)
                .count("allocation_requests"),
            0u);
  EXPECT_EQ(cloud_.get("/placement/allocation_candidates?resources=x", "admin", kLatest).status, 400);
  const auto all = cloud_.database().read([&](db::Tx& tx) {
    return placement_->candidates(tx, {{"MEMORY_MB", 2000}});
  });
  EXPECT_EQ(all.front().refusal, "MEMORY_MB: 2000 wanted, 900 free of 900");
}

TEST_F(PlacementTest, TheLastUnitGoesToOne) {
  std::atomic<int> got{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&] {
      try {
        cloud_.database().write([&](db::Tx& tx) {
          placement_->allocate(tx, new_uuid(), kProvider, {{"VCPU", 3}}, "p", "u");
        });
        ++got;
      } catch (const Fault& fault) {
        EXPECT_EQ(fault.kind, FaultKind::conflict);
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(got, 2);  // 8 = 4 x 2.0, in threes
}

TEST_F(PlacementTest, ClassesAndTraits) {
  EXPECT_EQ(cloud_.put("/placement/resource_classes/CUSTOM_GPU", nullptr, "admin", kLatest).status, 201);
  EXPECT_EQ(cloud_.put("/placement/resource_classes/CUSTOM_GPU", nullptr, "admin", kLatest).status, 204);
  EXPECT_EQ(cloud_.put("/placement/resource_classes/GPU", nullptr, "admin", kLatest).status, 400);
  EXPECT_EQ(cloud_.put("/placement/traits/CUSTOM_FAST", nullptr, "admin", kLatest).status, 201);
  EXPECT_EQ(cloud_.del("/placement/traits/CUSTOM_FAST", "admin", kLatest).status, 204);
}

}  // namespace
}  // namespace virga::test
