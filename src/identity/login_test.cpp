// Passwords and logins under rules; several factors.
#include <atomic>
#include <thread>

#include "base/crypto.h"
#include "identity/password.h"
#include "identity/totp.h"
#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::project_scope;
using test::Reply;
using test::token_auth;

using std::chrono::days;
using std::chrono::seconds;

constexpr const char* kSeed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

class LoginTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    make_joe();
  }
  Options options() const override {
    Options o = IdentityCloudTest::options();
    o.security = {.lockout_failure_attempts = 3,
                  .lockout_duration = seconds(60),
                  .password_expires_days = 90,
                  .unique_last_password_count = 3,
                  .minimum_password_age_days = 1,
                  .password_regex = "^(?=.*[a-z]).{2,}$",
                  .password_regex_description = "two characters, one a letter"};
    return o;
  }
  int log_in_status(const std::string& password) { return try_log_in("joe", password).status; }
  Reply change(const std::string& from, const std::string& to) {
    return cloud_.post("/v3/users/" + joe_ + "/password",
                       {{"user", {{"original_password", from}, {"password", to}}}});
  }
  void admin_logs_in() { admin_ = log_in("admin", "secret", project_scope("admin")); }
  /// Days later; tokens are over by then.
  void pass(days time) {
    cloud_.clock().advance(time);
    admin_logs_in();
  }
};

// Who exists, who is disabled or locked, and whose password was right: no answer tells, and each costs one bcrypt.
TEST_P(LoginTest, ARefusalTellsNothingByMessageOrTime) {
  make("users", "user", {{"name", "off"}, {"password", "pw"}, {"enabled", false}});
  make("users", "user", {{"name", "bare"}});
  make("users", "user", {{"name", "locked"}, {"password", "pw"}});
  for (int i = 0; i < 3; ++i) try_log_in("locked", "wrong");
  const std::string closed = make("domains", "domain", {{"name", "closed"}});
  make("users", "user", {{"name", "joe"}, {"password", "pw"}, {"domain_id", closed}});
  cloud_.patch("/v3/domains/" + closed, {{"domain", {{"enabled", false}}}}, admin_);
  const auto by_name = [](const std::string& name, json::object domain, const std::string& password) -> json::object {
    return {{"name", name}, {"domain", std::move(domain)}, {"password", password}};
  };
  const json::object ours{{"id", "default"}};
  const std::pair<const char*, json::object> cases[] = {
      {"wrong password", by_name("joe", ours, "wrong")},
      {"wrong password, by id", {{"id", joe_}, {"password", "wrong"}}},
      {"unknown user", by_name("nobody", ours, "pw")},
      {"unknown user, by id", {{"id", new_hex_id()}, {"password", "pw"}}},
      {"unknown domain", by_name("joe", {{"name", "nowhere"}}, "pw")},
      {"unknown domain, by id", by_name("joe", {{"id", "nowhere"}}, "pw")},
      {"disabled user", by_name("off", ours, "pw")},
      {"disabled user, wrong password", by_name("off", ours, "wrong")},
      {"user without a password", by_name("bare", ours, "")},
      {"locked user", by_name("locked", ours, "pw")},
      {"disabled domain", by_name("joe", {{"id", closed}}, "pw")},
      {"disabled domain, wrong password", by_name("joe", {{"id", closed}}, "wrong")},
      {"password that bcrypt would cut", by_name("joe", ours, std::string(200, 'x'))},
      {"unknown user, such a password", by_name("nobody", ours, std::string(200, 'x'))}};
  std::string body;
  for (const auto& [what, user] : cases) {
    const uint64_t before = password_hash_runs();
    const Reply r = cloud_.post("/v3/auth/tokens", {{"auth",
                                                     {{"identity",
                                                       {{"methods", json::array{"password"}},
                                                        {"password", {{"user", user}}}}}}}});
    EXPECT_EQ(r.status, 401) << what;
    EXPECT_EQ(password_hash_runs() - before, 1u) << what;
    if (body.empty()) body = r.body;
    EXPECT_EQ(r.body, body) << what;
  }
  // A change of one's own password is open to everyone too.
  for (const std::string& id : {joe_, new_hex_id()}) {
    const uint64_t before = password_hash_runs();
    const Reply r = cloud_.post("/v3/users/" + id + "/password",
                                {{"user", {{"original_password", "wrong"}, {"password", "other"}}}});
    EXPECT_EQ(r.status, 401);
    EXPECT_EQ(r.body, body);
    EXPECT_EQ(password_hash_runs() - before, 1u);
  }
}

