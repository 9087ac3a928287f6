// The service through its real dispatcher and database.
#include <atomic>
#include <thread>

#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::password_auth;
using test::project_scope;
using test::project_scope_id;
using test::Reply;
using test::token_auth;

class IdentityTest : public test::IdentityCloudTest {};

TEST_P(IdentityTest, DiscoveryAtEveryRoot) {
  for (const char* path : {"/identity", "/identity/"}) {
    const Reply r = cloud_.get(path);
    EXPECT_EQ(r.status, 300);
    EXPECT_EQ(r.at("versions.values.0.id"), "v3.14");
    EXPECT_EQ(r.at("versions.values.0.links.0.href"), "http://127.0.0.1:5000/identity/v3/");
  }
  EXPECT_EQ(cloud_.get("/identity/v3/").at("version.links.0.href"), "http://127.0.0.1:5000/identity/v3/");
  EXPECT_EQ(cloud_.get("/v3").at("version.links.0.href"), "http://127.0.0.1:5000/v3/");
}

TEST_P(IdentityTest, BootstrapTwiceChangesNothing) {
  identity_->bootstrap({.admin_password = "other"});
  EXPECT_EQ(try_log_in("admin", "secret").status, 201);
  EXPECT_EQ(cloud_.get("/v3/users", admin_).count("users"), 1u);
  EXPECT_EQ(cloud_.get("/v3/roles", admin_).count("roles"), 4u);
}

TEST_P(IdentityTest, BootstrapByManyAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      identity_->bootstrap({.admin_password = "secret", .service_names = {"nova", "glance"}});
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(cloud_.get("/v3/users", admin_).count("users"), 3u);
}

TEST_P(IdentityTest, ProjectTokenSaysEverything) {
  const Reply r = try_log_in("admin", "secret", project_scope("admin"));
  ASSERT_EQ(r.status, 201) << r.body;
  EXPECT_LE(r.headers.get("X-Subject-Token").size(), 255u);
  EXPECT_EQ(r.at("token.methods"), R"(["password"])");
  EXPECT_EQ(r.at("token.user.name"), "admin");
  EXPECT_EQ(r.at("token.user.domain.name"), "Default");
  EXPECT_EQ(r.at("token.user.password_expires_at"), "null");
  EXPECT_EQ(r.at("token.project.name"), "admin");
  EXPECT_EQ(r.at("token.is_domain"), "false");
  EXPECT_EQ(r.at("token.expires_at"), "2026-11-23T13:00:00.000000Z");
  EXPECT_EQ(r.at("token.issued_at"), "2026-11-23T12:00:00.000000Z");
  EXPECT_EQ(r.each("token.roles", "name"), (std::vector<std::string>{"admin", "member", "reader"}));
  EXPECT_EQ(r.each("token.catalog", "type"), (std::vector<std::string>{"identity", "compute"}));
  EXPECT_EQ(r.at("token.catalog.1.endpoints.0.url"), "http://127.0.0.1:5000/compute/v2.1");
  EXPECT_EQ(r.at("token.audit_ids.0").size(), 22u);
  const Reply shown = cloud_.get("/v3/auth/tokens", admin_,
                                 {{"X-Subject-Token", std::string(r.headers.get("X-Subject-Token"))}});
  EXPECT_EQ(shown.status, 200);
  EXPECT_EQ(shown.body, r.body);
  const Reply bare =
      cloud_.post("/v3/auth/tokens?nocatalog", password_auth("admin", "secret", project_scope("admin")));
  EXPECT_EQ(bare.find("token.catalog"), nullptr);
}

