// Servers that change their size or host: what users see, what is charged, what each host is told, and how it ends when
// something goes wrong in between.

#include <gtest/gtest.h>

#include "tests/support/moving_cloud.h"

namespace virga::compute {
namespace {

using test::ComputeCloud;
using test::host_facts;
using test::kNew;
using test::Reply;
using State = link::DesiredServer::State;

using MovesTest = test::MovingCloud;

TEST_F(MovesTest, AResizeStaysOnItsHostAndIsConfirmed) {
  EXPECT_EQ(resize("2").status, 202);
  EXPECT_EQ(status(), "VERIFY_RESIZE");
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(shown("flavor.original_name"), "") << "before 2.47 it is the flavor's id";
  EXPECT_EQ(shown("flavor.id"), "2");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 1024);
  EXPECT_EQ(charged("ram"), 1024);
  const auto now = told("cafe1").at(0);
  EXPECT_EQ(now.vcpus, 2);
  EXPECT_GT(now.disk, 0);
  EXPECT_FALSE(now.disk_source.has_value()) << "it is there";
  EXPECT_EQ(confirm().status, 204);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(cloud.hub->last.servers.at(0).old_disks, (std::vector<int64_t>{0}));
  EXPECT_TRUE(told("cafe1").at(0).old_disks.empty()) << "removed, and said so";
  EXPECT_EQ(confirm().status, 409);
}

TEST_F(MovesTest, StepByStep) {
  cloud.hub->asleep = true;
  EXPECT_EQ(resize("2").status, 202);
  EXPECT_EQ(status(), "RESIZE");
  EXPECT_EQ(task(), "resize_migrating");
  EXPECT_EQ(shown("flavor.id"), "1");
  auto next = told("cafe1").at(0);
  EXPECT_EQ(next.state, State::stopped);
  EXPECT_EQ(next.disk, 0);
  EXPECT_EQ(act({{"os-stop", nullptr}}, "demo").status, 409);
  EXPECT_EQ(resize("1").status, 409);
  say("cafe1", link::Power::running, next.generation - 1);
  EXPECT_EQ(task(), "resize_migrating");
  say("cafe1", link::Power::shutoff, next.generation);
  EXPECT_EQ(task(), "resize_finish");
  EXPECT_EQ(status(), "RESIZE");
  next = told("cafe1").at(0);
  EXPECT_EQ(next.state, State::running);
  ASSERT_TRUE(next.disk_source);
  EXPECT_EQ(next.disk_source->host, host_facts("cafe1").id);
  EXPECT_EQ(next.disk_source->disk, 0);
  say("cafe1", link::Power::running, next.generation);
  EXPECT_EQ(status(), "VERIFY_RESIZE");
  EXPECT_EQ(shown("OS-EXT-STS:vm_state"), "resized");
  EXPECT_EQ(act({{"os-start", nullptr}}, "demo").status, 409);
  EXPECT_EQ(act({{"os-resetState", {{"state", "active"}}}}).status, 409);
}

TEST_F(MovesTest, ARevertedResizeIsAsItWas) {
  EXPECT_EQ(resize("2").status, 202);
  const int64_t disk = told("cafe1").at(0).disk;
  EXPECT_EQ(revert().status, 202);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(shown("flavor.id"), "1");
  EXPECT_EQ(told("cafe1").at(0).disk, 0);
  EXPECT_EQ(told("cafe1").at(0).vcpus, 1);
  EXPECT_EQ(charged("ram"), 512);
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
  EXPECT_EQ(number("SELECT old_disk FROM servers"), -1) << "the one it had meanwhile, " << disk << ", is removed";
}

TEST_F(MovesTest, AMigrationLeavesItsHostAndTheSourceKeepsItUntilItIsConfirmed) {
  EXPECT_EQ(act({{"migrate", nullptr}}, "demo").status, 403);
  EXPECT_EQ(migrate().status, 202);
  EXPECT_EQ(status(), "VERIFY_RESIZE");
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
  EXPECT_EQ(used("cafe2", "MEMORY_MB"), 512);
  EXPECT_EQ(charged("instances"), 1);
  const auto kept = told("cafe1");
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].state, State::stopped);
  EXPECT_EQ(kept[0].disk, 0);
  say("cafe1", link::Power::shutoff, kept[0].generation);  // what the source says of it changes nothing
  EXPECT_EQ(status(), "VERIFY_RESIZE");
  EXPECT_EQ(confirm().status, 204);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 0);
  EXPECT_TRUE(told("cafe1").empty()) << "it was told to remove it, and did";
}

