#include "identity/limits.h"

#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;

class LimitsTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    prepare();
  }
  void prepare() {
    system_ = log_in("admin", "secret", {{"system", {{"all", true}}}});
    service_ = make("services", "service", {{"type", "toy"}, {"name", "toys"}});
    make("regions", "region", {{"id", "north"}});
    make_joe();
  }
  Reply post(const std::string& collection, json::value items) {
    return cloud_.post("/v3/" + collection, json::object{{collection, std::move(items)}}, system_);
  }
  json::object registered(const std::string& name, int64_t limit) {
    return {{"service_id", service_}, {"resource_name", name}, {"default_limit", limit}};
  }
  json::object limit(const std::string& name, int64_t value, const char* whose, const std::string& id) {
    return {{"service_id", service_}, {"resource_name", name}, {"resource_limit", value}, {whose, id}};
  }
  Reply patch(const std::string& path, const char* name, json::object body) {
    return cloud_.patch("/v3/" + path, json::object{{name, std::move(body)}}, system_);
  }
  std::string system_, service_;
};

TEST_P(LimitsTest, RegisteredLimits) {
  json::object second = registered("balls", 3);
  second["region_id"] = "north";
  const Reply made = post("registered_limits", json::array{registered("balls", 5), second});
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.find("links"), nullptr);
  EXPECT_EQ(made.at("registered_limits.0.region_id"), "null");
  const std::string id = made.at("registered_limits.1.id"), path = "registered_limits/" + id;
  EXPECT_EQ(cloud_.get("/v3/registered_limits?region_id=north", joe_token_).each("registered_limits", "id"),
            std::vector<std::string>{id});
  EXPECT_EQ(cloud_.get("/v3/" + path, joe_token_).at("registered_limit.default_limit"), "3");
  EXPECT_EQ(post("registered_limits", json::array{registered("balls", 1)}).status, 409);
  EXPECT_EQ(patch(path, "registered_limit", {{"default_limit", 0}}).at("registered_limit.default_limit"),
            "0");
  EXPECT_EQ(patch(path, "registered_limit", {{"region_id", nullptr}}).status, 409);
  EXPECT_EQ(cloud_.del("/v3/" + path, system_).status, 204);
  EXPECT_EQ(get(path).status, 404);
  EXPECT_EQ(cloud_.del("/v3/services/" + service_, admin_).status, 403) << "a registered limit names it";
}

TEST_P(LimitsTest, WhatCannotBeRegisteredIsRefused) {
  EXPECT_EQ(post("registered_limits", json::array{}).status, 400);
  EXPECT_EQ(post("registered_limits", json::object()).status, 400);
  EXPECT_EQ(post("registered_limits", json::array{registered("balls", -2)}).status, 400);
  EXPECT_EQ(post("registered_limits", json::array{json::object{{"service_id", service_}}}).status, 400);
  service_ = "none";
  EXPECT_EQ(post("registered_limits", json::array{registered("balls", 1)}).status, 400);
  EXPECT_EQ(cloud_.post("/v3/registered_limits", json::object(), admin_).status, 403)
      << "an administrator of a project is none of the system";
  EXPECT_EQ(cloud_.post("/v3/registered_limits", json::object(), joe_token_).status, 403);
}

TEST_P(LimitsTest, LimitsOfProjectsAndDomains) {
  const Reply base = post("registered_limits", json::array{registered("balls", 5)});
  EXPECT_EQ(post("limits", json::array{limit("bats", 1, "project_id", project_)}).status, 403)
      << "nothing is registered";
  const Reply made = post("limits", json::array{limit("balls", 7, "project_id", project_),
                                                limit("balls", 2, "project_id", "default")});
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.at("limits.1.domain_id"), "default") << "a project that is a domain";
  const std::string id = made.at("limits.0.id"), path = "limits/" + id;
  EXPECT_EQ(post("limits", json::array{limit("balls", 1, "project_id", project_)}).status, 409);
  EXPECT_EQ(cloud_.get("/v3/limits", system_).count("limits"), 2u);
  EXPECT_EQ(cloud_.get("/v3/limits", joe_token_).each("limits", "id"), std::vector<std::string>{id});
  EXPECT_EQ(cloud_.get("/v3/limits", admin_).count("limits"), 0u) << "his own project has none";
  EXPECT_EQ(cloud_.get("/v3/" + path, joe_token_).at("limit.resource_limit"), "7");
  EXPECT_EQ(cloud_.get("/v3/limits/" + made.at("limits.1.id"), joe_token_).status, 403);
  EXPECT_EQ(patch(path, "limit", {{"resource_limit", 0}, {"description", "d"}}).at("limit.resource_limit"),
            "0");
  EXPECT_EQ(patch(path, "limit", {{"resource_name", "bats"}}).status, 400);
  EXPECT_EQ(cloud_.del("/v3/registered_limits/" + base.at("registered_limits.0.id"), system_).status, 403);
  EXPECT_EQ(cloud_.del("/v3/projects/" + project_, admin_).status, 204);
  EXPECT_EQ(cloud_.get("/v3/" + path, system_).status, 404);
}

