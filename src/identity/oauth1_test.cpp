#include "identity/oauth1.h"

#include "base/crypto.h"
#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;

struct Secret {
  std::string id, secret;
};

/// "oauth_token=…&oauth_token_secret=…&…"
Secret read_form(const std::string& body) {
  const auto value = [&](std::string_view name) {
    const size_t from = body.find(std::string(name) + "=");
    const size_t start = from + name.size() + 1;
    return from == std::string::npos ? "" : body.substr(start, body.find('&', start) - start);
  };
  return {value("oauth_token"), value("oauth_token_secret")};
}

class OAuth1Test : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    make_joe();
    put("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("admin"));
    joe_token_ = log_in("joe", "pw", {{"project", {{"id", project_}}}});
    const Reply r = cloud_.post("/v3/OS-OAUTH1/consumers", {{"consumer", {{"description", "d"}}}}, admin_);
    EXPECT_EQ(r.status, 201) << r.body;
    consumer_ = {r.at("consumer.id"), r.at("consumer.secret")};
  }

  /// Signs as a client does.
  std::string sign(const std::string& path, const Secret& token, const std::string& verifier = {},
                   const std::string& nonce = new_hex_id()) {
    OAuthParameters p{
        {"oauth_consumer_key", consumer_.id},
        {"oauth_nonce", nonce},
        {"oauth_signature_method", "HMAC-SHA1"},
        {"oauth_timestamp", std::to_string(cloud_.clock().now().time_since_epoch().count() / 1000000)},
        {"oauth_version", "1.0"}};
    if (!token.id.empty()) p["oauth_token"] = token.id;
    if (!verifier.empty()) p["oauth_verifier"] = verifier;
    const auto request = test::make_request("POST", path);
    p["oauth_signature"] = base64_encode(hmac_sha1(
        consumer_.secret + "&" + token.secret, signature_base(request, "http://127.0.0.1:5000" + path, p)));
    std::string header = "OAuth ";
    for (const auto& [name, value] : p)
      header += fmt::format("{}{}=\"{}\"", header.size() > 6 ? ", " : "", name, http::percent_encode(value));
    return header;
  }
  Reply ask(const std::string& path, const std::string& authorization) {
    return cloud_.call("POST", path, {}, {},
                       {{"Authorization", authorization}, {"Requested-Project-Id", project_}});
  }
  Secret request_token() {
    const Reply r = ask(kRequest, sign(kRequest, {}));
    EXPECT_EQ(r.status, 201) << r.body;
    EXPECT_EQ(r.headers.get("Content-Type"), "application/x-www-form-urlencoded");
    return read_form(r.body);
  }
  std::string authorize(const Secret& token, json::array roles) {
    const Reply r =
        cloud_.put("/v3/OS-OAUTH1/authorize/" + token.id, {{"roles", std::move(roles)}}, joe_token_);
    EXPECT_EQ(r.status, 200) << r.body;
    return r.at("token.oauth_verifier");
  }
  Secret access_token() {
    const Secret asked = request_token();
    const std::string verifier = authorize(asked, {json::object{{"name", "member"}}});
    const Reply r = ask(kAccess, sign(kAccess, asked, verifier));
    EXPECT_EQ(r.status, 201) << r.body;
    return read_form(r.body);
  }

  const std::string kRequest = "/identity/v3/OS-OAUTH1/request_token",
                    kAccess = "/identity/v3/OS-OAUTH1/access_token";
  Secret consumer_;
};

TEST_P(OAuth1Test, ConsumersTellTheirSecretOnce) {
  const std::string path = "OS-OAUTH1/consumers/" + consumer_.id;
  EXPECT_EQ(consumer_.secret.size(), 32u);
  for (const auto& r : {get(path), get("OS-OAUTH1/consumers"),
                        cloud_.patch("/v3/" + path, {{"consumer", {{"description", "e"}}}}, admin_)}) {
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.body.find(consumer_.secret), std::string::npos);
  }
  EXPECT_EQ(get(path).at("consumer.description"), "e");
  EXPECT_EQ(cloud_.patch("/v3/" + path, {{"consumer", {{"secret", "mine"}}}}, admin_).status, 400);
  EXPECT_EQ(cloud_.del("/v3/" + path, admin_).status, 204);
  EXPECT_EQ(get(path).status, 404);
}

