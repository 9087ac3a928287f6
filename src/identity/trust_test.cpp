#include <atomic>
#include <thread>

#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::project_scope;
using test::Reply;
using test::token_auth;

/// joe trusts ann.
class TrustTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    make_joe();
    ann_ = make("users", "user", {{"name", "ann"}, {"password", "pw"}});
    bob_ = make("users", "user", {{"name", "bob"}, {"password", "pw"}});
  }

  json::object wish(json::object more = {}) const {
    json::object out{{"trustor_user_id", joe_},
                     {"trustee_user_id", ann_},
                     {"project_id", project_},
                     {"impersonation", true},
                     {"roles", json::array{json::object{{"name", "member"}}}}};
    for (const auto& [name, value] : more) out[name] = value;
    return out;
  }
  Reply create(const std::string& token, json::object more = {}) {
    return cloud_.post("/v3/OS-TRUST/trusts", json::object{{"trust", wish(std::move(more))}}, token);
  }
  std::string created(json::object more = {}) {
    const Reply r = create(joe_token_, std::move(more));
    EXPECT_EQ(r.status, 201) << r.body;
    return r.at("trust.id");
  }
  Reply use(const std::string& user, const std::string& trust) {
    return try_log_in(user, "pw", {{"OS-TRUST:trust", {{"id", trust}}}});
  }
  static std::string path(const std::string& id) { return "/v3/OS-TRUST/trusts/" + id; }

  std::string ann_, bob_;
};

TEST_P(TrustTest, TheTrusteeActsAsTheTrustor) {
  const Reply made = create(joe_token_);
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.each("trust.roles", "name"), std::vector<std::string>{"member"});
  EXPECT_EQ(made.at("trust.remaining_uses"), "null");
  EXPECT_EQ(made.at("trust.redelegation_count"), "0");
  EXPECT_EQ(made.at("trust.deleted_at"), "null");
  const std::string id = made.at("trust.id");
  EXPECT_NE(made.at("trust.roles_links.self").find("v3/OS-TRUST/trusts/" + id + "/roles"), std::string::npos);
  EXPECT_EQ(cloud_.get(path(id), joe_token_).body, made.body);
  EXPECT_EQ(cloud_.get(path(id), log_in("ann", "pw")).body, made.body);
  EXPECT_EQ(cloud_.get(path(id), log_in("bob", "pw")).status, 403);

  const Reply login = use("ann", id);
  ASSERT_EQ(login.status, 201) << login.body;
  EXPECT_EQ(login.at("token.user.id"), joe_);
  EXPECT_EQ(login.at("token.project.id"), project_);
  EXPECT_EQ(login.each("token.roles", "name"), (std::vector<std::string>{"member", "reader"}));
  EXPECT_EQ(login.at("token.OS-TRUST:trust.id"), id);
  EXPECT_EQ(login.at("token.OS-TRUST:trust.impersonation"), "true");
  EXPECT_EQ(login.at("token.OS-TRUST:trust.trustee_user.id"), ann_);
  EXPECT_EQ(login.at("token.OS-TRUST:trust.trustor_user.id"), joe_);
  const std::string token(login.headers.get("X-Subject-Token"));
  EXPECT_LE(token.size(), 255u);
  EXPECT_EQ(show_token(token).body, login.body);
  EXPECT_EQ(cloud_.get("/v3/users/" + joe_, token).status, 200);

  const Reply again = cloud_.post("/v3/auth/tokens", token_auth(token, project_scope("p")));
  EXPECT_EQ(again.status, 403);
  EXPECT_EQ(
      again.at("error.message"),
      "You are not authorized to perform the requested action: Using trust-scoped token to create another "
      "token. Create a new trust-scoped token instead.");
}

TEST_P(TrustTest, OrAsItself) {
  const Reply login = use("ann", created({{"impersonation", false}}));
  EXPECT_EQ(login.at("token.user.id"), ann_);
  EXPECT_EQ(login.at("token.OS-TRUST:trust.impersonation"), "false");
  EXPECT_EQ(login.each("token.roles", "name"), (std::vector<std::string>{"member", "reader"}));
}

