#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::project_scope;
using test::Reply;
using test::token_auth;

class ApplicationCredentialTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    const auto answer = [](api::Call& call) { return api::reply(200, {{"user", call.caller().user_id}}); };
    compute_.routes.push_back({"GET", "/v2.1/servers", "compute:list", answer});
    compute_.routes.push_back({"POST", "/v2.1/servers", "compute:create", answer});
    compute_.routes.push_back({"GET", "/v2.1/servers/{id}/ips", "compute:ips", answer});
    static constexpr api::RuleDefault kRules[] = {{"compute:list", ""}, {"compute:create", ""}, {"compute:ips", ""}};
    compute_.rules = kRules;
    cloud_.mount(compute_);
    make_joe();
  }

  std::string all() const { return "/v3/users/" + joe_ + "/application_credentials"; }
  Reply create(json::object attributes, const std::string& token) {
    return cloud_.post(all(), json::object{{"application_credential", std::move(attributes)}}, token);
  }
  /// A new one of joe's; its login.
  Reply created(json::object attributes) {
    Reply r = create(std::move(attributes), joe_token_);
    EXPECT_EQ(r.status, 201) << r.body;
    id_ = r.at("application_credential.id");
    secret_ = r.at("application_credential.secret");
    return r;
  }
  Reply use(const std::string& id, const std::string& secret) {
    return cloud_.post("/v3/auth/tokens",
                       {{"auth",
                         {{"identity",
                           {{"methods", json::array{"application_credential"}},
                            {"application_credential", {{"id", id}, {"secret", secret}}}}}}}});
  }
  std::string token() { return token_of(use(id_, secret_)); }
  int list_servers(const std::string& token) { return cloud_.get("/compute/v2.1/servers", token).status; }

  std::string id_, secret_;
};

TEST_P(ApplicationCredentialTest, MadeShownUsedDeleted) {
  const Reply made = created({{"name", "ci"}, {"description", "for the build"}});
  EXPECT_EQ(made.at("application_credential.project_id"), project_);
  EXPECT_EQ(made.at("application_credential.unrestricted"), "false");
  EXPECT_EQ(made.at("application_credential.expires_at"), "null");
  EXPECT_EQ(made.each("application_credential.roles", "name").size(), 2u);
  EXPECT_GE(secret_.size(), 80u);
  const Reply shown = cloud_.get(all() + "/" + id_, joe_token_);
  EXPECT_EQ(shown.find("application_credential.secret"), nullptr);
  EXPECT_EQ(shown.body.find(secret_), std::string::npos);
  EXPECT_NE(shown.at("application_credential.links.self").find(all()), std::string::npos);
  created({{"name", "other"}});
  EXPECT_EQ(cloud_.get(all(), joe_token_).count("application_credentials"), 2u);
  EXPECT_EQ(cloud_.get(all() + "?name=ci", joe_token_).each("application_credentials", "name"),
            std::vector<std::string>{"ci"});
  EXPECT_EQ(create({{"name", "ci"}}, joe_token_).status, 409);

  const Reply login = use(id_, secret_);
  ASSERT_EQ(login.status, 201) << login.body;
  EXPECT_EQ(login.at("token.methods"), R"(["application_credential"])");
  EXPECT_EQ(login.at("token.project.id"), project_);
  EXPECT_EQ(login.at("token.application_credential.name"), "other");
  EXPECT_EQ(login.at("token.application_credential.restricted"), "true");
  EXPECT_LE(login.headers.get("X-Subject-Token").size(), 255u);
  const std::string its_token(login.headers.get("X-Subject-Token"));
  EXPECT_EQ(show_token(its_token).body, login.body);
  EXPECT_EQ(list_servers(its_token), 200);
  EXPECT_EQ(cloud_.del(all() + "/" + id_, joe_token_).status, 204);
  EXPECT_EQ(list_servers(its_token), 401);
  EXPECT_EQ(use(id_, secret_).status, 404);
  EXPECT_EQ(cloud_.get(all() + "/" + id_, joe_token_).at("error.message"),
            "Could not find Application Credential: " + id_ + ".");
}

