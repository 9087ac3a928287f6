#include "base/crypto.h"
#include "base/master_key.h"
#include "identity/ec2_signature.h"
#include "identity/keys.h"
#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::project_scope;
using test::Reply;

class CredentialTest : public test::IdentityCloudTest {
 protected:
  void SetUp() override {
    IdentityCloudTest::SetUp();
    make_joe();
  }
  Reply create(const std::string& token, json::object attributes) {
    return cloud_.post("/v3/credentials", json::object{{"credential", std::move(attributes)}}, token);
  }
  json::object ec2(const std::string& blob) const {
    return {{"type", "ec2"}, {"blob", blob}, {"user_id", joe_}, {"project_id", project_}};
  }
  std::string sealed_blobs() {
    std::string all;
    for (const auto& row : cloud_.database().read(
             [](db::Tx& tx) { return tx.query("SELECT sealed_blob FROM identity_credentials ORDER BY id"); }))
      all += row.text(0) + "\n";
    return all;
  }
  /// A new EC2 credential of joe's.
  void make_ec2(const std::string& token) {
    const Reply r = cloud_.post(ec2_path(), {{"tenant_id", project_}}, token);
    ASSERT_EQ(r.status, 201) << r.body;
    access_ = r.at("credential.access");
    secret_ = r.at("credential.secret");
  }
  std::string ec2_path() const { return "/v3/users/" + joe_ + "/credentials/OS-EC2"; }
  /// Asks for the token of a request that was signed with the credential, in version 2.
  Reply ask(const std::string& token, const std::string& time = "2026-11-23T12:00:00Z",
            const std::string& host = "127.0.0.1:8788") {
    const SignedRequest request{.verb = "GET",
                                .host = host,
                                .path = "/",
                                .params = {{"Action", "DescribeInstances"},
                                           {"AWSAccessKeyId", access_},
                                           {"SignatureVersion", "2"},
                                           {"Timestamp", time}}};
    return ask_signed(token, request, *ec2_signature(request, secret_));
  }
  Reply ask_signed(const std::string& token, const SignedRequest& request, const std::string& signature) {
    json::object params;
    for (const auto& [name, value] : request.params) params[name] = value;
    return cloud_.post("/v3/ec2tokens",
                       {{"credentials",
                         {{"access", access_},
                          {"signature", signature},
                          {"verb", request.verb},
                          {"host", "127.0.0.1:8788"},
                          {"path", request.path},
                          {"params", params}}}},
                       token);
  }

  std::string access_, secret_;
};

TEST_P(CredentialTest, MadeShownChangedDeleted) {
  const Reply made =
      create(joe_token_, {{"type", "cert"}, {"blob", "secret text"}, {"user_id", joe_}, {"note", "x"}});
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string id = made.at("credential.id");
  EXPECT_EQ(made.at("credential.project_id"), "null");
  EXPECT_EQ(made.at("credential.note"), "x");
  EXPECT_EQ(cloud_.get("/v3/credentials/" + id, joe_token_).body, made.body);
  const Reply changed = cloud_.patch(
      "/v3/credentials/" + id, {{"credential", {{"blob", "other"}, {"project_id", project_}}}}, joe_token_);
  EXPECT_EQ(changed.status, 200) << changed.body;
  EXPECT_EQ(changed.at("credential.blob"), "other");
  EXPECT_EQ(changed.at("credential.type"), "cert");
  EXPECT_EQ(cloud_.del("/v3/credentials/" + id, joe_token_).status, 204);
  EXPECT_EQ(cloud_.get("/v3/credentials/" + id, admin_).at("error.message"),
            "Could not find credential: " + id + ".");
}

TEST_P(CredentialTest, IsSealedAtRestAndSealedAgainByRotation) {
  create(joe_token_, {{"type", "cert"}, {"blob", "very secret"}, {"user_id", joe_}});
  const std::string before = sealed_blobs();
  EXPECT_EQ(before.find("secret"), std::string::npos);
  for (int i = 0; i < 8; ++i) identity_->rotate_keys(true);  // more often than old keys are kept
  EXPECT_NE(sealed_blobs(), before);
  EXPECT_EQ(cloud_.get("/v3/credentials", log_in("joe", "pw", project_scope("p"))).at("credentials.0.blob"),
            "very secret");
}

