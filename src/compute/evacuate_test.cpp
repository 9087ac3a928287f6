// Lost hosts: whose servers are built again elsewhere, when, and what is left behind.

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::compute {
namespace {

using test::ComputeCloud;
using test::Fields;
using test::host_facts;
using test::Reply;

const Fields kNew{{"OpenStack-API-Version", "compute 2.53"}};

class EvacuateTest : public testing::Test {
 protected:
  EvacuateTest() : cloud("", options()) {
    cloud.add_host("cafe1");
    id = cloud.boot("vm").at("server.id");
    cloud.add_host("cafe2");
  }
  static Options options() {
    Options o;
    o.fence_after = std::chrono::seconds(30);
    return o;
  }
  std::string host() { return cloud.show(id, "admin").at("server.OS-EXT-SRV-ATTR:host"); }
  std::string status() { return cloud.show(id, "admin").at("server.status"); }
  Reply evacuate(json::object how = {}, const std::string& who = "admin") {
    return cloud.post("/compute/v2.1/servers/" + id + "/action", {{"evacuate", std::move(how)}}, who, kNew);
  }
  void lose(const char* name) {
    cloud.clock().advance(std::chrono::minutes(1));
    cloud.hub->away.insert(host_facts(name).id);
    for (const char* other : {"cafe1", "cafe2"})
      if (std::string(other) != name) cloud.compute->heartbeat(host_facts(other).id, {});
  }
  void declare_off(const char* name) {
    const std::string service = cloud.get(std::string("/compute/v2.1/os-services?binary=nova-compute&host=") + name, "admin", kNew).at("services.0.id");
    EXPECT_EQ(cloud.put("/compute/v2.1/os-services/" + service, {{"forced_down", true}}, "admin", kNew).status, 200);
  }
  int64_t used_on(const char* name) {
    return cloud.database().read([&](db::Tx& tx) {
      return tx.first("SELECT COUNT(*) FROM allocations WHERE provider_uuid = ?", host_facts(name).id)->integer(0);
    });
  }

  ComputeCloud cloud;
  std::string id;
};

TEST_F(EvacuateTest, OnlyOfAHostThatSomebodyDeclaredOff) {
  EXPECT_EQ(evacuate({}, "demo").status, 403);
  const auto in_use = evacuate();
  EXPECT_EQ(in_use.status, 400);
  EXPECT_NE(in_use.body.find("Compute service of cafe1 is still in use."), std::string::npos);
  lose("cafe1");
  const auto silent = evacuate();
  EXPECT_EQ(silent.status, 400);
  EXPECT_NE(silent.body.find("nobody has said that it is off"), std::string::npos);
  declare_off("cafe1");
  EXPECT_EQ(evacuate().status, 200);
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(used_on("cafe1"), 0);
  EXPECT_EQ(used_on("cafe2"), 3);
}

TEST_F(EvacuateTest, TheServerIsRebuildingUntilItsNewHostSaysThatItRuns) {
  lose("cafe1");
  declare_off("cafe1");
  cloud.hub->asleep = true;
  EXPECT_EQ(evacuate().status, 200);
  EXPECT_EQ(status(), "REBUILD");
  EXPECT_EQ(cloud.show(id, "admin").at("server.OS-EXT-STS:task_state"), "rebuilding");
  cloud.hub->asleep = false;
  cloud.hub->push(host_facts("cafe2").id, cloud.compute->connect(host_facts("cafe2")));
  EXPECT_EQ(status(), "ACTIVE");
}

TEST_F(EvacuateTest, TheOldHostIsToldToRemoveItAndThenForgets) {
  lose("cafe1");
  declare_off("cafe1");
  EXPECT_EQ(evacuate().status, 200);
  cloud.hub->away.clear();
  const auto back = cloud.compute->connect(host_facts("cafe1"));
  ASSERT_EQ(back.servers.size(), 1u);
  EXPECT_EQ(back.servers[0].id.str(), id);
  EXPECT_EQ(back.servers[0].state, link::DesiredServer::State::absent);
  // What it says of it before changes nothing: the server is another host's.
  link::ObservedServer running;
  running.id = ServerId(id);
  running.power = link::Power::shutoff;
  running.generation = back.servers[0].generation;
  cloud.compute->observe(host_facts("cafe1").id, true, {running}, {});
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(cloud.compute->connect(host_facts("cafe1")).servers.size(), 1u);
  cloud.hub->push(host_facts("cafe1").id, back);  // it removes it, and says so
  EXPECT_EQ(cloud.compute->connect(host_facts("cafe1")).servers.size(), 0u);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe2");
}

TEST_F(EvacuateTest, ExplainSaysThatTheHostIsDown) {
  const auto text = [&] { return cloud.get("/compute/virga/explain/server/" + id, "admin").at("text"); };
  EXPECT_EQ(text().find("host:"), std::string::npos) << text();
  lose("cafe1");
  EXPECT_NE(text().find("host: cafe1 is down, and was heard of last at"), std::string::npos) << text();
  EXPECT_EQ(cloud.post("/compute/v2.1/servers/" + id + "/action", {{"os-stop", nullptr}}, "demo").status, 202);
  EXPECT_NE(text().find("waiting for the agent of cafe1 to apply generation"), std::string::npos) << text();
  declare_off("cafe1");
  EXPECT_NE(text().find("host: cafe1 was declared off"), std::string::npos) << text();
}

TEST_F(EvacuateTest, ADiskThatTheNewHostHasOfBeforeIsNotUsedButRemoved) {
  lose("cafe1");
  declare_off("cafe1");
  cloud.hub->asleep = true;
  EXPECT_EQ(evacuate().status, 200);
  const auto told = cloud.compute->connect(host_facts("cafe2")).servers;
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].disk, told[0].generation) << "no earlier one had this number";
  EXPECT_EQ(told[0].old_disks, std::vector<int64_t>{0});
  cloud.hub->asleep = false;
  cloud.hub->push(host_facts("cafe2").id, cloud.compute->connect(host_facts("cafe2")));
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_TRUE(cloud.compute->connect(host_facts("cafe2")).servers.at(0).old_disks.empty());
}

