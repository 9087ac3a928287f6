#include <gtest/gtest.h>

#include <thread>

#include "controllers/api.h"
#include "support/mariadb.h"

namespace virga::controllers {
namespace {

class ControllersTest : public testing::TestWithParam<db::Dialect> {
 protected:
  void SetUp() override { db_->migrate(); }
  std::vector<Controller> seen_by(const Controllers& c) {
    return db_->read([&](db::Tx& tx) { return c.all(tx); });
  }
  bool take(const char* holder, int seconds = 10) {
    return db_->write([&](db::Tx& tx) { return take_lease(tx, "work", holder, std::chrono::seconds(seconds)); });
  }
  /// Makes the lease one that ended a second ago.
  void let_it_end() {
    db_->write([](db::Tx& tx) { tx.exec("UPDATE leases SET until = ?", db::database_now(tx) - std::chrono::seconds(1)); });
  }
  test::TestDatabase db_{GetParam()};
};

TEST_P(ControllersTest, KnowEachOtherAndWhoIsDead) {
  Controllers a({.id = "a", .name = "one", .version = "1", .link_address = "192.0.2.1:5001"}, *db_);
  Controllers b({.id = "b", .name = "two", .version = "2"}, *db_);
  a.beat();
  b.beat();
  a.beat();
  const auto all = seen_by(b);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].link_address, "192.0.2.1:5001");
  EXPECT_EQ(all[1].version, "2");
  EXPECT_TRUE(all[0].alive && all[1].alive);
  db_->write([](db::Tx& tx) {
    tx.exec("UPDATE controllers SET seen_at = ? WHERE id = 'a'", db::database_now(tx) - kDeadAfter - std::chrono::seconds(1));
  });
  EXPECT_FALSE(seen_by(b)[0].alive);
  a.beat();
  EXPECT_TRUE(seen_by(b)[0].alive);
}

TEST_P(ControllersTest, AnOrderlyEndGivesEverythingBack) {
  Controllers a({.id = "a", .name = "one"}, *db_), b({.id = "b", .name = "two"}, *db_);
  a.beat();
  b.beat();
  ASSERT_TRUE(take("a"));
  EXPECT_TRUE(db_->write([](db::Tx& tx) { return take_lease(tx, kHomeLease, "a", std::chrono::seconds(10)); }));
  a.leave();
  EXPECT_FALSE(seen_by(b)[0].alive);
  EXPECT_TRUE(take("b"));
  // It may only start again.
  EXPECT_EQ(db_->read([](db::Tx& tx) { return lease_holder(tx, kHomeLease); }), "a");
}

TEST_P(ControllersTest, OneHoldsALeaseUntilItEnds) {
  EXPECT_TRUE(take("a"));
  EXPECT_TRUE(take("a"));
  EXPECT_FALSE(take("b"));
  EXPECT_EQ(db_->read([](db::Tx& tx) { return lease_holder(tx, "work"); }), "a");
  let_it_end();
  EXPECT_EQ(db_->read([](db::Tx& tx) { return lease_holder(tx, "work"); }), "");
  EXPECT_TRUE(take("b"));
  EXPECT_FALSE(take("a"));
  db_->write([](db::Tx& tx) { give_lease(tx, "work", "a"); });  // not its own
  EXPECT_FALSE(take("a"));
  db_->write([](db::Tx& tx) { give_lease(tx, "work", "b"); });
  EXPECT_TRUE(take("a"));
}

TEST_P(ControllersTest, OfManyWhoReachForALeaseOneGetsIt) {
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> won{0};
    std::vector<std::thread> all;
    for (int i = 0; i < 8; ++i)
      all.emplace_back([&, i] {
        if (take(("holder" + std::to_string(i)).c_str())) ++won;
      });
    for (auto& t : all) t.join();
    EXPECT_EQ(won, 1);
    let_it_end();
  }
}

TEST(ControllerId, IsMadeOnce) {
  test::TempDir dir;
  const std::string id = controller_id(dir.path() + "/id");
  EXPECT_EQ(controller_id(dir.path() + "/id"), id);
}

INSTANTIATE_TEST_SUITE_P(Engines, ControllersTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::controllers
