// The conventions around each answer, through a real dispatcher; some through a real server and socket.
#include "api/conventions.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <zlib.h>

#include "api/compression.h"
#include "api/request_id.h"
#include "support/api_client.h"
#include "support/listening_port.h"

namespace virga::api {
namespace {

using test::make_request;
using test::Reply;
using test::roundtrip;

/// What an observer saw of each request.
struct Witness final : Observer {
  std::vector<RequestFacts> seen;
  int began_count = 0;
  void began(const RequestFacts&) override { ++began_count; }
  void finished(const RequestFacts& facts) override { seen.push_back(facts); }
};

std::string gunzip(const std::string& packed) {
  std::string out(1 << 20, '\0');
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

class ConventionsTest : public ::testing::Test {
 protected:
  static constexpr size_t kLong = 5000;

  Dispatcher& cloud(ConventionOptions options = {}) {
    options.observers.push_back(&witness_);
    const auto text = [](Call&) { return reply(200, json::object{{"text", std::string(kLong, 'x')}}); };
    service_.name = "nova";
    service_.type = "compute";
    service_.prefix = "/compute";
    service_.microversions = Microversions{"compute", "X-OpenStack-Nova-API-Version", {2, 1}, {2, 93}};
    service_.routes.push_back({"GET", "/things", "", text});
    service_.routes.push_back({"POST", "/things", "", text});
    service_.routes.push_back({"GET", "/things/{thing_id}", "", [](Call&) {
                                 return reply(200, json::object{{"id", 1}});
                               }});
    service_.routes.push_back({"GET", "/v3/auth/catalog", "", text});
    service_.routes.push_back({"GET", "/later", "", [this](Call& call) {
                                 kept_ = call.defer();
                                 return reply(500);
                               }});
    service_.routes.push_back({"GET", "/never", "", [](Call& call) {
                                 call.defer();  // and let go
                                 return reply(200);
                               }});
    service_.routes.push_back({"GET", "/stream", "", [](Call&) {
                                 http::Response r;
                                 r.source = [left = 3](std::span<char> into) mutable {
                                   if (left-- == 0) return size_t{0};
                                   std::fill_n(into.begin(), 1000, 'y');
                                   return size_t{1000};
                                 };
                                 return r;
                               }});
    other_.name = "neutron";
    other_.type = "network";
    other_.prefix = "/network";
    other_.faults = FaultStyle::neutron;
    other_.routes.push_back({"POST", "/v2.0/networks", "", text});
    dispatcher_ = std::make_unique<Dispatcher>(DispatcherOptions{"", std::move(options)}, policy_, callers_);
    dispatcher_->mount(service_);
    dispatcher_->mount(other_);
    callers_.sign_in("ann", test::project_caller("p", {"member"}, "ann"));
    callers_.sign_in("bob", test::project_caller("p", {"member"}, "bob"));
    return *dispatcher_;
  }
  Reply call(const std::string& method, const std::string& target, const test::Fields& fields = {},
             std::string_view token = {}) {
    return roundtrip(*dispatcher_, make_request(method, target, method == "POST" ? "{}" : "", token, fields));
  }

  Witness witness_;
  Policy policy_;
  test::KnownCallers callers_;
  Service service_, other_;
  std::shared_ptr<http::Responder> kept_;
  std::unique_ptr<Dispatcher> dispatcher_;
};

// ---- ids
// --------------------------------------------------------------------------------------------------------------

TEST(RequestId, IsGlobalOnlyInOsloMiddlewaresForm) {
  EXPECT_TRUE(is_global_request_id("req-3c35f2b1-6b4e-4f8a-9d4e-0123456789ab"));
  for (const char* bad :
       {"", "req-", "3c35f2b1-6b4e-4f8a-9d4e-0123456789ab", "req-3C35f2b1-6b4e-4f8a-9d4e-0123456789ab",
        "req-3c35f2b1-6b4e-4f8a-9d4e-0123456789ab ", "req-3c35f2b1-6b4e-4f8a-9d4e-0123456789a\n",
        "req-3c35f2b106b4e-4f8a-9d4e-0123456789ab", "req-3c35f2b1-6b4e-4f8a-9d4e-0123456789a-"})
    EXPECT_FALSE(is_global_request_id(bad)) << bad;
}

TEST_F(ConventionsTest, EachAnswerHasAnIdOfItsOwnAndTheCallersIsKept) {
  cloud();
  const std::string global = "req-3c35f2b1-6b4e-4f8a-9d4e-0123456789ab";
  const Reply r = call("GET", "/compute/things", {{"X-Openstack-Request-Id", global}});
  const std::string own(r.headers.get("X-Openstack-Request-Id"));
  EXPECT_TRUE(is_global_request_id(own)) << own;
  EXPECT_NE(own, global);
  EXPECT_EQ(r.headers.get("X-Compute-Request-Id"), own);
  ASSERT_EQ(witness_.seen.size(), 1u);
  EXPECT_EQ(witness_.seen[0].global_request_id, global);
  EXPECT_EQ(witness_.seen[0].request_id, own);
  call("GET", "/compute/things", {{"X-Openstack-Request-Id", "\" injected"}});
  EXPECT_EQ(witness_.seen.at(1).global_request_id, "");
  EXPECT_FALSE(call("POST", "/network/v2.0/networks").headers.has("X-Compute-Request-Id"));
}

// ---- every kind of answer
// ---------------------------------------------------------------------------------------------

TEST_F(ConventionsTest, ObserversSeeEachRequestOnceWithItsFacts) {
  cloud();
  call("GET", "/compute/things/5?secret=1", {}, "ann");
  call("GET", "/compute/none");
  call("GET", "/elsewhere");
  ASSERT_EQ(witness_.seen.size(), 3u);
  EXPECT_EQ(witness_.began_count, 3);
  const RequestFacts& first = witness_.seen[0];
  EXPECT_EQ(first.path, "/compute/things/5");
  EXPECT_EQ(first.route->path.text, "/things/{thing_id}");
  EXPECT_EQ(first.caller->user_id, "ann");
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(first.bytes, 8u);
  EXPECT_EQ(witness_.seen[1].status, 404);
  EXPECT_EQ(witness_.seen[1].service, &service_);
  EXPECT_EQ(witness_.seen[1].route, nullptr);
  EXPECT_EQ(witness_.seen[2].service, nullptr);
}

TEST_F(ConventionsTest, DeferredAnswersAreCompletedToo) {
  cloud({.cors_allowed_origins = {"https://a.example"}});
  auto catcher = std::make_shared<test::Catcher>();
  dispatcher_->handle(
      make_request("GET", "/compute/later", "", "",
                   {{"Origin", "https://a.example"}, {"OpenStack-API-Version", "compute 2.10"}}),
      catcher);
  EXPECT_TRUE(witness_.seen.empty());
  kept_->send(reply(200, json::object{}));
  kept_.reset();
  const http::Response r = catcher->wait();
  EXPECT_TRUE(r.headers.has("X-Openstack-Request-Id"));
  EXPECT_EQ(r.headers.get("Access-Control-Allow-Origin"), "https://a.example");
  EXPECT_EQ(r.headers.get("OpenStack-API-Version"), "compute 2.10");
  EXPECT_EQ(witness_.seen.size(), 1u);
}

TEST_F(ConventionsTest, WhatNobodyAnswersIs500InTheServicesFormat) {
  cloud();
  const Reply r = call("GET", "/compute/never");
  EXPECT_EQ(r.status, 500);
  EXPECT_EQ(r.at("computeFault.code"), "500");
  EXPECT_EQ(witness_.seen.size(), 1u);
}

TEST_F(ConventionsTest, StreamedAnswersAreFinishedAfterTheirLastByte) {
  cloud();
  {
    auto catcher = std::make_shared<test::Catcher>();
    dispatcher_->handle(make_request("GET", "/compute/stream"), catcher);
    http::Response r = catcher->wait();
    char piece[4096];
    while (r.source(piece)) EXPECT_TRUE(witness_.seen.empty());
  }
  ASSERT_EQ(witness_.seen.size(), 1u);
  EXPECT_EQ(witness_.seen[0].bytes, 3000u);
}

// ---- methods
// ----------------------------------------------------------------------------------------------------------

TEST_F(ConventionsTest, HeadGoesWhereGetDoesAndOtherMethodsAre405) {
  cloud();
  const Reply get = call("GET", "/compute/things"), head = call("HEAD", "/compute/things");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.get("Content-Type"), get.headers.get("Content-Type"));
  EXPECT_EQ(witness_.seen.at(1).bytes, 0u);
  const Reply refused = call("BREW", "/compute/things");
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(refused.headers.get("Allow"), "GET, HEAD, POST");
  EXPECT_EQ(refused.at("badMethod.code"), "405");
}

// ---- CORS
// -------------------------------------------------------------------------------------------------------------

TEST_F(ConventionsTest, OptionsNeedsNoTokenAndIs200Everywhere) {
  cloud();
  const Reply r = call("OPTIONS", "/compute/things");
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.body, "");
  EXPECT_EQ(r.headers.get("Allow"), "GET, HEAD, POST");
  EXPECT_FALSE(r.headers.has("Access-Control-Allow-Origin"));
  EXPECT_EQ(call("OPTIONS", "/elsewhere").status, 200);
}

TEST_F(ConventionsTest, PreflightAllowsKnownOriginsMethodsAndFields) {
  cloud({.cors_allowed_origins = {"https://a.example", "https://b.example:8443"}});
  const auto ask = [&](const char* origin, const char* method, const char* fields) {
    return call("OPTIONS", "/compute/things",
                {{"Origin", origin},
                 {"Access-Control-Request-Method", method},
                 {"Access-Control-Request-Headers", fields}});
  };
  const Reply r = ask("https://b.example:8443", "POST", "content-type, x-auth-token,OpenStack-API-Version");
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.headers.get("Access-Control-Allow-Origin"), "https://b.example:8443");
  EXPECT_EQ(r.headers.get("Access-Control-Allow-Methods"), "POST");
  EXPECT_EQ(r.headers.get("Access-Control-Allow-Headers"), "content-type,x-auth-token,OpenStack-API-Version");
  EXPECT_EQ(r.headers.get("Access-Control-Max-Age"), "3600");
  EXPECT_NE(r.headers.get("Vary").find("Origin"), std::string_view::npos);
  for (const Reply& refused :
       {ask("https://evil.example", "POST", ""), ask("https://a.example.evil", "POST", ""),
        ask("https://a.example", "BREW", ""), ask("https://a.example", "GET", "X-Evil")}) {
    EXPECT_EQ(refused.status, 200);
    EXPECT_FALSE(refused.headers.has("Access-Control-Allow-Origin"));
    EXPECT_FALSE(refused.headers.has("Access-Control-Allow-Methods"));
  }
}