TEST_F(EvacuateTest, ALostHostThatWasRemovedAndComesBackIsStillToldWhatIsToGo) {
  const std::string deleted = cloud.boot("deleted", {{"availability_zone", "nova:cafe1"}}, "admin").at("server.id");
  lose("cafe1");
  EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + deleted, "admin").status, 204);
  declare_off("cafe1");
  EXPECT_EQ(evacuate().status, 200);
  const std::string service = cloud.get("/compute/v2.1/os-services?binary=nova-compute&host=cafe1", "admin", kNew).at("services.0.id");
  EXPECT_EQ(cloud.del("/compute/v2.1/os-services/" + service, "admin", kNew).status, 204);
  cloud.hub->away.clear();
  const auto back = cloud.compute->connect(host_facts("cafe1"));
  std::set<std::string> gone;
  for (const auto& server : back.servers)
    if (server.state == link::DesiredServer::State::absent) gone.insert(server.id.str());
  EXPECT_EQ(gone, (std::set<std::string>{id, deleted}));
  cloud.hub->push(host_facts("cafe1").id, back);
  EXPECT_TRUE(cloud.compute->connect(host_facts("cafe1")).servers.empty());
}

TEST_F(EvacuateTest, WithoutRoomElsewhereNothingChanges) {
  cloud.make_flavor("big", "big", 8192, 4);
  EXPECT_EQ(cloud.boot("filler", {{"flavorRef", "big"}, {"availability_zone", "nova:cafe2"}}, "admin").status, 202);
  lose("cafe1");
  declare_off("cafe1");
  const auto refused = evacuate({{"host", "cafe3"}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("No valid host was found"), std::string::npos);
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(used_on("cafe1"), 3);
  EXPECT_EQ(evacuate({{"host", "cafe2"}}).status, 200);
  EXPECT_EQ(host(), "cafe2");
}

TEST_F(EvacuateTest, BadRequests) {
  lose("cafe1");
  declare_off("cafe1");
  EXPECT_EQ(evacuate({{"colour", "red"}}).status, 400);
  EXPECT_EQ(evacuate({{"force", true}}).status, 400);
  const auto old = [&](json::object how) {
    return cloud.post("/compute/v2.1/servers/" + id + "/action", {{"evacuate", std::move(how)}}, "admin");
  };
  EXPECT_EQ(old({}).status, 400);  // before 2.14 onSharedStorage is required
  EXPECT_EQ(old({{"onSharedStorage", true}}).status, 400);
  const auto done = old({{"onSharedStorage", false}, {"adminPass", "secret"}});
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(done.at("adminPass"), "secret");
}

TEST_F(EvacuateTest, ByThemselvesAreOnlyThoseThatAskForIt) {
  EXPECT_TRUE(cloud.compute->lost_hosts().empty());
  lose("cafe1");
  EXPECT_TRUE(cloud.compute->lost_hosts().empty());  // ha.restart = "manual"
  EXPECT_EQ(cloud.post("/compute/v2.1/servers/" + id + "/metadata", {{"metadata", {{"ha:restart", "auto"}}}}, "demo").status, 200);
  const auto lost = cloud.compute->lost_hosts();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].name, "cafe1");
  EXPECT_EQ(lost[0].servers, 1);
  EXPECT_FALSE(lost[0].fenced);
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(cloud.compute->host_fenced(lost[0].id), 1);
  EXPECT_EQ(host(), "cafe2");
  EXPECT_TRUE(cloud.compute->lost_hosts().empty());
}

