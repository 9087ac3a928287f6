#include "enrolment/api.h"

#include <gtest/gtest.h>

#include "tests/support/api_client.h"

namespace virga::enrolment {
namespace {

class EnrolmentTest : public testing::Test {
 protected:
  EnrolmentTest() {
    open();
    cloud_.mount(enrolment_->service());
    cloud_.policy().load();
    cloud_.sign_in("admin", test::project_caller("p", {"admin", "member", "reader"}, "boss"));
    cloud_.sign_in("member", test::project_caller("p", {"member", "reader"}, "u"));
  }
  void open(const std::string& address = "192.0.2.1") {
    enrolment_ = make_enrolment({cloud_.directory() + "/master.key", address, 5001, 6642}, cloud_.database(), cloud_.clock());
  }
  std::string token(json::object wanted = {}) {
    const auto reply = cloud_.post("/enrolment/v1/tokens", {{"token", std::move(wanted)}}, "admin");
    EXPECT_EQ(reply.status, 201) << reply.body;
    return reply.at("token.secret");
  }
  test::Reply enrol(const std::string& token, const std::string& name, const CertificateRequest& request) {
    return cloud_.post("/enrolment/v1/hosts", {{"host",
                                                {{"token", token},
                                                 {"hostname", name},
                                                 {"address", "192.0.2.7"},
                                                 {"certificate_request", request.request}}}});
  }
  PeerProof proof_of(const std::string& pem) {
    const auto certificate = read_certificates(pem, "it").front();
    return {host_of(certificate), fingerprint(certificate)};
  }
  bool admit(const PeerProof& proof, const std::string& hostname) {
    return cloud_.database().read([&](db::Tx& tx) { return enrolment_->admit(tx, proof, hostname); });
  }
  /// Why it is not let in, or "".
  std::string refusal(const PeerProof& proof, const std::string& hostname) {
    try {
      admit(proof, hostname);
      return "";
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::forbidden);
      return fault.message;
    }
  }