TEST_P(OAuth1Test, FromRequestToAccess) {
  const Secret token = access_token();
  const std::string tokens = "users/" + joe_ + "/OS-OAUTH1/access_tokens", one = tokens + "/" + token.id;
  EXPECT_EQ(get(tokens).each("access_tokens", "id"), std::vector<std::string>{token.id});
  const Reply shown = get(one);
  EXPECT_EQ(shown.at("access_token.project_id"), project_);
  EXPECT_EQ(shown.at("access_token.consumer_id"), consumer_.id);
  EXPECT_EQ(shown.at("access_token.expires_at"), "2026-11-24T12:00:00.000000Z");
  EXPECT_EQ(shown.body.find(token.secret), std::string::npos);
  EXPECT_EQ(get(one + "/roles").each("roles", "name"), std::vector<std::string>{"member"});
  EXPECT_EQ(get(one + "/roles/" + role("member")).at("role.name"), "member");
  EXPECT_EQ(get(one + "/roles/" + role("admin")).status, 404);
  EXPECT_EQ(get("users/other/OS-OAUTH1/access_tokens/" + token.id).status, 404);
  EXPECT_EQ(cloud_.del("/v3/" + one, admin_).status, 204);
  EXPECT_EQ(get(one).status, 404);
}

TEST_P(OAuth1Test, ARequestTokenServesOnce) {
  const Secret asked = request_token();
  const std::string verifier = authorize(asked, {json::object{{"id", role("member")}}});
  EXPECT_EQ(ask(kAccess, sign(kAccess, asked, "wrongone")).status, 401);
  EXPECT_EQ(ask(kAccess, sign(kAccess, asked, verifier)).status, 201);
  EXPECT_EQ(ask(kAccess, sign(kAccess, asked, verifier)).status, 404);
}

TEST_P(OAuth1Test, WhatIsNotSignedRightIsRefused) {
  const Secret asked = request_token();
  EXPECT_EQ(ask(kAccess, sign(kAccess, asked, "nothing1")).status, 401) << "not authorized yet";
  const std::string once = sign(kRequest, {});
  EXPECT_EQ(ask(kRequest, once).status, 201);
  EXPECT_EQ(ask(kRequest, once).status, 401) << "seen before";
  EXPECT_EQ(ask(kRequest, "Basic x").status, 400);
  EXPECT_EQ(ask(kRequest, sign(kAccess, {})).status, 401) << "signed for another path";
  const std::string old = sign(kRequest, {});
  cloud_.clock().advance(std::chrono::seconds(601));
  EXPECT_EQ(ask(kRequest, old).status, 400);
  consumer_.secret = "guess";
  EXPECT_EQ(ask(kRequest, sign(kRequest, {})).status, 401);
  consumer_.id = new_hex_id();
  EXPECT_EQ(ask(kRequest, sign(kRequest, {})).status, 404);
}

TEST_P(OAuth1Test, OnlyOwnRolesAreGivenAndInTime) {
  const Secret asked = request_token();
  const auto try_authorize = [&](json::value roles) {
    return cloud_.put("/v3/OS-OAUTH1/authorize/" + asked.id, {{"roles", std::move(roles)}}, joe_token_)
        .status;
  };
  EXPECT_EQ(try_authorize(json::array{json::object{{"name", "service"}}}), 401);
  EXPECT_EQ(try_authorize(json::array{json::object{{"name", "none"}}}), 404);
  EXPECT_EQ(try_authorize(json::array{json::object{{"id", "a"}, {"name", "b"}}}), 400);
  EXPECT_EQ(try_authorize("admin"), 400);
  cloud_.clock().advance(std::chrono::hours(9));
  joe_token_ = log_in("joe", "pw", {{"project", {{"id", project_}}}});
  EXPECT_EQ(try_authorize(json::array{}), 401) << "the request token is over";
}