TEST_P(LimitsTest, WhatIsNoLimitIsRefused) {
  post("registered_limits", json::array{registered("balls", 5)});
  json::object both = limit("balls", 1, "project_id", project_);
  both["domain_id"] = "default";
  EXPECT_EQ(post("limits", json::array{both}).status, 400);
  EXPECT_EQ(post("limits", json::array{limit("balls", 1, "project_id", "none")}).status, 400);
  EXPECT_EQ(post("limits", json::array{limit("balls", 1, "domain_id", project_)}).status, 400);
  EXPECT_EQ(post("limits", json::array{limit("balls", 1LL << 40, "project_id", project_)}).status, 400);
}

TEST_P(LimitsTest, AParentsListOfProjectsCanShowLimits) {
  post("registered_limits", json::array{registered("balls", 5)});
  post("limits", json::array{limit("balls", 7, "project_id", project_)});
  const std::string below = make("projects", "project", {{"name", "q"}, {"parent_id", project_}});
  put("projects/" + below + "/users/" + joe_ + "/roles/" + role("member"));
  const Reply r = cloud_.get("/v3/projects/" + below + "?parents_as_list&include_limits",
                             log_in("joe", "pw", {{"project", {{"id", below}}}}));
  EXPECT_EQ(r.at("project.parents.0.project.limits.0.resource_limit"), "7") << r.body;
}

TEST_P(LimitsTest, TheModelIsTold) {
  EXPECT_EQ(cloud_.get("/v3/limits/model", joe_token_).at("model.name"), "flat");
}

class StrictLimitsTest : public LimitsTest {
 protected:
  Options options() const override {
    Options o = IdentityCloudTest::options();
    o.limit_model = "strict_two_level";
    return o;
  }
  void SetUp() override {
    LimitsTest::SetUp();
    post("registered_limits", json::array{registered("balls", 5)});
  }
};

TEST_P(StrictLimitsTest, NoProjectHasMoreThanItsDomain) {
  EXPECT_EQ(cloud_.get("/v3/limits/model", joe_token_).at("model.name"), "strict_two_level");
  EXPECT_EQ(post("limits", json::array{limit("balls", 6, "project_id", project_)}).status, 403);
  EXPECT_EQ(post("limits", json::array{limit("balls", -1, "project_id", project_)}).status, 403);
  const Reply made = post("limits", json::array{limit("balls", 8, "project_id", project_),
                                                limit("balls", 9, "domain_id", "default")});
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string project = "limits/" + made.at("limits.0.id"), domain = "limits/" + made.at("limits.1.id");
  EXPECT_EQ(patch(domain, "limit", {{"resource_limit", 7}}).status, 403);
  EXPECT_EQ(patch(project, "limit", {{"resource_limit", 10}}).status, 403);
  EXPECT_EQ(patch(domain, "limit", {{"resource_limit", -1}}).status, 200);
  EXPECT_EQ(patch(project, "limit", {{"resource_limit", 1000}}).status, 200);
}

TEST_P(StrictLimitsTest, TreesAreTwoLevelsDeep) {
  const std::string below = make("projects", "project", {{"name", "q"}, {"parent_id", project_}});
  EXPECT_EQ(cloud_.post("/v3/projects", {{"project", {{"name", "r"}, {"parent_id", below}}}}, admin_).status,
            403);
}

TEST_P(LimitsTest, TheStrictModelDoesNotBeginOnADeeperTree) {
  const std::string below = make("projects", "project", {{"name", "q"}, {"parent_id", project_}});
  make("projects", "project", {{"name", "r"}, {"parent_id", below}});
  const auto strict = make_identity(
      {.master_key_file = cloud_.directory() + "/master.key", .bcrypt_cost = 4, .limit_model = "strict_two_level"},
      cloud_.database(), cloud_.policy(), cloud_.clock());
  EXPECT_THROW(strict->bootstrap({.admin_password = "secret"}), Fault);
}

INSTANTIATE_TEST_SUITE_P(Engines, LimitsTest, test::engines(), test::engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, StrictLimitsTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
