// Two controllers over one MariaDB, each with services and agents of its own.

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/support/compute_fixture.h"
#include "tests/support/mariadb.h"

namespace virga::test {
namespace {

const Fields kIds{{"OpenStack-API-Version", "compute 2.53"}};

/// One controller: its services, its end of the agent link, and what it says to the others.
struct Controller {
  Controller(const std::string& url, const std::string& id)
      : database(db::open({url})), self({.id = id, .name = id, .link_address = id + ":5001"}, *database), cloud(url, options()) {
    self.beat();
  }
  compute::Options options() {
    compute::Options o;
    o.controllers = &self;
    o.quotas = {{"instances", 3}};
    o.tell_others = [this](std::string_view what, const std::string& which) {
      const std::lock_guard lock(mutex);
      told.push_back(std::string(what) + " " + which);
    };
    return o;
  }
  std::string state_of(const std::string& host) {
    const auto reply = cloud.get("/compute/v2.1/os-services?binary=nova-compute&host=" + host, "admin");
    return reply.at("services.0.state");
  }
  std::unique_ptr<db::Database> database;
  controllers::Controllers self;
  std::mutex mutex;
  std::vector<std::string> told;
  ComputeCloud cloud;
};

class TwoControllers : public testing::Test {
 protected:
  TwoControllers() : a(url(), "aaaa"), b(url(), "bbbb") {}
  static std::string url() {
    static const std::string one = mariadb_server().new_database();
    return one;
  }
  void SetUp() override {
    a.database->write([](db::Tx& tx) {
      tx.exec("SET foreign_key_checks = 0");
      for (const char* table : {"servers", "hosts", "operations", "operation_steps", "allocations", "allocation_consumers", "inventories",
                                "resource_providers", "provider_traits", "server_metadata", "server_remains", "compute_usages", "leases"})
        tx.exec(std::string("DELETE FROM ") + table);
      tx.exec("SET foreign_key_checks = 1");
    });
  }
  /// A host whose agent is connected to b.
  void host_at_b(const std::string& name, int vcpus = 4, uint64_t memory = 8192) {
    a.cloud.hub->away.insert(host_facts(name).id);
    b.cloud.add_host(name, vcpus, memory);
    a.cloud.compute->look_around();
  }
  void kill(Controller& which) {
    a.database->write([&](db::Tx& tx) {
      tx.exec("UPDATE controllers SET seen_at = ? WHERE id = ?", db::database_now(tx) - controllers::kDeadAfter - std::chrono::seconds(1), which.self.id());
    });
  }
  Controller a, b;
};

TEST_F(TwoControllers, WhatIsAskedOfOneIsDoneByTheHostOfTheOther) {
  host_at_b("cafe1");
  EXPECT_EQ(a.state_of("cafe1"), "up");
  EXPECT_EQ(a.cloud.compute->controller_of(host_facts("cafe1").id), "bbbb:5001");
  EXPECT_EQ(b.cloud.compute->controller_of(host_facts("cafe1").id), "");
  const auto made = a.cloud.boot("one");
  ASSERT_EQ(made.status, 202) << made.body;
  const std::string id = made.at("server.id");
  EXPECT_EQ(a.told, std::vector<std::string>{"server " + id});
  EXPECT_EQ(a.cloud.show(id).at("server.status"), "BUILD");
  b.cloud.compute->look_again("server", id);
  EXPECT_EQ(a.cloud.show(id).at("server.status"), "ACTIVE");
  // The word is lost: the next look finds it.
  a.cloud.post("/compute/v2.1/servers/" + id + "/action", {{"os-stop", nullptr}}, "demo");
  EXPECT_EQ(a.cloud.show(id).at("server.status"), "ACTIVE");
  b.cloud.compute->look_around();
  EXPECT_EQ(a.cloud.show(id).at("server.status"), "SHUTOFF");
  // A word about what is not here is not passed on.
  a.told.clear();
  a.cloud.compute->look_again("server", id);
  EXPECT_TRUE(a.told.empty());
  a.cloud.del("/compute/v2.1/servers/" + id, "demo");
  b.cloud.compute->look_around();
  EXPECT_EQ(a.cloud.show(id).status, 404);
}

TEST_F(TwoControllers, ABootDoesNotWaitForHostsThatOthersHold) {
  std::vector<std::string> names;
  for (int i = 0; i < 9; ++i) names.push_back(fmt::format("cafe{}", i));  // one more than a first page has
  for (const auto& name : names) host_at_b(name);
  const auto boot_while_held = [&](const std::vector<std::string>& held) {
    std::promise<void> locked, go_on;
    std::thread other([&] {
      b.database->write([&](db::Tx& tx) {
        for (const auto& name : held) tx.query("SELECT zone FROM hosts WHERE hostname = ? FOR UPDATE", name);
        locked.set_value();
        go_on.get_future().wait();
      });
    });
    locked.get_future().wait();
    auto made = std::async(std::launch::async, [&] { return a.cloud.boot("one"); });
    EXPECT_EQ(made.wait_for(std::chrono::seconds(held.size() == names.size() ? 1 : 8)) == std::future_status::ready, held.size() < names.size());
    go_on.set_value();
    other.join();
    const auto answer = made.get();
    EXPECT_EQ(answer.status, 202) << answer.body;
    const std::string host = a.cloud.get("/compute/v2.1/servers/" + answer.at("server.id"), "admin").at("server.OS-EXT-SRV-ATTR:host");
    a.cloud.del("/compute/v2.1/servers/" + answer.at("server.id"), "demo");
    b.cloud.compute->look_around();
    return host;
  };
  for (const auto& free : {names.front(), names.back()}) {
    std::vector<std::string> held = names;
    std::erase(held, free);
    EXPECT_EQ(boot_while_held(held), free);
  }
  EXPECT_NE(boot_while_held(names), "");  // it waits for one
}

TEST_F(TwoControllers, OfManyEqualHostsEachSearchSeesOthers) {
  auto& placement = *a.cloud.placement;
  std::set<std::string> all;
  for (int i = 1; i <= 12; ++i) all.insert(fmt::format("{:x}0000000-0000-4000-8000-000000000000", i));
  a.database->write([&](db::Tx& tx) {
    for (const auto& id : all)
      placement.ensure_provider(tx, id, id, {{.resource_class = "VCPU", .total = 4, .max_unit = 4}, {.resource_class = "MEMORY_MB", .total = 8000, .max_unit = 8000}});
  });
  const placement::Demand demand{.amounts = {{"VCPU", 1}, {"MEMORY_MB", 512}}};
  const auto look = [&](const placement::Demand& what, size_t limit) {
    return a.database->write([&](db::Tx& tx) { return placement.some_of_equals(tx, what, limit); });
  };
  const auto walk = [&](size_t limit) { return a.database->write([&](db::Tx& tx) { return placement.candidates(tx, demand, limit); }); };
  EXPECT_TRUE(look(demand, 4).empty());  // nobody has looked yet
  std::set<std::string> seen;
  for (int i = 0; i < 300; ++i) {
    walk(4);
    const auto some = look(demand, 4);
    EXPECT_LE(some.size(), 4u);
    for (const auto& candidate : some) seen.insert(candidate.provider_id);
  }
  EXPECT_EQ(seen, all);
  walk(4);
  EXPECT_TRUE(look({.amounts = demand.amounts, .only = std::vector<std::string>{"x"}}, 4).empty());
  EXPECT_TRUE(look({.amounts = {{"VCPU", 5}, {"MEMORY_MB", 512}}}, 4).empty());  // of processors nobody has so many
  // Whoever has less than those that come first is not among them.
  const std::string used = *all.begin();
  a.database->write([&](db::Tx& tx) { placement.allocate(tx, new_uuid(), used, {{"MEMORY_MB", 512}}, "p", "u"); });
  for (int i = 0; i < 100; ++i) {
    walk(4);
    for (const auto& candidate : look(demand, 4)) EXPECT_NE(candidate.provider_id, used);
  }
  // Not all are equal: there is no crowd.
  walk(12);
  EXPECT_TRUE(look(demand, 4).empty());
}

TEST_F(TwoControllers, WhatWasSentIsNotSentAgain) {
  host_at_b("cafe1");
  b.cloud.hub->asleep = true;
  const std::string id = a.cloud.boot("one").at("server.id");
  b.cloud.compute->look_around();
  EXPECT_EQ(b.cloud.hub->last.servers.size(), 1u);
  b.cloud.hub->last = {};
  b.cloud.compute->look_around();
  EXPECT_TRUE(b.cloud.hub->last.servers.empty());
  b.cloud.del("/compute/v2.1/servers/" + id, "demo");
}

TEST_F(TwoControllers, AHostIsUpAsLongAsAControllerThatLivesHearsIt) {
  host_at_b("cafe1");
  for (int i = 0; i < 3; ++i) {
    a.cloud.clock().advance(std::chrono::seconds(10));
    b.cloud.clock().advance(std::chrono::seconds(10));
    b.cloud.compute->heartbeat(host_facts("cafe1").id, {});
    b.cloud.compute->look_around();
    a.cloud.compute->look_around();
    EXPECT_EQ(a.state_of("cafe1"), "up");
  }
  // It falls silent at b.
  b.cloud.clock().advance(std::chrono::seconds(20));
  a.cloud.clock().advance(std::chrono::seconds(20));
  b.cloud.compute->look_around();
  a.cloud.compute->look_around();
  EXPECT_EQ(a.state_of("cafe1"), "down");
  b.cloud.compute->heartbeat(host_facts("cafe1").id, {});
  b.cloud.compute->look_around();
  a.cloud.compute->look_around();
  EXPECT_EQ(a.state_of("cafe1"), "up");
  // b dies.
  kill(b);
  a.cloud.compute->look_around();
  EXPECT_EQ(a.state_of("cafe1"), "down");
  // The host turns to a.
  a.cloud.add_host("cafe1");
  EXPECT_EQ(a.state_of("cafe1"), "up");
  EXPECT_EQ(b.cloud.compute->controller_of(host_facts("cafe1").id), "aaaa:5001");
}

TEST_F(TwoControllers, AHostThatTurnedToTheOtherIsNotTakenFromIt) {
  host_at_b("cafe1");
  a.cloud.hub->away.clear();
  a.cloud.add_host("cafe1");
  b.cloud.compute->disconnected(host_facts("cafe1").id);  // which b hears later
  b.cloud.compute->look_around();
  EXPECT_EQ(b.cloud.compute->controller_of(host_facts("cafe1").id), "aaaa:5001");
}

TEST_F(TwoControllers, AHostThatIsRemovedAtOneIsCutOffAtTheOther) {
  host_at_b("cafe1");
  const auto id = a.cloud.get("/compute/v2.1/os-services?binary=nova-compute", "admin", kIds).at("services.0.id");
  ASSERT_EQ(a.cloud.del("/compute/v2.1/os-services/" + id, "admin", kIds).status, 204);
  EXPECT_EQ(a.told.back(), "host " + host_facts("cafe1").id.str());
  b.cloud.clock().advance(std::chrono::seconds(20));  // nor does it matter that it was silent
  b.cloud.compute->look_around();
  EXPECT_EQ(b.cloud.hub->sent_away, std::vector<HostId>{host_facts("cafe1").id});
}

TEST_F(TwoControllers, OneOfThemHasHostsFenced) {
  a.cloud.clock().advance(std::chrono::seconds(100));
  b.cloud.clock().advance(std::chrono::seconds(100));
  a.cloud.compute->lost_hosts();
  EXPECT_EQ(a.database->read([](db::Tx& tx) { return controllers::lease_holder(tx, "fencing"); }), "aaaa");
  b.cloud.compute->lost_hosts();
  EXPECT_EQ(a.database->read([](db::Tx& tx) { return controllers::lease_holder(tx, "fencing"); }), "aaaa");
  a.self.leave();
  b.cloud.compute->lost_hosts();
  EXPECT_EQ(a.database->read([](db::Tx& tx) { return controllers::lease_holder(tx, "fencing"); }), "bbbb");
}

/// How many of eight boots, half of them at each controller, find a place.
size_t placed_of_a_race(Controller& a, Controller& b) {
  std::vector<std::thread> all;
  for (int i = 0; i < 8; ++i)
    all.emplace_back([&, i] { (i % 2 ? a : b).cloud.boot("racer" + std::to_string(i)); });
  for (auto& t : all) t.join();
  return a.database->read([](db::Tx& tx) { return static_cast<size_t>(tx.first("SELECT COUNT(*) FROM servers WHERE deleted = 0 AND host_id <> ''")->integer(0)); });
}

TEST_F(TwoControllers, TheLastMemoryOfAHostIsGivenOnce) {
  host_at_b("cafe1", 64, 512 + 512);  // 512 MiB are the host's own; 768 MiB with overcommitment: one server
  EXPECT_EQ(placed_of_a_race(a, b), 1u);
}

TEST_F(TwoControllers, TheLastOfAQuotaIsGivenOnce) {
  host_at_b("cafe1", 64, 65536);
  EXPECT_EQ(placed_of_a_race(a, b), 3u);
}

}  // namespace
}  // namespace virga::test
