#include "base/crypto.h"
#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;

class OAuth2Test : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    make_joe();
    const Reply r =
        cloud_.post("/v3/users/" + joe_ + "/application_credentials",
                    {{"application_credential", {{"name", "client"}, {"secret", "s:ecret"}}}}, joe_token_);
    EXPECT_EQ(r.status, 201) << r.body;
    client_ = r.at("application_credential.id");
  }
  static std::string basic(const std::string& id, const std::string& secret) {
    return "Basic " + base64_encode(id + ":" + secret);
  }
  Reply ask(const std::string& authorization, const std::string& form) {
    test::Fields headers{{"Content-Type", "application/x-www-form-urlencoded"}};
    if (!authorization.empty()) headers.emplace_back("Authorization", authorization);
    return cloud_.call("POST", "/identity/v3/OS-OAUTH2/token", form, {}, headers);
  }
  std::string client_;
};

TEST_P(OAuth2Test, AClientsCredentialsGiveAToken) {
  const Reply r = ask(basic(client_, "s:ecret"), "grant_type=client_credentials");
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.at("token_type"), "Bearer");
  EXPECT_EQ(r.at("expires_in"), "3600");
  EXPECT_EQ(r.headers.get("Cache-Control"), "no-store");
  const Reply shown = show_token(r.at("access_token"));
  EXPECT_EQ(shown.status, 200);
  EXPECT_EQ(shown.at("token.user.id"), joe_);
  EXPECT_EQ(shown.at("token.application_credential.id"), client_);
  EXPECT_EQ(ask("basic " + base64_encode(client_ + ":s:ecret"), "a=b&grant_type=client%5Fcredentials").status,
            200);
}

TEST_P(OAuth2Test, RefusalsAreOAuths) {
  const auto refused = [&](const Reply& r, int status, const std::string& error) {
    EXPECT_EQ(r.status, status) << r.body;
    EXPECT_EQ(r.at("error"), error);
    EXPECT_FALSE(r.at("error_description").empty());
    EXPECT_EQ(r.headers.has("WWW-Authenticate"), status == 401);
  };
  const std::string grant = "grant_type=client_credentials";
  refused(ask("", grant), 401, "invalid_client");
  refused(ask("Bearer x", grant), 401, "invalid_client");
  refused(ask("Basic !!", grant), 401, "invalid_client");
  refused(ask(basic(client_, ""), grant), 401, "invalid_client");
  refused(ask(basic(client_, "wrong"), grant), 401, "invalid_client");
  refused(ask(basic(client_, "s:ecret"), ""), 400, "invalid_request");
  refused(ask(basic(client_, "s:ecret"), "grant_type=password"), 400, "unsupported_grant_type");
  refused(ask(basic(new_hex_id(), "x"), grant), 404, "other_error");
  for (const char* method : {"GET", "PUT", "PATCH", "DELETE"})
    refused(cloud_.call(method, "/identity/v3/OS-OAUTH2/token"), 405, "other_error");
}

INSTANTIATE_TEST_SUITE_P(Engines, OAuth2Test, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