TEST_P(IdentityTest, Scopes) {
  const Reply unscoped = try_log_in("admin", "secret", "unscoped");
  EXPECT_EQ(unscoped.status, 201);
  EXPECT_EQ(unscoped.find("token.roles"), nullptr);
  EXPECT_EQ(unscoped.find("token.catalog"), nullptr);
  const Reply system = try_log_in("admin", "secret", {{"system", {{"all", true}}}});
  EXPECT_EQ(system.at("token.system.all"), "true");
  EXPECT_EQ(try_log_in("admin", "secret", {{"domain", {{"id", "default"}}}}).status, 401);
  grant("domains/default/users/" + unscoped.at("token.user.id") + "/roles/" + role("admin"));
  const Reply domain = try_log_in("admin", "secret", {{"domain", {{"name", "Default"}}}});
  EXPECT_EQ(domain.at("token.domain.id"), "default");
  EXPECT_EQ(cloud_.get("/v3/users", domain.headers.get("X-Subject-Token")).count("users"), 1u);
  const std::string token(unscoped.headers.get("X-Subject-Token"));
  EXPECT_EQ(cloud_.get("/v3/auth/projects", token).at("projects.0.name"), "admin");
  EXPECT_EQ(cloud_.get("/v3/auth/domains", token).at("domains.0.id"), "default");
  EXPECT_EQ(cloud_.get("/v3/auth/system", token).at("system.0.all"), "true");
  EXPECT_EQ(cloud_.get("/v3/auth/catalog", token).status, 403);
  EXPECT_EQ(cloud_.get("/v3/auth/catalog", admin_).count("catalog"), 2u);
}

TEST_P(IdentityTest, DefaultProjectIsTheScopeWithoutOne) {
  make_joe();
  EXPECT_EQ(try_log_in("joe", "pw").find("token.project"), nullptr);
  EXPECT_EQ(cloud_.patch("/v3/users/" + joe_, {{"user", {{"default_project_id", project_}}}}, admin_).status,
            200);
  EXPECT_EQ(try_log_in("joe", "pw").at("token.project.id"), project_);
  EXPECT_EQ(try_log_in("joe", "pw", "unscoped").find("token.project"), nullptr);
}

TEST_P(IdentityTest, AllRefusalsLookAlike) {
  make_joe();
  const std::string other = make("projects", "project", {{"name", "other"}});
  std::vector<Reply> replies{try_log_in("joe", "wrong"), try_log_in("nobody", "pw"),
                             try_log_in("joe", "pw", project_scope_id(other)),
                             try_log_in("joe", "pw", project_scope_id("nothing")),
                             try_log_in("joe", "pw", project_scope("nothing"))};
  EXPECT_EQ(cloud_.patch("/v3/users/" + joe_, {{"user", {{"enabled", false}}}}, admin_).status, 200);
  replies.push_back(try_log_in("joe", "pw"));
  for (const auto& r : replies) {
    EXPECT_EQ(r.status, 401);
    EXPECT_EQ(r.body, replies.front().body);
    EXPECT_EQ(r.at("error.message"), "The request you have made requires authentication.");
  }
  EXPECT_EQ(cloud_.post("/v3/auth/tokens", json::object{}).status, 400);
  EXPECT_EQ(cloud_.post("/v3/auth/tokens", {{"auth", {{"identity", {{"methods", json::array{"password"}}}}}}})
                .status,
            400);
  EXPECT_EQ(
      cloud_.post("/v3/auth/tokens", {{"auth", {{"identity", {{"methods", json::array{"magic"}}}}}}}).status,
      400);
  EXPECT_EQ(cloud_.get("/v3/users").status, 401);
  EXPECT_EQ(cloud_.get("/v3/users", "nonsense").status, 401);
}

TEST_P(IdentityTest, RescopingKeepsExpiryAndChain) {
  const Reply first = try_log_in("admin", "secret", "unscoped");
  cloud_.clock().advance(std::chrono::minutes(10));
  const Reply second =
      cloud_.post("/v3/auth/tokens",
                  token_auth(std::string(first.headers.get("X-Subject-Token")), project_scope("admin")));
  ASSERT_EQ(second.status, 201) << second.body;
  EXPECT_EQ(second.at("token.expires_at"), first.at("token.expires_at"));
  EXPECT_NE(second.at("token.issued_at"), first.at("token.issued_at"));
  EXPECT_EQ(second.at("token.methods"), R"(["password","token"])");
  EXPECT_EQ(second.at("token.audit_ids.1"), first.at("token.audit_ids.0"));
  const Reply third =
      cloud_.post("/v3/auth/tokens",
                  token_auth(std::string(second.headers.get("X-Subject-Token")), project_scope("admin")));
  EXPECT_EQ(third.at("token.audit_ids.1"), first.at("token.audit_ids.0"));
}

