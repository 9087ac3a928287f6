#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
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
  EXPECT_EQ(cloud_.get("/placement/allocation_candidates?resources=VCPU:1&nonsense=1", "admin", kLatest).status, 400);
}

/// Providers of its own: the emptiest is "big".
class CandidatesTest : public PlacementTest {
 protected:
  CandidatesTest() {
    cloud_.database().write([&](db::Tx& tx) {
      tx.exec("DELETE FROM inventories");
      for (const auto& [name, memory, vcpus] :
           {std::tuple{"small", 1000, 4}, std::tuple{"middle", 2000, 4}, std::tuple{"big", 4000, 4}, std::tuple{"busy", 8000, 1}})
        placement_->ensure_provider(tx, id(name), name,
                                    {{.resource_class = "VCPU", .total = vcpus, .max_unit = vcpus},
                                     {.resource_class = "MEMORY_MB", .total = memory, .max_unit = memory}});
    });
  }
  static std::string id(const std::string& name) { return "cccccccc-0000-4000-8000-" + (name + "000000000000").substr(0, 12); }
  using Names = std::vector<std::string>;
  static std::string name_of(const placement::Candidate& c) {
    const std::string name = c.provider_id.substr(c.provider_id.rfind('-') + 1);
    return name.substr(0, name.find('0'));
  }
  Names found(const placement::Demand& demand, size_t limit = 10) {
    return cloud_.database().read([&](db::Tx& tx) {
      Names names;
      for (const auto& c : placement_->candidates(tx, demand, limit)) names.push_back(name_of(c));
      return names;
    });
  }
  void write(const std::function<void(db::Tx&)>& f) { cloud_.database().write([&](db::Tx& tx) { f(tx); }); }
  const placement::Amounts some_{{"VCPU", 2}, {"MEMORY_MB", 500}};
};

TEST_F(CandidatesTest, TheEmptiestComesFirstAndPagesGoOn) {
  EXPECT_EQ(found({.amounts = some_}), (Names{"big", "middle", "small"}));
  EXPECT_EQ(found({.amounts = {{"VCPU", 1}}}).size(), 4u);
  EXPECT_EQ(found({.amounts = {{"MEMORY_MB", 1500}, {"DISK_GB", 0}}}), (Names{"busy", "big", "middle"}));
  write([&](db::Tx& tx) { placement_->allocate(tx, kConsumer, id("big"), {{"MEMORY_MB", 3500}}, "p", "u"); });
  EXPECT_EQ(found({.amounts = some_}, 2), (Names{"middle", "small"}));
  cloud_.database().read([&](db::Tx& tx) {
    const auto first = placement_->candidates(tx, {.amounts = some_}, 2);
    auto rest = placement_->candidates(tx, {.amounts = some_}, 2, &first.back());
    ASSERT_EQ(rest.size(), 1u);
    EXPECT_EQ(name_of(rest.front()), "big");
    placement_->add_rooms(tx, rest, {0});
    EXPECT_EQ(rest.front().rooms.at("MEMORY_MB").used, 3500);
    EXPECT_TRUE(placement_->candidates(tx, {.amounts = some_}, 2, &rest.front()).empty());
  });
}

TEST_F(CandidatesTest, PagesOfEquallyEmptyOnesMissNobody) {
  write([&](db::Tx& tx) {
    for (int i = 0; i < 7; ++i)
      placement_->ensure_provider(tx, new_uuid(), "twin" + std::to_string(i),
                                  {{.resource_class = "MEMORY_MB", .total = 9000, .max_unit = 9000}});
  });
  std::set<std::string> seen;
  cloud_.database().read([&](db::Tx& tx) {
    std::vector<placement::Candidate> page = placement_->candidates(tx, {.amounts = {{"MEMORY_MB", 8500}}}, 3);
    while (!page.empty()) {
      for (const auto& c : page) EXPECT_TRUE(seen.insert(c.provider_id).second) << c.provider_id;
      page = placement_->candidates(tx, {.amounts = {{"MEMORY_MB", 8500}}}, 3, &page.back());
    }
  });
  EXPECT_EQ(seen.size(), 7u);
}