TEST_F(ConventionsTest, OnlyAllowedOriginsSeeCorsFields) {
  cloud({.cors_allowed_origins = {"https://a.example"}});
  const Reply good = call("GET", "/compute/none", {{"Origin", "https://a.example"}});
  EXPECT_EQ(good.status, 404);  // faults can be read as well
  EXPECT_EQ(good.headers.get("Access-Control-Allow-Origin"), "https://a.example");
  for (const char* field : {"X-Subject-Token", "X-Openstack-Request-Id", "OpenStack-API-Version"})
    EXPECT_NE(good.headers.get("Access-Control-Expose-Headers").find(field), std::string_view::npos) << field;
  for (const test::Fields& fields : {test::Fields{}, test::Fields{{"Origin", "https://evil.example"}}}) {
    const Reply bad = call("GET", "/compute/things", fields);
    EXPECT_FALSE(bad.headers.has("Access-Control-Allow-Origin"));
    EXPECT_NE(bad.headers.get("Vary").find("Origin"), std::string_view::npos);
    EXPECT_NE(bad.headers.get("Vary").find("OpenStack-API-Version"), std::string_view::npos);
  }
}

TEST_F(ConventionsTest, AnyOriginGetsNoCredentials) {
  cloud({.cors_allowed_origins = {"*"}});
  const Reply r = call("GET", "/compute/things", {{"Origin", "https://who.example"}});
  EXPECT_EQ(r.headers.get("Access-Control-Allow-Origin"), "*");
  EXPECT_FALSE(r.headers.has("Access-Control-Allow-Credentials"));
}