TEST_P(TrustTest, OnlyItsTrusteeUsesIt) {
  const std::string id = created();
  const Reply other = use("bob", id);
  EXPECT_EQ(other.status, 403);
  EXPECT_EQ(other.at("error.message"), "You are not authorized to perform the requested action.");
  EXPECT_EQ(use("ann", "none").status, 401);
  EXPECT_EQ(try_log_in("ann", "pw", {{"OS-TRUST:trust", json::object{}}}).status, 400);
  EXPECT_EQ(
      try_log_in("ann", "pw", {{"OS-TRUST:trust", {{"id", id}}}, {"project", {{"id", project_}}}}).status,
      400);
}

TEST_P(TrustTest, NobodyGivesWhatTheyDoNotHave) {
  const auto with_role = [](const std::string& name) {
    return json::object{{"roles", json::array{json::object{{"name", name}}}}};
  };
  EXPECT_EQ(create(joe_token_, with_role("admin")).status, 404);
  EXPECT_EQ(create(joe_token_, with_role("none")).status, 404);
  EXPECT_EQ(create(joe_token_, {{"roles", json::array{}}}).status, 403);
  EXPECT_EQ(create(joe_token_, {{"trustee_user_id", "none"}}).status, 404);
  EXPECT_EQ(create(joe_token_, {{"project_id", "none"}}).status, 404);
  EXPECT_EQ(create(admin_).status, 403);
  EXPECT_EQ(create(joe_token_, {{"impersonation", "yes"}}).status, 400);
  EXPECT_EQ(create(joe_token_, {{"remaining_uses", 0}}).status, 400);
  EXPECT_EQ(create(joe_token_, {{"expires_at", "bad.123Z"}}).status, 400);
  EXPECT_EQ(create(joe_token_, {{"expires_at", "2020-01-01T00:00:00Z"}}).status, 400);
  EXPECT_EQ(created(with_role("reader")).size(), 32u);
}

TEST_P(TrustTest, EndsWithWhatItPassesOn) {
  const std::string id = created();
  const auto token = token_of(use("ann", id));
  const std::string member = "projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member");
  revoke(member);
  EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(use("ann", id).status, 403);
  grant(member);
  EXPECT_EQ(use("ann", id).status, 201);
  for (const auto& who : {joe_, ann_}) {
    const auto before = token_of(use("ann", id));
    EXPECT_EQ(change_user(who, {{"enabled", false}}).status, 200);
    EXPECT_EQ(validate(before), 404);
    EXPECT_EQ(use("ann", id).status, who == joe_ ? 403 : 401);
    EXPECT_EQ(change_user(who, {{"enabled", true}}).status, 200);
    EXPECT_EQ(validate(before), 404);
  }
  const auto before = token_of(use("ann", id));
  joe_token_ = log_in("joe", "pw", project_scope("p"));
  EXPECT_EQ(cloud_.del(path(id), log_in("ann", "pw")).status, 403);
  EXPECT_EQ(cloud_.del(path(id), joe_token_).status, 204);
  EXPECT_EQ(validate(before), 404);
  EXPECT_EQ(use("ann", id).status, 401);
  EXPECT_EQ(cloud_.get(path(id), joe_token_).at("error.message"), "Could not find trust: " + id + ".");
  const std::string last = created();
  revoke("users/" + joe_);
  EXPECT_EQ(use("ann", last).status, 401);
  EXPECT_EQ(cloud_.get("/v3/OS-TRUST/trusts", admin_).count("trusts"), 0u);
}

TEST_P(TrustTest, ExpiresWithItsTokens) {
  const std::string id = created({{"expires_at", "2026-11-23T12:30:00Z"}});
  EXPECT_EQ(cloud_.get(path(id), joe_token_).at("trust.expires_at"), "2026-11-23T12:30:00.000000Z");
  const Reply login = use("ann", id);
  EXPECT_EQ(login.at("token.expires_at"), "2026-11-23T12:30:00.000000Z");
  cloud_.clock().advance(std::chrono::minutes(30));
  EXPECT_EQ(validate(std::string(login.headers.get("X-Subject-Token"))), 404);
  EXPECT_EQ(use("ann", id).status, 401);
  EXPECT_EQ(cloud_.get(path(id), joe_token_).status, 404);
}