TEST_P(LoginTest, FailuresLockTheAccountForAWhile) {
  const Reply unknown = try_log_in("nobody", "pw");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(try_log_in("joe", "wrong").body, unknown.body);
  EXPECT_EQ(try_log_in("joe", "pw").body, unknown.body);
  EXPECT_EQ(change("pw", "new").status, 401);
  cloud_.clock().advance(seconds(59));
  EXPECT_EQ(log_in_status("pw"), 401);
  cloud_.clock().advance(seconds(1));
  EXPECT_EQ(log_in_status("wrong"), 401);  // counts as the first again
  EXPECT_EQ(log_in_status("pw"), 201);
  EXPECT_EQ(log_in_status("wrong"), 401);
  EXPECT_EQ(log_in_status("wrong"), 401);
  EXPECT_EQ(log_in_status("pw"), 201);  // and a login forgets them
  EXPECT_EQ(log_in_status("wrong"), 401);
  EXPECT_EQ(log_in_status("pw"), 201);
}

TEST_P(LoginTest, AnAdministratorOpensAndOptionsExempt) {
  for (int i = 0; i < 3; ++i) log_in_status("wrong");
  EXPECT_EQ(log_in_status("pw"), 401);
  EXPECT_EQ(change_user(joe_, {{"enabled", true}}).status, 200);
  EXPECT_EQ(log_in_status("pw"), 201);
  EXPECT_EQ(change_user(joe_, {{"options", {{"ignore_lockout_failure_attempts", true}}}}).status, 200);
  for (int i = 0; i < 5; ++i) log_in_status("wrong");
  EXPECT_EQ(log_in_status("pw"), 201);
}

// Guesses sent at once have no better chance than guesses in a row: once three were wrong, a right one is
// refused.
TEST_P(LoginTest, GuessesAtOnceAreCounted) {
  std::atomic<int> refused{0};
  std::vector<std::thread> guessers;
  for (int i = 0; i < 8; ++i)
    guessers.emplace_back([&] {
      for (int n = 0; n < 4; ++n) refused += log_in_status("wrong") == 401;
    });
  for (auto& g : guessers) g.join();
  EXPECT_EQ(refused, 32);
  EXPECT_EQ(log_in_status("pw"), 401);
  const auto count = cloud_.database().read([&](db::Tx& tx) {
    return tx.first("SELECT failed_auth_count FROM identity_users WHERE id = ?", joe_)->integer(0);
  });
  EXPECT_GE(count, 3);
  cloud_.clock().advance(seconds(60));
  EXPECT_EQ(log_in_status("pw"), 201);
}

TEST_P(LoginTest, PasswordsGetOld) {
  const Reply made = cloud_.get("/v3/users/" + joe_, admin_);
  EXPECT_EQ(made.at("user.password_expires_at"), "2027-02-21T12:00:00.000000");
  EXPECT_EQ(try_log_in("joe", "pw").at("token.user.password_expires_at"), "2027-02-21T12:00:00.000000");
  const auto ids = [&](const std::string& filter) {
    const auto names = cloud_.get("/v3/users?password_expires_at=" + filter, admin_).each("users", "name");
    return std::count(names.begin(), names.end(), "joe");
  };
  EXPECT_EQ(ids("lt:2027-02-21T12:00:00Z"), 0);
  EXPECT_EQ(ids("lte:2027-02-21T12:00:00Z"), 1);
  EXPECT_EQ(ids("gt:2027-02-21T11:59:59Z"), 1);
  EXPECT_EQ(ids("2027-02-21T12:00:00Z"), 1);
  EXPECT_EQ(ids("neq:2027-02-21T12:00:00Z"), 0);
  EXPECT_EQ(cloud_.get("/v3/users?password_expires_at=lt:soon", admin_).status, 400);
  EXPECT_EQ(cloud_.get("/v3/users?password_expires_at=xx:2027-02-21T12:00:00Z", admin_).at("error.message"),
            "The given operator xx is not valid. It must be one of the following: 'eq', 'neq', 'lt', 'lte', "
            "'gt', or "
            "'gte'.");
  cloud_.clock().advance(days(90));
  const Reply over = try_log_in("joe", "pw");
  EXPECT_EQ(over.status, 401);
  EXPECT_EQ(over.at("error.message"),
            "The password is expired and needs to be changed for user: " + joe_ + ".");
  EXPECT_EQ(try_log_in("joe", "wrong").at("error.message"),
            "The request you have made requires authentication.");
  EXPECT_EQ(change("pw", "fresh").status, 204);
  EXPECT_EQ(log_in_status("fresh"), 201);
}