TEST_F(CandidatesTest, TraitsAndAggregates) {
  write([&](db::Tx& tx) {
    placement_->set_trait(tx, id("small"), "CUSTOM_SSD", true);
    placement_->set_trait(tx, id("middle"), "CUSTOM_SSD", true);
    placement_->set_trait(tx, id("middle"), "CUSTOM_OLD", true);
    placement_->set_member(tx, id("big"), "agg-1", true);
    placement_->set_member(tx, id("small"), "agg-2", true);
    placement_->set_member(tx, id("small"), "agg-1", true);
  });
  EXPECT_EQ(found({.amounts = some_, .required_traits = {"CUSTOM_SSD"}}), (Names{"middle", "small"}));
  EXPECT_EQ(found({.amounts = some_, .required_traits = {"CUSTOM_SSD"}, .forbidden_traits = {"CUSTOM_OLD"}}), Names{"small"});
  EXPECT_EQ(found({.amounts = some_, .member_of = {{"agg-1", "agg-3"}}}), (Names{"big", "small"}));
  EXPECT_EQ(found({.amounts = some_, .member_of = {{"agg-1"}, {"agg-2"}}}), Names{"small"});
  EXPECT_EQ(found({.amounts = some_, .member_of = {{}}}), Names{});
  EXPECT_EQ(found({.amounts = some_, .exclusions = {{{"agg-1"}, {}}}}), Names{"middle"});
  EXPECT_EQ(found({.amounts = some_, .exclusions = {{{"agg-1"}, {"agg-2"}}}}), (Names{"middle", "small"}));
  EXPECT_EQ(found({.amounts = some_, .only = Names{id("small"), id("busy")}}), Names{"small"});
  write([&](db::Tx& tx) { placement_->set_member(tx, id("big"), "agg-1", false); });
  EXPECT_EQ(found({.amounts = some_, .member_of = {{"agg-1"}}}), Names{"small"});
  EXPECT_EQ(cloud_.get("/placement/allocation_candidates?resources=VCPU:2&required=CUSTOM_SSD,!CUSTOM_OLD", "admin", kLatest)
                .count("allocation_requests"),
            1u);
  EXPECT_EQ(cloud_.get("/placement/allocation_candidates?resources=VCPU:2&required=CUSTOM_NONE", "admin", kLatest).status, 400);
}

TEST_F(CandidatesTest, WhatAHostReportsReplacesWhatItReportedAndNothingElse) {
  const auto report = [&](const std::vector<std::string>& traits) {
    write([&](db::Tx& tx) { placement_->report_traits(tx, id("small"), traits); });
  };
  const auto shown = [&] { return cloud_.get("/placement/resource_providers/" + id("small") + "/traits", "admin", kLatest); };
  const auto traits = [&] {
    Names all;
    const Reply reply = shown();
    for (const auto& trait : reply.find("traits")->as_array()) all.emplace_back(trait.as_string());
    std::sort(all.begin(), all.end());
    return all;
  };
  write([&](db::Tx& tx) {
    placement_->set_trait(tx, id("small"), "CUSTOM_SSD", true);
    placement_->set_trait(tx, id("small"), "COMPUTE_STATUS_DISABLED", true);
    placement_->set_trait(tx, id("small"), "STORAGE_DISK_SSD", true);
  });
  report({"HW_CPU_X86_AVX", "HW_CPU_X86_VMX", "COMPUTE_NODE", "COMPUTE_STATUS_DISABLED", "CUSTOM_FORGED", "HW_CPU_NONSENSE"});
  EXPECT_EQ(traits(), (Names{"COMPUTE_NODE", "COMPUTE_STATUS_DISABLED", "CUSTOM_SSD", "HW_CPU_X86_AVX", "HW_CPU_X86_VMX", "STORAGE_DISK_SSD"}));
  EXPECT_EQ(found({.amounts = some_, .required_traits = {"HW_CPU_X86_VMX"}}), Names{"small"});
  const auto generation = shown().at("resource_provider_generation");
  report({"COMPUTE_NODE", "HW_CPU_X86_VMX", "HW_CPU_X86_AVX"});
  EXPECT_EQ(shown().at("resource_provider_generation"), generation) << "nothing changed";
  report({"COMPUTE_NODE"});
  EXPECT_EQ(traits(), (Names{"COMPUTE_NODE", "COMPUTE_STATUS_DISABLED", "CUSTOM_SSD", "STORAGE_DISK_SSD"}));
  EXPECT_NE(shown().at("resource_provider_generation"), generation);
}