// ---- compression
// ------------------------------------------------------------------------------------------------------

TEST(Compression, FollowsTheWeightsOfAcceptEncoding) {
  for (const char* yes : {"gzip", "GZIP", "deflate, gzip;q=0.5", "*", "gzip;q=1.0, identity;q=0.5",
                          "br;q=1, *;q=0.1", "x-gzip", " gzip ; q=0.001 ", "identity;q=0.5, gzip;q=0.5"})
    EXPECT_TRUE(accepts_gzip(yes)) << yes;
  for (const char* no :
       {"", "deflate", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *;q=1", "identity;q=1, gzip;q=0.5",
        "gzipped", "gzip;q=2", "gzip;q=x", "gzip;q=0.1234", "identity", ",,;;=,"})
    EXPECT_FALSE(accepts_gzip(no)) << no;
}

TEST_F(ConventionsTest, LongTextsAreCompressedForThoseWhoTakeThem) {
  cloud();
  const Reply plain = call("GET", "/compute/things"),
              packed = call("GET", "/compute/things", {{"Accept-Encoding", "gzip"}});
  EXPECT_EQ(packed.headers.get("Content-Encoding"), "gzip");
  EXPECT_LT(packed.body.size(), 200u);
  EXPECT_EQ(gunzip(packed.body), plain.body);
  EXPECT_FALSE(plain.headers.has("Content-Encoding"));
  for (const Reply* r : {&plain, &packed})
    EXPECT_NE(r->headers.get("Vary").find("Accept-Encoding"), std::string_view::npos);
  EXPECT_EQ(witness_.seen.at(1).bytes, packed.body.size());
}