TEST_P(IdentityTest, RevokedTokensEndAtOnce) {
  make_joe();
  const std::string token = log_in("joe", "pw", project_scope("p")),
                    other = log_in("joe", "pw", project_scope("p"));
  EXPECT_EQ(cloud_.call("HEAD", "/v3/auth/tokens", "", token, {{"X-Subject-Token", token}}).status, 200);
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", token, {{"X-Subject-Token", admin_}}).status, 403);
  EXPECT_EQ(cloud_.del("/v3/auth/tokens", other, {{"X-Subject-Token", token}}).status, 204);
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", other, {{"X-Subject-Token", token}}).status, 404);
  EXPECT_EQ(cloud_.get("/v3/auth/projects", token).status, 401);
  EXPECT_EQ(cloud_.get("/v3/auth/projects", other).status, 200);
}

TEST_P(IdentityTest, TokensExpire) {
  make_joe();
  const std::string token = log_in("joe", "pw");
  cloud_.clock().advance(std::chrono::seconds(3599));
  EXPECT_EQ(cloud_.get("/v3/auth/projects", token).status, 200);
  cloud_.clock().advance(std::chrono::seconds(1));
  EXPECT_EQ(cloud_.get("/v3/auth/projects", token).status, 401);
}

TEST_P(IdentityTest, ServicesMayAskAboutTokensThatAreOver) {
  make_joe();
  const std::string token = log_in("joe", "pw", project_scope("p"));
  cloud_.clock().advance(std::chrono::hours(2));
  admin_ = log_in("admin", "secret", project_scope("admin"));
  EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(show_token(token, "?allow_expired=1").at("token.user.name"), "joe");
  EXPECT_EQ(show_token(token, "?allow_expired=0").status, 404);
  EXPECT_EQ(cloud_.get("/v3/auth/tokens?allow_expired=1", log_in("joe", "pw"), {{"X-Subject-Token", admin_}})
                .status,
            403);
  cloud_.clock().advance(std::chrono::hours(48));
  admin_ = log_in("admin", "secret", project_scope("admin"));
  EXPECT_EQ(show_token(token, "?allow_expired=1").status, 404);
}

TEST_P(IdentityTest, TokensAreShownToThoseWhoMayAsk) {
  make_joe();
  const std::string token = log_in("joe", "pw", project_scope("p"));
  grant("projects/" + project_ + "/users/" + make("users", "user", {{"name", "nova"}, {"password", "pw"}}) +
        "/roles/" + role("service"));
  const std::string service = log_in("nova", "pw", project_scope("p"));
  const test::Fields subject{{"X-Subject-Token", token}};
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", service, subject).status, 200);
  EXPECT_EQ(cloud_.call("HEAD", "/v3/auth/tokens", "", service, subject).status, 403);
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", token, subject).status, 200);
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", admin_).at("error.message"), "No token in the request");
  EXPECT_EQ(cloud_.get("/v3/auth/tokens", admin_, {{"X-Subject-Token", "x"}}).at("error.message"),
            "Failed to validate token");
  EXPECT_EQ(cloud_.post("/v3/auth/tokens", token_auth("x", "unscoped")).status, 404);
  EXPECT_EQ(cloud_.get("/v3/auth/tokens/OS-PKI/revoked", admin_).status, 403);
}

TEST_P(IdentityTest, DisablingAnythingEndsTokensForGood) {
  make_joe();
  const std::string domain = make("domains", "domain", {{"name", "d"}});
  const std::string there = make("projects", "project", {{"name", "there"}, {"domain_id", domain}});
  grant("projects/" + there + "/users/" + joe_ + "/roles/" + role("member"));
  const auto switch_off_and_on = [&](const std::string& collection, const std::string& name,
                                     const std::string& id, json::value scope) {
    const std::string token = log_in("joe", "pw", scope);
    EXPECT_EQ(validate(token), 200);
    EXPECT_EQ(cloud_.patch("/v3/" + collection + "/" + id, json::object{{name, {{"enabled", false}}}}, admin_)
                  .status,
              200);
    EXPECT_EQ(validate(token), 404) << name;
    EXPECT_EQ(try_log_in("joe", "pw", scope).status, 401) << name;
    EXPECT_EQ(cloud_.patch("/v3/" + collection + "/" + id, json::object{{name, {{"enabled", true}}}}, admin_)
                  .status,
              200);
    EXPECT_EQ(validate(token), 404) << name;
    EXPECT_EQ(try_log_in("joe", "pw", scope).status, 201) << name;
  };
  switch_off_and_on("users", "user", joe_, project_scope("p"));
  switch_off_and_on("projects", "project", project_, project_scope("p"));
  switch_off_and_on("domains", "domain", domain, project_scope_id(there));
}