TEST_F(MovesTest, ARevertedMigrationGoesHomeOnlyOnceItIsGoneThere) {
  EXPECT_EQ(migrate().status, 202);
  cloud.hub->asleep = true;
  EXPECT_EQ(revert().status, 202);
  EXPECT_EQ(status(), "REVERT_RESIZE");
  ASSERT_EQ(told("cafe2").size(), 1u);
  EXPECT_EQ(told("cafe2")[0].state, State::absent);
  EXPECT_EQ(told("cafe1").at(0).state, State::stopped);
  cloud.hub->asleep = false;
  catch_up("cafe1");
  EXPECT_EQ(status(), "REVERT_RESIZE") << "the other still has it";
  catch_up("cafe2");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(told("cafe1").at(0).disk, 0);
  EXPECT_EQ(used("cafe2", "MEMORY_MB"), 0);
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
}

TEST_F(MovesTest, WhatCannotComeUpThereGoesBackAndSaysWhy) {
  cloud.hub->asleep = true;
  EXPECT_EQ(migrate().status, 202);
  say("cafe1", link::Power::shutoff, told("cafe1").at(0).generation);
  EXPECT_EQ(host(), "cafe2");
  fail("cafe2", told("cafe2").at(0).generation);
  EXPECT_EQ(host(), "cafe1");
  cloud.hub->asleep = false;
  catch_up("cafe2");
  catch_up("cafe1");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(used("cafe2", "MEMORY_MB"), 0);
  EXPECT_TRUE(told("cafe2").empty());
  const auto list = cloud.get("/compute/v2.1/os-migrations", "admin", kNew);
  EXPECT_EQ(list.at("migrations.0.status"), "error");
  const auto actions = cloud.get("/compute/v2.1/servers/" + id + "/os-instance-actions", "admin", kNew);
  EXPECT_EQ(actions.at("instanceActions.0.action"), "migrate");
  EXPECT_EQ(actions.at("instanceActions.0.message"), "Error");
  EXPECT_EQ(migrate().status, 202) << "and it can be tried again";
}

TEST_F(MovesTest, WhatCannotBeStoppedStays) {
  cloud.hub->asleep = true;
  EXPECT_EQ(resize("2").status, 202);
  fail("cafe1", told("cafe1").at(0).generation);
  EXPECT_EQ(shown("flavor.id"), "1");
  EXPECT_EQ(charged("ram"), 512);
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
  EXPECT_EQ(told("cafe1").at(0).state, State::running);
  EXPECT_EQ(number("SELECT COUNT(*) FROM server_migrations WHERE status = 'error'"), 1);
}

TEST_F(MovesTest, AStoppedServerStaysStopped) {
  EXPECT_EQ(act({{"os-stop", nullptr}}, "demo").status, 202);
  EXPECT_EQ(migrate().status, 202);
  EXPECT_EQ(status(), "VERIFY_RESIZE");
  EXPECT_EQ(told("cafe2").at(0).state, State::stopped);
  EXPECT_EQ(confirm().status, 204);
  EXPECT_EQ(status(), "SHUTOFF");
}

TEST_F(MovesTest, ADeletedServerLeavesNothingOnEitherHost) {
  EXPECT_EQ(migrate().status, 202);
  EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + id, "demo").status, 204);
  EXPECT_EQ(cloud.show(id).status, 404);
  EXPECT_TRUE(told("cafe1").empty());
  EXPECT_TRUE(told("cafe2").empty());
  EXPECT_EQ(number("SELECT COUNT(*) FROM allocations"), 0);
  EXPECT_EQ(charged("cores"), 0);
  EXPECT_EQ(charged("ram"), 0);
  EXPECT_EQ(charged("instances"), 0);
}

TEST_F(MovesTest, DeletedAtEachStepOfALargerSize) {
  for (int steps = 0; steps < 4; ++steps) {
    cloud.hub->asleep = false;
    id = cloud.boot(fmt::format("vm{}", steps), {}, "demo").at("server.id");
    cloud.hub->asleep = true;
    const int64_t before = charged("ram");
    EXPECT_EQ(resize("2").status, 202);
    EXPECT_EQ(charged("ram"), before + 512);
    if (steps > 0) say(host().c_str(), link::Power::shutoff, generation());
    if (steps > 1) say(host().c_str(), link::Power::running, generation());
    EXPECT_EQ(task(), steps == 0 ? "resize_migrating" : steps == 1 ? "resize_finish" : "null");
    if (steps > 2) {
      EXPECT_EQ(revert().status, 202);
    }
    cloud.hub->asleep = false;
    EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + id, "demo").status, 204) << steps;
    EXPECT_EQ(cloud.show(id).status, 404) << steps;
    EXPECT_EQ(charged("ram"), 512) << steps;
  }
  EXPECT_EQ(number("SELECT COUNT(*) FROM allocations"), 3);
}