TEST_P(ApplicationCredentialTest, ByNameOfItsUser) {
  created({{"name", "ci"}, {"secret", "short"}});
  const auto by_name = [&](const std::string& user, const std::string& name, const std::string& secret) {
    return cloud_.post("/v3/auth/tokens",
                       {{"auth",
                         {{"identity",
                           {{"methods", json::array{"application_credential"}},
                            {"application_credential",
                             {{"name", name},
                              {"secret", secret},
                              {"user", {{"name", user}, {"domain", {{"id", "default"}}}}}}}}}}}});
  };
  EXPECT_EQ(by_name("joe", "ci", "short").status, 201);
  const Reply wrong = by_name("joe", "ci", "wrong");
  EXPECT_EQ(wrong.status, 401);
  for (const Reply& r :
       {by_name("joe", "none", "short"), by_name("nobody", "ci", "short"), use(id_, "wrong")}) {
    EXPECT_EQ(r.status, 401);
    EXPECT_EQ(r.body, wrong.body);
  }
  const Reply scoped =
      cloud_.post("/v3/auth/tokens", {{"auth",
                                       {{"identity",
                                         {{"methods", json::array{"application_credential"}},
                                          {"application_credential", {{"id", id_}, {"secret", "short"}}}}},
                                        {"scope", {{"project", {{"id", project_}}}}}}}});
  EXPECT_EQ(scoped.status, 401);
  EXPECT_EQ(
      scoped.at("error.message"),
      "Error authenticating with application credential: Application credentials cannot request a scope.");
}

TEST_P(ApplicationCredentialTest, RolesAreASubsetOfTheTokens) {
  created({{"name", "r"}, {"roles", json::array{json::object{{"name", "reader"}}}}});
  EXPECT_EQ(use(id_, secret_).each("token.roles", "name"), std::vector<std::string>{"reader"});
  created({{"name", "m"}, {"roles", json::array{json::object{{"name", "member"}}}}});
  EXPECT_EQ(use(id_, secret_).each("token.roles", "name"), (std::vector<std::string>{"member", "reader"}));
  const Reply refused =
      create({{"name", "a"}, {"roles", json::array{json::object{{"name", "admin"}}}}}, joe_token_);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.at("error.message"),
            "Invalid application credential: Cannot create an application credential with unassigned role");
  EXPECT_EQ(
      create({{"name", "a"}, {"roles", json::array{json::object{{"name", "none"}}}}}, joe_token_).status,
      404);
  EXPECT_EQ(create({{"name", "a"}, {"roles", json::array{"reader"}}}, joe_token_).status, 400);
}

TEST_P(ApplicationCredentialTest, OnlyItsUserMakesIt) {
  EXPECT_EQ(create({{"name", "x"}}, admin_).status, 403);
  EXPECT_EQ(create({{"name", "x"}}, log_in("joe", "pw")).status, 400);  // no project to give rights in
  created({{"name", "x"}});
  EXPECT_EQ(cloud_.get(all() + "/" + id_, admin_).status, 200);
  make("users", "user", {{"name", "eve"}, {"password", "pw"}});
  const std::string eve = cloud_.get("/v3/users?name=eve", admin_).at("users.0.id");
  grant("projects/" + project_ + "/users/" + eve + "/roles/" + role("member"));
  const std::string eves = log_in("eve", "pw", project_scope("p"));
  // Neither by joe's path nor by her own.
  EXPECT_EQ(cloud_.get(all() + "/" + id_, eves).status, 403);
  EXPECT_EQ(cloud_.get("/v3/users/" + eve + "/application_credentials/" + id_, eves).status, 403);
  EXPECT_EQ(cloud_.del("/v3/users/" + eve + "/application_credentials/" + id_, eves).status, 403);
}

TEST_P(ApplicationCredentialTest, RestrictedOnesMakeNothingFurther) {
  created({{"name", "restricted"}});
  const std::string restricted = token();
  const Reply refused = create({{"name", "second"}}, restricted);
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(
      refused.at("error.message"),
      "You are not authorized to perform the requested action: Using method 'application_credential' is not "
      "allowed for managing additional application credentials..");
  EXPECT_EQ(cloud_.del(all() + "/" + id_, restricted).status, 403);
  const json::object trust{{"trust",
                            {{"trustor_user_id", joe_},
                             {"trustee_user_id", joe_},
                             {"impersonation", true},
                             {"project_id", project_},
                             {"roles", json::array{json::object{{"name", "member"}}}}}}};
  EXPECT_EQ(cloud_.post("/v3/OS-TRUST/trusts", trust, restricted).status, 403);
  created({{"name", "unrestricted"}, {"unrestricted", true}});
  const std::string unrestricted = token();
  EXPECT_EQ(create({{"name", "second"}}, unrestricted).status, 201);
  EXPECT_EQ(cloud_.post("/v3/OS-TRUST/trusts", trust, unrestricted).status, 201);
}