TEST_P(LoginTest, UnlessExempt) {
  EXPECT_EQ(change_user(joe_, {{"options", {{"ignore_password_expiry", true}}}, {"password", "fresh"}})
                .at("user.password_expires_at"),
            "null");
  cloud_.clock().advance(days(1000));
  EXPECT_EQ(log_in_status("fresh"), 201);
}

TEST_P(LoginTest, PasswordsMustMatchTheRule) {
  const Reply weak = change("pw", "1");
  EXPECT_EQ(weak.status, 400);
  EXPECT_EQ(weak.at("error.message"),
            "The password does not match the requirements: two characters, one a letter.");
  EXPECT_EQ(change_user(joe_, {{"password", "22"}}).status, 400);
  EXPECT_EQ(cloud_.post("/v3/users", {{"user", {{"name", "x"}, {"password", "22"}}}}, admin_).status, 400);
  EXPECT_EQ(log_in_status("pw"), 201);
}

TEST_P(LoginTest, PasswordsAreNotTakenAgain) {
  EXPECT_EQ(change("pw", "p1").status, 204);
  EXPECT_EQ(
      change("p1", "p2").at("error.message"),
      "You cannot change your password at this time due to the minimum password age. Once you change your "
      "password, it must be used for 1 day(s) before it can be changed. Please try again in 1 day(s) or "
      "contact "
      "your administrator to reset your password.");
  cloud_.clock().advance(days(1));
  EXPECT_EQ(change("p1", "p1").status, 400);
  EXPECT_EQ(
      change("p1", "pw").at("error.message"),
      "The new password cannot be identical to a previous password. The total number which includes the new "
      "password must be unique is 3.");
  EXPECT_EQ(change("p1", "p2").status, 204);
  cloud_.clock().advance(days(1));
  EXPECT_EQ(change("p2", "pw").status, 400);
  EXPECT_EQ(change("p2", "p3").status, 204);
  cloud_.clock().advance(days(1));
  EXPECT_EQ(change("p3", "pw").status, 204);
  pass(days(0));
  EXPECT_EQ(change_user(joe_, {{"password", "pw"}}).status, 200);  // administrators are not held to it
  EXPECT_EQ(change_user(joe_, {{"options", {{"lock_password", true}}}}).status, 200);
  EXPECT_EQ(change("pw", "p5").at("error.message"),
            "You cannot change your password at this time due to password policy disallowing password "
            "changes. Please "
            "contact your administrator to reset your password.");
}

TEST_P(LoginTest, OptionsAreKnownAndOfTheirForm) {
  const auto with = [&](json::object options) {
    return change_user(joe_, {{"options", std::move(options)}}).status;
  };
  EXPECT_EQ(with({{"ignore_password_expiry", "yes"}}), 400);
  EXPECT_EQ(with({{"unheard_of", true}}), 400);
  EXPECT_EQ(with({{"multi_factor_auth_rules", "password"}}), 400);
  EXPECT_EQ(with({{"multi_factor_auth_rules", json::array{json::array{}}}}), 400);
  EXPECT_EQ(with({{"multi_factor_auth_rules", json::array{json::array{"totp", "totp"}}}}), 400);
  EXPECT_EQ(with({{"multi_factor_auth_rules", json::array{json::array{"totp"}, json::array{"totp"}}}}), 400);
  EXPECT_EQ(with({{"ignore_password_expiry", true}, {"lock_password", false}}), 200);
  EXPECT_EQ(cloud_.get("/v3/users/" + joe_, admin_).at("user.options.ignore_password_expiry"), "true");
  EXPECT_EQ(with({{"ignore_password_expiry", nullptr}}), 200);
  EXPECT_EQ(cloud_.get("/v3/users/" + joe_, admin_).find("user.options.ignore_password_expiry"), nullptr);
  EXPECT_EQ(change_user(joe_, {{"default_project_id", "default"}}).status, 400);
}

