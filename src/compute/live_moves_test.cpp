// Servers that move while they run: what users see, what each host is told at each step, and who has the server in the end,
// whoever fails or is lost in between.

#include <gtest/gtest.h>

#include "tests/support/moving_cloud.h"

namespace virga::compute {
namespace {

using test::host_facts;
using test::kNew;
using test::Reply;
using State = link::DesiredServer::State;

class LiveMovesTest : public test::MovingCloud {
 protected:
  Reply move(json::object how = {{"host", nullptr}, {"block_migration", "auto"}}) { return act({{"os-migrateLive", std::move(how)}}); }
  Reply migrations(const std::string& rest = "") { return cloud.get("/compute/v2.1/servers/" + id + "/migrations" + rest, "admin", kNew); }
  Reply force(const std::string& number) {
    return cloud.post("/compute/v2.1/servers/" + id + "/migrations/" + number + "/action", {{"force_complete", nullptr}}, "admin", kNew);
  }
  Reply abort(const std::string& number) { return cloud.del("/compute/v2.1/servers/" + id + "/migrations/" + number, "admin", kNew); }
  std::string history(const char* what) { return cloud.get("/compute/v2.1/os-migrations", "admin", kNew).at(fmt::format("migrations.0.{}", what)); }
  std::string bound() { return cloud.networks.bound[id]; }
  /// As far as its source's action.
  link::Action begin_running() {
    cloud.hub->asleep = true;
    EXPECT_EQ(move().status, 202);
    say("cafe2", link::Power::absent, told("cafe2").at(0).generation);
    return told("cafe1").at(0).actions.at(0);
  }
  void end(const link::Action& action, bool ok, const char* message = "", const char* host = "cafe1") {
    cloud.compute->observe(host_facts(host).id, false, {}, {{action.operation, action.fence, ok, message}});
  }
  void leaves_nothing_on(const char* host) {
    cloud.hub->asleep = false;
    catch_up(host);
    EXPECT_TRUE(told(host).empty());
    EXPECT_EQ(used(host, "MEMORY_MB"), 0);
  }
};

TEST_F(LiveMovesTest, ItRunsOnItsNextHost) {
  EXPECT_EQ(move().status, 202);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(bound(), "cafe2");
  EXPECT_EQ(history("status"), "completed");
  EXPECT_EQ(history("migration_type"), "live-migration");
  EXPECT_EQ(used("cafe2", "MEMORY_MB"), 512);
  leaves_nothing_on("cafe1");
  EXPECT_EQ(number("SELECT COUNT(*) FROM operations WHERE state = 'running'"), 0);
  const auto actions = cloud.get("/compute/v2.1/servers/" + id + "/os-instance-actions", "admin", kNew);
  EXPECT_EQ(actions.at("instanceActions.0.action"), "live-migration");
  EXPECT_EQ(migrations().at("migrations"), "[]");
}

TEST_F(LiveMovesTest, StepByStep) {
  cloud.hub->asleep = true;
  EXPECT_EQ(move().status, 202);
  EXPECT_EQ(status(), "MIGRATING");
  EXPECT_EQ(task(), "migrating");
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(bound(), "cafe1,cafe2");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
  EXPECT_EQ(used("cafe2", "MEMORY_MB"), 512);
  auto there = told("cafe2");
  ASSERT_EQ(there.size(), 1u);
  EXPECT_EQ(there[0].state, State::incoming);
  EXPECT_GT(there[0].disk, 0);
  EXPECT_TRUE(there[0].actions.empty());
  EXPECT_TRUE(told("cafe1").at(0).actions.empty()) << "the other is not ready";
  EXPECT_EQ(act({{"os-stop", nullptr}}, "demo").status, 409);
  EXPECT_EQ(act({{"migrate", nullptr}}).status, 409);
  EXPECT_EQ(move().status, 409);
  EXPECT_THROW(cloud.compute->tunnel_end(host_facts("cafe1").id, ServerId(id)), Fault);

  say("cafe2", link::Power::absent, there[0].generation);
  EXPECT_EQ(migrations().at("migrations.0.status"), "running");
  const auto here = told("cafe1").at(0);
  EXPECT_EQ(here.state, State::running);
  ASSERT_EQ(here.actions.size(), 1u);
  EXPECT_EQ(here.actions[0].kind, "migrate_live");
  EXPECT_EQ(cloud.compute->tunnel_end(host_facts("cafe1").id, ServerId(id)), host_facts("cafe2").id);
  EXPECT_THROW(cloud.compute->tunnel_end(host_facts("cafe2").id, ServerId(id)), Fault) << "only from where it is";

  link::ObservedServer seen;
  seen.id = ServerId(id);
  seen.power = link::Power::running;
  seen.generation = here.generation;
  seen.migration = MigrationProgress{{100, 40, 60}, {200, 50, 150}};
  cloud.compute->observe(host_facts("cafe1").id, false, {seen}, {});
  EXPECT_EQ(migrations().at("migrations.0.memory_remaining_bytes"), "60");
  EXPECT_EQ(migrations().at("migrations.0.disk_processed_bytes"), "50");
  const auto number = migrations().at("migrations.0.id");
  EXPECT_EQ(migrations("/" + number).at("migration.server_uuid"), id);

  // Off on its source for a moment, as the hypervisor shows it before the agent can say that it left: nobody stopped it.
  say("cafe1", link::Power::shutoff, here.generation);
  EXPECT_EQ(status(), "MIGRATING");
  end(here.actions[0], true);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(bound(), "cafe2");
  there = told("cafe2");
  EXPECT_EQ(there.at(0).state, State::running);
  EXPECT_GT(there[0].generation, here.generation);
  EXPECT_EQ(there[0].disk, this->number("SELECT dest_disk FROM server_migrations"));
  EXPECT_EQ(told("cafe1").at(0).state, State::absent);
  EXPECT_EQ(migrations("/" + number).status, 404);
  leaves_nothing_on("cafe1");
}

TEST_F(LiveMovesTest, WhatCannotLeaveStays) {
  const auto action = begin_running();
  end(action, false, "no way to the other host");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(bound(), "cafe1");
  EXPECT_EQ(history("status"), "error");
  leaves_nothing_on("cafe2");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
  const auto actions = cloud.get("/compute/v2.1/servers/" + id + "/os-instance-actions", "admin", kNew);
  EXPECT_EQ(actions.at("instanceActions.0.message"), "Error");
  EXPECT_EQ(move().status, 202) << "and it can be tried again";
  EXPECT_EQ(host(), "cafe2");
}

TEST_F(LiveMovesTest, WhatCannotBeReceivedStays) {
  cloud.hub->asleep = true;
  EXPECT_EQ(move().status, 202);
  fail("cafe2", told("cafe2").at(0).generation);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(history("status"), "error");
  leaves_nothing_on("cafe2");
}

TEST_F(LiveMovesTest, OthersCannotEndIt) {
  auto action = begin_running();
  end(action, true, "", "cafe2");
  EXPECT_EQ(host(), "cafe1");
  action.fence -= 1;
  end(action, true);
  EXPECT_EQ(host(), "cafe1");
}

TEST_F(LiveMovesTest, Aborted) {
  const auto action = begin_running();
  const auto number = migrations().at("migrations.0.id");
  EXPECT_EQ(abort("77").status, 404);
  EXPECT_EQ(abort(number).status, 202);
  EXPECT_EQ(told("cafe1").at(0).actions.at(0).kind, "migrate_live_abort");
  EXPECT_EQ(told("cafe1").at(0).actions.at(0).operation, action.operation) << "the same work, with another wish";
  end(action, false, "It was aborted.");
  EXPECT_EQ(history("status"), "cancelled");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(abort(number).status, 404);
  leaves_nothing_on("cafe2");
}

TEST_F(LiveMovesTest, AbortedBeforeItBegan) {
  cloud.hub->asleep = true;
  EXPECT_EQ(move().status, 202);
  const auto number = migrations().at("migrations.0.id");
  EXPECT_EQ(force(number).status, 400);
  EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + id + "/migrations/" + number, "admin", {{"OpenStack-API-Version", "compute 2.64"}}).status, 400);
  EXPECT_EQ(abort(number).status, 202);
  EXPECT_EQ(history("status"), "cancelled");
  EXPECT_EQ(status(), "ACTIVE");
  leaves_nothing_on("cafe2");
}