// MariaDB alone is shared by several controllers.
TEST_P(IdentityTest, AnotherControllerSeesChangesAtOnce) {
  if (GetParam() == db::Dialect::sqlite) GTEST_SKIP() << "SQLite has one controller";
  make_joe();
  const auto other = make_identity({.master_key_file = cloud_.directory() + "/master.key", .bcrypt_cost = 4},
                                   cloud_.database(), cloud_.policy(), cloud_.clock());
  const std::string token = log_in("joe", "pw", project_scope("p"));
  EXPECT_TRUE(other->authenticate(token));
  EXPECT_EQ(cloud_.patch("/v3/users/" + joe_, {{"user", {{"enabled", false}}}}, admin_).status, 200);
  EXPECT_FALSE(other->authenticate(token));
}

// Whoever changes a password while others log in with the old one leaves none of their tokens valid.
TEST_P(IdentityTest, NoTokenOutlivesAPasswordChangeThatRacesIt) {
  make_joe();
  std::vector<std::string> tokens;
  std::thread other([&] {
    for (int i = 0; i < 50; ++i)
      if (const Reply r = try_log_in("joe", "pw"); r.status == 201)
        tokens.emplace_back(r.headers.get("X-Subject-Token"));
  });
  EXPECT_EQ(cloud_.patch("/v3/users/" + joe_, {{"user", {{"password", "new"}}}}, admin_).status, 200);
  other.join();
  for (const auto& token : tokens) EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(try_log_in("joe", "pw").status, 401);
}

TEST_P(IdentityTest, LosingTheLastRoleEndsTheToken) {
  make_joe();
  const std::string token = log_in("joe", "pw", project_scope("p"));
  EXPECT_EQ(validate(token), 200);
  revoke("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member"));
  EXPECT_EQ(validate(token), 404);
}

TEST_P(IdentityTest, ChangedPasswordCountsAtOnce) {
  make_joe();
  const std::string token = log_in("joe", "pw");
  const auto change = [&](const std::string& from, const std::string& to) {
    return cloud_
        .post("/v3/users/" + joe_ + "/password", {{"user", {{"original_password", from}, {"password", to}}}})
        .status;
  };
  EXPECT_EQ(change("wrong", "new"), 401);
  EXPECT_EQ(change("pw", "new"), 204);
  EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(try_log_in("joe", "pw").status, 401);  // though remembered
  EXPECT_EQ(try_log_in("joe", "new").status, 201);
  EXPECT_EQ(cloud_.patch("/v3/users/" + joe_, {{"user", {{"password", "third"}}}}, admin_).status, 200);
  EXPECT_EQ(try_log_in("joe", "new").status, 401);
  EXPECT_EQ(try_log_in("joe", "third").status, 201);
  EXPECT_EQ(
      cloud_.patch("/v3/users/" + joe_, {{"user", {{"password", std::string(73, 'x')}}}}, admin_).status,
      400);
}

TEST_P(IdentityTest, KeyRotationKeepsTokens) {
  const std::string token = log_in("admin", "secret", project_scope("admin"));
  identity_->rotate_keys(false);
  EXPECT_EQ(validate(token), 200);
  EXPECT_EQ(validate(log_in("admin", "secret")), 200);
}

TEST_P(IdentityTest, TokensAreValidatedAllThroughARotation) {
  const std::string token = log_in("admin", "secret", project_scope("admin"));
  std::atomic<bool> over{false};
  std::atomic<int> refused{0}, asked{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i)
    clients.emplace_back([&] {
      do {
        if (!identity_->authenticate(token)) ++refused;
        ++asked;
      } while (!over);
    });
  for (int i = 0; i < 5; ++i) {
    identity_->rotate_keys(true);
    EXPECT_EQ(validate(log_in("admin", "secret")), 200);
  }
  over = true;
  for (auto& client : clients) client.join();
  EXPECT_EQ(refused, 0);
  EXPECT_GT(asked, 0);
}

