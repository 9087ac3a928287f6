#include "identity/json_home.h"

#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;

constexpr const char* kBase = "https://docs.openstack.org/api/openstack-identity/3/";

TEST(JsonHome, TheAcceptHeaderDecides) {
  for (const char* yes : {"application/json-home", "application/json-home, application/json;q=0.5",
                          "application/json;q=0.2,application/json-home;q=0.3"})
    EXPECT_TRUE(wants_home_document(yes)) << yes;
  for (const char* no : {"", "*/*", "application/json", "application/json, application/json-home",
                         "text/html", "application/json-home;q=0"})
    EXPECT_FALSE(wants_home_document(no)) << no;
}

class JsonHomeTest : public test::IdentityCloudTest {};

TEST_P(JsonHomeTest, AtTheRootAndAtV3) {
  const test::Fields home{{"Accept", "application/json-home"}};
  for (const auto& [path, prefix] :
       {std::pair<std::string, std::string>{"/identity", "/v3"}, {"/identity/v3", ""}}) {
    const Reply r = cloud_.get(path, {}, home);
    EXPECT_EQ(r.status, 200);
    EXPECT_EQ(r.headers.get("Content-Type"), "application/json-home");
    const json::object& resources = r.json.at("resources").as_object();
    const auto& users = resources.at(kBase + std::string("rel/users")).as_object();
    EXPECT_EQ(str(users.at("href")), prefix + "/users");
    const auto& protocol =
        resources.at(kBase + std::string("ext/OS-FEDERATION/1.0/rel/identity_provider_protocol")).as_object();
    EXPECT_EQ(str(protocol.at("href-template")),
              prefix + "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}");
    EXPECT_EQ(str(protocol.at("href-vars").at("idp_id")),
              kBase + std::string("ext/OS-FEDERATION/1.0/param/idp_id"));
    EXPECT_EQ(
        str(resources.at(kBase + std::string("rel/implied_role")).at("href-vars").at("implied_role_id")),
        kBase + std::string("param/role_id"));
    EXPECT_EQ(str(resources.at(kBase + std::string("rel/limits")).at("hints").at("status")), "experimental");
    EXPECT_GT(resources.size(), 90u);
  }
  EXPECT_EQ(cloud_.get("/identity/v3").at("version.id"), "v3.14");
}

/// What the document names, answers: with anything but "not found here" or "no such method".
TEST_P(JsonHomeTest, EveryResourceIsThere) {
  const Reply r = cloud_.get("/identity/v3", {}, {{"Accept", "application/json-home"}});
  for (const auto& [relation, resource] : r.json.at("resources").as_object()) {
    const auto* plain = resource.as_object().if_contains("href");
    std::string path = str(plain ? *plain : resource.at("href-template"));
    for (size_t at = path.find('{'); at != std::string::npos; at = path.find('{'))
      path.replace(at, path.find('}') - at + 1, "x");
    const Reply answer = cloud_.call("TRACE", "/identity/v3" + path, {}, admin_);
    EXPECT_EQ(answer.status, 405) << relation;
    EXPECT_FALSE(answer.headers.get("Allow").empty()) << relation;
  }
}

TEST_P(JsonHomeTest, HeadAnswersLikeGet) {
  for (const char* path : {"/v3/users", "/v3/projects", "/v3/domains", "/v3/roles", "/v3/role_assignments",
                           "/v3/services", "/v3/limits", "/v3/policies", "/v3/OS-FEDERATION/mappings", "/v3"})
    EXPECT_EQ(cloud_.call("HEAD", path, {}, admin_).status, 200) << path;
}

INSTANTIATE_TEST_SUITE_P(Engines, JsonHomeTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
