#include "identity/mapping_rules.h"
#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;
using Names = std::vector<std::string>;

json::array good_rules() {
  return parse_json(R"([{"local": [{"user": {"name": "{0}", "domain": {"name": "D"}, "type": "ephemeral"}},
                                   {"group": {"id": "g"}}, {"group": {"name": "g", "domain": {"id": "d"}}},
                                   {"groups": "{1}", "domain": {"id": "d"}},
                                   {"projects": [{"name": "p", "roles": [{"name": "member"}]}]}],
                         "remote": [{"type": "REMOTE_USER"}, {"type": "x", "any_one_of": ["a"], "regex": true},
                                    {"type": "y", "whitelist": ["b"]}]}])")
      .as_array();
}

TEST(MappingRules, TakesWhatTheSchemaTakes) {
  EXPECT_NO_THROW(check_mapping_rules(good_rules()));
}

TEST(MappingRules, RefusesEverythingElse) {
  for (const char* text : {
           R"([])",
           R"({})",
           R"([{"local": []}])",
           R"([{"local": [], "remote": []}])",
           R"([{"local": [], "remote": [{"type": 1}]}])",
           R"([{"local": [], "remote": [{"any_one_of": []}]}])",
           R"([{"local": [], "remote": [{"type": "a", "any_one_of": [], "whitelist": []}]}])",
           R"([{"local": [], "remote": [{"type": "a", "regex": true}]}])",
           R"([{"local": [], "remote": [{"type": "a", "blacklist": "x"}]}])",
           R"([{"local": [], "remote": [{"type": "a"}], "more": 1}])",
           R"([{"local": [{"user": {"type": "other"}}], "remote": [{"type": "a"}]}])",
           R"([{"local": [{"user": {"colour": "x"}}], "remote": [{"type": "a"}]}])",
           R"([{"local": [{"group": {"name": "g"}}], "remote": [{"type": "a"}]}])",
           R"([{"local": [{"group": {"id": "g", "name": "n"}}], "remote": [{"type": "a"}]}])",
           R"([{"local": [{"projects": [{"name": "p"}]}], "remote": [{"type": "a"}]}])",
           R"([{"local": [{"groups": ["x"]}], "remote": [{"type": "a"}]}])",
       })
    EXPECT_THROW(check_mapping_rules(parse_json(text)), Fault) << text;
}

class FederationTest : public test::IdentityCloudTest {
 protected:
  Reply put_json(const std::string& path, const std::string& name, json::object body) {
    return cloud_.put("/v3/OS-FEDERATION/" + path, json::object{{name, std::move(body)}}, admin_);
  }
  Reply patch(const std::string& path, const std::string& name, json::object body) {
    return cloud_.patch("/v3/OS-FEDERATION/" + path, json::object{{name, std::move(body)}}, admin_);
  }
  Reply fetch(const std::string& path) { return get("OS-FEDERATION/" + path); }
  int del(const std::string& path) { return cloud_.del("/v3/OS-FEDERATION/" + path, admin_).status; }
};

TEST_P(FederationTest, IdentityProviders) {
  const Reply made =
      put_json("identity_providers/a", "identity_provider", {{"remote_ids", json::array{"r2", "r1"}}});
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.at("identity_provider.enabled"), "false");
  EXPECT_EQ(made.at("identity_provider.links.protocols"),
            "http://127.0.0.1:5000/v3/OS-FEDERATION/identity_providers/a/protocols");
  const std::string domain = made.at("identity_provider.domain_id");
  EXPECT_EQ(get("domains/" + domain).status, 200) << "a domain of its own";
  EXPECT_EQ(put_json("identity_providers/a", "identity_provider", json::object()).status, 409);
  EXPECT_EQ(put_json("identity_providers/b", "identity_provider", {{"remote_ids", json::array{"r1"}}}).status,
            409);
  EXPECT_EQ(get("domains").count("domains"), 2u) << "a refused provider leaves no domain";
  EXPECT_EQ(
      put_json("identity_providers/b", "identity_provider", {{"domain_id", "default"}, {"enabled", true}})
          .status,
      201);
  EXPECT_EQ(put_json("identity_providers/c", "identity_provider", {{"domain_id", "none"}}).status, 404);
  EXPECT_EQ(put_json("identity_providers/c", "identity_provider", {{"colour", "red"}}).status, 400);
  EXPECT_EQ(put_json("identity_providers/c", "identity_provider", {{"authorization_ttl", -1}}).status, 400);
  EXPECT_EQ(fetch("identity_providers?enabled=true").each("identity_providers", "id"), Names{"b"});
  EXPECT_EQ(fetch("identity_providers?id__contains=a").each("identity_providers", "id"), Names{"a"});
  const Reply changed =
      patch("identity_providers/a", "identity_provider", {{"authorization_ttl", 5}, {"remote_ids", nullptr}});
  EXPECT_EQ(changed.at("identity_provider.authorization_ttl"), "5");
  EXPECT_EQ(changed.at("identity_provider.remote_ids"), "[]");
  EXPECT_EQ(patch("identity_providers/a", "identity_provider", {{"domain_id", "default"}}).status, 400);
  cloud_.patch("/v3/domains/" + domain, {{"domain", {{"enabled", false}}}}, admin_);
  EXPECT_EQ(cloud_.del("/v3/domains/" + domain, admin_).status, 204);
  EXPECT_EQ(fetch("identity_providers/a").status, 404) << "gone with its domain";
  EXPECT_EQ(del("identity_providers/b"), 204);
}