TEST_F(ConventionsTest, SecretsShortTextsAndStreamsStayAsTheyAre) {
  cloud();
  const test::Fields gzip{{"Accept-Encoding", "gzip"}};
  for (const auto& [method, path] : test::Fields{{"POST", "/compute/things"},
                                                 {"GET", "/compute/v3/auth/catalog"},
                                                 {"GET", "/compute/things/1"},
                                                 {"GET", "/compute/stream"}})
    EXPECT_FALSE(call(method, path, gzip).headers.has("Content-Encoding")) << method << path;
  for (const char* path :
       {"/identity/v3/auth/tokens", "/v3/credentials", "/identity/v3/users/u/credentials/OS-EC2",
        "/v3/users/u/OS-OAUTH1/access_tokens", "/compute/v2.1/os-console-auth-tokens/t",
        "/v3/users/u/application_credentials", "/compute/v2.1/servers/s/os-server-password"})
    EXPECT_TRUE(may_hold_secrets(path)) << path;
  EXPECT_FALSE(may_hold_secrets("/compute/v2.1/servers/detail"));
}

TEST_F(ConventionsTest, CompressionCanBeSwitchedOff) {
  cloud({.compression = false});
  const Reply r = call("GET", "/compute/things", {{"Accept-Encoding", "gzip"}});
  EXPECT_FALSE(r.headers.has("Content-Encoding"));
  EXPECT_EQ(r.headers.get("Vary").find("Accept-Encoding"), std::string_view::npos);
}

TEST_F(ConventionsTest, CompressedRequestsAreRefused) {
  cloud();
  const Reply r = call("POST", "/compute/things", {{"Content-Encoding", "gzip"}});
  EXPECT_EQ(r.status, 415);
  EXPECT_EQ(r.at("badMediaType.code"), "415");
  EXPECT_EQ(call("POST", "/compute/things", {{"Content-Encoding", "identity"}}).status, 200);
}

// ---- rate limits
// ------------------------------------------------------------------------------------------------------

TEST_F(ConventionsTest, EachUserHasALimitAndTheAnswerSaysWhenToComeBack) {
  cloud({.rate_limit = 1, .rate_limit_burst = 3});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(call("GET", "/compute/things", {}, "ann").status, 200);
  const Reply refused = call("GET", "/compute/things", {}, "ann");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.get("Retry-After"), "1");
  EXPECT_EQ(refused.at("overLimit.code"), "429");
  EXPECT_EQ(refused.at("overLimit.retryAfter"), "1");
  EXPECT_TRUE(witness_.seen.at(3).limited);
  EXPECT_EQ(call("GET", "/compute/things", {}, "bob").status, 200);
  EXPECT_EQ(call("GET", "/compute/things", {}, "wrong").status, 200);  // its address's
  for (int i = 0; i < 2; ++i) EXPECT_NE(call("GET", "/elsewhere").status, 429);
  EXPECT_EQ(call("GET", "/elsewhere").status, 429);
  EXPECT_EQ(call("POST", "/network/v2.0/networks").at("NeutronError.type"), "HTTP429");
}