TEST_P(ApplicationCredentialTest, ATokenOfItsTokenIsNoWiderEither) {
  created({{"name", "x"}, {"roles", json::array{json::object{{"name", "reader"}}}}});
  const std::string first = token();
  const Reply again = cloud_.post("/v3/auth/tokens", token_auth(first, nullptr));
  ASSERT_EQ(again.status, 201) << again.body;
  EXPECT_EQ(again.at("token.application_credential.id"), id_);
  EXPECT_EQ(again.each("token.roles", "name"), std::vector<std::string>{"reader"});
  grant("projects/" + make("projects", "project", {{"name", "q"}}) + "/users/" + joe_ + "/roles/" +
        role("member"));
  EXPECT_EQ(cloud_.post("/v3/auth/tokens", token_auth(first, project_scope("q"))).status, 403);
  EXPECT_EQ(cloud_.post("/v3/auth/tokens", token_auth(first, "unscoped")).status, 403);
}

TEST_P(ApplicationCredentialTest, AccessRulesAreHeldByEveryService) {
  created({{"name", "x"},
           {"access_rules",
            json::array{
                json::object{{"path", "/v2.1/servers/*/ips"}, {"method", "GET"}, {"service", "compute"}},
                json::object{{"path", "/v3/auth/projects"}, {"method", "GET"}, {"service", "identity"}}}}});
  const std::string limited = token();
  EXPECT_EQ(cloud_.get("/compute/v2.1/servers/abc/ips", limited).status, 200);
  const Reply refused = cloud_.get("/compute/v2.1/servers", limited);
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.at("error.message"), "The request you have made requires authentication.");
  EXPECT_EQ(cloud_.post("/compute/v2.1/servers", json::object{}, limited).status, 401);
  EXPECT_EQ(cloud_.get("/v3/auth/projects", limited).status, 200);
  EXPECT_EQ(cloud_.get("/identity/v3/auth/projects", limited).status, 200);
  EXPECT_EQ(cloud_.get("/v3/auth/domains", limited).status, 401);
  EXPECT_EQ(create({{"name", "y"}}, limited).status, 401);

  EXPECT_EQ(show_token(limited).each("token.application_credential.access_rules", "path").size(), 2u);
  // A service that does not know of rules gets no such token.
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", admin_, {{"X-Subject-Token", limited}}).status, 404);
}

TEST_P(ApplicationCredentialTest, AccessRulesOutliveTheirCredential) {
  const json::object rule{{"path", "/v2.1/servers"}, {"method", "GET"}, {"service", "compute"}};
  created({{"name", "x"}, {"access_rules", json::array{rule, rule}}});
  const std::string rules = "/v3/users/" + joe_ + "/access_rules";
  const Reply list = cloud_.get(rules, joe_token_);
  ASSERT_EQ(list.count("access_rules"), 1u) << list.body;
  const std::string id = list.at("access_rules.0.id");
  EXPECT_EQ(cloud_.get(rules + "?service=network", joe_token_).count("access_rules"), 0u);
  EXPECT_EQ(cloud_.get(rules + "/" + id, joe_token_).at("access_rule.path"), "/v2.1/servers");
  EXPECT_EQ(cloud_.get(rules + "/" + id, log_in("admin", "secret", {{"system", {{"all", true}}}})).status,
            200);
  // The same content is the same rule; by its id it can be taken again.
  const std::string first = id_;
  const Reply second = created({{"name", "y"}, {"access_rules", json::array{json::object{{"id", id}}}}});
  EXPECT_EQ(second.at("application_credential.access_rules.0.path"), "/v2.1/servers");
  EXPECT_EQ(cloud_.del(rules + "/" + id, joe_token_).status, 403);
  EXPECT_EQ(cloud_.del(all() + "/" + first, joe_token_).status, 204);
  EXPECT_EQ(cloud_.del(rules + "/" + id, joe_token_).status, 403);
  EXPECT_EQ(cloud_.del(all() + "/" + id_, joe_token_).status, 204);
  EXPECT_EQ(cloud_.del(rules + "/" + id, joe_token_).status, 204);
  EXPECT_EQ(cloud_.get(rules + "/" + id, joe_token_).status, 404);
}

