// Signatures made by oauthlib, the library that OpenStack's clients sign with.
#include "identity/oauth_signature.h"

#include <gtest/gtest.h>

#include "tests/support/api_client.h"

namespace virga::identity {
namespace {

constexpr const char* kUrl = "HTTPS://API.example.com:443/1/statuses/update.json";

http::Request signed_request(const std::string& method, const std::string& signature) {
  http::Request r = test::make_request("POST", "/1/statuses/update.json?include_entities=true&a=%20b%2Bc",
                                       "status=Hello+Ladies+%2B+Gentlemen%21");
  r.headers.set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
  r.headers.set("Authorization",
                "OAuth realm=\"any\", oauth_nonce=\"kYjzVBB8Y0\", oauth_timestamp=\"1318622958\", "
                "oauth_version=\"1.0\", oauth_signature_method=\"" +
                    method +
                    "\", oauth_consumer_key=\"xvz1evFS4wEEPTGEFPHBog\", oauth_token=\"370773112-Gm\", " +
                    "oauth_signature=\"" + signature + "\"");
  return r;
}

bool holds(const http::Request& r, std::string_view consumer, std::string_view token) {
  return signature_holds(r, kUrl, read_oauth_header(r), consumer, token);
}

constexpr std::string_view kConsumer = "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw", kToken = "LswwdoUa&x";

TEST(OAuthSignature, HoldsAsOauthlibMadeIt) {
  EXPECT_TRUE(holds(signed_request("HMAC-SHA1", "vTYDC0DyfjV9nGROWk8rYfevDVo%3D"), kConsumer, kToken));
  EXPECT_TRUE(holds(signed_request("HMAC-SHA256", "sFUkBKjLDdApoVQWWTfljTSaL9%2BRc3BaQx4GEMc7WK0%3D"),
                    kConsumer, kToken));
}

TEST(OAuthSignature, AnyChangeBreaksIt) {
  http::Request r = signed_request("HMAC-SHA1", "vTYDC0DyfjV9nGROWk8rYfevDVo%3D");
  EXPECT_FALSE(holds(r, kConsumer, "other"));
  EXPECT_FALSE(holds(r, "other", kToken));
  r.query[0].second = "false";
  EXPECT_FALSE(holds(r, kConsumer, kToken));
  r = signed_request("HMAC-SHA1", "vTYDC0DyfjV9nGROWk8rYfevDVo%3D");
  r.body += "&more=1";
  EXPECT_FALSE(holds(r, kConsumer, kToken));
  r = signed_request("HMAC-SHA1", "vTYDC0DyfjV9nGROWk8rYfevDVo%3D");
  r.method = "PUT";
  EXPECT_FALSE(holds(r, kConsumer, kToken));
  EXPECT_FALSE(holds(signed_request("HMAC-SHA1", ""), kConsumer, kToken));
}

TEST(OAuthSignature, WhatCannotBeCheckedIsRefused) {
  EXPECT_THROW(holds(signed_request("PLAINTEXT", "x"), kConsumer, kToken), Fault);
  http::Request r = signed_request("HMAC-SHA1", "x");
  r.headers.set("Authorization", "Basic abc");
  EXPECT_THROW(read_oauth_header(r), Fault);
  r.headers.set("Authorization", "OAuth oauth_token=\"a\", oauth_token=\"b\"");
  EXPECT_THROW(read_oauth_header(r), Fault);
  r.headers.set("Authorization", "OAuth nonsense");
  EXPECT_THROW(read_oauth_header(r), Fault);
  r.headers.set("Authorization", "OAuth oauth_version=\"2.0\"");
  EXPECT_THROW(holds(r, kConsumer, kToken), Fault);
}

}  // namespace
}  // namespace virga::identity
