// Boots that may not go anywhere: zones, aggregates, traits, groups.

#include "compute/placing.h"

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::test {
namespace {

const Fields kLatest{{"OpenStack-API-Version", "compute 2.93"}};

class PlacingTest : public ::testing::Test {
 protected:
  PlacingTest() {
    for (const char* name : {"node1", "node2", "node3"}) cloud.add_host(name, 64, 65536);
    cloud.put(
        "/compute/v2.1/os-quota-sets/demo",
        json::object{{"quota_set", {{"instances", -1}, {"cores", -1}, {"ram", -1}, {"server_groups", -1}}}},
        "admin");
  }
  /// A zone or an aggregate with these hosts.
  std::string aggregate(const std::string& name, json::object metadata,
                        std::initializer_list<const char*> hosts) {
    const std::string id =
        cloud.post("/compute/v2.1/os-aggregates", json::object{{"aggregate", {{"name", name}}}}, "admin")
            .at("aggregate.id");
    const std::string action = "/compute/v2.1/os-aggregates/" + id + "/action";
    EXPECT_EQ(
        cloud.post(action, json::object{{"set_metadata", json::object{{"metadata", metadata}}}}, "admin")
            .status,
        200);
    for (const char* host : hosts)
      EXPECT_EQ(cloud.post(action, json::object{{"add_host", {{"host", host}}}}, "admin").status, 200);
    return id;
  }
  void flavor(const std::string& id, json::object specs) {
    cloud.make_flavor(id, id, 512, 1);
    EXPECT_EQ(cloud
                  .post("/compute/v2.1/flavors/" + id + "/os-extra_specs",
                        json::object{{"extra_specs", specs}}, "admin")
                  .status,
              200);
  }
  void trait(const std::string& name, const std::string& host) {
    cloud.database().write(
        [&](db::Tx& tx) { cloud.placement->set_trait(tx, host_facts(host).id.str(), name, true); });
  }
  /// The host's name; or why there is none.
  std::string booted(json::object extra, json::object hints = {}, const std::string& token = "demo") {
    json::object server{{"name", "vm"}, {"imageRef", cloud.image_id}, {"flavorRef", "1"}};
    for (const auto& [key, value] : extra) server[key] = value;
    const auto r = cloud.post("/compute/v2.1/servers",
                              json::object{{"server", server}, {"os:scheduler_hints", hints}}, token);
    EXPECT_EQ(r.status, 202) << r.body;
    last = r.at("server.id");
    const auto shown = cloud.show(last, "admin");
    return shown.at("server.status") == "ACTIVE" ? shown.at("server.OS-EXT-SRV-ATTR:host")
                                                 : shown.at("server.fault.message");
  }
  std::string group(const std::string& policy, json::object rules = {}) {
    json::object in{{"name", "g"}, {"policy", policy}};
    if (!rules.empty()) in["rules"] = rules;
    const auto r =
        cloud.post("/compute/v2.1/os-server-groups", json::object{{"server_group", in}}, "demo", kLatest);
    EXPECT_EQ(r.status, 200) << r.body;
    return r.at("server_group.id");
  }
  ComputeCloud cloud;
  std::string last;
};

TEST_F(PlacingTest, ServersSpread) {
  std::map<std::string, int> on;
  for (int i = 0; i < 9; ++i) ++on[booted({})];
  EXPECT_EQ(on, (std::map<std::string, int>{{"node1", 3}, {"node2", 3}, {"node3", 3}}));
}

TEST_F(PlacingTest, TheZoneAskedForIsTheZoneGot) {
  aggregate("a", {{"availability_zone", "z1"}}, {"node2"});
  aggregate("b", {{"availability_zone", "z2"}}, {"node3"});
  EXPECT_EQ(booted({{"availability_zone", "z1"}}), "node2");
  EXPECT_EQ(booted({{"availability_zone", "z2"}}), "node3");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(booted({{"availability_zone", "nova"}}), "node1");
  EXPECT_EQ(cloud.show(last).at("server.OS-EXT-AZ:availability_zone"), "nova");
  EXPECT_EQ(booted({{"availability_zone", "nova:node2"}}, {}, "admin"), "node2");  // wherever it is
  EXPECT_EQ(cloud.show(last, "admin").at("server.OS-EXT-AZ:availability_zone"), "z1");
  EXPECT_EQ(booted({{"availability_zone", "z1:node3"}}, {}, "admin"),
            "No valid host was found. node3: it is in availability zone 'z2', not 'z1'.");
}

TEST_F(PlacingTest, AServerWithoutAHostShowsTheZoneAskedFor) {
  aggregate("a", {{"availability_zone", "z1"}}, {"node2"});
  cloud.make_flavor("huge", "huge", 1 << 20, 1);
  EXPECT_EQ(booted({{"flavorRef", "huge"}, {"availability_zone", "z1"}}).substr(0, 24),
            "No valid host was found.");
  EXPECT_EQ(cloud.show(last).at("server.OS-EXT-AZ:availability_zone"), "z1");
  booted({{"flavorRef", "huge"}});
  EXPECT_EQ(cloud.show(last).at("server.OS-EXT-AZ:availability_zone"), "");
}

TEST_F(PlacingTest, FlavorsAskForAggregates) {
  aggregate("a", {{"disk", "ssd"}}, {"node3"});
  flavor("ssd", {{"aggregate_instance_extra_specs:disk", "ssd"}});
  flavor("hdd", {{"aggregate_instance_extra_specs:disk", "hdd"}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(booted({{"flavorRef", "ssd"}}), "node3");
  EXPECT_EQ(booted({{"flavorRef", "hdd"}}),
            "No valid host was found. node1: none of its aggregates has disk = hdd; node2: none of its "
            "aggregates has disk = "
            "hdd; node3: none of its aggregates has disk = hdd.");
}

TEST_F(PlacingTest, AggregatesAreKeptForProjects) {
  aggregate("a", {{"filter_tenant_id", "other"}}, {"node1", "node2"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(booted({}), "node3");
  std::map<std::string, int> on;
  for (int i = 0; i < 9; ++i) ++on[booted({}, {}, "other")];
  EXPECT_EQ(on.size(), 3u);
}

TEST_F(PlacingTest, TraitsOfFlavorAndImage) {
  trait("CUSTOM_GPU", "node2");
  trait("CUSTOM_OLD", "node1");
  flavor("gpu", {{"trait:CUSTOM_GPU", "required"}});
  flavor("young", {{"trait:CUSTOM_OLD", "forbidden"}, {"trait:CUSTOM_GPU", "forbidden"}});
  EXPECT_EQ(booted({{"flavorRef", "gpu"}}), "node2");
  EXPECT_EQ(booted({{"flavorRef", "young"}}), "node3");
  cloud.images.images[cloud.image_id].properties["trait:CUSTOM_OLD"] = "required";
  EXPECT_EQ(booted({}), "node1");
  EXPECT_EQ(booted({{"flavorRef", "young"}}),
            "No valid host was found. node1: it has the trait CUSTOM_OLD, which is forbidden; node2: it does "
            "not have the "
            "trait CUSTOM_OLD; it has the trait CUSTOM_GPU, which is forbidden; node3: it does not have the "
            "trait CUSTOM_OLD.");
}

TEST_F(PlacingTest, FlavorsAskForOtherResources) {
  flavor("vgpu", {{"resources:VGPU", "1"}});
  EXPECT_EQ(booted({{"flavorRef", "vgpu"}}).substr(0, 57),
            "No valid host was found. node1: VGPU: 1 wanted, none here");
  cloud.database().write([&](db::Tx& tx) {
    cloud.placement->ensure_provider(tx, host_facts("node2").id.str(), "node2",
                                     {{.resource_class = "VGPU", .total = 1, .max_unit = 1}});
  });
  EXPECT_EQ(booted({{"flavorRef", "vgpu"}}), "node2");
  EXPECT_NE(booted({{"flavorRef", "vgpu"}}).find("node2: VGPU: 1 wanted, 0 free of 1"), std::string::npos);
}

TEST_F(PlacingTest, DisabledHostsAreOutAndSayWhy) {
  for (const char* host : {"node1", "node2"})
    cloud.put("/compute/v2.1/os-services/disable-log-reason",
              json::object{{"host", host}, {"binary", "nova-compute"}, {"disabled_reason", "new disk"}},
              "admin");
  EXPECT_EQ(booted({}), "node3");
  EXPECT_EQ(booted({}), "node3");
  EXPECT_EQ(booted({{"availability_zone", "nova:node1"}}, {}, "admin"),
            "No valid host was found. node1: it is disabled (new disk).");
  cloud.put("/compute/v2.1/os-services/enable", json::object{{"host", "node1"}, {"binary", "nova-compute"}},
            "admin");
  EXPECT_EQ(booted({}), "node1");
}

TEST_F(PlacingTest, OfManyServersThoseWithoutRoomSayWhy) {
  cloud.make_flavor("half", "half", 40000, 1);  // each host has room for two
  const auto made = cloud.boot("vm", {{"flavorRef", "half"}, {"min_count", 8}, {"max_count", 8}});
  EXPECT_EQ(made.status, 202) << made.body;
  const auto all = cloud.get("/compute/v2.1/servers/detail", "demo");
  std::map<std::string, int> count;
  for (const auto& status : all.each("servers", "status")) ++count[status];
  EXPECT_EQ(count, (std::map<std::string, int>{{"ACTIVE", 6}, {"ERROR", 2}})) << all.body;
  EXPECT_NE(all.body.find("node3: MEMORY_MB: 40000 wanted, "), std::string::npos);
  EXPECT_EQ(all.body.find("There is no compute host"), std::string::npos);
}

TEST_F(PlacingTest, ALongReasonIsCutBetweenCharacters) {
  for (const char* host : {"node1", "node2", "node3"}) {
    std::string reason = std::string(host) + "x";
    while (reason.size() < 220) reason += "ü";
    cloud.put("/compute/v2.1/os-services/disable-log-reason",
              json::object{{"host", host}, {"binary", "nova-compute"}, {"disabled_reason", reason}}, "admin");
  }
  const std::string why = booted({});
  EXPECT_EQ(why.size(), 254u);  // the 255th byte is half a character; with it, this were no JSON and empty
}

TEST_F(PlacingTest, GroupsKeepTheirPolicies) {
  const std::string together = group("affinity"), apart = group("anti-affinity");
  const std::string home = booted({}, {{"group", together}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(booted({}, {{"group", together}}), home);
  std::set<std::string> hosts;
  for (int i = 0; i < 3; ++i) hosts.insert(booted({}, {{"group", apart}}));
  EXPECT_EQ(hosts.size(), 3u);
  EXPECT_NE(booted({}, {{"group", apart}}).find("node1: the scheduler hint or server group excludes it"),
            std::string::npos);
}

TEST_F(PlacingTest, GroupsMayHoldSeveralOnAHost) {
  const std::string pairs = group("anti-affinity", {{"max_server_per_host", "2"}});
  std::map<std::string, int> on;
  for (int i = 0; i < 6; ++i) ++on[booted({}, {{"group", pairs}})];
  EXPECT_EQ(on, (std::map<std::string, int>{{"node1", 2}, {"node2", 2}, {"node3", 2}}));
  EXPECT_EQ(booted({}, {{"group", pairs}}).substr(0, 24), "No valid host was found.");
  const auto refused = [&](json::object in) {
    return cloud
        .post("/compute/v2.1/os-server-groups", json::object{{"server_group", std::move(in)}}, "demo",
              kLatest)
        .status;
  };
  EXPECT_EQ(refused({{"name", "g"}, {"policy", "affinity"}, {"rules", {{"max_server_per_host", 2}}}}), 400);
  EXPECT_EQ(refused({{"name", "g"}, {"policy", "anti-affinity"}, {"rules", {{"max_server_per_host", 0}}}}),
            400);
  EXPECT_EQ(refused({{"name", "g"}, {"policy", "anti-affinity"}, {"rules", {{"other", 2}}}}), 400);
}

TEST_F(PlacingTest, SoftGroupsWishAndYield) {
  const std::string together = group("soft-affinity"), apart = group("soft-anti-affinity");
  const std::string home = booted({}, {{"group", together}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(booted({}, {{"group", together}}), home);
  cloud.put("/compute/v2.1/os-services/disable", json::object{{"host", home}, {"binary", "nova-compute"}},
            "admin");
  const std::string second = booted({}, {{"group", together}});
  EXPECT_NE(second, home);
  EXPECT_EQ(second.substr(0, 4), "node");
  cloud.put("/compute/v2.1/os-services/enable", json::object{{"host", home}, {"binary", "nova-compute"}},
            "admin");
  std::map<std::string, int> on;
  for (int i = 0; i < 6; ++i) ++on[booted({}, {{"group", apart}})];
  EXPECT_EQ(on, (std::map<std::string, int>{{"node1", 2}, {"node2", 2}, {"node3", 2}}));
}

TEST_F(PlacingTest, HintsAndGroupsMustAgree) {
  const std::string together = group("affinity");
  const std::string home = booted({}, {{"group", together}});
  const std::string there = last;
  std::string elsewhere;
  while (elsewhere.empty() || cloud.show(elsewhere, "admin").at("server.OS-EXT-SRV-ATTR:host") == home)
    booted({}), elsewhere = last;
  EXPECT_EQ(booted({}, {{"same_host", there}}), home);
  EXPECT_NE(booted({}, {{"different_host", there}}), home);
  const std::string why = booted({}, {{"group", together}, {"same_host", elsewhere}});
  EXPECT_NE(why.find("the scheduler hint or server group asks for another host"), std::string::npos) << why;
  EXPECT_NE(booted({}, {{"same_host", new_uuid()}}).find("asks for another host"), std::string::npos);
}

TEST_F(PlacingTest, AHostBehindAPageOfHostsThatAreDownIsFound) {
  const std::string heard_elsewhere = "dead-7";  // another controller wrote that it hears it
  cloud.database().write([&](db::Tx& tx) {
    for (int i = 0; i < 200; ++i) {
      const std::string id = new_uuid(), name = fmt::format("dead-{}", i);
      tx.exec(
          "INSERT INTO hosts (id, number, hostname, zone, enabled, forced_down, address, chassis, "
          "hypervisor, virt_type, "
          "hypervisor_version, cpu_model, cpu_arch, vcpus, memory_mb, disk_gb, last_seen, created_at, "
          "updated_at) VALUES "
          "(?, ?, ?, 'nova', 1, 0, '', '', '', '', 0, '', '', 1, 1, 1, ?, ?, ?)",
          id, 1000 + i, name, Time{}, Time{}, Time{});
      cloud.placement->ensure_provider(
          tx, id, name,
          {{.resource_class = "VCPU", .total = 99, .max_unit = 99},
           {.resource_class = "MEMORY_MB", .total = 1 << 20, .max_unit = 1 << 20},
           {.resource_class = "DISK_GB", .total = 999, .max_unit = 999}});
    }
  });
  EXPECT_EQ(booted({}).substr(0, 4), "node");
  aggregate("one", {{"availability_zone", "one"}}, {"node3"});
  EXPECT_EQ(booted({{"availability_zone", "one"}}), "node3");
  cloud.make_flavor("huge", "huge", 1 << 19, 1);
  const std::string why = booted({{"flavorRef", "huge"}});
  EXPECT_TRUE(
      why.starts_with("No valid host was found. 200 hosts (dead-0, dead-1, dead-10, …): its agent is not "
                      "connected; node1: MEMORY_MB"))
      << why;
  const auto steps = cloud.get("/compute/virga/explain/server/" + last, "admin");
  EXPECT_EQ(steps.count("operations.0.steps"), 4u) << steps.body;
  cloud.database().write([&](db::Tx& tx) {
    tx.exec("UPDATE hosts SET last_seen = ? WHERE hostname = ?", cloud.clock().now(), heard_elsewhere);
  });
  const std::string there = cloud.boot("vm").at("server.id");
  EXPECT_EQ(cloud.show(there, "admin").at("server.OS-EXT-SRV-ATTR:host"), heard_elsewhere);  // it has the most room
}

}  // namespace
}  // namespace virga::test
