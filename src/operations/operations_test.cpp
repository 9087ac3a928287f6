#include "operations/api.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace virga::operations {
namespace {

class Operations : public ::testing::Test {
 protected:
  Operations() {
    char name[] = "/tmp/virga-operations-XXXXXX";
    dir_ = mkdtemp(name);
    database_ = db::open({.url = "sqlite://" + dir_ + "/test.db"});
    database_->migrate();
  }
  ~Operations() override {
    database_.reset();
    std::filesystem::remove_all(dir_);
  }
  Operation begin(std::string_view kind) {
    return database_->write([&](db::Tx& tx) {
      return operations::begin(tx, clock_.now(), kind, "server", "s1", {"project", "user", "req-1"});
    });
  }

  std::string dir_;
  std::unique_ptr<db::Database> database_;
  SystemClock clock_;
};

TEST_F(Operations, FencesOfAResourceGrow) {
  const auto first = begin("create"), second = begin("reboot");
  EXPECT_EQ(first.fence, 1);
  EXPECT_EQ(second.fence, 2);
  const auto all = database_->read([](db::Tx& tx) { return of_resource(tx, "server", "s1"); });
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].kind, "reboot");
  EXPECT_EQ(all[1].request_id, "req-1");
  EXPECT_EQ(database_->read([](db::Tx& tx) { return of_request(tx, "req-1"); }).size(), 2u);
  EXPECT_TRUE(database_->read([](db::Tx& tx) { return of_request(tx, "req-2"); }).empty());
}

TEST_F(Operations, StepsKeepTheirOrderAndOutcome) {
  const auto o = begin("create");
  database_->write([&](db::Tx& tx) {
    record_step(tx, o.id,
                {.step = "disk", .ok = true, .host = "h1", .at = to_db(clock_.now()), .took_us = 5});
    record_step(tx, o.id, {.step = "define", .ok = false, .message = "no", .at = to_db(clock_.now())});
  });
  // Of one that was read before others recorded steps, too.
  database_->write([&](db::Tx& tx) {
    const auto now = to_db(clock_.now());
    record_steps(tx, o, {{.step = "start", .at = now}, {.step = "boot", .at = now}});
    record_steps(tx, *find(tx, o.id), {{.step = "define", .at = now}});
  });
  const auto all = database_->read([&](db::Tx& tx) { return steps(tx, o.id); });
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[3].step, "boot");
  EXPECT_EQ(all[4].sequence, 5);
  EXPECT_EQ(all[0].step, "disk");
  EXPECT_EQ(all[0].sequence, 1);
  EXPECT_FALSE(all[1].ok);
  const auto now = database_->read([&](db::Tx& tx) { return *find(tx, o.id); });
  EXPECT_EQ(now.host, "h1");
  EXPECT_EQ(now.step, "define");
}

TEST_F(Operations, FinishHappensOnce) {
  const auto o = begin("create");
  auto finish = [&](bool ok, std::string_view message) {
    return database_->write(
        [&](db::Tx& tx) { return operations::finish(tx, clock_.now(), o.id, ok, message); });
  };
  EXPECT_TRUE(database_->read([](db::Tx& tx) { return running(tx, "server", "s1").has_value(); }));
  EXPECT_TRUE(finish(false, "cause"));
  EXPECT_FALSE(finish(true, ""));
  EXPECT_FALSE(database_->read([](db::Tx& tx) { return running(tx, "server", "s1").has_value(); }));
  EXPECT_EQ(database_->read([&](db::Tx& tx) { return find(tx, o.id)->message; }), "cause");
}

}  // namespace
}  // namespace virga::operations