INSTANTIATE_TEST_SUITE_P(Engines, LoginTest, test::engines(), test::engine_name);

class FirstUseTest : public LoginTest {
  Options options() const override {
    Options o = IdentityCloudTest::options();
    o.security = {.disable_user_account_days_inactive = 30, .change_password_upon_first_use = true};
    return o;
  }
};

TEST_P(FirstUseTest, PasswordsOfAdministratorsAreForTheFirstUseOnly) {
  EXPECT_EQ(log_in_status("pw"), 401);
  EXPECT_EQ(change("pw", "mine").status, 204);
  EXPECT_EQ(log_in_status("mine"), 201);
  EXPECT_EQ(change_user(joe_, {{"password", "reset"}}).status, 200);
  EXPECT_EQ(log_in_status("reset"), 401);
  EXPECT_EQ(change_user(
                joe_, {{"password", "reset"}, {"options", {{"ignore_change_password_upon_first_use", true}}}})
                .status,
            200);
  EXPECT_EQ(log_in_status("reset"), 201);
}

TEST_P(FirstUseTest, AccountsThatNobodyUsesAreDisabled) {
  EXPECT_EQ(change("pw", "mine").status, 204);
  pass(days(20));
  EXPECT_EQ(log_in_status("mine"), 201);
  pass(days(29));
  EXPECT_EQ(log_in_status("mine"), 201);
  pass(days(20));
  pass(days(10));
  EXPECT_EQ(log_in_status("mine"), 401);
  EXPECT_EQ(cloud_.get("/v3/users/" + joe_, admin_).at("user.enabled"), "false");
  EXPECT_EQ(change_user(joe_, {{"enabled", true}}).at("user.enabled"), "true");
  EXPECT_EQ(log_in_status("mine"), 201);
  EXPECT_EQ(change_user(joe_, {{"options", {{"ignore_user_inactivity", true}}}}).status, 200);
  pass(days(29));
  pass(days(29));
  EXPECT_EQ(log_in_status("mine"), 201);
}

INSTANTIATE_TEST_SUITE_P(Engines, FirstUseTest, test::engines(), test::engine_name);

class FactorTest : public LoginTest {
 protected:
  void SetUp() override {
    LoginTest::SetUp();
    const Reply r = cloud_.post(
        "/v3/credentials", {{"credential", {{"type", "totp"}, {"blob", kSeed}, {"user_id", joe_}}}}, admin_);
    EXPECT_EQ(r.status, 201) << r.body;
  }
  std::string passcode() {
    std::string key;
    base32_decode(kSeed, key);
    return totp(key, cloud_.clock().now());
  }
  void need_both() {
    EXPECT_EQ(
        change_user(
            joe_, {{"options", {{"multi_factor_auth_rules", json::array{json::array{"password", "totp"}}}}}})
            .status,
        200);
  }
  Reply attempt(const std::string& password, const std::string& code, const std::string& receipt = "") {
    json::array methods;
    json::object identity;
    if (!password.empty()) {
      methods.emplace_back("password");
      identity["password"] = {{"user", {{"id", joe_}, {"password", password}}}};
    }
    if (!code.empty()) {
      methods.emplace_back("totp");
      identity["totp"] = {{"user", {{"id", joe_}, {"passcode", code}}}};
    }
    identity["methods"] = std::move(methods);
    test::Fields headers;
    if (!receipt.empty()) headers.emplace_back("Openstack-Auth-Receipt", receipt);
    return cloud_.post("/v3/auth/tokens",
                       {{"auth", {{"identity", identity}, {"scope", {{"project", {{"id", project_}}}}}}}}, "",
                       headers);
  }
  static std::string receipt_of(const Reply& r) {
    return std::string(r.headers.get("Openstack-Auth-Receipt"));
  }
};

