#include "identity/domain_config.h"

#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;

class DomainConfigTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    domain_ = make("domains", "domain", {{"name", "d"}});
    path_ = "/v3/domains/" + domain_ + "/config";
  }
  Reply put_config(json::value config) { return cloud_.put(path_, {{"config", std::move(config)}}, admin_); }
  Reply patch(const std::string& below, json::value config) {
    return cloud_.patch(path_ + below, {{"config", std::move(config)}}, admin_);
  }
  json::value ldap() {
    return {{"identity", {{"driver", "ldap"}}},
            {"ldap", {{"url", "ldap://x"}, {"user", "cn=a"}, {"password", "hidden-word"}}}};
  }
  std::string domain_, path_;
};

TEST_P(DomainConfigTest, LifeOfAConfiguration) {
  EXPECT_EQ(get("domains/" + domain_ + "/config").status, 404);
  const Reply made = put_config(ldap());
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.at("config.ldap.url"), "ldap://x");
  EXPECT_EQ(put_config(ldap()).status, 200);
  EXPECT_EQ(cloud_.get(path_ + "/ldap/user", admin_).at("config.user"), "cn=a");
  EXPECT_EQ(cloud_.get(path_ + "/identity", admin_).at("config.identity.driver"), "ldap");
  const Reply changed = patch("/ldap/url", {{"url", "ldap://y"}});
  EXPECT_EQ(changed.at("config.ldap.url"), "ldap://y");
  EXPECT_EQ(changed.at("config.identity.driver"), "ldap");
  EXPECT_EQ(patch("", {{"identity", {{"list_limit", 7}}}}).at("config.identity.list_limit"), "7");
  EXPECT_EQ(cloud_.del(path_ + "/ldap/url", admin_).status, 204);
  EXPECT_EQ(cloud_.get(path_ + "/ldap/url", admin_).status, 404);
  EXPECT_EQ(cloud_.del(path_ + "/ldap", admin_).status, 204);
  EXPECT_EQ(cloud_.del(path_ + "/ldap", admin_).status, 404);
  EXPECT_EQ(cloud_.del(path_, admin_).status, 204);
  EXPECT_EQ(cloud_.call("HEAD", path_, {}, admin_).status, 404);
}

TEST_P(DomainConfigTest, SecretsAreTakenAndNeverShown) {
  put_config(ldap());
  for (const auto& r : {cloud_.get(path_, admin_), cloud_.get(path_ + "/ldap", admin_), put_config(ldap()),
                        patch("/ldap/password", {{"password", "hidden-word"}})}) {
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.body.find("hidden-word"), std::string::npos);
  }
  EXPECT_EQ(cloud_.get(path_ + "/ldap/password", admin_).status, 404);
  patch("/ldap/url", {{"url", "ldap://u:%(password)s@h/%(other)s"}});
  const auto full = cloud_.database().read([&](db::Tx& tx) { return full_domain_config(tx, domain_); });
  EXPECT_EQ(full.at("ldap").at("url"), "ldap://u:hidden-word@h/%(other)s");
  EXPECT_EQ(full.at("ldap").at("password"), "hidden-word");
}

TEST_P(DomainConfigTest, WhatIsNoOptionIsRefused) {
  EXPECT_EQ(put_config(json::object()).status, 403);
  EXPECT_EQ(put_config({{"ldap", json::object()}}).status, 403);
  EXPECT_EQ(put_config({{"sql", {{"url", "x"}}}}).status, 403);
  EXPECT_EQ(put_config({{"ldap", {{"colour", "x"}}}}).status, 403);
  EXPECT_EQ(cloud_.get(path_ + "/nothing", admin_).status, 403);
  EXPECT_EQ(cloud_.put("/v3/domains/none/config", {{"config", ldap()}}, admin_).status, 404);
  put_config(ldap());
  EXPECT_EQ(patch("/ldap", {{"identity", {{"driver", "sql"}}}}).status, 403);
  EXPECT_EQ(patch("/ldap/url", {{"suffix", "x"}}).status, 403);
  EXPECT_EQ(patch("/ldap/suffix", {{"suffix", "x"}}).status, 404);
}

TEST_P(DomainConfigTest, DefaultsAndWhoMayReadThem) {
  const Reply all = get("domains/config/default");
  EXPECT_EQ(all.at("config.identity.driver"), "sql");
  EXPECT_EQ(all.at("config.ldap.pool_size"), "10");
  EXPECT_EQ(all.find("config.ldap.password"), nullptr);
  EXPECT_EQ(get("domains/config/ldap/default").find("config.identity"), nullptr);
  EXPECT_EQ(get("domains/config/ldap/user_filter/default").body, R"({"config":{"user_filter":null}})");
  EXPECT_EQ(get("domains/config/ldap/password/default").status, 403);
  make_joe();
  EXPECT_EQ(status_of("GET", "domains/config/default", joe_token_), 403);
  EXPECT_EQ(status_of("GET", "domains/default/config", joe_token_), 403);
  EXPECT_EQ(status_of("GET", "domains/default/config/security_compliance", joe_token_), 200);
  EXPECT_EQ(status_of("GET", "domains/default/config/security_compliance/password_regex", joe_token_), 200);
  EXPECT_EQ(status_of("GET", "domains/default/config/security_compliance/lockout_duration", joe_token_), 403);
  EXPECT_EQ(status_of("GET", "domains/" + domain_ + "/config/security_compliance", joe_token_), 403);
}

TEST_P(DomainConfigTest, GoesWithItsDomain) {
  put_config(ldap());
  EXPECT_EQ(cloud_.patch("/v3/domains/" + domain_, {{"domain", {{"enabled", false}}}}, admin_).status, 200);
  EXPECT_EQ(cloud_.del("/v3/domains/" + domain_, admin_).status, 204);
  EXPECT_TRUE(cloud_.database().read([&](db::Tx& tx) { return full_domain_config(tx, domain_); }).empty());
}

class PasswordRulesTest : public test::IdentityCloudTest {
 protected:
  Options options() const override {
    Options o = IdentityCloudTest::options();
    o.security.password_regex = "^.{2,}$";
    o.security.password_regex_description = "two characters";
    return o;
  }
};

TEST_P(PasswordRulesTest, EverybodyMayReadThem) {
  make_joe();
  const Reply all = cloud_.get("/v3/domains/default/config/security_compliance", joe_token_);
  EXPECT_EQ(all.at("config.security_compliance.password_regex"), "^.{2,}$");
  EXPECT_EQ(
      cloud_.get("/v3/domains/default/config/security_compliance/password_regex_description", joe_token_)
          .at("config.password_regex_description"),
      "two characters");
}

INSTANTIATE_TEST_SUITE_P(Engines, PasswordRulesTest, test::engines(), test::engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, DomainConfigTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