TEST_P(IdentityTest, GroupInheritedAndImpliedRoles) {
  make_joe();
  const std::string group = make("groups", "group", {{"name", "g"}});
  const std::string child = make("projects", "project", {{"name", "child"}, {"parent_id", project_}});
  EXPECT_EQ(try_log_in("joe", "pw", project_scope("child")).status, 401);
  grant("OS-INHERIT/projects/" + project_ + "/groups/" + group + "/roles/" + role("admin") +
        "/inherited_to_projects");
  grant("groups/" + group + "/users/" + joe_);
  const Reply r = try_log_in("joe", "pw", project_scope("child"));
  EXPECT_EQ(r.each("token.roles", "name"), (std::vector<std::string>{"admin", "member", "reader"}));
  EXPECT_EQ(try_log_in("joe", "pw", project_scope("p")).each("token.roles", "name"),
            (std::vector<std::string>{"member", "reader"}));
  EXPECT_EQ(cloud_.get("/v3/auth/projects", log_in("joe", "pw")).count("projects"), 2u);

  const Reply list = cloud_.get(
      "/v3/role_assignments?effective&include_names&user.id=" + joe_ + "&scope.project.id=" + child, admin_);
  ASSERT_EQ(list.count("role_assignments"), 3u) << list.body;
  EXPECT_EQ(list.at("role_assignments.0.user.name"), "joe");
  EXPECT_EQ(list.at("role_assignments.0.scope.OS-INHERIT:inherited_to"), "projects");
  EXPECT_NE(list.at("role_assignments.0.links.membership"), "");
  const Reply direct = cloud_.get("/v3/role_assignments?include_names=1&user.id=" + joe_, admin_);
  ASSERT_EQ(direct.count("role_assignments"), 1u) << direct.body;
  EXPECT_EQ(direct.at("role_assignments.0.role.name"), "member");
  EXPECT_EQ(direct.at("role_assignments.0.scope.project.domain.name"), "Default");
  EXPECT_EQ(cloud_.get("/v3/role_assignments?scope.project.id=" + project_ + "&include_subtree=1", admin_)
                .count("role_assignments"),
            2u);
  EXPECT_EQ(cloud_.get("/v3/role_assignments?scope.system=all", admin_).count("role_assignments"), 1u);

  revoke("groups/" + group + "/users/" + joe_);
  EXPECT_EQ(validate(std::string(r.headers.get("X-Subject-Token"))), 404);
}

TEST_P(IdentityTest, DomainRolesStandForWhatTheyImply) {
  make_joe();
  const std::string local = make("roles", "role", {{"name", "local"}, {"domain_id", "default"}});
  EXPECT_EQ(cloud_.put("/v3/roles/" + local + "/implies/" + role("reader"), nullptr, admin_).status, 201);
  EXPECT_EQ(cloud_.call("HEAD", "/v3/roles/" + local + "/implies/" + role("reader"), "", admin_).status, 204);
  revoke("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member"));
  grant("projects/" + project_ + "/users/" + joe_ + "/roles/" + local);
  EXPECT_EQ(try_log_in("joe", "pw", project_scope("p")).each("token.roles", "name"),
            (std::vector<std::string>{"reader"}));
}

TEST_P(IdentityTest, DeletingAUserOrProjectTakesItsAssignments) {
  make_joe();
  EXPECT_EQ(cloud_.get("/v3/role_assignments?user.id=" + joe_, admin_).count("role_assignments"), 1u);
  EXPECT_EQ(cloud_.del("/v3/users/" + joe_, admin_).status, 204);
  EXPECT_EQ(cloud_.get("/v3/role_assignments?user.id=" + joe_, admin_).count("role_assignments"), 0u);
  EXPECT_EQ(cloud_.del("/v3/users/" + joe_, admin_).status, 404);
  EXPECT_EQ(cloud_.del("/v3/projects/" + project_, admin_).status, 204);
  EXPECT_EQ(cloud_.get("/v3/projects/" + project_, admin_).status, 404);
}