TEST_P(FactorTest, APasscodeAloneIsEnoughWhereARuleSaysSo) {
  const Reply half = attempt("", passcode());
  EXPECT_EQ(half.status, 401);
  EXPECT_EQ(half.at("required_auth_methods"), R"([["password","totp"]])");
  EXPECT_EQ(attempt("pw", "", receipt_of(half)).status, 201);
  EXPECT_EQ(
      change_user(
          joe_, {{"options",
                  {{"multi_factor_auth_rules", json::array{json::array{"totp"}, json::array{"password"}}}}}})
          .status,
      200);
  const Reply r = attempt("", passcode());
  ASSERT_EQ(r.status, 201) << r.body;
  EXPECT_EQ(r.at("token.methods"), R"(["totp"])");
  EXPECT_EQ(attempt("", "000000").status, 401);
  EXPECT_EQ(attempt("pw", passcode()).at("token.methods"), R"(["password","totp"])");
  const std::string code = passcode();
  cloud_.clock().advance(seconds(60));
  EXPECT_EQ(attempt("", code).status, 401);
}

TEST_P(FactorTest, WrongPasscodesLockToo) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(attempt("pw", "000000").status, 401);
  EXPECT_EQ(attempt("pw", passcode()).status, 401);
  EXPECT_EQ(attempt("pw", "").status, 401);
}

TEST_P(FactorTest, OneFactorOfTwoGivesAReceipt) {
  need_both();
  const Reply half = attempt("pw", "");
  EXPECT_EQ(half.status, 401);
  EXPECT_EQ(half.at("receipt.methods"), R"(["password"])");
  EXPECT_EQ(half.at("receipt.user.name"), "joe");
  EXPECT_EQ(half.at("receipt.user.domain.name"), "Default");
  EXPECT_EQ(half.at("receipt.expires_at"), "2026-11-23T12:05:00.000000Z");
  EXPECT_EQ(half.at("required_auth_methods"), R"([["password","totp"]])");
  const std::string receipt = receipt_of(half);
  ASSERT_FALSE(receipt.empty());
  EXPECT_EQ(attempt("", "000000", receipt).status, 401);
  const Reply whole = attempt("", passcode(), receipt);
  ASSERT_EQ(whole.status, 201) << whole.body;
  EXPECT_EQ(whole.at("token.methods"), R"(["password","totp"])");
  EXPECT_EQ(attempt("pw", passcode()).status, 201);
  // A token made with both may be scoped anew.
  EXPECT_EQ(
      cloud_
          .post("/v3/auth/tokens", token_auth(std::string(whole.headers.get("X-Subject-Token")), "unscoped"))
          .status,
      201);
  EXPECT_EQ(cloud_.get("/v3/auth/projects", receipt).status, 401);
}

TEST_P(FactorTest, ReceiptsEnd) {
  need_both();
  const std::string receipt = receipt_of(attempt("pw", ""));
  EXPECT_EQ(attempt("", passcode(), "nonsense").at("error.message"),
            "Could not find auth receipt: nonsense.");
  cloud_.clock().advance(seconds(300));
  EXPECT_EQ(attempt("", passcode(), receipt).status, 401);
  const std::string other = receipt_of(attempt("pw", ""));
  EXPECT_EQ(change_user(joe_, {{"password", "changed"}}).status, 200);
  EXPECT_EQ(attempt("", passcode(), other).status, 401);
  const std::string admins = log_in("admin", "secret");
  EXPECT_EQ(attempt("", passcode(), admins).status, 401);  // a token is no receipt
}

TEST_P(FactorTest, RulesCanBeOffOrUnmeant) {
  need_both();
  EXPECT_EQ(change_user(joe_, {{"options", {{"multi_factor_auth_enabled", false}}}}).status, 200);
  EXPECT_EQ(attempt("pw", "").status, 201);
  EXPECT_EQ(change_user(joe_, {{"options",
                                {{"multi_factor_auth_enabled", true},
                                 {"multi_factor_auth_rules", json::array{json::array{"iris"}}}}}})
                .status,
            200);
  EXPECT_EQ(attempt("pw", "").status, 201);
}

TEST_P(FactorTest, UnknownMethodsAreNamed) {
  for (const char* name : {"mapped", "external", "magic"}) {
    const Reply r =
        cloud_.post("/v3/auth/tokens",
                    {{"auth", {{"identity", {{"methods", json::array{name}}, {name, json::object{}}}}}}});
    EXPECT_EQ(r.status, 401) << r.body;
    EXPECT_EQ(r.at("error.message"), "Attempted to authenticate with an unsupported method.");
    EXPECT_EQ(r.at("error.identity.methods.0"), "password");
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, FactorTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
