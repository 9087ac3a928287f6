#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "db/api.h"
#include "db/mariadb_connection.h"
#include "db/url.h"
#include "support/mariadb.h"

namespace virga::db {
namespace {

class DbTest : public testing::TestWithParam<Dialect> {
 protected:
  void SetUp() override {
    db_->migrate(schema_);
  }
  int64_t count(const char* sql = "SELECT COUNT(*) FROM item") {
    return db_->read([&](Tx& tx) { return tx.query(sql).at(0).integer(0); });
  }
  void insert(int64_t id) {
    db_->write([&](Tx& tx) { tx.exec("INSERT INTO item (id, name) VALUES (?, ?)", id, "n" + std::to_string(id)); });
  }

  const std::vector<Migration> schema_ = {{1, "test",
                                           "CREATE TABLE item (\n id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(100),\n"
                                           " big BIGINT, real_number DOUBLE, at DATETIME(6), body MEDIUMTEXT, flag SMALLINT);\n"
                                           "CREATE UNIQUE INDEX item_name ON item (name);\n"
                                           "CREATE TABLE part (id BIGINT NOT NULL PRIMARY KEY, item_id BIGINT NOT NULL,\n"
                                           " FOREIGN KEY (item_id) REFERENCES item (id));\n"
                                           "CREATE TABLE counter (id BIGINT NOT NULL PRIMARY KEY, used BIGINT NOT NULL, top BIGINT NOT NULL);\n"}};
  test::TestDatabase db_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Engines, DbTest, test::engines(), test::engine_name);

TEST_P(DbTest, ValuesRoundTrip) {
  const Time at = parse_time("2026-11-23T12:34:56.000007Z");
  const std::string body = std::string(300'000, 'x') + "\\ end '\"%";
  const std::string name = "Grüße 🐧 日本";
  db_->write([&](Tx& tx) {
    tx.exec("INSERT INTO item (id, name, big, real_number, at, body, flag) VALUES (?, ?, ?, ?, ?, ?, ?)", 1, name,
            INT64_MIN, 0.1, at, body, true);
    tx.exec("INSERT INTO item (id, name, big) VALUES (?, ?, ?)", 2, std::optional<std::string>(), INT64_MAX);
  });
  db_->read([&](Tx& tx) {
    Row row = *tx.first("SELECT id, name, big, real_number, at, body, flag FROM item WHERE name = ?", name);
    EXPECT_EQ(row.text(1), name);
    EXPECT_EQ(row.integer(2), INT64_MIN);
    EXPECT_EQ(row.real(3), 0.1);
    EXPECT_EQ(row.text(4), "2026-11-23 12:34:56.000007");
    EXPECT_EQ(parse_time(row.view(4)), at);
    EXPECT_EQ(row.text(5), body);
    EXPECT_TRUE(row.boolean(6));
    Row other = *tx.first("SELECT name, big, at FROM item WHERE id = 2");
    EXPECT_EQ(other.maybe_text(0), std::nullopt);
    EXPECT_EQ(other.integer(1), INT64_MAX);
    EXPECT_TRUE(other.is_null(2));
    EXPECT_EQ(tx.query("SELECT SUM(id), 'a' || 'b', COUNT(*) FROM item WHERE at < ? OR at IS NULL", at + std::chrono::microseconds(1)).at(0).integer(0), 3);
    EXPECT_EQ(tx.query("SELECT 'a' || \"name\" FROM item WHERE id = 1").at(0).text(0), "a" + name);
    EXPECT_TRUE(tx.query("SELECT id FROM item WHERE name LIKE 'grü%'").empty());
    EXPECT_EQ(tx.query("SELECT id FROM item WHERE id IN (" + placeholders(2) + ") ORDER BY id LIMIT ?", {1, 2, 1}).size(), 1u);
    EXPECT_LT(std::chrono::abs(database_now(tx) - SystemClock().now()), std::chrono::seconds(5));
  });
}

TEST_P(DbTest, ConstraintsHaveTheirOwnFaults) {
  insert(1);
  try {
    db_->write([](Tx& tx) { tx.exec("INSERT INTO item (id, name) VALUES (2, 'n1')"); });
    FAIL();
  } catch (const UniqueViolation& e) {
    EXPECT_NE(e.constraint.find("name"), std::string::npos) << e.constraint;
  }
  EXPECT_THROW(insert(1), UniqueViolation);
  EXPECT_THROW(db_->write([](Tx& tx) { tx.exec("INSERT INTO part VALUES (1, 99)"); }), ForeignKeyViolation);
  db_->write([](Tx& tx) { tx.exec("INSERT INTO part VALUES (1, 1)"); });
  EXPECT_THROW(db_->write([](Tx& tx) { tx.exec("DELETE FROM item WHERE id = 1"); }), ForeignKeyViolation);
  // A closure may catch a violation and go on.
  db_->write([](Tx& tx) {
    EXPECT_THROW(tx.exec("INSERT INTO item (id) VALUES (1)"), UniqueViolation);
    EXPECT_EQ(tx.exec("UPDATE item SET name = 'n1' WHERE id = 1"), 1);  // matched, though unchanged
  });
  EXPECT_EQ(count(), 1);
  try {
    db_->read([](Tx& tx) { tx.query("SELECT nothing FROM nowhere"); });
    FAIL();
  } catch (const Fault& f) {
    EXPECT_EQ(f.kind, FaultKind::internal);
  }
}

TEST_P(DbTest, AThrowUndoesItsClosureAlone) {
  int hooks = 0;
  EXPECT_THROW(db_->write([&](Tx& tx) {
    tx.exec("INSERT INTO item (id) VALUES (1)");
    tx.after_commit([&] { ++hooks; });
    throw std::runtime_error("no");
  }), std::runtime_error);
  EXPECT_EQ(hooks, 0);
  EXPECT_EQ(count(), 0);
  const int got = db_->write([&](Tx& tx) {
    tx.after_commit([&] { ++hooks; });
    tx.exec("INSERT INTO item (id) VALUES (1)");
    return 7;
  });
  EXPECT_EQ(got, 7);
  EXPECT_EQ(hooks, 1);
  EXPECT_EQ(count(), 1);
}

TEST_P(DbTest, NestedCallsAndWritesInReadsAreRefused) {
  const auto kind_of = [](auto&& f) {
    try {
      f();
    } catch (const Fault& fault) {
      return fault.kind;
    }
    return FaultKind::multiple_choices;
  };
  const auto nothing = [](Tx&) {};
  EXPECT_EQ(kind_of([&] { db_->write([&](Tx&) { db_->write(nothing); }); }), FaultKind::internal);
  EXPECT_EQ(kind_of([&] { db_->write([&](Tx&) { db_->read(nothing); }); }), FaultKind::internal);
  EXPECT_EQ(kind_of([&] { db_->read([&](Tx&) { db_->write(nothing); }); }), FaultKind::internal);
  EXPECT_EQ(kind_of([&] { db_->read([](Tx& tx) { tx.exec("INSERT INTO item (id) VALUES (1)"); }); }), FaultKind::internal);
  insert(1);
  EXPECT_EQ(count(), 1);
}

TEST_P(DbTest, AReadIsASnapshot) {
  insert(1);
  db_->read([&](Tx& tx) {
    EXPECT_EQ(tx.query("SELECT COUNT(*) FROM item").at(0).integer(0), 1);
    std::thread([&] { insert(2); }).join();
    EXPECT_EQ(tx.query("SELECT COUNT(*) FROM item").at(0).integer(0), 1);
  });
  EXPECT_EQ(count(), 2);
}

TEST_P(DbTest, SixteenThreadsRaceForTheLastUnits) {
  db_->write([](Tx& tx) { tx.exec("INSERT INTO counter VALUES (1, 0, 50)"); });
  const auto second = GetParam() == Dialect::mariadb ? open(db_.options) : nullptr;  // another controller
  std::atomic<int> won{0}, next{100};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t)
    threads.emplace_back([&, t] {
      Database& mine = GetParam() == Dialect::mariadb && t % 2 ? *second : *db_;
      for (int i = 0; i < 10; ++i) {
        const int id = ++next;
        won += mine.write([&](Tx& tx) {
          const bool taken = tx.exec("UPDATE counter SET used = used + ? WHERE id = 1 AND used + ? <= top", 1, 1) == 1;
          if (taken) tx.exec("INSERT INTO item (id) VALUES (?)", id);
          return taken;
        });
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(won, 50);
  EXPECT_EQ(count(), 50);
  EXPECT_EQ(count("SELECT used FROM counter WHERE id = 1"), 50);
}

TEST_P(DbTest, TheProgramsMigrationsApplyAndAreNumbered) {
  test::TestDatabase fresh(GetParam());
  fresh->migrate();
  EXPECT_EQ(fresh->schema_version(), migrations().empty() ? 0 : migrations().back().number);
  fresh->migrate();  // nothing to do
}

TEST(SqliteGroup, ClosuresShareCommitsAndFailAlone) {
  test::TestDatabase db(Dialect::sqlite);
  db->migrate({{1, "t", "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY);\n"}});
  const Stats before = db->stats();
  std::latch release(1), running(1);
  std::atomic<int> refused{0}, hooks{0};
  std::thread first([&] {
    db->write([&](Tx& tx) {
      running.count_down();
      release.wait();
      tx.exec("INSERT INTO item VALUES (1000)");
    });
  });
  running.wait();
  std::vector<std::thread> threads;
  for (int i = 0; i < 32; ++i)
    threads.emplace_back([&, i] {
      try {
        db->write([&](Tx& tx) {
          tx.after_commit([&] { ++hooks; });
          tx.exec("INSERT INTO item VALUES (?)", i);
          if (i % 4 == 0) throw Fault(FaultKind::forbidden, "no");
        });
      } catch (const Fault& f) {
        refused += f.kind == FaultKind::forbidden;
      }
    });
  while (db->stats().queued < 32) std::this_thread::yield();
  release.count_down();
  first.join();
  for (auto& t : threads) t.join();
  EXPECT_EQ(refused, 8);
  EXPECT_EQ(hooks, 24);
  EXPECT_EQ(db->stats().commits - before.commits, 1u);
  EXPECT_EQ(db->stats().closures - before.closures, 33u);
  EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT COUNT(*) FROM item").at(0).integer(0); }), 25);
}

TEST(Mariadb, ADeadlockRunsTheClosureAgain) {
  test::TestDatabase db(Dialect::mariadb);
  db->migrate({{1, "t", "CREATE TABLE c (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);\n"}});
  db->write([](Tx& tx) { tx.exec("INSERT INTO c VALUES (1, 0), (2, 0)"); });
  std::latch both(2);
  std::atomic<int> runs{0};
  const auto swap = [&](int a, int b) {
    bool first = true;
    db->write([&](Tx& tx) {
      ++runs;
      tx.exec("UPDATE c SET n = n + 1 WHERE id = ?", a);
      if (std::exchange(first, false)) both.arrive_and_wait();
      tx.exec("UPDATE c SET n = n + 1 WHERE id = ?", b);
    });
  };
  std::thread one([&] { swap(1, 2); }), two([&] { swap(2, 1); });
  one.join();
  two.join();
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(db->stats().reruns, 1u);
  EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT SUM(n) FROM c").at(0).integer(0); }), 4);
}

TEST(Mariadb, AWriterSeesWhatOthersCommitted) {
  test::TestDatabase db(Dialect::mariadb);
  db->migrate({{1, "t", "CREATE TABLE c (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);\n"}});
  db->write([](Tx& tx) { tx.exec("INSERT INTO c VALUES (1, 0), (2, 0)"); });
  db->write([&](Tx& tx) {
    EXPECT_EQ(tx.query("SELECT n FROM c WHERE id = 2").at(0).integer(0), 0);
    std::thread([&] { db->write([](Tx& other) { other.exec("UPDATE c SET n = 1"); }); }).join();
    EXPECT_EQ(tx.query("SELECT n FROM c WHERE id = 2").at(0).integer(0), 1);
  });
}

TEST(Mariadb, TwoThatFindNoRowMakeTheirOwnWithoutDeadlock) {
  test::TestDatabase db(Dialect::mariadb);
  db->migrate({{1, "t", "CREATE TABLE c (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);\n"}});
  std::latch both(2);
  const auto count = [&](int id) {
    bool first = true;
    db->write([&](Tx& tx) {
      const bool there = tx.exec("UPDATE c SET n = n + 1 WHERE id = ?", id) == 1;
      if (std::exchange(first, false)) both.arrive_and_wait();
      if (!there) tx.exec("INSERT INTO c VALUES (?, 1)", id);
    });
  };
  std::thread one([&] { count(1); }), two([&] { count(2); });
  one.join();
  two.join();
  EXPECT_EQ(db->stats().reruns, 0u);
  EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT SUM(n) FROM c").at(0).integer(0); }), 2);
}

TEST(Mariadb, WhatAConstraintRefusesIsLookedForAgain) {
  test::TestDatabase db(Dialect::mariadb);
  db->migrate({{1, "t", "CREATE TABLE c (id BIGINT NOT NULL PRIMARY KEY);\n"}});
  std::latch both(2);
  std::atomic<int> made{0}, found{0};
  const auto ensure = [&] {
    bool first = true, there = false;
    db->write([&](Tx& tx) {
      there = tx.first("SELECT id FROM c WHERE id = 1").has_value();
      if (std::exchange(first, false)) both.arrive_and_wait();  // both have looked, and seen nothing
      if (!there) tx.exec("INSERT INTO c VALUES (1)");
    });
    ++(there ? found : made);
  };
  std::thread one(ensure), two(ensure);
  one.join();
  two.join();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(found, 1);
  int runs = 0;
  EXPECT_THROW(db->write([&](Tx& tx) { ++runs, tx.exec("INSERT INTO c VALUES (1)"); }), UniqueViolation);
  EXPECT_EQ(runs, 2) << "refused again: it is so";
}

TEST(Mariadb, AKilledConnectionIsReplaced) {
  test::TestDatabase db(Dialect::mariadb);
  db->migrate({{1, "t", "CREATE TABLE c (id BIGINT NOT NULL PRIMARY KEY);\n"}});
  const auto other = open(db.options);
  int runs = 0;
  db->write([&](Tx& tx) {
    tx.exec("INSERT INTO c VALUES (1)");
    const int64_t id = tx.query("SELECT CONNECTION_ID()").at(0).integer(0);
    if (++runs == 1) other->write([&](Tx& t) { t.exec("KILL " + std::to_string(id)); });
    tx.exec("INSERT INTO c VALUES (2)");
  });
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT COUNT(*) FROM c").at(0).integer(0); }), 2);
}

TEST(Mariadb, ADatabaseThatDoesNotExistYetIsMade) {
  test::TestDatabase other(Dialect::mariadb);
  Options options = other.options;
  options.url = test::mariadb_server().url("not%22yet");
  const auto db = open(options);
  EXPECT_EQ(db->schema_version(), 0);
  db->migrate({{1, "t", "CREATE TABLE c (id BIGINT NOT NULL PRIMARY KEY);\n"}});
  EXPECT_EQ(db->schema_version(), 1);
  EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT DATABASE()").at(0).text(0); }), "not\"yet");
}

TEST(Mariadb, AServerThatIsTooOldIsNamed) {
  for (const unsigned long version : {100600UL, 101106UL, 110402UL}) EXPECT_NO_THROW(need_server_version(version));
  for (const unsigned long version : {100522UL, 80036UL}) {
    try {
      need_server_version(version);
      FAIL() << version;
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::unavailable);
      EXPECT_NE(fault.message.find(version == 80036 ? "8.0.36" : "10.5.22"), std::string::npos) << fault.message;
    }
  }
}

TEST(Mariadb, AServerThatIsNotThereIsNamed) {
  try {
    open({"mariadb://u:secret@127.0.0.1:1/virga"})->schema_version();
    FAIL();
  } catch (const Fault& f) {
    EXPECT_EQ(f.kind, FaultKind::unavailable);
    EXPECT_NE(f.message.find("127.0.0.1"), std::string::npos) << f.message;
    EXPECT_EQ(f.message.find("secret"), std::string::npos);
    EXPECT_NE(f.hint.find("can be reached"), std::string::npos) << f.hint;
  }
}

TEST(Url, PartsAreDecodedAndMistakesRefused) {
  const Url u = parse_url("mariadb://virga:p%40ss%2F@[::1]:3307/cloud?socket=/run/x.sock");
  EXPECT_EQ(u.user, "virga");
  EXPECT_EQ(u.password, "p@ss/");
  EXPECT_EQ(u.host, "::1");
  EXPECT_EQ(u.port, 3307);
  EXPECT_EQ(u.path, "cloud");
  EXPECT_EQ(u.options.at("socket"), "/run/x.sock");
  EXPECT_EQ(parse_url("sqlite:///a/b.db").path, "/a/b.db");
  for (const char* bad : {"", "x", "postgres://a/b", "mariadb://h:70000/d", "mariadb://h", "mariadb://u:%4@h/d"})
    EXPECT_THROW(parse_url(bad), Fault) << bad;
}

}  // namespace
}  // namespace virga::db