TEST_P(CredentialTest, ARotationThatWasCutOffIsFinishedAtTheNextStart) {
  for (int i = 0; i < 250; ++i)  // several batches
    create(joe_token_, {{"type", "cert"}, {"blob", "secret " + std::to_string(i)}, {"user_id", joe_}});
  const std::string master = read_master_key(options().master_key_file, false);
  const auto keys = [&] { return database_keys(cloud_.database(), "credentials", master, ""); };
  const auto count = [&](KeyRing& ring) {
    return cloud_.database().read([&](db::Tx& tx) {
      size_t current = 0;
      for (const auto& row : tx.query("SELECT sealed_blob FROM identity_credentials"))
        current += ring.is_current(row.view(0));
      return current;
    });
  };
  {
    KeyRing killed(keys());  // rotated, and died before it sealed anything again
    killed.rotate(3);
    EXPECT_EQ(count(killed), 0u);
  }
  api::Policy policy;
  const auto next = identity::make_identity(options(), cloud_.database(), policy, cloud_.clock());
  next->bootstrap({.admin_password = "secret"});
  KeyRing ring(keys());
  EXPECT_EQ(count(ring), 250u);
  const identity::Rotated done = next->rotate_keys(true);
  EXPECT_EQ(done.credentials_sealed, 250);
  EXPECT_EQ(done.credentials_unreadable, 0);
  EXPECT_EQ(cloud_.get("/v3/credentials?type=cert", admin_).count("credentials"), 250u);
}

TEST_P(CredentialTest, OnesOwnOnly) {
  const std::string ann = make("users", "user", {{"name", "ann"}, {"password", "pw"}});
  grant("projects/" + project_ + "/users/" + ann + "/roles/" + role("member"));
  const std::string anns_token = log_in("ann", "pw", project_scope("p"));
  const std::string joes =
      create(joe_token_, {{"type", "a"}, {"blob", "1"}, {"user_id", joe_}}).at("credential.id");
  create(anns_token, {{"type", "b"}, {"blob", "2"}, {"user_id", ann}});
  EXPECT_EQ(create(anns_token, {{"type", "a"}, {"blob", "3"}, {"user_id", joe_}}).status, 403);
  EXPECT_EQ(cloud_.get("/v3/credentials", anns_token).each("credentials", "type"),
            std::vector<std::string>{"b"});
  EXPECT_EQ(cloud_.get("/v3/credentials?user_id=" + joe_, anns_token).count("credentials"), 0u);
  EXPECT_EQ(cloud_.get("/v3/credentials", admin_).count("credentials"), 2u);
  EXPECT_EQ(cloud_.get("/v3/credentials?type=a", admin_).count("credentials"), 1u);
  EXPECT_EQ(cloud_.get("/v3/credentials/" + joes, anns_token).status, 403);
  EXPECT_EQ(cloud_.del("/v3/credentials/" + joes, anns_token).status, 403);
  EXPECT_EQ(cloud_.patch("/v3/credentials/" + joes, {{"credential", {{"user_id", ann}}}}, joe_token_).status,
            403);
  revoke("users/" + ann);
  EXPECT_EQ(cloud_.get("/v3/credentials", admin_).count("credentials"), 1u);
}

TEST_P(CredentialTest, Ec2OnesAreFoundByTheirAccessKey) {
  const Reply made = create(joe_token_, ec2(R"({"access": "a", "secret": "s"})"));
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.at("credential.id"), to_hex(sha256("a")));
  EXPECT_EQ(create(joe_token_, ec2(R"({"access": "a", "secret": "t"})")).status, 409);
  EXPECT_EQ(create(joe_token_, ec2("no json")).status, 400);
  EXPECT_EQ(create(joe_token_, ec2(R"({"secret": "s"})")).status, 400);
  EXPECT_EQ(create(joe_token_, {{"type", "ec2"}, {"blob", R"({"access": "b"})"}, {"user_id", joe_}}).status,
            400);
  EXPECT_EQ(cloud_.get(ec2_path() + "/a", joe_token_).at("credential.secret"), "s");
}

