#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;

class EndpointFilterTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    service_ = make("services", "service", {{"type", "toy"}, {"name", "toys"}});
    make("regions", "region", {{"id", "north"}});
    make("regions", "region", {{"id", "cold"}, {"parent_region_id", "north"}});
    public_ = endpoint("public", "cold");
    admin_end_ = endpoint("admin", "north");
    make_joe();
  }
  std::string endpoint(const std::string& interface, const std::string& region) {
    return make(
        "endpoints", "endpoint",
        {{"service_id", service_}, {"interface", interface}, {"url", "http://t"}, {"region_id", region}});
  }
  std::string group(json::object filters) {
    return make("OS-EP-FILTER/endpoint_groups", "endpoint_group",
                {{"name", "g"}, {"filters", std::move(filters)}});
  }
  std::vector<std::string> catalog_types() {
    return cloud_.get("/v3/auth/catalog", joe_token_).each("catalog", "type");
  }
  using Names = std::vector<std::string>;
  std::string service_, public_, admin_end_;
};

TEST_P(EndpointFilterTest, ACatalogueIsSharedByThoseItIsTheSameFor) {
  const std::string admin_id = get("users?name=admin").at("users.0.id");
  put("projects/" + project_ + "/users/" + admin_id + "/roles/" + role("member"));
  const std::string other = log_in("admin", "secret", test::project_scope_id(project_));
  joe_token_ = log_in("joe", "pw", test::project_scope_id(project_));
  const auto url = [&](const std::string& token) {
    return show_token(token).at("token.catalog.2.endpoints.0.url");
  };
  EXPECT_EQ(url(joe_token_), "http://t");
  EXPECT_EQ(url(other), "http://t");
  for (const auto& id : {public_, admin_end_})
    EXPECT_EQ(
        cloud_.patch("/v3/endpoints/" + id, {{"endpoint", {{"url", "http://t/$(user_id)s"}}}}, admin_).status,
        200);
  EXPECT_EQ(url(joe_token_), "http://t/" + joe_);
  EXPECT_EQ(url(other), "http://t/" + admin_id);
}

TEST_P(EndpointFilterTest, AProjectsCatalogueShowsWhatItsFilterNames) {
  EXPECT_EQ(catalog_types(), (Names{"identity", "compute", "toy"}));
  const std::string pair = "OS-EP-FILTER/projects/" + project_ + "/endpoints/" + public_;
  EXPECT_EQ(get(pair).status, 404);
  put(pair);
  EXPECT_EQ(cloud_.put("/v3/" + pair, nullptr, admin_).status, 409);
  EXPECT_EQ(get(pair).status, 204);
  const Reply catalog = cloud_.get("/v3/auth/catalog", joe_token_);
  EXPECT_EQ(catalog.each("catalog", "type"), Names{"toy"});
  EXPECT_EQ(catalog.each("catalog.0.endpoints", "id"), Names{public_});
  EXPECT_EQ(get("OS-EP-FILTER/projects/" + project_ + "/endpoints").each("endpoints", "id"), Names{public_});
  EXPECT_EQ(get("OS-EP-FILTER/endpoints/" + public_ + "/projects").each("projects", "id"), Names{project_});
  EXPECT_EQ(cloud_.get("/v3/auth/catalog", admin_).count("catalog"), 3u);
  EXPECT_EQ(cloud_.del("/v3/" + pair, admin_).status, 204);
  EXPECT_EQ(cloud_.del("/v3/" + pair, admin_).status, 404);
  EXPECT_EQ(catalog_types().size(), 3u);
}

TEST_P(EndpointFilterTest, GroupsFilterByServiceRegionAndInterface) {
  const std::string g = group({{"service_id", service_}, {"interface", "admin"}});
  const std::string path = "OS-EP-FILTER/endpoint_groups/" + g, in_project = path + "/projects/" + project_;
  EXPECT_EQ(get(path + "/endpoints").each("endpoints", "id"), Names{admin_end_});
  EXPECT_EQ(get(in_project).status, 404);
  put(in_project);
  EXPECT_EQ(get(in_project).at("project_endpoint_group.project_id"), project_);
  EXPECT_EQ(get(path + "/projects").each("projects", "id"), Names{project_});
  EXPECT_EQ(get("OS-EP-FILTER/projects/" + project_ + "/endpoint_groups").each("endpoint_groups", "id"),
            Names{g});
  EXPECT_EQ(catalog_types(), Names{"toy"});
  const Reply changed =
      cloud_.patch("/v3/" + path, {{"endpoint_group", {{"filters", {{"region_id", "cold"}}}}}}, admin_);
  EXPECT_EQ(changed.at("endpoint_group.filters.region_id"), "cold");
  EXPECT_EQ(changed.at("endpoint_group.name"), "g");
  EXPECT_EQ(cloud_.get("/v3/auth/catalog", joe_token_).each("catalog.0.endpoints", "id"), Names{public_});
  EXPECT_EQ(cloud_.del("/v3/" + path, admin_).status, 204);
  EXPECT_EQ(catalog_types().size(), 3u);
  EXPECT_EQ(get(path).status, 404);
}

