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

INSTANTIATE_TEST_SUITE_P(Engines, Epoch, engines(), engine_name);

}  // namespace
}  // namespace virga::test