TEST_P(TrustTest, UsesAreCounted) {
  const std::string id = created({{"remaining_uses", 2}});
  const auto first = token_of(use("ann", id));
  EXPECT_EQ(cloud_.get(path(id), joe_token_).at("trust.remaining_uses"), "1");
  EXPECT_EQ(try_log_in("ann", "wrong", {{"OS-TRUST:trust", {{"id", id}}}}).status, 401);
  EXPECT_EQ(use("bob", id).status, 403);
  EXPECT_EQ(cloud_.get(path(id), joe_token_).at("trust.remaining_uses"), "1");
  const auto last = token_of(use("ann", id));
  EXPECT_EQ(use("ann", id).status, 401);
  EXPECT_EQ(cloud_.get(path(id), joe_token_).status, 404);
  EXPECT_EQ(validate(first), 200);
  EXPECT_EQ(validate(last), 200);
}

TEST_P(TrustTest, ManyTakersGetNoMoreThanThereIs) {
  const std::string id = created({{"remaining_uses", 5}});
  EXPECT_EQ(try_log_in("ann", "pw").status, 201);
  std::atomic<int> got{0}, refused{0};
  std::vector<std::thread> takers;
  for (int i = 0; i < 8; ++i)
    takers.emplace_back([&] {
      for (int n = 0; n < 3; ++n) {
        const int status = use("ann", id).status;
        (status == 201 ? got : refused) += status == 201 || status == 401 || status == 403;
      }
    });
  for (auto& t : takers) t.join();
  EXPECT_EQ(got, 5);
  EXPECT_EQ(refused, 19);
}

TEST_P(TrustTest, IsPassedOnWithinItsBounds) {
  const std::string parent = created(
      {{"allow_redelegation", true}, {"redelegation_count", 2}, {"expires_at", "2026-11-23T14:00:00Z"}});
  const std::string anns = token_of(use("ann", parent));
  const auto pass_on = [&](const std::string& token, json::object more) {
    more["trustee_user_id"] = bob_;
    return create(token, std::move(more));
  };
  const Reply child = pass_on(anns, {{"allow_redelegation", true}});
  ASSERT_EQ(child.status, 201) << child.body;
  EXPECT_EQ(child.at("trust.redelegated_trust_id"), parent);
  EXPECT_EQ(child.at("trust.redelegation_count"), "1");
  EXPECT_EQ(child.at("trust.expires_at"), "2026-11-23T14:00:00.000000Z");
  EXPECT_EQ(pass_on(anns, {{"remaining_uses", 1}}).status, 403);
  EXPECT_EQ(pass_on(anns, {{"expires_at", "2026-11-23T15:00:00Z"}}).status, 403);
  EXPECT_EQ(pass_on(anns, {{"allow_redelegation", true}, {"redelegation_count", 2}}).status, 403);
  EXPECT_EQ(pass_on(anns, {{"roles", json::array{json::object{{"name", "reader"}}}}}).status, 403);

  const std::string bobs = token_of(use("bob", child.at("trust.id")));
  EXPECT_EQ(show_token(bobs).at("token.user.id"), joe_);
  const Reply grandchild = create(bobs, {{"trustee_user_id", ann_}, {"expires_at", "2026-11-23T13:30:00Z"}});
  ASSERT_EQ(grandchild.status, 201) << grandchild.body;
  EXPECT_EQ(grandchild.at("trust.redelegation_count"), "0");
  EXPECT_EQ(pass_on(token_of(use("ann", grandchild.at("trust.id"))), {}).status, 403);

  EXPECT_EQ(cloud_.del(path(parent), joe_token_).status, 204);
  EXPECT_EQ(validate(bobs), 404);
  EXPECT_EQ(use("bob", child.at("trust.id")).status, 401);
  EXPECT_EQ(cloud_.get("/v3/OS-TRUST/trusts", admin_).count("trusts"), 0u);
}

