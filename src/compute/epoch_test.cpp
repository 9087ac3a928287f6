// A host that has seen a later epoch than the database: refused until the operator accepts the older database.

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"
#include "tests/support/mariadb.h"

namespace virga::test {
namespace {

class Epoch : public ::testing::TestWithParam<db::Dialect> {
 protected:
  int64_t connect(int64_t seen) {
    auto facts = host_facts("node1");
    facts.seen_epoch = seen;
    return cloud.compute->connect(facts).epoch;
  }
  ComputeCloud cloud{GetParam() == db::Dialect::mariadb ? mariadb_server().new_database() : ""};
};

TEST_P(Epoch, GrowsWithEachConnection) {
  const auto first = connect(0);
  EXPECT_GT(connect(first), first);
}

TEST_P(Epoch, AnOlderDatabaseIsRefusedHoweverOften) {
  const auto seen = connect(0) + 2;
  for (int i = 0; i < 5; ++i) EXPECT_THROW(connect(seen), Fault);
  const auto late = cloud.boot("late");
  ASSERT_EQ(late.status, 202);
  EXPECT_EQ(cloud.show(late.at("server.id")).at("server.status"), "ERROR");
}

TEST_P(Epoch, AcceptedItIsAheadOfTheHost) {
  const auto seen = connect(0) + 7;
  EXPECT_FALSE(compute::accept_restored_database(cloud.database()));
  EXPECT_THROW(connect(seen), Fault);
  EXPECT_TRUE(compute::accept_restored_database(cloud.database()));
  EXPECT_GT(connect(seen), seen);
  EXPECT_FALSE(compute::accept_restored_database(cloud.database()));
}

TEST_P(Epoch, WhoeverShowsItEveryHostIsRefused) {
  const auto seen = connect(0);
  cloud.database().write([&](db::Tx& tx) { EXPECT_TRUE(db::is_older_than(tx, seen + 5)); });
  EXPECT_THROW(connect(seen), Fault);
  ASSERT_EQ(cloud.compute->problems().size(), 2u);  // the database, and the host that is not connected
  EXPECT_NE(cloud.compute->problems()[0].what.find("accept-restored"), std::string::npos);
  EXPECT_TRUE(compute::accept_restored_database(cloud.database()));
  EXPECT_GT(connect(seen), seen + 5);
  EXPECT_TRUE(cloud.compute->problems().empty());
}

TEST_P(Epoch, AcceptedItGivesNoNameTwice) {
  const auto number = [&] {
    return cloud.database().read([](db::Tx& tx) {
      return tx.first("SELECT value FROM compute_counters WHERE name = 'server'")->integer(0);
    });
  };
  const auto seen = connect(0);
  const auto before = number();
  EXPECT_THROW(connect(seen + 3), Fault);
  EXPECT_TRUE(compute::accept_restored_database(cloud.database()));
  EXPECT_GT(number(), before + 100'000);
}

TEST_P(Epoch, ProblemsOfHostsComeAndGo) {
  connect(0);
  const HostId host = host_facts("node1").id;
  cloud.compute->heartbeat(host, {"libvirt does not answer"});
  const auto first = cloud.compute->problems();
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].where, "node1");
  cloud.clock().advance(std::chrono::seconds(5));
  cloud.compute->heartbeat(host, {"libvirt does not answer", "another"});
  const auto more = cloud.compute->problems();
  ASSERT_EQ(more.size(), 2u);
  EXPECT_EQ(more[1].since, first[0].since);  // "another" sorts first
  cloud.compute->heartbeat(host, {});
  EXPECT_TRUE(cloud.compute->problems().empty());
}

INSTANTIATE_TEST_SUITE_P(Engines, Epoch, engines(), engine_name);

}  // namespace
}  // namespace virga::test
