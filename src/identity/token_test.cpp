#include "identity/token.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/crypto.h"
#include "base/fault.h"
#include "base/process.h"
#include "base/sealing.h"
#include "identity/keys.h"
#include "identity/password.h"
#include "tests/support/api_client.h"
#include "tests/support/mariadb.h"

namespace virga::identity {
namespace {

Token sample() {
  Token t;
  t.methods = method_password | method_token;
  t.user_id = new_hex_id();
  t.scope = Scope::project;
  t.scope_id = "default";
  t.issued = parse_time("2026-11-23T12:00:00.123456Z");
  t.expires = parse_time("2026-11-23T13:00:00Z");
  t.audit_id = random_bytes(16);
  t.parent_audit_id = random_bytes(16);
  t.user_generation = 300;
  t.scope_generation = 2;
  return t;
}

TEST(Token, ReadsWhatItWrote) {
  for (Scope scope : {Scope::unscoped, Scope::project, Scope::domain, Scope::system}) {
    Token t = sample();
    t.scope = scope;
    if (scope == Scope::unscoped || scope == Scope::system) t.scope_id.clear();
    EXPECT_EQ(unpack(pack(t)), t);
    t.parent_audit_id.clear();
    EXPECT_EQ(unpack(pack(t)), t);
  }
}

TEST(Token, KeepsIdsThatOnlyLookLikeHexadecimal) {
  Token t = sample();
  for (const char* id : {"ABCDEFABCDEFABCDEFABCDEFABCDEF12", "0123456789abcdef0123456789abcdeg", "a"}) {
    t.user_id = id;
    EXPECT_EQ(unpack(pack(t))->user_id, id);
  }
  t.user_id = std::string(64, 'x');
  EXPECT_EQ(unpack(pack(t))->user_id, t.user_id);
}

TEST(Token, CarriesDelegations) {
  for (Delegation kind : {Delegation::trust, Delegation::application_credential, Delegation::access_token}) {
    Token t = sample();
    t.methods = method_ec2 | method_external;
    t.delegation = kind;
    t.delegation_id = new_hex_id();
    EXPECT_EQ(unpack(pack(t)), t);
  }
}

// As the version before wrote it: one byte of methods, no delegation.
TEST(Token, TokensOfTheFirstFormatStillOpen) {
  const Token t = sample();
  const std::string now = pack(t);
  std::string old = now;
  old[0] = 1;
  const size_t delegation = 3 + 17 + 1 + std::string("default").size();
  ASSERT_EQ(old[delegation], 0);
  old.erase(delegation, 1);
  EXPECT_EQ(unpack(old), t);
  EXPECT_NE(old, now);
}

TEST(Token, ReceiptsAreNoTokens) {
  const Receipt r{method_password | method_totp, new_hex_id(), parse_time("2026-11-23T12:00:00Z"),
                  parse_time("2026-11-23T12:05:00Z"), 7};
  EXPECT_EQ(unpack_receipt(pack(r)), r);
  EXPECT_FALSE(unpack(pack(r)));
  EXPECT_FALSE(unpack_receipt(pack(sample())));
  const std::string whole = pack(r);
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_FALSE(unpack_receipt(std::string_view(whole).substr(0, n))) << n;
  EXPECT_FALSE(unpack_receipt(whole + "x"));
}

TEST(Token, RefusesEveryTruncationAndExtension) {
  const Token t = sample();
  const std::string whole = pack(t);
  const std::string without_parent = whole.substr(0, whole.size() - 16);
  for (size_t n = 0; n < whole.size(); ++n)
    if (whole.substr(0, n) != without_parent) {
      EXPECT_FALSE(unpack(std::string_view(whole).substr(0, n))) << n;
    }
  EXPECT_FALSE(unpack(whole + "x"));
}

/// A database of either engine, and rings over it as two controllers have them.
class KeysTest : public testing::TestWithParam<db::Dialect> {
 protected:
  void SetUp() override {
    if (GetParam() == db::Dialect::mariadb) {  // a new schema takes it seconds: its tests share one
      static test::TestDatabase shared(db::Dialect::mariadb);
      shared->migrate();
      shared->write([](db::Tx& tx) { tx.exec("DELETE FROM secret_keys"), tx.exec("DELETE FROM secret_key_rings"); });
      db_ = &*shared;
      return;
    }
    own_ = std::make_unique<test::TestDatabase>(db::Dialect::sqlite);
    db_ = &**own_;
    db_->migrate();
  }
  KeyRing ring(const std::string& import_dir = "") { return KeyRing(database_keys(*db_, "tokens", master_, import_dir)); }
  void age(int number, std::chrono::hours by) {
    db_->write([&](db::Tx& tx) {
      tx.exec("UPDATE secret_keys SET in_use_since = ? WHERE number = ?", db::database_now(tx) - by, number);
    });
  }
  /// A folder of keys as earlier versions made it, and its primary.
  std::string old_folder(const std::string& name) {
    const std::string dir = dir_.path() + "/" + name;
    std::filesystem::create_directory(dir);
    for (const int number : {0, 3, 7}) write_file(dir + "/" + std::to_string(number), base64url_encode(random_bytes(32)), 0600);
    write_file(dir + "/.lock", "", 0600);
    return dir;
  }
  test::TempDir dir_;
  std::unique_ptr<test::TestDatabase> own_;
  db::Database* db_ = nullptr;
  std::string master_ = random_bytes(32);
};
INSTANTIATE_TEST_SUITE_P(Engines, KeysTest, test::engines(), test::engine_name);

TEST_P(KeysTest, SealAndOpen) {
  KeyRing keys = ring();
  const std::string text = keys.seal(pack(sample()));
  EXPECT_LE(text.size(), 255u);
  EXPECT_TRUE(keys.open(text));
  for (size_t i = 0; i < text.size() - 1; ++i) {
    std::string changed = text;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(keys.open(changed)) << i;
  }
  EXPECT_FALSE(keys.open(""));
  EXPECT_FALSE(keys.open("gAAAAABh"));
  EXPECT_FALSE(keys.open(std::string(100'000, 'A')));
}

TEST_P(KeysTest, NothingOpensThemWithoutTheMasterKey) {
  const std::string sealed = ring().seal("x");
  const auto rows = db_->read([](db::Tx& tx) { return tx.query("SELECT sealed FROM secret_keys"); });
  ASSERT_EQ(rows.size(), 2u);
  for (const auto& row : rows) EXPECT_TRUE(unseal(master_, row.text(0), "key ring tokens"));
  const std::string right = std::exchange(master_, random_bytes(32));
  EXPECT_THROW(ring(), Fault);
  master_ = right;
  EXPECT_EQ(ring().open(sealed), "x");
  // Nor is a key of one ring one of another.
  db_->write([](db::Tx& tx) { tx.exec("UPDATE secret_keys SET ring = 'other'"), tx.exec("UPDATE secret_key_rings SET ring = 'other'"); });
  EXPECT_THROW(KeyRing(database_keys(*db_, "other", master_, "")), Fault);
}

TEST_P(KeysTest, RotationKeepsOldTokensUntilTheirKeyGoes) {
  KeyRing keys = ring(), other = ring();
  const std::string old = keys.seal("old");
  keys.rotate(3);
  const std::string fresh = keys.seal("fresh");
  EXPECT_EQ(keys.open(old), "old");
  EXPECT_EQ(other.open(fresh), "fresh");  // it was staged there already
  keys.rotate(3);
  const std::string newest = keys.seal("newest");
  EXPECT_FALSE(keys.open(old));
  EXPECT_EQ(other.open(old), "old");  // it has not looked yet
  other.look();
  EXPECT_FALSE(other.open(old));
  EXPECT_EQ(keys.open(fresh), "fresh");
  keys.rotate(3), keys.rotate(3);
  const std::string unknown = keys.seal("unknown");
  EXPECT_EQ(other.open(unknown), "unknown");  // looked up
  KeyRing third = ring();
  keys.rotate(3), keys.rotate(3);
  const std::string inside = keys.seal("inside");
  EXPECT_EQ(db_->read([&](db::Tx& tx) { return third.open(inside, 512, &tx); }), "inside");
}

TEST_P(KeysTest, NoKeyGoesWhileWhatItSealedMayBeHeld) {
  KeyRing keys = ring();
  const std::string first = keys.seal("first");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(keys.rotate(3, std::chrono::hours(1)), static_cast<size_t>(i + 3));
  EXPECT_EQ(keys.open(first), "first");
  const std::string later = keys.seal("later");
  age(2, std::chrono::hours(2));  // what key 1 sealed is over
  keys.rotate(3, std::chrono::hours(1));
  EXPECT_FALSE(keys.open(first));
  EXPECT_EQ(keys.open(later), "later");
}

TEST_P(KeysTest, FilesOfAnEarlierVersionAreTakenInOnce) {
  const std::string dir = old_folder("keys");
  std::string primary;
  ASSERT_TRUE(base64_decode(read_file(dir + "/7"), primary));
  KeyRing keys = ring(dir);
  EXPECT_FALSE(std::filesystem::exists(dir));
  const auto stored = database_keys(*db_, "tokens", master_, "")->newer_than(0, nullptr);
  ASSERT_EQ(stored->secrets.size(), 3u);
  EXPECT_EQ(stored->secrets.back(), primary);
  EXPECT_EQ(ring(dir).open(keys.seal("x")), "x");
}

TEST_P(KeysTest, AnImportThatWasCutOffIsFinished) {
  const std::string dir = old_folder("keys"), copy = dir_.path() + "/copy";
  std::filesystem::copy(dir, copy);
  const std::string sealed = ring(dir).seal("x");
  // Killed after the commit: all files are still there. Then again, with some of them removed.
  EXPECT_EQ(ring(copy).open(sealed), "x");
  EXPECT_FALSE(std::filesystem::exists(copy));
  std::filesystem::create_directory(copy);
  EXPECT_EQ(ring(copy).open(sealed), "x");
  // Of another cloud: nothing is lost.
  const std::string other = old_folder("others");
  EXPECT_EQ(ring(other).open(sealed), "x");
  EXPECT_TRUE(std::filesystem::exists(other + "/7"));
}

TEST_P(KeysTest, ControllersThatStartTogetherHaveTheSameKeys) {
  std::vector<std::thread> all;
  std::vector<std::string> sealed(4);
  for (auto& text : sealed) all.emplace_back([&] { text = ring().seal("x"); });
  for (auto& t : all) t.join();
  for (const auto& text : sealed) EXPECT_EQ(ring().open(text), "x");
}

TEST_P(KeysTest, OthersSealAndOpenWhileOneRotates) {
  KeyRing keys = ring(), other = ring();
  const std::string old = keys.seal("old");
  std::atomic<bool> over{false};
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (KeyRing* one : {&keys, &other})
    threads.emplace_back([&, one] {
      do {
        if (one->open(old) != "old" || keys.open(one->seal("x")) != "x" || other.open(one->seal("y")) != "y") ++lost;
      } while (!over);
    });
  for (int i = 0; i < 20; ++i) (i % 2 ? keys : other).rotate(3, std::chrono::hours(1));
  over = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(lost, 0);
}

TEST(Password, HashesAndVerifies) {
  const std::string hash = hash_password("secret", 4);
  EXPECT_EQ(hash.rfind("$2b$04$", 0), 0u);
  EXPECT_TRUE(verify_password("secret", hash));
  EXPECT_FALSE(verify_password("Secret", hash));
  EXPECT_FALSE(verify_password("", hash));
  EXPECT_FALSE(verify_password("secret", ""));
  EXPECT_FALSE(verify_password("secret", "nonsense"));
}

TEST(Password, LongOnesAreRefusedNotCut) {
  const std::string longest(kMaxPasswordBytes, 'x');
  EXPECT_TRUE(verify_password(longest, hash_password(longest, 4)));
  EXPECT_FALSE(verify_password(longest + "y", hash_password(longest, 4)));
  EXPECT_THROW(hash_password(longest + "y", 4), Fault);
  EXPECT_THROW(hash_password(std::string("a\0b", 3), 4), Fault);
}

TEST(Password, MemoryBelongsToOneHashAndEnds) {
  ManualClock clock(parse_time("2026-11-23T12:00:00Z"));
  Passwords passwords(10, std::chrono::seconds(60), clock);
  const std::string hash = passwords.hash("secret");
  EXPECT_TRUE(passwords.verify("u", "secret", hash));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(passwords.verify("u", "secret", hash));
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            std::chrono::milliseconds(500));  // bcrypt would take seconds
  EXPECT_FALSE(passwords.verify("u", "other", hash));
  EXPECT_FALSE(passwords.verify("v", "other", hash));
  EXPECT_FALSE(passwords.verify("u", "secret", hash_password("changed", 4)));
  EXPECT_FALSE(passwords.verify("u", "secret", ""));
}

}  // namespace
}  // namespace virga::identity