TEST_P(ApplicationCredentialTest, MalformedOnesAreRefused) {
  const auto refused = [&](json::object attributes) {
    attributes["name"] = "x";
    return create(std::move(attributes), joe_token_).status;
  };
  EXPECT_EQ(create({{"name", ""}}, joe_token_).status, 400);
  EXPECT_EQ(create(json::object{}, joe_token_).status, 400);
  EXPECT_EQ(refused({{"expires_at", "tomorrow"}}), 400);
  EXPECT_EQ(refused({{"expires_at", "2020-01-01T00:00:00Z"}}), 400);
  EXPECT_EQ(refused({{"unrestricted", "yes"}}), 400);
  EXPECT_EQ(refused({{"access_rules", json::array{json::object{
                                          {"path", "servers"}, {"method", "GET"}, {"service", "compute"}}}}}),
            400);
  EXPECT_EQ(refused({{"access_rules", json::array{json::object{
                                          {"path", "/s"}, {"method", "TRACE"}, {"service", "compute"}}}}}),
            400);
  EXPECT_EQ(refused({{"access_rules", json::array{json::object{{"path", "/s"}, {"method", "GET"}}}}}), 400);
  EXPECT_EQ(refused({{"access_rules", json::array{json::object{{"id", "none"}}}}}), 404);
}

TEST_P(ApplicationCredentialTest, EndsItsTokensWithItself) {
  const Reply made = created({{"name", "x"}, {"expires_at", "2026-11-23T12:30:00.000000"}});
  EXPECT_EQ(made.at("application_credential.expires_at"), "2026-11-23T12:30:00.000000");
  const Reply login = use(id_, secret_);
  EXPECT_EQ(login.at("token.expires_at"), "2026-11-23T12:30:00.000000Z");
  cloud_.clock().advance(std::chrono::minutes(30));
  EXPECT_EQ(list_servers(std::string(login.headers.get("X-Subject-Token"))), 401);
  EXPECT_EQ(use(id_, secret_).status, 401);
}

TEST_P(ApplicationCredentialTest, GoesWithARoleThatItPassedOn) {
  const std::string member = "projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member");
  grant("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("reader"));
  created({{"name", "member"}});
  const std::string gone = id_, gone_token = token();
  created({{"name", "reader"}, {"roles", json::array{json::object{{"name", "reader"}}}}});
  const std::string stays_token = token();
  revoke(member);
  EXPECT_EQ(list_servers(gone_token), 401);
  EXPECT_EQ(list_servers(stays_token), 200);
  EXPECT_EQ(cloud_.get(all(), joe_token_).each("application_credentials", "name"),
            std::vector<std::string>{"reader"});
  grant(member);
  EXPECT_EQ(use(gone, secret_).status, 404);  // and does not come back
}

TEST_P(ApplicationCredentialTest, GoesWithGroupRoleUserAndProject) {
  const std::string group = make("groups", "group", {{"name", "g"}});
  const std::string extra = make("roles", "role", {{"name", "extra"}});
  grant("projects/" + project_ + "/groups/" + group + "/roles/" + extra);
  grant("groups/" + group + "/users/" + joe_);
  const auto with_extra = [&](const std::string& name) {
    joe_token_ = log_in("joe", "pw", project_scope("p"));
    created({{"name", name}, {"roles", json::array{json::object{{"id", extra}}}}});
  };
  with_extra("one");
  revoke("groups/" + group + "/users/" + joe_);
  EXPECT_EQ(use(id_, secret_).status, 404);
  grant("groups/" + group + "/users/" + joe_);
  with_extra("two");
  revoke("projects/" + project_ + "/groups/" + group + "/roles/" + extra);
  EXPECT_EQ(use(id_, secret_).status, 404);
  grant("projects/" + project_ + "/groups/" + group + "/roles/" + extra);
  with_extra("three");
  revoke("groups/" + group);
  EXPECT_EQ(use(id_, secret_).status, 404);
  grant("projects/" + project_ + "/users/" + joe_ + "/roles/" + extra);
  with_extra("four");
  revoke("roles/" + extra);
  EXPECT_EQ(use(id_, secret_).status, 404);
  created({{"name", "five"}});
  EXPECT_EQ(change_user(joe_, {{"enabled", false}}).status, 200);
  EXPECT_EQ(use(id_, secret_).status, 404);
  EXPECT_EQ(change_user(joe_, {{"enabled", true}}).status, 200);
  joe_token_ = log_in("joe", "pw", project_scope("p"));
  created({{"name", "six"}});
  revoke("projects/" + project_);
  EXPECT_EQ(use(id_, secret_).status, 404);
}

INSTANTIATE_TEST_SUITE_P(Engines, ApplicationCredentialTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