TEST_F(LiveMovesTest, ForcedToComplete) {
  const auto action = begin_running();
  EXPECT_EQ(force(migrations().at("migrations.0.id")).status, 202);
  EXPECT_EQ(told("cafe1").at(0).actions.at(0).kind, "migrate_live_force");
  end(action, true);
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(history("status"), "completed");
}

TEST_F(LiveMovesTest, ALostDestinationIsNotWaitedFor) {
  begin_running();
  const auto service = cloud.get("/compute/v2.1/os-services?host=cafe2", "admin", kNew).at("services.0.id");
  EXPECT_EQ(cloud.put("/compute/v2.1/os-services/" + service, {{"forced_down", true}}, "admin", kNew).status, 200);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(history("status"), "error");
}

TEST_F(LiveMovesTest, OfALostSourceTheDestinationsWordCounts) {
  begin_running();
  say("cafe2", link::Power::running, told("cafe2").at(0).generation);
  EXPECT_EQ(host(), "cafe1") << "as long as its source can say so itself";
  const auto service = cloud.get("/compute/v2.1/os-services?host=cafe1", "admin", kNew).at("services.0.id");
  EXPECT_EQ(cloud.put("/compute/v2.1/os-services/" + service, {{"forced_down", true}}, "admin", kNew).status, 200);
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(history("status"), "completed");
}