  test::TestCloud cloud_;
  std::unique_ptr<Enrolment> enrolment_;
};

TEST_F(EnrolmentTest, AHostGetsACertificateThatNamesItAndIsLetIn) {
  const auto reply = enrol(token(), "node2", make_certificate_request("node2"));
  ASSERT_EQ(reply.status, 201) << reply.body;
  const auto certificate = read_certificates(reply.at("certificate"), "it").front();
  EXPECT_EQ(common_name(certificate), "node2");
  EXPECT_EQ(host_of(certificate).str(), reply.at("host.id"));
  EXPECT_TRUE(signed_by(certificate, read_certificates(reply.at("ca"), "ca").front()));
  EXPECT_EQ(reply.at("controllers.0"), "192.0.2.1:5001");
  EXPECT_EQ(refusal(proof_of(reply.at("certificate")), "node2"), "");
  EXPECT_NE(refusal(proof_of(reply.at("certificate")), "node3").find("was enrolled as node2"), std::string::npos);
  const auto listed = cloud_.get("/enrolment/v1/hosts", "admin");
  EXPECT_EQ(listed.at("hosts.0.hostname"), "node2");
  EXPECT_EQ(listed.at("hosts.0.address"), "192.0.2.7");
}

TEST_F(EnrolmentTest, ATokenEnrolsOneHost) {
  const std::string secret = token();
  const auto request = make_certificate_request("node2");
  const auto first = enrol(secret, "node2", request);
  ASSERT_EQ(first.status, 201);
  const auto other = enrol(secret, "node3", make_certificate_request("node3"));
  EXPECT_EQ(other.status, 403);
  EXPECT_NE(other.body.find("used already"), std::string::npos);
  // The answer was lost: the same key gets the same host again.
  const auto again = enrol(secret, "node2", request);
  ASSERT_EQ(again.status, 201) << again.body;
  EXPECT_EQ(again.at("host.id"), first.at("host.id"));
  EXPECT_EQ(refusal(proof_of(again.at("certificate")), "node2"), "");
}

TEST_F(EnrolmentTest, TokensEndAndMayBeForOneName) {
  const std::string brief = token({{"expires_in", 60}}), named = token({{"hostname", "node5"}});
  EXPECT_EQ(enrol(named, "node6", make_certificate_request("x")).status, 403);
  EXPECT_EQ(enrol(named, "node5", make_certificate_request("x")).status, 201);
  cloud_.clock().advance(std::chrono::seconds(61));
  EXPECT_NE(enrol(brief, "node7", make_certificate_request("x")).body.find("ended at"), std::string::npos);
  EXPECT_NE(enrol("nonsense", "node7", make_certificate_request("x")).body.find("none of this cloud's"), std::string::npos);
  const auto listed = cloud_.get("/enrolment/v1/tokens", "admin");
  EXPECT_EQ(listed.body.find(brief), std::string::npos);
  EXPECT_EQ(cloud_.call("DELETE", "/enrolment/v1/tokens/" + listed.at("tokens.0.id"), "", "admin").status, 204);
  EXPECT_EQ(cloud_.call("DELETE", "/enrolment/v1/tokens/" + listed.at("tokens.0.id"), "", "admin").status, 404);
}

TEST_F(EnrolmentTest, BadRequestsAreRefusedAndUseNothingUp) {
  const std::string secret = token();
  const auto good = make_certificate_request("node2");
  for (const char* name : {"", "a b", "-a", "a/b", "ä"}) EXPECT_EQ(enrol(secret, name, good).status, 400) << name;
  EXPECT_EQ(enrol(secret, "node2", {"no request", ""}).status, 400);
  std::string torn = good.request;
  torn[torn.size() / 2] = torn[torn.size() / 2] == 'A' ? 'B' : 'A';
  EXPECT_EQ(enrol(secret, "node2", {torn, ""}).status, 400);
  EXPECT_EQ(cloud_.post("/enrolment/v1/tokens", {{"token", {{"expires_in", 0}}}}, "admin").status, 400);
  EXPECT_EQ(cloud_.post("/enrolment/v1/tokens", {{"token", {{"colour", 1}}}}, "admin").status, 400);
  EXPECT_EQ(cloud_.post("/enrolment/v1/tokens", {{"token", {{"sealed", "x"}}}}, "admin").status, 400) << "of a host";
  EXPECT_EQ(cloud_.post("/enrolment/v1/tokens", {{"token", json::object()}}, "member").status, 403);
  EXPECT_EQ(enrol(secret, "node2", good).status, 201);
}

TEST_F(EnrolmentTest, ANameIsOneHosts) {
  ASSERT_EQ(enrol(token(), "node2", make_certificate_request("a")).status, 201);
  const std::string secret = token();
  EXPECT_EQ(enrol(secret, "node2", make_certificate_request("b")).status, 409);
  EXPECT_EQ(enrol(secret, "node3", make_certificate_request("b")).status, 201);
}

TEST_F(EnrolmentTest, ARenewedCertificateReplacesTheOldOneOnceItIsUsed) {
  const auto reply = enrol(token(), "node2", make_certificate_request("a"));
  const PeerProof old = proof_of(reply.at("certificate"));
  const PeerProof fresh = proof_of(enrolment_->renew(old.host, make_certificate_request("a").request));
  EXPECT_EQ(fresh.host, old.host);
  EXPECT_FALSE(admit(old, "node2"));
  EXPECT_TRUE(admit(fresh, "node2"));  // there is something to settle
  cloud_.database().write([&](db::Tx& tx) { enrolment_->settle_certificate(tx, fresh); });
  EXPECT_FALSE(admit(fresh, "node2"));
  EXPECT_NE(refusal(old, "node2").find("was replaced"), std::string::npos);
}

TEST_F(EnrolmentTest, ARemovedHostIsNotLetIn) {
  const std::string secret = token();
  const auto request = make_certificate_request("a");
  const auto reply = enrol(secret, "node2", request);
  const PeerProof proof = proof_of(reply.at("certificate"));
  EXPECT_TRUE(cloud_.database().write([&](db::Tx& tx) { return enrolment_->remove(tx, proof.host); }));
  EXPECT_NE(refusal(proof, "node2").find("not enrolled"), std::string::npos);
  EXPECT_THROW(enrolment_->renew(proof.host, make_certificate_request("a").request), Fault);
  EXPECT_EQ(enrol(secret, "node2", request).status, 403);
}

TEST_F(EnrolmentTest, AnotherControllerNeedsTheMasterKey) {
  const std::string ca = enrolment_->ca();
  const auto next = make_enrolment({cloud_.directory() + "/master.key", "192.0.2.2", 5001, 6642}, cloud_.database(), cloud_.clock());
  EXPECT_EQ(next->ca(), ca);
  const auto stranger = make_enrolment({cloud_.directory() + "/other.key", "192.0.2.3", 5001, 6642}, cloud_.database(), cloud_.clock());
  EXPECT_THROW(stranger->ca(), Fault);
}

TEST_F(EnrolmentTest, ACloudThatNobodyReachesMakesNoTokens) {
  test::TestCloud other;
  const auto enrolment = make_enrolment({other.directory() + "/master.key", "", 5001, 6642}, other.database(), other.clock());
  other.mount(enrolment->service());
  other.policy().load();
  other.sign_in("admin", test::project_caller("p", {"admin"}, "boss"));
  const auto reply = other.post("/enrolment/v1/tokens", {{"token", json::object()}}, "admin");
  EXPECT_EQ(reply.status, 409);
  EXPECT_NE(reply.body.find("cloud.api_address"), std::string::npos);
}

}  // namespace
}  // namespace virga::enrolment