TEST(RateLimiter, LetsABurstThroughAndThenTheRate) {
  using namespace std::chrono_literals;
  RateLimiter limiter(10, 5);
  RateLimiter::Clock::time_point now{1000s};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limiter.take("a", now).count(), 0);
  EXPECT_EQ(limiter.take("a", now), 100ms);
  EXPECT_EQ(limiter.take("a", now + 99ms), 1ms);
  EXPECT_EQ(limiter.take("a", now + 100ms).count(), 0);
  EXPECT_EQ(limiter.take("b", now).count(), 0);
  now += 10s;  // full again, and no fuller
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limiter.take("a", now).count(), 0);
  EXPECT_GT(limiter.take("a", now).count(), 0);
}

TEST(RateLimiter, MemoryIsBounded) {
  RateLimiter limiter(10, 0, 160);
  for (int i = 0; i < 10'000; ++i) limiter.take(std::to_string(i));
  EXPECT_LE(limiter.size(), 160u);
}

TEST(RateLimiter, AnAddressOfIPv6StandsForItsNetwork) {
  EXPECT_EQ(anonymous_key("2001:db8::1"), anonymous_key("2001:db8::ffff:1"));
  EXPECT_NE(anonymous_key("2001:db8::1"), anonymous_key("2001:db8:0:1::1"));
  EXPECT_NE(anonymous_key("192.0.2.1"), anonymous_key("192.0.2.2"));
  EXPECT_EQ(anonymous_key("::ffff:192.0.2.1"), anonymous_key("192.0.2.1"));
}

// ---- over a socket
// ----------------------------------------------------------------------------------------------------

class OverSocket : public ConventionsTest {
 protected:
  void start(ConventionOptions options = {}) {
    http::ServerOptions server_options{.max_body = 64 << 10};
    server_ = http::make_server(server_options, cloud(std::move(options)));
    const int fd = http::listen_tcp("127.0.0.1", 0);
    url_ = "http://127.0.0.1:" + std::to_string(test::port_of(fd));
    server_->listen(fd);
    server_->start();
  }
  http::Response fetch(const std::string& method, const std::string& path, const test::Fields& fields = {},
                       std::string body = {}) {
    http::ClientRequest request{.method = method, .url = url_ + path};
    for (const auto& [name, value] : fields) request.headers.set(name, value);
    request.body = std::move(body);
    return http::fetch(request);
  }
  std::string url_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(OverSocket, ATooLargeBodyIsRefusedInTheServicesFormat) {
  start();
  const http::Response r = fetch("POST", "/network/v2.0/networks", {{"Content-Type", "application/json"}},
                                 std::string(65 << 10, ' '));
  EXPECT_EQ(r.status, 413);
  EXPECT_EQ(str(json::parse(r.body).at("NeutronError").at("message")), "The request's body is too large.");
  EXPECT_TRUE(r.headers.has("X-Openstack-Request-Id"));
  server_->stop();
  ASSERT_EQ(witness_.seen.size(), 1u);
  EXPECT_EQ(witness_.seen[0].status, 413);
  EXPECT_EQ(witness_.seen[0].service, &other_);
}

TEST_F(OverSocket, HeadHasGetsFieldsAndNoBody) {
  start();
  for (const test::Fields& fields : {test::Fields{}, test::Fields{{"Accept-Encoding", "gzip"}}}) {
    const http::Response get = fetch("GET", "/compute/things", fields),
                         head = fetch("HEAD", "/compute/things", fields);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");
    for (const char* name :
         {"Content-Length", "Content-Type", "Content-Encoding", "Vary", "OpenStack-API-Version"})
      EXPECT_EQ(head.headers.get(name), get.headers.get(name)) << name;
    EXPECT_FALSE(head.headers.get("Content-Length").empty());
  }
}

}  // namespace
}  // namespace virga::api