TEST_F(LiveMovesTest, ALostSourceThatHadNotSentItCanBeEvacuated) {
  begin_running();
  cloud.add_host("cafe3");
  const auto service = cloud.get("/compute/v2.1/os-services?host=cafe1", "admin", kNew).at("services.0.id");
  EXPECT_EQ(cloud.put("/compute/v2.1/os-services/" + service, {{"forced_down", true}}, "admin", kNew).status, 200);
  EXPECT_EQ(task(), "null");
  cloud.hub->asleep = false;
  EXPECT_EQ(act({{"evacuate", json::object{}}}).status, 200);
  EXPECT_EQ(host(), "cafe3") << "the other has remains of it";
  leaves_nothing_on("cafe2");
}

TEST_F(LiveMovesTest, ASourceThatHadNoPowerMeanwhileMayHaveSentIt) {
  const auto action = begin_running();
  say("cafe2", link::Power::running, told("cafe2").at(0).generation);
  say("cafe1", link::Power::shutoff, told("cafe1").at(0).generation);
  end(action, false, "The agent of its host was started again meanwhile.");
  EXPECT_EQ(host(), "cafe2");
}

TEST_F(LiveMovesTest, DeletedOnTheWayItLeavesNothing) {
  begin_running();
  EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + id, "demo").status, 204);
  cloud.hub->asleep = false;
  catch_up("cafe1");
  EXPECT_EQ(cloud.show(id).status, 404);
  leaves_nothing_on("cafe1");
  leaves_nothing_on("cafe2");
  EXPECT_EQ(number("SELECT COUNT(*) FROM allocations"), 0);
  EXPECT_EQ(charged("instances"), 0);
}

TEST_F(LiveMovesTest, WhatIsRefused) {
  const auto at = [&](const char* version, json::object how) {
    return cloud.post("/compute/v2.1/servers/" + id + "/action", {{"os-migrateLive", std::move(how)}}, "admin",
                      {{"OpenStack-API-Version", fmt::format("compute {}", version)}});
  };
  EXPECT_EQ(act({{"os-migrateLive", {{"host", nullptr}, {"block_migration", "auto"}}}}, "demo").status, 403);
  EXPECT_EQ(at("2.1", {{"host", nullptr}, {"block_migration", true}}).status, 400) << "disk_over_commit is missing";
  EXPECT_EQ(at("2.1", {{"host", nullptr}, {"block_migration", "auto"}, {"disk_over_commit", false}}).status, 400) << "auto came with 2.25";
  EXPECT_EQ(at("2.25", {{"host", nullptr}, {"block_migration", true}, {"disk_over_commit", false}}).status, 400);
  EXPECT_EQ(at("2.30", {{"host", nullptr}, {"block_migration", true}, {"force", true}}).status, 400);
  EXPECT_EQ(at("2.68", {{"host", nullptr}, {"block_migration", true}, {"force", false}}).status, 400);
  EXPECT_EQ(at("2.80", {{"host", ""}, {"block_migration", "auto"}}).status, 400);
  EXPECT_EQ(at("2.80", {{"block_migration", "auto"}}).status, 400);
  EXPECT_EQ(at("2.80", {{"host", "nowhere"}, {"block_migration", "auto"}}).status, 400);
  EXPECT_EQ(at("2.80", {{"host", "cafe1"}, {"block_migration", "auto"}}).status, 400) << "where it is";
  const auto shared = at("2.80", {{"host", nullptr}, {"block_migration", false}});
  EXPECT_EQ(shared.status, 400);
  EXPECT_NE(shared.at("badRequest.message").find("shared storage"), std::string::npos);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(act({{"os-stop", nullptr}}, "demo").status, 202);
  EXPECT_EQ(move().status, 409) << "it must run";
}

TEST_F(LiveMovesTest, AgentsThatDoNotKnowOfItAreNotAsked) {
  auto old = host_facts("cafe2");
  old.link_minor = 3;
  cloud.compute->connect(old);
  const auto refused = move();
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.at("badRequest.message").find("cafe2: its agent is of an older version"), std::string::npos) << refused.at("badRequest.message");
  cloud.compute->connect(host_facts("cafe2"));
  auto other = host_facts("cafe2");
  other.virt_type = "kvm";
  cloud.compute->connect(other);
  EXPECT_NE(move().at("badRequest.message").find("under 'kvm'"), std::string::npos);
  old = host_facts("cafe1");
  old.link_minor = 3;
  cloud.compute->connect(host_facts("cafe2"));
  cloud.compute->connect(old);
  EXPECT_NE(move().at("badRequest.message").find("The agent of cafe1"), std::string::npos);
}

}  // namespace
}  // namespace virga::compute
