#include "identity/token.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/crypto.h"
#include "base/fault.h"
#include "identity/keys.h"
#include "identity/password.h"
#include "tests/support/api_client.h"

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

TEST(Keys, SealAndOpen) {
  test::ScratchDir dir;
  KeyRing keys(dir.path() + "/keys");
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

TEST(Keys, RepositoryIsPrivate) {
  test::ScratchDir dir;
  KeyRing keys(dir.path() + "/keys");
  struct stat info {};
  ASSERT_EQ(::stat((dir.path() + "/keys").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((dir.path() + "/keys/0").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(Keys, RotationKeepsOldTokensUntilTheirKeyGoes) {
  test::ScratchDir dir;
  KeyRing keys(dir.path() + "/keys"), other(dir.path() + "/keys");
  const std::string old = keys.seal("old");
  keys.rotate(3);
  const std::string fresh = keys.seal("fresh");
  EXPECT_EQ(keys.open(old), "old");
  EXPECT_EQ(other.open(fresh), "fresh");  // it was staged there already
  keys.rotate(3);
  const std::string newest = keys.seal("newest");
  EXPECT_FALSE(keys.open(old));
  EXPECT_EQ(keys.open(fresh), "fresh");
  EXPECT_EQ(other.open(newest), "newest");  // read again from the directory
}

TEST(Keys, NoKeyGoesWhileWhatItSealedMayBeHeld) {
  test::ScratchDir dir;
  KeyRing keys(dir.path() + "/keys");
  const std::string first = keys.seal("first");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(keys.rotate(3, std::chrono::hours(1)), static_cast<size_t>(i + 3));
  EXPECT_EQ(keys.open(first), "first");
  const std::string later = keys.seal("later");
  // Key 2 has been in use since two hours: what key 1 sealed is over.
  const timespec old[2] = {{::time(nullptr) - 7200, 0}, {::time(nullptr) - 7200, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (dir.path() + "/keys/2").c_str(), old, 0), 0);
  keys.rotate(3, std::chrono::hours(1));
  EXPECT_FALSE(keys.open(first));
  EXPECT_EQ(keys.open(later), "later");
}

TEST(Keys, ARotationThatWasCutOffIsMadeWhole) {
  test::ScratchDir dir;
  const std::string path = dir.path() + "/keys/";
  std::string old, between;
  {
    KeyRing keys(path);
    old = keys.seal("old");
  }
  ASSERT_EQ(::rename((path + "0").c_str(), (path + "2").c_str()), 0);  // killed after the first step
  KeyRing keys(path);
  EXPECT_EQ(::access((path + "0").c_str(), F_OK), 0);
  EXPECT_EQ(keys.open(old), "old");
  between = keys.seal("between");
  EXPECT_FALSE(keys.is_current(old));
  EXPECT_TRUE(keys.is_current(between));
  ASSERT_EQ(::unlink((path + "0").c_str()), 0);  // and once more, beside a process that runs
  EXPECT_EQ(keys.rotate(5), 4u);
  EXPECT_EQ(keys.open(old), "old");
  EXPECT_EQ(keys.open(between), "between");
  EXPECT_EQ(KeyRing(path).open(keys.seal("new")), "new");
}

TEST(Keys, OthersSealAndOpenWhileOneRotates) {
  test::ScratchDir dir;
  KeyRing keys(dir.path() + "/keys"), other(dir.path() + "/keys");
  const std::string old = keys.seal("old");
  std::atomic<bool> over{false};
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (KeyRing* ring : {&keys, &other})
    threads.emplace_back([&, ring] {
      do {
        if (ring->open(old) != "old" || keys.open(ring->seal("x")) != "x" || other.open(ring->seal("y")) != "y") ++lost;
      } while (!over);
    });
  for (int i = 0; i < 50; ++i) keys.rotate(3, std::chrono::hours(1));
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
