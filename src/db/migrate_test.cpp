#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "db/api.h"
#include "db/migrate.h"
#include "support/mariadb.h"

namespace virga::db {
namespace {

const Migration kFirst{1, "first", "-- a comment;\nCREATE TABLE a (id BIGINT NOT NULL PRIMARY KEY);\nINSERT INTO a VALUES (1);\n"};
const Migration kSecond{20, "second",
                        "CREATE TABLE b (id BIGINT NOT NULL PRIMARY KEY,\n name VARCHAR(20));\n"
                        "INSERT INTO b (id) SELECT id + 100 FROM a;\n"
                        "ALTER TABLE a ADD COLUMN name VARCHAR(10);\n"};

class MigrateTest : public testing::TestWithParam<Dialect> {
 protected:
  int64_t number(const std::string& sql) {
    return db_->read([&](Tx& tx) { return tx.query(sql).at(0).integer(0); });
  }
  std::string refusal(const std::vector<Migration>& to) {
    try {
      db_->migrate(to);
    } catch (const Fault& f) {
      EXPECT_EQ(f.kind, FaultKind::conflict) << f.message;
      EXPECT_FALSE(f.hint.empty());
      return f.message;
    }
    return "";
  }
  test::TestDatabase db_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Engines, MigrateTest, test::engines(), test::engine_name);

TEST_P(MigrateTest, FromEmptyAndFromAnOlderVersionWithData) {
  EXPECT_EQ(db_->schema_version(), 0);
  db_->migrate({kFirst});
  EXPECT_EQ(db_->schema_version(), 1);
  db_->write([](Tx& tx) { tx.exec("INSERT INTO a VALUES (2)"); });
  db_.reopen();
  db_->migrate({kFirst, kSecond});
  EXPECT_EQ(db_->schema_version(), 20);
  EXPECT_EQ(number("SELECT SUM(id) FROM b"), 203);
  if (GetParam() != Dialect::sqlite) return;
  const std::string backup = db_.dir() + "/virga.db.bak-0001";
  ASSERT_TRUE(std::filesystem::exists(backup));
  EXPECT_EQ(std::filesystem::status(backup).permissions(), std::filesystem::perms(0600));
  auto old = open({"sqlite://" + backup});
  EXPECT_EQ(old->schema_version(), 1);
  EXPECT_EQ(old->read([](Tx& tx) { return tx.query("SELECT COUNT(*) FROM a").at(0).integer(0); }), 2);
}

TEST_P(MigrateTest, NewerEditedRemovedAndInsertedAreRefused) {
  db_->migrate({kFirst, kSecond});
  EXPECT_NE(refusal({kFirst}).find("newer than this virga"), std::string::npos);
  EXPECT_NE(refusal({kFirst, {20, "second", "CREATE TABLE b (id BIGINT);\n"}}).find("edited"), std::string::npos);
  EXPECT_NE(refusal({kFirst, {20, "other", kSecond.sql}}).find("edited"), std::string::npos);
  EXPECT_NE(refusal({kSecond, {21, "x", ""}}).find("removed"), std::string::npos);
  EXPECT_NE(refusal({kFirst, {10, "late", ""}, kSecond}).find("inserted"), std::string::npos);
  EXPECT_THROW(db_->migrate({kSecond, kFirst}), Fault);
  db_->migrate({kFirst, kSecond});
}

// Version N runs beside N+1, as long as N+1 only adds.
TEST_P(MigrateTest, ADatabaseThatServesAnOlderProgramTooIsTaken) {
  const std::vector<Migration> known = migrations();
  auto expanded = known;
  expanded.push_back({9000, "expand", "CREATE TABLE later (id BIGINT NOT NULL PRIMARY KEY);\n"});
  auto contracted = expanded;
  contracted.push_back({9001, "contract", "UPDATE schema_compatibility SET oldest = 9000;\n"});
  db_->migrate(expanded);
  EXPECT_EQ(refusal(known), "");
  EXPECT_EQ(db_->schema_version(), 9000);
  auto edited = known;
  edited[3].sql = "CREATE TABLE other (id BIGINT);\n";
  EXPECT_NE(refusal(edited).find("edited"), std::string::npos);
  db_->migrate(contracted);
  EXPECT_EQ(refusal(expanded), "");
  EXPECT_NE(refusal(known).find("newer than this virga"), std::string::npos);
}

// Each statement fails once, as if the process had died there; the next start completes the migration.
TEST_P(MigrateTest, GoesOnAfterAFailureAtAnyStatement) {
  const std::vector<std::string> statements = split_statements(kSecond.sql);
  for (size_t k = 0; k < statements.size(); ++k) {
    test::TestDatabase db(GetParam());
    db->migrate({kFirst});
    std::string sql;
    for (size_t i = 0; i < statements.size(); ++i) sql += (i == k ? "CREATE NONSENSE" : statements[i]) + ";\n";
    EXPECT_THROW(db->migrate({kFirst, {20, "second", sql}}), Fault);
    EXPECT_EQ(db->schema_version(), 1);
    db.reopen();
    db->migrate({kFirst, kSecond});
    db->migrate({kFirst, kSecond});
    EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT SUM(id) FROM b").at(0).integer(0); }), 101) << k;
    db->write([](Tx& tx) { tx.exec("UPDATE a SET name = 'x'"); });
  }
}

// MariaDB: the statement happened, and the process died before it wrote that down.
TEST(MariadbMigrate, AStatementThatHadHappenedIsNotAnError) {
  test::TestDatabase db(Dialect::mariadb);
  db->migrate({kFirst});
  db->write([](Tx& tx) {
    tx.exec("INSERT INTO schema_migration_progress (number, statement, begun) VALUES (20, 0, 1)");
    tx.exec("CREATE TABLE b (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(20))");
  });
  db->migrate({kFirst, kSecond});
  EXPECT_EQ(db->schema_version(), 20);
  EXPECT_EQ(db->read([](Tx& tx) { return tx.query("SELECT COUNT(*) FROM b").at(0).integer(0); }), 1);
}

TEST_P(MigrateTest, TwoControllersMayStartTogether) {
  const auto other = open(db_.options);
  std::thread one([&] { db_->migrate({kFirst, kSecond}); }), two([&] { other->migrate({kFirst, kSecond}); });
  one.join();
  two.join();
  EXPECT_EQ(number("SELECT COUNT(*) FROM b"), 1);
}

TEST(Split, StatementsEndAtTheEndOfALine) {
  EXPECT_EQ(split_statements("-- x;\nA 'b; c' ;\n\nD\n  e; \n"), (std::vector<std::string>{"A 'b; c' ", "D\n  e"}));
  EXPECT_THROW(split_statements("A"), Fault);
}

}  // namespace
}  // namespace virga::db
