// Images that hosts fetch before a server needs them.
#include "compute/prefetch.h"

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::test {
namespace {

const Fields kLatest{{"OpenStack-API-Version", "compute 2.93"}};
const std::string kAll = "/compute/v2.1/os-aggregates";
const std::string kOther = "33333333-3333-4333-8333-333333333333";

class PrefetchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* host : {"cafe1", "cafe2", "cafe3"}) cloud.add_host(host);
    id_ = cloud.post(kAll, json::object{{"aggregate", {{"name", "rack"}}}}, "admin").at("aggregate.id");
    for (const char* host : {"cafe1", "cafe2"}) ASSERT_EQ(cloud.post(kAll + "/" + id_ + "/action", json::object{{"add_host", {{"host", host}}}}, "admin").status, 200);
    cloud.images.images[cloud.image_id].sha512 = "abc";
  }
  Reply cache(json::array images, const std::string& who = "admin", const Fields& version = kLatest) {
    return cloud.post(kAll + "/" + id_ + "/images", json::object{{"cache", std::move(images)}}, who, version);
  }
  json::array one() { return {json::object{{"id", cloud.image_id}}}; }
  std::vector<link::Prefetch> told(const std::string& host) { return cloud.compute->connect(host_facts(host)).prefetches; }
  std::vector<db::Row> rows(std::string_view sql) {
    return cloud.database().read([&](db::Tx& tx) { return tx.query(sql); });
  }
  std::string states() {
    std::string all;
    for (const auto& row : rows("SELECT h.hostname, o.state, o.message FROM operations o JOIN hosts h ON h.id = o.resource_id "
                                      "WHERE o.kind = 'cache-image' ORDER BY h.hostname, o.fence"))
      all += row.text(0) + " " + row.text(1) + (row.text(2).empty() ? "" : ": " + row.text(2)) + "\n";
    return all;
  }
  bool may_open(const char* host, const std::string& image) {
    try {
      cloud.compute->open_image(host_facts(host).id, ImageId(image), 0);
      return true;
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::forbidden);
      return false;
    }
  }

  ComputeCloud cloud;
  std::string id_;
};

TEST_F(PrefetchTest, EachHostOfTheAggregateGetsTheImage) {
  cloud.hub->asleep = true;
  EXPECT_EQ(cache(one()).status, 202);
  EXPECT_EQ(states(), "cafe1 running\ncafe2 running\n");
  const auto there = told("cafe1");
  ASSERT_EQ(there.size(), 1u);
  EXPECT_EQ(there[0].image.id.str(), cloud.image_id);
  EXPECT_EQ(there[0].image.format + " " + there[0].image.sha512, "qcow2 abc");
  EXPECT_TRUE(told("cafe3").empty());
  EXPECT_TRUE(may_open("cafe1", cloud.image_id));
  EXPECT_FALSE(may_open("cafe3", cloud.image_id)) << "not one of the aggregate's";
  EXPECT_FALSE(may_open("cafe1", kOther));

  EXPECT_EQ(cache(one()).status, 202);
  EXPECT_EQ(told("cafe1").size(), 1u) << "it is under way already";
  // Another host's word does not count.
  cloud.compute->observe(host_facts("cafe2").id, false, {}, {{there[0].operation, there[0].fence, true, ""}});
  EXPECT_EQ(states(), "cafe1 running\ncafe2 running\n");
  cloud.compute->observe(host_facts("cafe1").id, false, {}, {{there[0].operation, there[0].fence, true, ""}});
  EXPECT_EQ(states(), "cafe1 succeeded\ncafe2 running\n");
  EXPECT_TRUE(told("cafe1").empty());
  EXPECT_FALSE(may_open("cafe1", cloud.image_id)) << "it has it";

  cloud.compute->observe(host_facts("cafe2").id, false, {}, {{told("cafe2").at(0).operation, told("cafe2").at(0).fence, false, "broken"}});
  EXPECT_EQ(states(), "cafe1 succeeded\ncafe2 failed: broken\n");
}

TEST_F(PrefetchTest, HostsThatAreConnectedAreToldAtOnce) {
  EXPECT_EQ(cache(one()).status, 202);
  EXPECT_EQ(states(), "cafe1 succeeded\ncafe2 succeeded\n");
}

TEST_F(PrefetchTest, HostsThatCannotAreNotWaitedFor) {
  auto old = host_facts("cafe2");
  old.link_minor = link::kPrefetchMinor - 1;
  cloud.compute->connect(old);
  cloud.database().write([](db::Tx& tx) { tx.exec("UPDATE hosts SET forced_down = 1 WHERE hostname = 'cafe1'"); });
  EXPECT_EQ(cache(one()).status, 202);
  EXPECT_EQ(states(), "cafe1 failed: The host cafe1 is down.\ncafe2 failed: The agent of cafe2 is of an older version that fetches no image ahead.\n");
}

TEST_F(PrefetchTest, AnImageThatIsDeletedMeanwhileIsToldOfSoThatItEnds) {
  cloud.hub->asleep = true;
  EXPECT_EQ(cache(one()).status, 202);
  cloud.images.images.clear();
  EXPECT_EQ(told("cafe1").size(), 1u);
}

TEST_F(PrefetchTest, AHostThatIsRemovedHasNothingLeftToFetch) {
  cloud.hub->asleep = true;
  EXPECT_EQ(cache(one()).status, 202);
  const std::string service = cloud.get("/compute/v2.1/os-services?binary=nova-compute&host=cafe1", "admin", kLatest).at("services.0.id");
  EXPECT_EQ(cloud.call("DELETE", "/compute/v2.1/os-services/" + service, "", "admin", kLatest).status, 204);
  EXPECT_EQ(rows("SELECT id FROM operations WHERE state = 'failed' AND message = 'The host was removed.'").size(), 1u);
}

TEST_F(PrefetchTest, FaultsAreNovas) {
  EXPECT_EQ(cache(one(), "admin", {}).status, 404) << "since 2.81";
  EXPECT_EQ(cache(one(), "demo").status, 403);
  EXPECT_EQ(cache({}).status, 400);
  EXPECT_EQ(cache({json::object{{"id", "tiny"}}}).status, 400);
  EXPECT_EQ(cache({json::object{{"id", cloud.image_id}, {"name", "tiny"}}}).status, 400);
  EXPECT_EQ(cache({json::object{{"id", cloud.image_id}}, json::object{{"id", cloud.image_id}}}).at("badRequest.message"), "Duplicate images in request");
  EXPECT_EQ(cache({json::object{{"id", kOther}}}).at("badRequest.message"), "Image " + kOther + " could not be found.");
  cloud.images.images[cloud.image_id].status = "queued";
  EXPECT_EQ(cache(one()).status, 400);
  cloud.images.images[cloud.image_id].status = "active";
  cloud.images.images[cloud.image_id].problem = "It names another file.";
  EXPECT_EQ(cache(one()).status, 400);
  EXPECT_EQ(cloud.post(kAll + "/999/images", json::object{{"cache", one()}}, "admin", kLatest).status, 404);
  EXPECT_EQ(cloud.post(kAll + "/x/images", json::object{{"cache", one()}}, "admin", kLatest).status, 400);
  EXPECT_EQ(states(), "");
}

}  // namespace
}  // namespace virga::test