TEST_P(TrustTest, NotPassedOnUnlessAllowed) {
  EXPECT_EQ(create(joe_token_, {{"allow_redelegation", true}, {"redelegation_count", 4}}).status, 403);
  EXPECT_EQ(create(joe_token_, {{"allow_redelegation", true}, {"remaining_uses", 2}}).status, 400);
  EXPECT_EQ(create(token_of(use("ann", created())), {{"trustee_user_id", bob_}}).status, 403);
}

TEST_P(TrustTest, ListsAreForThoseConcerned) {
  created();
  created({{"trustee_user_id", bob_}});
  const auto count = [&](const std::string& query, const std::string& token) {
    const Reply r = cloud_.get("/v3/OS-TRUST/trusts" + query, token);
    return r.status == 200 ? static_cast<int>(r.count("trusts")) : -r.status;
  };
  EXPECT_EQ(count("", admin_), 2);
  EXPECT_EQ(count("", joe_token_), -403);
  EXPECT_EQ(count("?trustor_user_id=" + joe_, joe_token_), 2);
  EXPECT_EQ(count("?trustee_user_id=" + ann_, joe_token_), -403);
  const std::string anns = log_in("ann", "pw");
  EXPECT_EQ(count("?trustee_user_id=" + ann_, anns), 1);
  EXPECT_EQ(count("?trustor_user_id=" + joe_, anns), -403);
  const Reply list = cloud_.get("/v3/OS-TRUST/trusts?trustor_user_id=" + joe_, joe_token_);
  EXPECT_EQ(list.find("trusts.0.roles"), nullptr);
}

TEST_P(TrustTest, RolesCanBeLookedAt) {
  const std::string id = created();
  EXPECT_EQ(cloud_.get(path(id) + "/roles", joe_token_).each("roles", "name"),
            std::vector<std::string>{"member"});
  EXPECT_EQ(cloud_.get(path(id) + "/roles/" + role("member"), joe_token_).at("role.name"), "member");
  EXPECT_EQ(cloud_.call("HEAD", path(id) + "/roles/" + role("member"), "", joe_token_).status, 200);
  EXPECT_EQ(cloud_.get(path(id) + "/roles/" + role("admin"), joe_token_).status, 404);
}

TEST_P(TrustTest, RevocationsAreListed) {
  const std::string id = created();
  EXPECT_EQ(cloud_.get("/v3/OS-REVOKE/events", joe_token_).status, 403);
  const auto events = [&](const std::string& query = "") {
    return cloud_.get("/v3/OS-REVOKE/events" + query, admin_);
  };
  EXPECT_EQ(events().count("events"), 0u);
  EXPECT_EQ(cloud_.del(path(id), joe_token_).status, 204);
  EXPECT_EQ(events().at("events.0.OS-TRUST:trust_id"), id);
  cloud_.clock().advance(std::chrono::minutes(1));
  const std::string token = log_in("joe", "pw");
  const std::string audit = show_token(token).at("token.audit_ids.0");
  EXPECT_EQ(cloud_.del("/v3/auth/tokens", token, {{"X-Subject-Token", token}}).status, 204);
  const Reply later = events("?since=2026-11-23T12:00:30Z");
  ASSERT_EQ(later.count("events"), 1u) << later.body;
  EXPECT_EQ(later.at("events.0.audit_id"), audit);
  EXPECT_EQ(later.at("events.0.issued_before"), "2026-11-23T12:01:00.000000Z");
  EXPECT_EQ(events("?since=yesterday").status, 400);
  EXPECT_EQ(change_user(joe_, {{"password", "new"}}).status, 200);
  const auto users = events().each("events", "user_id");
  EXPECT_EQ(std::count(users.begin(), users.end(), joe_), 1);
}

INSTANTIATE_TEST_SUITE_P(Engines, TrustTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