TEST_P(CredentialTest, Ec2CredentialsOfAUser) {
  make_ec2(joe_token_);
  const Reply list = cloud_.get(ec2_path(), joe_token_);
  EXPECT_EQ(list.each("credentials", "access"), std::vector<std::string>{access_});
  EXPECT_EQ(list.at("credentials.0.tenant_id"), project_);
  EXPECT_EQ(cloud_.get(ec2_path() + "/" + access_, joe_token_).at("credential.secret"), secret_);
  EXPECT_EQ(cloud_.get(ec2_path(), admin_).count("credentials"), 1u);
  EXPECT_EQ(cloud_.post(ec2_path(), {{"tenant_id", "none"}}, joe_token_).status, 404);
  const std::string other = make("users", "user", {{"name", "ann"}, {"password", "pw"}});
  EXPECT_EQ(cloud_.get("/v3/users/" + other + "/credentials/OS-EC2", joe_token_).status, 403);
  EXPECT_EQ(
      cloud_.post("/v3/users/" + other + "/credentials/OS-EC2", {{"tenant_id", project_}}, joe_token_).status,
      403);
  EXPECT_EQ(cloud_.get(ec2_path() + "/" + access_, log_in("ann", "pw")).status, 403);
  EXPECT_EQ(cloud_.del(ec2_path() + "/" + access_, joe_token_).status, 204);
  EXPECT_EQ(cloud_.get(ec2_path() + "/" + access_, joe_token_).status, 404);
}

TEST_P(CredentialTest, ASignatureBecomesAToken) {
  make_ec2(joe_token_);
  const Reply r = ask(admin_);
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.at("token.user.id"), joe_);
  EXPECT_EQ(r.at("token.project.id"), project_);
  EXPECT_EQ(r.at("token.methods"), R"(["ec2credential"])");
  const std::string token(r.headers.get("X-Subject-Token"));
  EXPECT_EQ(validate(token), 200);
  EXPECT_EQ(ask(admin_, "2026-11-23T12:00:00Z", "127.0.0.1").status, 200);  // signed without the port
  EXPECT_EQ(ask(admin_, "2026-11-23T11:44:59Z").status, 401);
  EXPECT_EQ(ask(admin_, "noon").status, 401);
  EXPECT_EQ(ask(joe_token_).status, 403);  // services ask, not users
  EXPECT_EQ(ask("").status, 401);
  secret_ = "wrong";
  EXPECT_EQ(ask(admin_).status, 401);
  access_ = "none";
  EXPECT_EQ(ask(admin_).status, 401);
  EXPECT_EQ(cloud_.post("/v3/ec2tokens", {{"credentials", json::object{}}}, admin_).status, 401);
  EXPECT_EQ(cloud_.post("/v3/ec2tokens", json::object{}, admin_).status, 401);
  revoke("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member"));
  EXPECT_EQ(validate(token), 404);
}

TEST_P(CredentialTest, AnS3SignatureToo) {
  make_ec2(joe_token_);
  const std::string to_sign =
      "AWS4-HMAC-SHA256\n20261123T120000Z\n20261123/RegionOne/s3/aws4_request\n" + to_hex(sha256("request"));
  const auto ask_s3 = [&](const std::string& signature) {
    return cloud_.post(
        "/v3/s3tokens",
        {{"credentials",
          {{"access", access_}, {"token", base64url_encode(to_sign)}, {"signature", signature}}}},
        admin_);
  };
  EXPECT_EQ(ask_s3(*s3_signature(to_sign, secret_)).at("token.user.id"), joe_);
  EXPECT_EQ(ask_s3("x").status, 401);
  EXPECT_EQ(ask_s3("").status, 401);
}