TEST_F(CandidatesTest, TheSurveySaysWhatEachLacks) {
  write([&](db::Tx& tx) { placement_->set_trait(tx, id("small"), "CUSTOM_OLD", true); });
  const placement::Demand demand{
      .amounts = {{"VCPU", 2}, {"MEMORY_MB", 1500}, {"VGPU", 1}}, .required_traits = {}, .forbidden_traits = {"CUSTOM_OLD"}};
  std::map<std::string, std::string> lacks;
  cloud_.database().read([&](db::Tx& tx) {
    lacks.clear();
    for (const auto& c : placement_->survey(tx, demand))
      for (const auto& s : c.shortages) lacks[name_of(c)] += s.what + s.here + ";";
  });
  EXPECT_EQ(lacks.at("big"), "VGPU: 1 wanted, none here;");
  EXPECT_EQ(lacks.at("busy"), "VCPU: 2 wanted, 1 free of 1;VGPU: 1 wanted, none here;");
  EXPECT_EQ(lacks.at("small"),
            "MEMORY_MB: 1500 wanted, 1000 free of 1000;VGPU: 1 wanted, none here;it has the trait CUSTOM_OLD, which is forbidden;");
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
  EXPECT_EQ(cloud_.get("/placement/traits/HW_CPU_X86_AVX2", "admin", kLatest).status, 204);
  EXPECT_EQ(cloud_.get("/placement/traits/CUSTOM_FAST", "admin", kLatest).status, 404);
  EXPECT_EQ(cloud_.del("/placement/traits/HW_CPU_X86_AVX2", "admin", kLatest).status, 400);
  EXPECT_GT(cloud_.get("/placement/traits", "admin", kLatest).count("traits"), 100u);
  EXPECT_EQ(cloud_.get("/placement/traits?name=in:HW_CPU_X86_AVX2,CUSTOM_NONE", "admin", kLatest).at("traits.0"), "HW_CPU_X86_AVX2");
  EXPECT_EQ(cloud_.get("/placement/traits?name=startswith:CUSTOM_", "admin", kLatest).count("traits"), 0u);
  EXPECT_EQ(cloud_.get("/placement/traits?associated=true", "admin", kLatest).count("traits"), 0u);
  EXPECT_EQ(cloud_.get("/placement/traits?name=HW", "admin", kLatest).status, 400);
  const std::string url = "/placement/resource_providers/" + kProvider + "/traits";
  json::object body{{"resource_provider_generation", *cloud_.get(url, "admin", kLatest).find("resource_provider_generation")},
                    {"traits", json::array{"HW_CPU_X86_AVX2"}}};
  EXPECT_EQ(cloud_.put(url, body, "admin", kLatest).at("traits.0"), "HW_CPU_X86_AVX2");
  body["traits"] = json::array{"HW_CPU_NONSENSE"};
  EXPECT_EQ(cloud_.put(url, body, "admin", kLatest).status, 409);
  body["resource_provider_generation"] = *cloud_.get(url, "admin", kLatest).find("resource_provider_generation");
  EXPECT_EQ(cloud_.put(url, body, "admin", kLatest).status, 400);
}

}  // namespace
}  // namespace virga::test