TEST_P(EndpointFilterTest, TheCloudsOwnEndpointsCanBeNamedToo) {
  const std::string own = get("endpoints?interface=public").at("endpoints.0.id");
  put("OS-EP-FILTER/projects/" + project_ + "/endpoints/" + own);
  EXPECT_EQ(catalog_types(), Names{"identity"});
}

TEST_P(EndpointFilterTest, AssociationsGoWithWhatTheyJoin) {
  put("OS-EP-FILTER/projects/" + project_ + "/endpoints/" + public_);
  EXPECT_EQ(cloud_.del("/v3/endpoints/" + public_, admin_).status, 204);
  EXPECT_EQ(catalog_types().size(), 3u);
  put("OS-EP-FILTER/projects/" + project_ + "/endpoints/" + admin_end_);
  EXPECT_EQ(cloud_.del("/v3/projects/" + project_, admin_).status, 204);
  EXPECT_EQ(get("OS-EP-FILTER/endpoints/" + admin_end_ + "/projects").count("projects"), 0u);
}

TEST_P(EndpointFilterTest, BadFiltersAndStrangersAreRefused) {
  const auto try_make = [&](json::value filters) {
    return cloud_
        .post("/v3/OS-EP-FILTER/endpoint_groups",
              {{"endpoint_group", {{"name", "g"}, {"filters", std::move(filters)}}}}, admin_)
        .status;
  };
  EXPECT_EQ(try_make(json::object()), 400);
  EXPECT_EQ(try_make({{"url", "x"}}), 400);
  EXPECT_EQ(try_make("text"), 400);
  EXPECT_EQ(status_of("GET", "OS-EP-FILTER/endpoint_groups", joe_token_), 403);
  EXPECT_EQ(status_of("PUT", "OS-EP-FILTER/projects/" + project_ + "/endpoints/" + public_, joe_token_), 403);
  EXPECT_EQ(status_of("PUT", "OS-EP-FILTER/projects/none/endpoints/" + public_, admin_), 404);
}

class LegacyPolicyTest : public EndpointFilterTest {
 protected:
  std::string policy(const std::string& type) {
    return make("policies", "policy", {{"type", type}, {"blob", "{}"}, {"colour", "red"}});
  }
  std::string found() { return get("endpoints/" + public_ + "/OS-ENDPOINT-POLICY/policy").at("policy.type"); }
};

TEST_P(LegacyPolicyTest, LifeOfAPolicy) {
  const std::string id = policy("one");
  policy("two");
  EXPECT_EQ(get("policies/" + id).at("policy.colour"), "red");
  EXPECT_EQ(get("policies?type=two").count("policies"), 1u);
  const Reply changed =
      cloud_.patch("/v3/policies/" + id, {{"policy", {{"type", "new"}, {"colour", nullptr}}}}, admin_);
  EXPECT_EQ(changed.at("policy.type"), "new");
  EXPECT_EQ(changed.at("policy.blob"), "{}");
  EXPECT_EQ(changed.find("policy.colour"), nullptr);
  EXPECT_EQ(cloud_.post("/v3/policies", {{"policy", {{"type", "x"}}}}, admin_).status, 400);
  EXPECT_EQ(cloud_.patch("/v3/policies/" + id, {{"policy", json::object()}}, admin_).status, 400);
  EXPECT_EQ(status_of("GET", "policies", joe_token_), 403);
  EXPECT_EQ(cloud_.del("/v3/policies/" + id, admin_).status, 204);
  EXPECT_EQ(get("policies/" + id).status, 404);
}

TEST_P(LegacyPolicyTest, TheNearestAssociationCounts) {
  const std::string service = policy("service"), region = policy("region"), end = policy("endpoint");
  const auto path = [&](const std::string& id) { return "policies/" + id + "/OS-ENDPOINT-POLICY/"; };
  const std::string in_region = path(region) + "services/" + service_ + "/regions/north";
  EXPECT_EQ(get("endpoints/" + public_ + "/OS-ENDPOINT-POLICY/policy").status, 404);
  put(path(service) + "services/" + service_);
  EXPECT_EQ(found(), "service");
  put(in_region);
  EXPECT_EQ(found(), "region");
  put(path(end) + "endpoints/" + public_);
  EXPECT_EQ(found(), "endpoint");
  EXPECT_EQ(get(path(service) + "endpoints").count("endpoints"), 2u);
  EXPECT_EQ(get(path(region) + "endpoints").count("endpoints"), 2u);
  EXPECT_EQ(get(path(end) + "endpoints").each("endpoints", "id"), Names{public_});
  EXPECT_EQ(get(in_region).status, 204);
  put(path(service) + "services/" + service_ + "/regions/north");
  EXPECT_EQ(get(in_region).status, 404) << "a place has one policy: the last one put there";
  EXPECT_EQ(cloud_.del("/v3/policies/" + end, admin_).status, 204);
  EXPECT_EQ(found(), "service");
  EXPECT_EQ(status_of("PUT", path(service) + "services/none", admin_), 404);
}

INSTANTIATE_TEST_SUITE_P(Engines, EndpointFilterTest, test::engines(), test::engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, LegacyPolicyTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