// What a delegated token makes has no more rights than the token.
TEST_P(CredentialTest, Ec2CredentialsOfDelegatedTokensStayDelegated) {
  const Reply made = cloud_.post(
      "/v3/users/" + joe_ + "/application_credentials",
      {{"application_credential", {{"name", "x"}, {"roles", json::array{json::object{{"name", "reader"}}}}}}},
      joe_token_);
  const std::string app_token = token_of(
      cloud_.post("/v3/auth/tokens", {{"auth",
                                       {{"identity",
                                         {{"methods", json::array{"application_credential"}},
                                          {"application_credential",
                                           {{"id", made.at("application_credential.id")},
                                            {"secret", made.at("application_credential.secret")}}}}}}}}));
  // Nor does it see what would give more, or add to it.
  make_ec2(joe_token_);
  create(joe_token_, {{"type", "totp"}, {"blob", "GEZDGNBV"}, {"user_id", joe_}});
  EXPECT_EQ(cloud_.get("/v3/credentials", app_token).count("credentials"), 0u);
  EXPECT_EQ(cloud_.get(ec2_path(), app_token).count("credentials"), 0u);
  EXPECT_EQ(cloud_.get(ec2_path() + "/" + access_, app_token).status, 403);
  EXPECT_EQ(cloud_.del("/v3/credentials/" + to_hex(sha256(access_)), app_token).status, 403);
  EXPECT_EQ(create(app_token, {{"type", "totp"}, {"blob", "GEZDGNBV"}, {"user_id", joe_}}).status, 403);
  make_ec2(app_token);
  EXPECT_EQ(cloud_.get("/v3/credentials", app_token).count("credentials"), 1u);
  EXPECT_EQ(cloud_.get(ec2_path() + "/" + access_, app_token).status, 200);
  EXPECT_EQ(ask(admin_).each("token.roles", "name"), std::vector<std::string>{"reader"});
  const std::string id = to_hex(sha256(access_));
  const auto rewrite = [&](const std::string& type, const std::string& blob) {
    return cloud_
        .patch("/v3/credentials/" + id, {{"credential", {{"type", type}, {"blob", blob}}}}, joe_token_)
        .status;
  };
  const std::string bare = R"({"access": ")" + access_ + R"(", "secret": "s"})";
  EXPECT_EQ(rewrite("ec2", bare), 400);
  EXPECT_EQ(rewrite("cert", bare), 400);

  const std::string ann = make("users", "user", {{"name", "ann"}, {"password", "pw"}});
  const std::string trust = cloud_
                                .post("/v3/OS-TRUST/trusts",
                                      {{"trust",
                                        {{"trustor_user_id", joe_},
                                         {"trustee_user_id", ann},
                                         {"project_id", project_},
                                         {"impersonation", true},
                                         {"roles", json::array{json::object{{"name", "reader"}}}}}}},
                                      joe_token_)
                                .at("trust.id");
  const std::string trusted = log_in("ann", "pw", {{"OS-TRUST:trust", {{"id", trust}}}});
  EXPECT_EQ(create(trusted, {{"type", "totp"}, {"blob", "GEZDGNBV"}, {"user_id", joe_}}).status, 403);
  EXPECT_EQ(cloud_
                .post("/v3/users/" + joe_ + "/application_credentials",
                      {{"application_credential", {{"name", "y"}}}}, trusted)
                .status,
            403);
  EXPECT_EQ(
      create(joe_token_, ec2(R"({"access": "x", "secret": "s", "trust_id": ")" + trust + R"("})")).status,
      400);
  make_ec2(trusted);
  const Reply r = ask(admin_);
  EXPECT_EQ(r.at("token.OS-TRUST:trust.id"), trust);
  EXPECT_EQ(r.each("token.roles", "name"), std::vector<std::string>{"reader"});
}

INSTANTIATE_TEST_SUITE_P(Engines, CredentialTest, test::engines(), test::engine_name);

class OpenSignatureTest : public CredentialTest {
  Options options() const override {
    Options o = IdentityCloudTest::options();
    o.signatures_without_token = true;
    return o;
  }
};

TEST_P(OpenSignatureTest, ServicesOfOldNeedNoToken) {
  make_ec2(joe_token_);
  EXPECT_EQ(ask("").status, 200);
}

INSTANTIATE_TEST_SUITE_P(Engines, OpenSignatureTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