TEST_F(EvacuateTest, AHostThatIsHeardIsNotFenced) {
  cloud.post("/compute/v2.1/servers/" + id + "/metadata", {{"metadata", {{"ha:restart", "auto"}}}}, "demo");
  lose("cafe1");
  ASSERT_EQ(cloud.compute->lost_hosts().size(), 1u);
  cloud.compute->heartbeat(host_facts("cafe1").id, {});
  EXPECT_TRUE(cloud.compute->lost_hosts().empty());
  EXPECT_THROW(cloud.compute->host_fenced(host_facts("cafe1").id), Fault);
  EXPECT_EQ(host(), "cafe1");
}

TEST_F(EvacuateTest, AControllerThatWasAwayItselfWaitsForItsHosts) {
  cloud.post("/compute/v2.1/servers/" + id + "/metadata", {{"metadata", {{"ha:restart", "auto"}}}}, "demo");
  lose("cafe1");
  ASSERT_EQ(cloud.compute->lost_hosts().size(), 1u);
  const auto next = make_compute(options(), cloud.database(), cloud.clock(), cloud.identity, cloud.images, cloud.networks, *cloud.placement);
  EXPECT_TRUE(next->lost_hosts().empty());
  cloud.clock().advance(std::chrono::seconds(31));
  next->heartbeat(host_facts("cafe2").id, {});
  EXPECT_EQ(next->lost_hosts().size(), 1u);
}

TEST_F(EvacuateTest, WhenMostHostsFallSilentNoneIsFenced) {
  cloud.post("/compute/v2.1/servers/" + id + "/metadata", {{"metadata", {{"ha:restart", "auto"}}}}, "demo");
  cloud.add_host("cafe3");
  cloud.clock().advance(std::chrono::minutes(1));
  cloud.compute->heartbeat(host_facts("cafe3").id, {});
  EXPECT_TRUE(cloud.compute->lost_hosts().empty());  // two of three
  cloud.compute->heartbeat(host_facts("cafe2").id, {});
  EXPECT_EQ(cloud.compute->lost_hosts().size(), 1u);
  declare_off("cafe1");
  cloud.clock().advance(std::chrono::minutes(1));
  EXPECT_EQ(cloud.compute->lost_hosts().size(), 1u);  // that one is known to be off
}

TEST(Evacuate, AllRestartButThoseThatDoNotWish) {
  Options options;
  options.restart_servers = true;
  ComputeCloud cloud("", std::move(options));
  cloud.add_host("cafe1");
  const std::string one = cloud.boot("one").at("server.id"), two = cloud.boot("two").at("server.id");
  cloud.post("/compute/v2.1/servers/" + two + "/metadata", {{"metadata", {{"ha:restart", "never"}}}}, "demo");
  cloud.clock().advance(std::chrono::minutes(1));
  const auto lost = cloud.compute->lost_hosts();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].servers, 1);
  EXPECT_EQ(cloud.compute->host_fenced(lost[0].id), 0);  // there is no other host
  ASSERT_EQ(cloud.compute->lost_hosts().size(), 1u);
  EXPECT_TRUE(cloud.compute->lost_hosts()[0].fenced);
  cloud.add_host("cafe2");
  EXPECT_EQ(cloud.compute->host_fenced(lost[0].id), 1);
  EXPECT_EQ(cloud.show(one, "admin").at("server.OS-EXT-SRV-ATTR:host"), "cafe2");
  EXPECT_EQ(cloud.show(two, "admin").at("server.OS-EXT-SRV-ATTR:host"), "cafe1");
  EXPECT_TRUE(cloud.compute->lost_hosts().empty());
}

}  // namespace
}  // namespace virga::compute