TEST_P(IdentityTest, DomainsGoOnlyWhenDisabledAndWithTheirContent) {
  const std::string domain = make("domains", "domain", {{"name", "d"}});
  const std::string user = make("users", "user", {{"name", "u"}, {"domain_id", domain}});
  const std::string project = make("projects", "project", {{"name", "p"}, {"domain_id", domain}});
  make("projects", "project", {{"name", "child"}, {"parent_id", project}});
  make("groups", "group", {{"name", "g"}, {"domain_id", domain}});
  make("roles", "role", {{"name", "r"}, {"domain_id", domain}});
  EXPECT_EQ(cloud_.del("/v3/domains/" + domain, admin_).status, 403);
  EXPECT_EQ(cloud_.patch("/v3/domains/" + domain, {{"domain", {{"enabled", false}}}}, admin_).status, 200);
  EXPECT_EQ(cloud_.del("/v3/domains/" + domain, admin_).status, 204);
  EXPECT_EQ(cloud_.get("/v3/users/" + user, admin_).status, 404);
  EXPECT_EQ(cloud_.get("/v3/projects/" + project, admin_).status, 404);
}

TEST_P(IdentityTest, ListsFilterSortAndPage) {
  for (const char* name : {"c", "a", "b"})
    make("users", "user", {{"name", name}, {"email", std::string(name) + "@example.org"}});
  EXPECT_EQ(cloud_.get("/v3/users?name=b", admin_).at("users.0.email"), "b@example.org");
  EXPECT_EQ(cloud_.get("/v3/users?enabled=false", admin_).count("users"), 0u);
  EXPECT_EQ(cloud_.get("/v3/users?domain_id=other", admin_).count("users"), 0u);
  const Reply page = cloud_.get("/v3/users?sort_key=name&limit=2", admin_);
  EXPECT_EQ(page.each("users", "name"), (std::vector<std::string>{"a", "admin"}));
  const std::string next = page.at("links.next");
  EXPECT_EQ(
      cloud_.get(next.substr(std::string("http://127.0.0.1:5000").size()), admin_).each("users", "name"),
      (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(page.at("links.self"), "http://127.0.0.1:5000/v3/users?sort_key=name&limit=2");
}

TEST_P(IdentityTest, ProjectTreeAndTags) {
  const std::string top = make("projects", "project", {{"name", "top"}, {"tags", json::array{"x", "y"}}});
  const std::string mid = make("projects", "project", {{"name", "mid"}, {"parent_id", top}});
  const std::string low = make("projects", "project", {{"name", "low"}, {"parent_id", mid}});
  EXPECT_EQ(
      cloud_.get("/v3/projects/" + low + "?parents_as_ids", admin_).at("project.parents." + mid + "." + top),
      R"({"default":null})");
  grant("OS-INHERIT/domains/default/users/" + cloud_.get("/v3/users?name=admin", admin_).at("users.0.id") +
        "/roles/" + role("reader") + "/inherited_to_projects");
  EXPECT_EQ(cloud_.get("/v3/projects/" + low + "?parents_as_list", admin_).count("project.parents"), 2u);
  EXPECT_EQ(cloud_.get("/v3/projects/" + top + "?subtree_as_list", admin_).count("project.subtree"), 2u);
  EXPECT_EQ(cloud_.get("/v3/projects?parent_id=" + top, admin_).each("projects", "name"),
            std::vector<std::string>{"mid"});
  EXPECT_EQ(cloud_.get("/v3/projects?tags=x,y", admin_).each("projects", "name"),
            std::vector<std::string>{"top"});
  EXPECT_EQ(cloud_.get("/v3/projects?tags=x,z", admin_).count("projects"), 0u);
  EXPECT_EQ(cloud_.get("/v3/projects?tags-any=x,z", admin_).count("projects"), 1u);
  EXPECT_EQ(cloud_.put("/v3/projects/" + top + "/tags/z", nullptr, admin_).status, 201);
  EXPECT_EQ(cloud_.get("/v3/projects/" + top + "/tags", admin_).count("tags"), 3u);
  EXPECT_EQ(cloud_.del("/v3/projects/" + top + "/tags/q", admin_).status, 404);
  EXPECT_EQ(cloud_.del("/v3/projects/" + top, admin_).status, 403);
  EXPECT_EQ(cloud_.patch("/v3/projects/" + top, {{"project", {{"enabled", false}}}}, admin_).status, 403);
}

TEST_P(IdentityTest, FaultsInKeystonesWords) {
  make_joe();
  EXPECT_EQ(cloud_.post("/v3/users", {{"user", {{"name", "joe"}}}}, admin_).status, 409);
  EXPECT_EQ(cloud_.post("/v3/users", {{"user", {{"name", ""}}}}, admin_).status, 400);
  EXPECT_EQ(cloud_.post("/v3/users", {{"user", {{"name", "x"}, {"domain_id", "none"}}}}, admin_).status, 404);
  EXPECT_EQ(cloud_.post("/v3/projects", {{"project", {{"name", std::string(65, 'x')}}}}, admin_).status, 400);
  EXPECT_EQ(cloud_.get("/v3/users/none", admin_).at("error.message"), "Could not find user: none.");
  const std::string token = log_in("joe", "pw", project_scope("p"));
  EXPECT_EQ(cloud_.get("/v3/users", token).status, 403);
  EXPECT_EQ(cloud_.get("/v3/users/" + joe_, token).status, 200);
  EXPECT_EQ(cloud_.get("/v3/users/none", token).status, 403);
  EXPECT_EQ(cloud_.get("/v3/users/" + joe_ + "/projects", token).count("projects"), 1u);
  EXPECT_EQ(cloud_.get("/v3/projects/" + project_, token).status, 200);
  EXPECT_EQ(cloud_.post("/v3/projects", {{"project", {{"name", "mine"}}}}, token).status, 403);
}

TEST_P(IdentityTest, ServicesEndpointsRegions) {
  const Reply built_in = cloud_.get("/v3/services?type=compute", admin_);
  EXPECT_EQ(built_in.at("services.0.name"), "nova");
  EXPECT_EQ(cloud_.get("/v3/endpoints?service_id=" + built_in.at("services.0.id"), admin_).count("endpoints"),
            3u);
  EXPECT_EQ(cloud_.del("/v3/services/" + built_in.at("services.0.id"), admin_).status, 403);
  const std::string service = make("services", "service", {{"type", "backup"}, {"name", "b"}});
  const std::string endpoint = make("endpoints", "endpoint",
                                    {{"service_id", service},
                                     {"interface", "public"},
                                     {"region", "elsewhere"},
                                     {"url", "http://b/$(project_id)s"}});
  EXPECT_EQ(cloud_.get("/v3/regions/elsewhere", admin_).status, 200);
  const Reply catalog = cloud_.get("/v3/auth/catalog", admin_);
  EXPECT_EQ(catalog.at("catalog.2.endpoints.0.url"),
            "http://b/" + cloud_.get("/v3/projects?name=admin", admin_).at("projects.0.id"));
  EXPECT_EQ(cloud_.patch("/v3/endpoints/" + endpoint, {{"endpoint", {{"enabled", "no"}}}}, admin_).status,
            400);
  EXPECT_EQ(cloud_.patch("/v3/endpoints/" + endpoint, {{"endpoint", {{"enabled", false}}}}, admin_)
                .at("endpoint.enabled"),
            "false");
  EXPECT_EQ(cloud_.del("/v3/services/" + service, admin_).status, 204);
  EXPECT_EQ(cloud_.get("/v3/endpoints/" + endpoint, admin_).status, 404);
  EXPECT_EQ(cloud_.put("/v3/regions/r1", {{"region", {{"description", "d"}}}}, admin_).at("region.id"), "r1");
  EXPECT_EQ(cloud_.put("/v3/regions/r1", {{"region", json::object{}}}, admin_).status, 409);
  const std::string child = make("regions", "region", {{"parent_region_id", "r1"}});
  EXPECT_EQ(cloud_.get("/v3/regions?parent_region_id=r1", admin_).count("regions"), 1u);
  EXPECT_EQ(cloud_.patch("/v3/regions/r1", {{"region", {{"parent_region_id", child}}}}, admin_).status, 400);
}

INSTANTIATE_TEST_SUITE_P(Engines, IdentityTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