TEST_F(MovesTest, ALostDestinationIsGivenUp) {
  cloud.hub->asleep = true;
  EXPECT_EQ(migrate().status, 202);
  say("cafe1", link::Power::shutoff, told("cafe1").at(0).generation);
  EXPECT_EQ(host(), "cafe2");
  cloud.hub->asleep = false;
  cloud.hub->away.insert(host_facts("cafe2").id);
  const std::string service = cloud.get("/compute/v2.1/os-services?host=cafe2", "admin", kNew).at("services.0.id");
  EXPECT_EQ(cloud.put("/compute/v2.1/os-services/" + service, {{"forced_down", true}}, "admin", kNew).status, 200);
  EXPECT_EQ(host(), "cafe1");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(told("cafe2").at(0).state, State::absent) << "and it is removed there, when that host is back";
}

TEST_F(MovesTest, WhoseSourceIsLostWithItsDiskIsBuiltAgainWhereItWasGoing) {
  cloud.hub->asleep = true;
  EXPECT_EQ(migrate().status, 202);
  say("cafe1", link::Power::shutoff, told("cafe1").at(0).generation);
  EXPECT_EQ(act({{"evacuate", json::object()}}).status, 400) << "its host is up, and so is the one that has its disk";
  const std::string service = cloud.get("/compute/v2.1/os-services?host=cafe1", "admin", kNew).at("services.0.id");
  EXPECT_EQ(cloud.put("/compute/v2.1/os-services/" + service, {{"forced_down", true}}, "admin", kNew).status, 200);
  EXPECT_EQ(act({{"evacuate", json::object()}}).status, 200);
  EXPECT_EQ(host(), "cafe2");
  EXPECT_EQ(status(), "REBUILD");
  EXPECT_FALSE(told("cafe2").at(0).disk_source);
  EXPECT_EQ(told("cafe1").at(0).state, State::absent);
  cloud.hub->asleep = false;
  catch_up("cafe2");
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 0);
  EXPECT_EQ(used("cafe2", "MEMORY_MB"), 512);
}

TEST_F(MovesTest, OnlyTheDestinationGetsTheDisk) {
  cloud.hub->asleep = true;
  EXPECT_EQ(migrate().status, 202);
  const ServerId server(id);
  EXPECT_THROW(cloud.compute->disk_source(host_facts("cafe2").id, server, 0), Fault) << "not yet";
  say("cafe1", link::Power::shutoff, told("cafe1").at(0).generation);
  EXPECT_EQ(cloud.compute->disk_source(host_facts("cafe2").id, server, 0), host_facts("cafe1").id);
  EXPECT_THROW(cloud.compute->disk_source(host_facts("cafe2").id, server, 1), Fault);
  EXPECT_THROW(cloud.compute->disk_source(host_facts("cafe1").id, server, 0), Fault);
  EXPECT_THROW(cloud.compute->disk_source(host_facts("cafe2").id, ServerId("no such"), 0), Fault);
}

TEST_F(MovesTest, RefusedRequestsChangeNothing) {
  cloud.make_flavor("huge", "huge", 1 << 20, 1);
  cloud.make_flavor("wide", "wide", 512, 21);
  const auto why = [&](const Reply& reply, int status) {
    EXPECT_EQ(reply.status, status) << reply.body;
    return reply.body;
  };
  EXPECT_NE(why(resize("1"), 400).find("instances must change flavor"), std::string::npos);
  EXPECT_NE(why(resize("none"), 400).find("Flavor none could not be found"), std::string::npos);
  EXPECT_NE(why(act({{"resize", {{"flavorRef", nullptr}}}}, "demo"), 400), "");
  EXPECT_NE(why(act({{"resize", {{"flavorRef", "2"}, {"more", 1}}}}, "demo"), 400).find("'more' was unexpected"), std::string::npos);
  EXPECT_NE(why(act({{"resize", {{"flavorRef", "2"}, {"OS-DCF:diskConfig", "BIG"}}}}, "demo"), 400), "");
  EXPECT_NE(why(resize("wide"), 403).find("Quota exceeded for cores"), std::string::npos);
  EXPECT_NE(why(resize("huge"), 403).find("Quota exceeded for ram"), std::string::npos);
  EXPECT_NE(why(migrate({{"host", "cafe9"}}), 400).find("cafe9 could not be found"), std::string::npos);
  EXPECT_NE(why(migrate({{"host", "cafe1"}}), 400).find("to current host"), std::string::npos);
  EXPECT_NE(why(migrate({{"node", "x"}}), 400), "");
  EXPECT_EQ(confirm().status, 409);
  EXPECT_EQ(revert().status, 409);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(charged("ram"), 512);
  EXPECT_EQ(number("SELECT COUNT(*) FROM server_migrations"), 0);
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
}

