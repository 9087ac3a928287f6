// Host aggregates and the zones they make, over the API.

#include "compute/aggregates.h"

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::test {
namespace {

const Fields kLatest{{"OpenStack-API-Version", "compute 2.93"}};
const std::string kAll = "/compute/v2.1/os-aggregates";

class AggregatesTest : public ::testing::Test {
 protected:
  std::string made(const std::string& name, const std::string& zone = {}) {
    json::object in{{"name", name}};
    if (!zone.empty()) in["availability_zone"] = zone;
    const auto r = cloud.post(kAll, json::object{{"aggregate", in}}, "admin");
    EXPECT_EQ(r.status, 200) << r.body;
    return r.at("aggregate.id");
  }
  Reply act(const std::string& id, const std::string& action, json::object arguments,
            const std::string& token = "admin") {
    return cloud.post(kAll + "/" + id + "/action", json::object{{action, std::move(arguments)}}, token);
  }
  Reply add(const std::string& id, const std::string& host) { return act(id, "add_host", {{"host", host}}); }
  Reply remove(const std::string& id, const std::string& host) {
    return act(id, "remove_host", {{"host", host}});
  }
  Reply set(const std::string& id, json::object metadata) {
    return act(id, "set_metadata", {{"metadata", std::move(metadata)}});
  }
  std::string zone_of(const std::string& host) {
    return cloud.get("/compute/v2.1/os-services?binary=nova-compute&host=" + host, "admin")
        .at("services.0.zone");
  }
  std::string words(const Reply& r) {
    std::string text = r.body;
    for (const char* key : {"badRequest.message", "conflictingRequest.message", "itemNotFound.message"})
      if (r.find(key)) text = r.at(key);
    // What Virga says beyond nova's words, the next step, is not looked at here.
    const size_t reason = text.find("Reason: ");
    return reason == text.npos ? text
                               : text.substr(0, text.find(". ", reason + 8)) +
                                     (text.find(". ", reason + 8) == text.npos ? "" : ".");
  }
  ComputeCloud cloud;
};

TEST_F(AggregatesTest, LiveAndDie) {
  cloud.add_host("node1");
  const auto r = cloud.post(kAll, json::object{{"aggregate", {{"name", "ssd"}, {"availability_zone", "z1"}}}},
                            "admin", kLatest);
  EXPECT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.at("aggregate.availability_zone"), "z1");
  EXPECT_TRUE(looks_like_uuid(r.at("aggregate.uuid")));
  EXPECT_EQ(r.find("aggregate.hosts"), nullptr);
  EXPECT_EQ(r.find("aggregate.metadata"), nullptr);
  EXPECT_EQ(r.at("aggregate.created_at"), "2026-11-23T12:00:00.000000");
  EXPECT_EQ(r.at("aggregate.updated_at"), "null");
  const std::string id = r.at("aggregate.id"), one = kAll + "/" + id;
  EXPECT_EQ(add(id, "node1").at("aggregate.hosts.0"), "node1");
  EXPECT_EQ(set(id, {{"disk", "ssd"}, {"old", "x"}}).at("aggregate.metadata.disk"), "ssd");
  const auto changed = set(id, {{"old", nullptr}});
  EXPECT_EQ(changed.find("aggregate.metadata.old"), nullptr) << changed.body;
  EXPECT_EQ(changed.at("aggregate.metadata.availability_zone"), "z1");
  const auto renamed = cloud.put(one, json::object{{"aggregate", {{"name", " nvme "}}}}, "admin");
  EXPECT_EQ(renamed.at("aggregate.name"), "nvme") << renamed.body;
  EXPECT_EQ(renamed.at("aggregate.updated_at"), "2026-11-23T12:00:00.000000");
  const auto shown = cloud.get(one, "admin");
  EXPECT_EQ(shown.at("aggregate.hosts.0"), "node1");
  EXPECT_EQ(shown.find("aggregate.uuid"), nullptr);  // since 2.41
  EXPECT_EQ(cloud.get(kAll, "admin").each("aggregates", "name"), std::vector<std::string>{"nvme"});
  EXPECT_EQ(words(cloud.del(one, "admin")),
            "Cannot remove host from aggregate " + id + ". Reason: Host aggregate is not empty.");
  EXPECT_EQ(remove(id, "node1").count("aggregate.hosts"), 0u);
  EXPECT_EQ(cloud.del(one, "admin").status, 200);
  EXPECT_EQ(words(cloud.get(one, "admin")), "Aggregate " + id + " could not be found.");
}

TEST_F(AggregatesTest, FaultsAreNovas) {
  cloud.add_host("node1");
  const auto id = made("a"), one = kAll + "/" + id;
  EXPECT_EQ(cloud.post(kAll, json::object{{"aggregate", {{"name", "a"}}}}, "admin").status, 409);
  EXPECT_EQ(words(cloud.post(kAll, json::object{{"aggregate", {{"name", "a"}}}}, "admin")),
            "Aggregate a already exists.");
  for (const json::value& body :
       {json::value{{"aggregate", json::object{}}}, json::value{{"aggregate", {{"name", ""}}}},
        json::value{{"aggregate", {{"name", "x"}, {"y", 1}}}}, json::value{{"aggregate", {{"name", " x"}}}},
        json::value{{"aggregate", {{"name", "x"}, {"availability_zone", "a:b"}}}},
        json::value{{"aggregate", {{"name", "x"}, {"availability_zone", ""}}}},
        json::value{{"aggregate", {{"name", "x"}}}, {"z", 1}}})
    EXPECT_EQ(cloud.post(kAll, body, "admin").status, 400) << json::serialize(body);
  EXPECT_EQ(cloud.put(one, json::object{{"aggregate", json::object{}}}, "admin").status, 400);
  EXPECT_EQ(words(cloud.put(one, json::object{{"aggregate", {{"availability_zone", nullptr}}}}, "admin")),
            "Cannot update aggregate " + id +
                ". Reason: Aggregate a does not support empty named availability zone.");
  EXPECT_EQ(words(cloud.get(kAll + "/x", "admin")), "Invalid input received: id must be an integer");
  EXPECT_EQ(cloud.get(kAll + "/999", "admin").status, 404);
  EXPECT_EQ(add(id, "nowhere").status, 404);
  EXPECT_EQ(words(add(id, "nowhere")), "Compute host nowhere could not be found.");
  EXPECT_EQ(words(add("999", "node1")), "Aggregate 999 could not be found.");
  EXPECT_EQ(add(id, "no de").status, 400);
  EXPECT_EQ(remove(id, "node1").status, 404);
  EXPECT_EQ(words(remove(id, "node1")), "Cannot remove host node1 in aggregate " + id);
  EXPECT_EQ(add(id, "node1").status, 200);
  EXPECT_EQ(add(id, "node1").status, 409);
  EXPECT_EQ(words(add(id, "node1")), "Aggregate " + id + " already has host node1.");
  EXPECT_EQ(set(id, {{"a/b", "x"}}).status, 400);
  EXPECT_EQ(set(id, {{"a", 1}}).status, 400);
  EXPECT_EQ(act(id, "set_metadata", {}).status, 400);
  EXPECT_EQ(words(act(id, "paint", {})), "There is no such action: paint");
  EXPECT_EQ(act(id, "add_host", {{"host", "node1"}}, "demo").status, 403);
  EXPECT_EQ(cloud.get(kAll, "demo").status, 403);
}

TEST_F(AggregatesTest, AHostIsInOneZone) {
  cloud.add_host("node1");
  const auto a = made("a", "z1"), b = made("b", "z2"), same = made("same", "z1"), plain = made("plain");
  EXPECT_EQ(zone_of("node1"), "nova");
  EXPECT_EQ(add(a, "node1").status, 200);
  EXPECT_EQ(zone_of("node1"), "z1");
  EXPECT_EQ(add(b, "node1").status, 409);
  EXPECT_EQ(words(add(b, "node1")),
            "Cannot add host to aggregate " + b +
                ". Reason: One or more hosts already in availability zone(s) ['z1'].");
  EXPECT_EQ(add(same, "node1").status, 200);
  EXPECT_EQ(add(plain, "node1").status, 200);
  EXPECT_EQ(set(plain, {{"availability_zone", "z3"}}).status, 400);
  EXPECT_EQ(words(set(plain, {{"availability_zone", "z3"}})),
            "Cannot update metadata of aggregate " + plain +
                ". Reason: One or more hosts already in availability zone(s) ['z1', 'z1'].");
  EXPECT_EQ(set(plain, {{"availability_zone", "z1"}}).status, 200);
  EXPECT_EQ(remove(a, "node1").status, 200);
  EXPECT_EQ(zone_of("node1"), "z1");
  EXPECT_EQ(remove(same, "node1").status, 200);
  EXPECT_EQ(set(plain, {{"availability_zone", "z4"}}).status, 200);
  EXPECT_EQ(zone_of("node1"), "z4");
  EXPECT_EQ(remove(plain, "node1").status, 200);
  EXPECT_EQ(zone_of("node1"), "nova");
}

TEST_F(AggregatesTest, AZoneWithServersStays) {
  cloud.add_host("node1");
  const auto a = made("a", "z1");
  add(a, "node1");
  const auto server = cloud.boot("vm", {{"availability_zone", "z1"}}).at("server.id");
  EXPECT_EQ(cloud.show(server).at("server.OS-EXT-AZ:availability_zone"), "z1");
  const auto refused = cloud.put(
      kAll + "/" + a, json::object{{"aggregate", {{"availability_zone", "z2"}, {"name", "new"}}}}, "admin");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(words(refused),
            "Cannot update aggregate " + a + ". Reason: One or more hosts contain instances in this zone.");
  EXPECT_EQ(cloud.get(kAll + "/" + a, "admin").at("aggregate.name"), "a");  // all or nothing
  EXPECT_EQ(
      cloud.put(kAll + "/" + a, json::object{{"aggregate", {{"availability_zone", "z1"}}}}, "admin").status,
      200);
  EXPECT_EQ(remove(a, "node1").status, 200);  // as nova lets it
  EXPECT_EQ(cloud.show(server).at("server.OS-EXT-AZ:availability_zone"), "nova");
  EXPECT_EQ(cloud.get("/compute/v2.1/servers?availability_zone=nova", "admin", kLatest).status, 200);
}

TEST_F(AggregatesTest, EverybodySeesTheZone) {
  cloud.add_host("node1");
  cloud.add_host("node2");
  add(made("a", "z1"), "node2");
  const auto zones = cloud.get("/compute/v2.1/os-availability-zone", "demo");
  EXPECT_EQ(zones.each("availabilityZoneInfo", "zoneName"), (std::vector<std::string>{"nova", "z1"}));
  const auto detail = cloud.get("/compute/v2.1/os-availability-zone/detail", "admin");
  EXPECT_NE(detail.find("availabilityZoneInfo.2.hosts.node2.nova-compute"), nullptr) << detail.body;
  EXPECT_EQ(cloud.get("/compute/v2.1/os-hosts?zone=z1", "admin").each("hosts", "host_name"),
            std::vector<std::string>{"node2"});
  EXPECT_EQ(cloud.boot("x", {{"availability_zone", "z9"}}).status, 400);
  cloud.add_host("node2");  // an agent that connects again changes nothing
  EXPECT_EQ(zone_of("node2"), "z1");
}

TEST_F(AggregatesTest, PlacementMirrorsMembersAndSurvivesALoss) {
  cloud.add_host("node1");
  const auto id = made("a");
  add(id, "node1");
  const Fields placement{{"OpenStack-API-Version", "placement 1.39"}};
  const std::string provider = "/placement/resource_providers/" + host_facts("node1").id.str();
  const std::string uuid = cloud.get(kAll + "/" + id, "admin", kLatest).at("aggregate.uuid");
  EXPECT_EQ(cloud.get(provider + "/aggregates", "admin", placement).at("aggregates.0"), uuid);
  EXPECT_EQ(
      cloud.get("/placement/allocation_candidates?resources=VCPU:1&member_of=" + uuid, "admin", placement)
          .count("allocation_requests"),
      1u);
  EXPECT_EQ(
      cloud.get("/placement/allocation_candidates?resources=VCPU:1&member_of=!" + uuid, "admin", placement)
          .count("allocation_requests"),
      0u);
  EXPECT_EQ(cloud.del(provider, "admin").status, 204);
  cloud.add_host("node1");
  EXPECT_EQ(cloud.get(provider + "/aggregates", "admin", placement).at("aggregates.0"), uuid);
  remove(id, "node1");
  EXPECT_EQ(cloud.get(provider + "/aggregates", "admin", placement).count("aggregates"), 0u);
}

}  // namespace
}  // namespace virga::test