TEST_P(OAuth1Test, AnAccessTokenLogsInWithTheRolesGiven) {
  const Secret access = access_token();
  const std::string path = "/identity/v3/auth/tokens";
  const auto log_in_signed = [&](json::value scope = nullptr) {
    json::object auth{{"identity", {{"methods", json::array{"oauth1"}}, {"oauth1", json::object()}}}};
    if (!scope.is_null()) auth["scope"] = std::move(scope);
    return cloud_.post(path, json::object{{"auth", std::move(auth)}}, {},
                       {{"Authorization", sign(path, access)}});
  };
  const Reply r = log_in_signed();
  const std::string token = token_of(r);
  EXPECT_EQ(r.at("token.user.id"), joe_);
  EXPECT_EQ(r.at("token.project.id"), project_);
  EXPECT_EQ(r.at("token.methods"), R"(["oauth1"])");
  EXPECT_EQ(r.each("token.roles", "name"), (std::vector<std::string>{"member", "reader"})) << "not admin";
  EXPECT_EQ(r.at("token.OS-OAUTH1.access_token_id"), access.id);
  EXPECT_EQ(r.at("token.OS-OAUTH1.consumer_id"), consumer_.id);
  EXPECT_EQ(status_of("GET", "users", token), 403);
  EXPECT_EQ(log_in_signed({{"project", {{"name", "admin"}, {"domain", {{"id", "default"}}}}}}).status, 403);
  EXPECT_EQ(cloud_.post(path, test::token_auth(token, "unscoped")).status, 403) << "it keeps its scope";
  EXPECT_EQ(validate(token), 200);
  revoke("users/" + joe_ + "/OS-OAUTH1/access_tokens/" + access.id);
  EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(log_in_signed().status, 401);
}

TEST_P(OAuth1Test, ATokenEndsWithARoleThatWasGiven) {
  const Secret access = access_token();
  const std::string path = "/identity/v3/auth/tokens";
  const json::value body{
      {"auth", {{"identity", {{"methods", json::array{"oauth1"}}, {"oauth1", json::object()}}}}}};
  const std::string token = token_of(cloud_.post(path, body, {}, {{"Authorization", sign(path, access)}}));
  revoke("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("admin"));
  EXPECT_EQ(validate(token), 200) << "member is held by itself too";
  revoke("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member"));
  EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(cloud_.post(path, body, {}, {{"Authorization", "OAuth oauth_token=\"x\""}}).status, 400);
}

TEST_P(OAuth1Test, DelegatedRightsAreNotGivenOn) {
  const Secret access = access_token();
  const std::string path = "/identity/v3/auth/tokens";
  put("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("admin"));
  const Secret asked = request_token();
  const std::string verifier = authorize(asked, {json::object{{"name", "admin"}}});
  const Secret strong = read_form(ask(kAccess, sign(kAccess, asked, verifier)).body);
  const json::value body{
      {"auth", {{"identity", {{"methods", json::array{"oauth1"}}, {"oauth1", json::object()}}}}}};
  const std::string token = token_of(cloud_.post(path, body, {}, {{"Authorization", sign(path, strong)}}));
  const Secret more = request_token();
  EXPECT_EQ(cloud_.put("/v3/OS-OAUTH1/authorize/" + more.id, {{"roles", json::array{}}}, token).status, 403);
}

TEST_P(OAuth1Test, TokensGoWithTheirConsumerAndUser) {
  const Secret token = access_token();
  const auto there = [&] {
    return cloud_.database().read([&](db::Tx& tx) { return find_access_token(tx, token.id).has_value(); });
  };
  EXPECT_TRUE(there());
  EXPECT_EQ(cloud_.del("/v3/users/" + joe_, admin_).status, 204);
  EXPECT_FALSE(there());
}

INSTANTIATE_TEST_SUITE_P(Engines, OAuth1Test, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