TEST_P(FederationTest, MappingsAndProtocols) {
  EXPECT_EQ(put_json("mappings/m", "mapping", {{"rules", json::array{}}}).status, 400);
  EXPECT_EQ(put_json("mappings/m", "mapping", json::object()).status, 400);
  EXPECT_EQ(put_json("mappings/m", "mapping", {{"rules", good_rules()}}).status, 201);
  EXPECT_EQ(put_json("mappings/m", "mapping", {{"rules", good_rules()}}).status, 409);
  EXPECT_EQ(fetch("mappings/m").at("mapping.rules.0.remote.0.type"), "REMOTE_USER");
  EXPECT_EQ(patch("mappings/none", "mapping", {{"rules", good_rules()}}).status, 404);
  EXPECT_EQ(patch("mappings/m", "mapping", {{"rules", good_rules()}}).status, 200);
  EXPECT_EQ(fetch("mappings").each("mappings", "id"), Names{"m"});
  const std::string path = "identity_providers/i/protocols/saml2";
  EXPECT_EQ(put_json(path, "protocol", {{"mapping_id", "m"}}).status, 404) << "no such provider";
  put_json("identity_providers/i", "identity_provider", json::object());
  EXPECT_EQ(put_json(path, "protocol", {{"mapping_id", "none"}}).status, 400);
  const Reply made = put_json(path, "protocol", {{"mapping_id", "m"}, {"remote_id_attribute", "R"}});
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.at("protocol.links.identity_provider"),
            "http://127.0.0.1:5000/v3/OS-FEDERATION/identity_providers/i");
  EXPECT_EQ(fetch(path).at("protocol.remote_id_attribute"), "R");
  EXPECT_EQ(patch(path, "protocol", {{"mapping_id", "none"}}).status, 400);
  EXPECT_EQ(fetch("identity_providers/i/protocols").each("protocols", "id"), Names{"saml2"});
  EXPECT_EQ(del("identity_providers/i"), 204);
  EXPECT_EQ(fetch(path).status, 404);
  EXPECT_EQ(del("mappings/m"), 204);
}

TEST_P(FederationTest, ServiceProviders) {
  const json::object good{{"auth_url", "https://a"}, {"sp_url", "https://b"}};
  const Reply made = put_json("service_providers/s", "service_provider", good);
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.at("service_provider.relay_state_prefix"), "ss:mem:");
  EXPECT_EQ(put_json("service_providers/s", "service_provider", good).status, 409);
  EXPECT_EQ(put_json("service_providers/t", "service_provider", {{"auth_url", "https://a"}}).status, 400);
  EXPECT_EQ(put_json("service_providers/t", "service_provider", {{"auth_url", "x"}, {"sp_url", "https://b"}})
                .status,
            400);
  EXPECT_EQ(
      patch("service_providers/s", "service_provider", {{"enabled", true}}).at("service_provider.sp_url"),
      "https://b");
  EXPECT_EQ(fetch("service_providers?enabled=true").each("service_providers", "id"), Names{"s"});
  EXPECT_EQ(del("service_providers/s"), 204);
  EXPECT_EQ(fetch("service_providers/s").status, 404);
}

TEST_P(FederationTest, OthersMayNotAndLoginsAreNotThere) {
  make_joe();
  EXPECT_EQ(status_of("GET", "OS-FEDERATION/mappings", joe_token_), 403);
  EXPECT_EQ(status_of("PUT", "OS-FEDERATION/identity_providers/x", joe_token_), 403);
  EXPECT_EQ(cloud_.get("/v3/OS-FEDERATION/projects", joe_token_).each("projects", "id"), Names{project_});
  EXPECT_EQ(cloud_.get("/v3/OS-FEDERATION/domains", joe_token_).count("domains"), 0u);
  for (const char* path :
       {"OS-FEDERATION/identity_providers/i/protocols/p/auth", "auth/OS-FEDERATION/websso/saml2",
        "auth/OS-FEDERATION/identity_providers/i/protocols/p/websso", "auth/OS-FEDERATION/saml2"}) {
    const Reply r = cloud_.call("POST", "/v3/" + std::string(path));
    EXPECT_EQ(r.status, 501) << path;
    EXPECT_NE(r.at("error.message").find("Federated login"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, FederationTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