TEST_F(MovesTest, WithoutRoomElsewhereItSaysWhy) {
  cloud.make_flavor("half", "half", 5700, 4);
  for (const char* filler : {"one", "two"}) {
    EXPECT_EQ(cloud.boot(filler, {{"flavorRef", "half"}, {"availability_zone", "nova:cafe2"}}, "admin").status, 202);
  }
  const auto refused = migrate();
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("No valid host was found"), std::string::npos);
  EXPECT_EQ(status(), "ACTIVE");
  EXPECT_EQ(used("cafe1", "MEMORY_MB"), 512);
}

TEST_F(MovesTest, MigrationsAreListed) {
  EXPECT_EQ(resize("2").status, 202);
  EXPECT_EQ(confirm().status, 204);
  EXPECT_EQ(migrate({{"host", "cafe2"}}).status, 202);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-migrations", "demo", kNew).status, 403);
  const auto all = cloud.get("/compute/v2.1/os-migrations", "admin", kNew);
  EXPECT_EQ(all.count("migrations"), 2u);
  EXPECT_EQ(all.at("migrations.0.migration_type"), "migration");
  EXPECT_EQ(all.at("migrations.0.status"), "finished");
  EXPECT_EQ(all.at("migrations.0.source_compute"), "cafe1");
  EXPECT_EQ(all.at("migrations.0.dest_compute"), "cafe2");
  EXPECT_EQ(all.at("migrations.1.migration_type"), "resize");
  EXPECT_EQ(all.at("migrations.1.status"), "confirmed");
  EXPECT_NE(all.at("migrations.1.old_instance_type_id"), all.at("migrations.1.new_instance_type_id"));
  const auto count = [&](const std::string& query) { return cloud.get("/compute/v2.1/os-migrations?" + query, "admin", kNew).count("migrations"); };
  EXPECT_EQ(count("status=finished"), 1u);
  EXPECT_EQ(count("host=cafe2"), 1u);
  EXPECT_EQ(count("source_compute=cafe1"), 2u);
  EXPECT_EQ(count("migration_type=resize"), 1u);
  EXPECT_EQ(count("instance_uuid=" + id), 2u);
  EXPECT_EQ(count("project_id=nobody"), 0u);
  EXPECT_EQ(count("changes-since=2050-01-01T00:00:00Z"), 0u);
  const auto first = cloud.get("/compute/v2.1/os-migrations?limit=1", "admin", kNew);
  EXPECT_EQ(first.count("migrations"), 1u);
  EXPECT_EQ(first.count("migrations_links"), 1u);
  EXPECT_EQ(count("limit=1&marker=" + first.at("migrations.0.uuid")), 1u);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-migrations?colour=red", "admin", kNew).status, 400);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-migrations?colour=red", "admin").count("migrations"), 2u);
}

TEST_F(MovesTest, AGroupThatKeepsApartIsKeptApart) {
  cloud.add_host("cafe3");
  const std::string group =
      cloud.post("/compute/v2.1/os-server-groups", {{"server_group", {{"name", "g"}, {"policies", json::array{"anti-affinity"}}}}}, "demo")
          .at("server_group.id");
  const json::object hint{{"group", group}};
  const auto boot = [&](const char* name) {
    return cloud.post("/compute/v2.1/servers",
                      {{"server", {{"name", name}, {"imageRef", cloud.image_id}, {"flavorRef", "1"}}}, {"os:scheduler_hints", hint}}, "demo")
        .at("server.id");
  };
  const std::string other = boot("one");
  id = boot("two");
  const std::string theirs = cloud.show(other, "admin").at("server.OS-EXT-SRV-ATTR:host"), before = host();
  EXPECT_NE(theirs, before);
  EXPECT_EQ(migrate().status, 202);
  EXPECT_NE(host(), theirs);
  EXPECT_NE(host(), before);
}

}  // namespace
}  // namespace virga::compute
