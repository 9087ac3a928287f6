// Amazon's own examples, and RFC 6238's.
#include "identity/ec2_signature.h"

#include <gtest/gtest.h>

#include "base/crypto.h"
#include "base/fault.h"
#include "identity/totp.h"

namespace virga::identity {
namespace {

constexpr const char* kSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

SignedRequest version2() {
  return {.verb = "GET",
          .host = "elasticmapreduce.amazonaws.com",
          .path = "/",
          .params = {{"Action", "DescribeJobFlows"},
                     {"AWSAccessKeyId", "AKIAIOSFODNN7EXAMPLE"},
                     {"SignatureVersion", "2"},
                     {"Timestamp", "2011-10-03T15:19:30"},
                     {"Version", "2009-03-31"}}};
}

SignedRequest version4() {
  return {.verb = "GET",
          .host = "iam.amazonaws.com",
          .path = "/",
          .params = {{"Action", "ListUsers"}, {"Version", "2010-05-08"}},
          .headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
                      {"Host", "iam.amazonaws.com"},
                      {"X-Amz-Date", "20150830T123600Z"},
                      {"Authorization",
                       "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
                       "SignedHeaders=content-type;host;x-amz-date, Signature=x"}},
          .body_hash = to_hex(sha256(""))};
}

TEST(Ec2Signature, Version2) {
  EXPECT_EQ(ec2_signature(version2(), kSecret), "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs=");
}

TEST(Ec2Signature, Version4) {
  EXPECT_EQ(ec2_signature(version4(), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

TEST(Ec2Signature, Version4InTheQuery) {
  SignedRequest r = version4();
  const auto by_header = ec2_signature(r, kSecret);
  r.headers.erase("Authorization");
  EXPECT_FALSE(ec2_signature(r, kSecret));
  r.params["X-Amz-Algorithm"] = "AWS4-HMAC-SHA256";
  r.params["X-Amz-Credential"] = "AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request";
  r.params["X-Amz-SignedHeaders"] = "content-type;host;x-amz-date";
  const auto by_query = ec2_signature(r, kSecret);
  EXPECT_TRUE(by_query);
  EXPECT_NE(by_query, by_header);  // the query is signed too
}

TEST(Ec2Signature, WhatIsIncompleteHasNone) {
  SignedRequest r = version2();
  r.params["SignatureVersion"] = "1";
  EXPECT_FALSE(ec2_signature(r, kSecret));
  r.params.erase("SignatureVersion");
  EXPECT_FALSE(ec2_signature(r, kSecret));
  SignedRequest v4 = version4();
  v4.headers["X-Amz-Date"] = "20150831T123600Z";  // not the credential's day
  EXPECT_FALSE(ec2_signature(v4, kSecret));
  for (const char* odd : {"AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=A/20150831, SignedHeaders=host",
                          "AWS4-HMAC-SHA256 Credential=, SignedHeaders="}) {
    v4.headers["Authorization"] = odd;
    EXPECT_FALSE(ec2_signature(v4, kSecret)) << odd;
  }
}

TEST(S3Signature, BothForms) {
  EXPECT_EQ(s3_signature("GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/johnsmith/photos/puppy.jpg", kSecret),
            "bWq2s1WEIj+Ydj0vQ697zp+IXMU=");
  EXPECT_EQ(s3_signature("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
                         "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
                         kSecret),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  EXPECT_FALSE(s3_signature("AWS4-HMAC-SHA256\nx\ny", kSecret));
  EXPECT_FALSE(s3_signature("AWS4-HMAC-SHA256\nd\n20130524/us-east-1/ec2/aws4_request\nh", kSecret));
}

TEST(SigningTime, InAnyOfItsPlaces) {
  const auto at = parse_time("2026-11-23T12:00:00Z");
  EXPECT_EQ(signing_time({.params = {{"Timestamp", "2026-11-23T12:00:00Z"}}}), at);
  EXPECT_EQ(signing_time({.headers = {{"X-Amz-Date", "20261123T120000Z"}}}), at);
  EXPECT_EQ(signing_time({.params = {{"X-Amz-Date", "20261123T120000Z"}}}), at);
  EXPECT_EQ(signing_time({}), std::nullopt);
  EXPECT_THROW(signing_time({.params = {{"Timestamp", "noon"}}}), Fault);
  EXPECT_THROW(signing_time({.params = {{"X-Amz-Date", "aaaaaaaaTbbbbbbZ"}}}), Fault);
}

TEST(Totp, Rfc6238) {
  const std::string key = "12345678901234567890";
  const auto at = [](int64_t seconds) { return Time(std::chrono::seconds(seconds)); };
  EXPECT_EQ(totp(key, at(59)), "287082");
  EXPECT_EQ(totp(key, at(1111111109)), "081804");
  EXPECT_EQ(totp(key, at(1111111111)), "050471");
  EXPECT_EQ(totp(key, at(1234567890)), "005924");
  EXPECT_EQ(totp(key, at(20000000000)), "353130");
}

TEST(Totp, TheLastHalfMinuteStillCounts) {
  const std::string seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
  const auto at = [](int64_t seconds) { return Time(std::chrono::seconds(seconds)); };
  EXPECT_TRUE(totp_matches(seed, "287082", at(59), 1));
  EXPECT_TRUE(totp_matches(seed, "287082", at(89), 1));
  EXPECT_FALSE(totp_matches(seed, "287082", at(89), 0));
  EXPECT_FALSE(totp_matches(seed, "287082", at(90), 1));
  EXPECT_FALSE(totp_matches(seed, "287082", at(29), 1));
  EXPECT_FALSE(totp_matches("no base32!", "287082", at(59), 1));
  EXPECT_FALSE(totp_matches("", totp("", at(59)), at(59), 1));
}

}  // namespace
}  // namespace virga::identity
