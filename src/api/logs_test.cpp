// Access log, audit log and metrics, as files and pages that others read.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <regex>
#include <thread>

#include "api/access_log.h"
#include "api/api.h"
#include "api/audit_log.h"
#include "api/metrics.h"
#include "base/process.h"
#include "support/api_client.h"

namespace virga::api {
namespace {

using test::make_request;
using test::roundtrip;

std::vector<json::object> lines_of(const std::string& path) {
  std::vector<json::object> out;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) out.push_back(json::parse(line).as_object());
  return out;
}

// ---- the file
// ---------------------------------------------------------------------------------------------------------

TEST(JsonLog, WritesEveryLineOfEveryThread) {
  test::ScratchDir dir;
  {
    JsonLog log({.path = dir.path() + "/a.log"});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 5000; ++i) log.write("{\"n\":1}");
      });
    for (auto& t : threads) t.join();
  }
  EXPECT_EQ(lines_of(dir.path() + "/a.log").size(), 20'000u);
}

TEST(JsonLog, GoesOnInANewFileAfterRotation) {
  test::ScratchDir dir;
  JsonLog log({.path = dir.path() + "/a.log"});
  log.write("{\"n\":1}");
  std::filesystem::rename(dir.path() + "/a.log", dir.path() + "/a.log.1");
  log.reopen();
  log.write("{\"n\":2}");
  log.flush();
  ASSERT_EQ(lines_of(dir.path() + "/a.log.1").size(), 1u);
  ASSERT_EQ(lines_of(dir.path() + "/a.log").size(), 1u);
  EXPECT_EQ(lines_of(dir.path() + "/a.log")[0].at("n"), 2);
  struct stat s {};
  ASSERT_EQ(stat((dir.path() + "/a.log").c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 07, 0u);  // not for everybody
}

TEST(JsonLog, SaysHowManyLinesItLost) {
  test::ScratchDir dir;
  JsonLog log({.path = dir.path() + "/a.log", .max_waiting = 64, .batch_every = std::chrono::seconds(60)});
  const std::string line = "{\"text\":\"" + std::string(80, 'x') + "\"}";
  for (int i = 0; i < 7; ++i) log.write(line);  // none fits
  EXPECT_EQ(log.lost(), 7u);
  log.write("{\"n\":1}");
  log.flush();
  const auto lines = lines_of(dir.path() + "/a.log");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("n"), 1);
  EXPECT_EQ(lines[1].at("lost_lines"), 7);
}

TEST(JsonLog, AFullDiskLosesLinesAndNothingElse) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  JsonLog log({.path = "/dev/full"});
  spdlog::set_level(spdlog::level::off);
  log.write("{}");
  log.write("{}");
  log.flush();
  spdlog::set_level(spdlog::level::warn);
  EXPECT_EQ(log.lost(), 2u);
  EXPECT_THROW(JsonLog({.path = "/nowhere/a.log"}), Fault);
}

TEST(JsonLog, WhatClientsSendStaysOneValidLine) {
  std::string out;
  append_foreign_text(out, "a\"b\\c\n\x01\xff\xc3\xa9");
  EXPECT_EQ(out, "\"a\\u0022b\\u005cc\\u000a\\u0001\\u00ff\\u00c3\\u00a9\"");
  EXPECT_EQ(str(json::parse(out)).substr(0, 5), "a\"b\\c");
}

// ---- a small cloud
// ----------------------------------------------------------------------------------------------------

class LogsTest : public ::testing::Test {
 protected:
  LogsTest() {
    const auto answer = [](int status, const char* body) {
      return [status, body](Call&) { return reply_text(status, body); };
    };
    identity_.name = "keystone";
    identity_.type = "identity";
    identity_.prefix = "/identity";
    identity_.faults = FaultStyle::keystone;
    identity_.routes.push_back(
        {"POST", "/v3/auth/tokens", "", [](Call& call) {
           if (call.request.body.find("right") == std::string::npos)
             throw Fault(FaultKind::unauthorized, "The request you have made requires authentication.");
           http::Response r = reply_text(201, R"({"token":{"user":{"id":"u-1","name":"ann"}}})");
           r.headers.set("X-Subject-Token", "gAAAA-secret");
           return r;
         }});
    identity_.routes.push_back(
        {"PUT", "/v3/projects/{project_id}/users/{user_id}/roles/{role_id}", "", answer(204, "")});
    compute_.name = "nova";
    compute_.type = "compute";
    compute_.prefix = "/compute";
    for (const char* root : {"/v2.1", "/v2.1/{project_id}"}) {
      const std::string at = root;
      compute_.routes.push_back({"GET", at + "/servers/{server_id}", "", answer(200, "{}")});
      compute_.routes.push_back(
          {"POST", at + "/servers", "", answer(202, R"({"server":{"id":"s-new","adminPass":"pw"}})")});
      compute_.routes.push_back({"POST", at + "/servers/{server_id}/action", "", answer(202, "")});
      compute_.routes.push_back(
          {"DELETE", at + "/servers/{server_id}", "test:delete", answer(204, "")});
    }
    compute_.routes.push_back(
        {"GET", "/v2.1/os-console-auth-tokens/{console_token}", "", answer(200, "{}")});
    static constexpr RuleDefault kRules[] = {{"test:delete", "role:admin"}};
    compute_.rules = kRules;
    dispatcher_ = std::make_unique<Dispatcher>(
        DispatcherOptions{"", {.observers = {&metrics_, &audit_, &access_}}}, policy_, callers_);
    dispatcher_->mount(identity_);
    dispatcher_->mount(compute_);
    callers_.sign_in("member-token", test::project_caller("p-1", {"member"}, "u-member"));
  }
  test::Reply call(const std::string& method, const std::string& target, const std::string& body = {},
                   std::string_view token = {}, const test::Fields& fields = {}) {
    return roundtrip(*dispatcher_, make_request(method, target, body, token, fields));
  }
  std::vector<json::object> events() {
    audit_file_.flush();
    return lines_of(audit_file_.path());
  }
  static std::string text(const json::value& in, const char* pointer) {
    boost::system::error_code error;
    const json::value* v = in.find_pointer(pointer, error);
    return v && v->is_string() ? str(*v) : "(none)";
  }

  test::ScratchDir dir_;
  JsonLog access_file_{{.path = dir_.path() + "/access.log"}},
      audit_file_{{.path = dir_.path() + "/audit.log"}};
  AccessLog access_{access_file_};
  AuditLog audit_{audit_file_};
  Metrics metrics_{"1.2.3"};
  Policy policy_;
  test::KnownCallers callers_;
  Service identity_, compute_;
  std::unique_ptr<Dispatcher> dispatcher_;
};

// ---- access.log
// -------------------------------------------------------------------------------------------------------

TEST_F(LogsTest, AnAccessLineHasTheFactsAndNoSecrets) {
  const std::string global = "req-3c35f2b1-6b4e-4f8a-9d4e-0123456789ab";
  call("GET", "/compute/v2.1/servers/5?password=hidden", "", "member-token",
       {{"User-Agent", "test \"agent\""}, {"X-Openstack-Request-Id", global}});
  call("GET", "/compute/v2.1/os-console-auth-tokens/hidden");
  call("POST", "/identity/v3/auth/tokens", R"({"password":"hidden right"})");
  const std::string long_id(64, 'a'), token = "gBBBB" + std::string(60, 'b');
  call("GET", "/nowhere/" + token + "/" + long_id);
  access_file_.flush();
  const std::string whole = read_file(access_file_.path());
  for (const char* secret : {"hidden", "member-token", "gAAAA"})
    EXPECT_EQ(whole.find(secret), std::string::npos) << secret;
  const auto lines = lines_of(access_file_.path());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(str(lines[3].at("path")), "/nowhere/" + token.substr(0, 32) + ".../" + long_id);
  const json::object& first = lines[0];
  EXPECT_EQ(first.at("method"), "GET");
  EXPECT_EQ(first.at("path"), "/compute/v2.1/servers/5");
  EXPECT_EQ(first.at("route"), "/v2.1/servers/{server_id}");
  EXPECT_EQ(first.at("service"), "nova");
  EXPECT_EQ(first.at("status"), 200);
  EXPECT_EQ(first.at("bytes"), 2);
  EXPECT_EQ(first.at("client"), "127.0.0.1");
  EXPECT_EQ(first.at("user_id"), "u-member");
  EXPECT_EQ(first.at("project_id"), "p-1");
  EXPECT_EQ(first.at("agent"), "test \"agent\"");
  EXPECT_EQ(str(first.at("global_request_id")), global);
  EXPECT_TRUE(first.at("duration_us").is_int64());
  EXPECT_NO_THROW(parse_time(str(first.at("time"))));
  EXPECT_EQ(lines[1].at("path"), "/compute/v2.1/os-console-auth-tokens/{console_token}");
}

// ---- audit.log
// --------------------------------------------------------------------------------------------------------

TEST_F(LogsTest, LoginsAreAuditedWhetherTheyFailOrNot) {
  call(
      "POST", "/identity/v3/auth/tokens",
      R"({"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ann","password":"right"}}}}})");
  call(
      "POST", "/identity/v3/auth/tokens",
      R"({"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"0123456789abcdef0123456789abcdef","password":"guess"}}}}})");
  call(
      "POST", "/identity/v3/auth/tokens",
      R"({"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"my password","password":"guess"}}}}})");
  const auto all = events();
  ASSERT_EQ(all.size(), 3u);
  for (const json::value event : all) {
    EXPECT_EQ(text(event, "/typeURI"), "http://schemas.dmtf.org/cloud/audit/1.0/event");
    EXPECT_EQ(text(event, "/eventType"), "activity");
    EXPECT_EQ(text(event, "/action"), "authenticate");
    EXPECT_EQ(text(event, "/target/typeURI"), "service/security/account/user");
    EXPECT_EQ(text(event, "/initiator/typeURI"), "service/security/account/user");
    EXPECT_EQ(text(event, "/initiator/host/address"), "127.0.0.1");
    EXPECT_EQ(text(event, "/observer/id"), "keystone");
    EXPECT_TRUE(std::regex_match(text(event, "/eventTime"),
                                 std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+0000)")));
    EXPECT_EQ(text(event, "/reason/reasonType"), "HTTP");
  }
  EXPECT_EQ(text(all[0], "/outcome"), "success");
  EXPECT_EQ(text(all[0], "/reason/reasonCode"), "201");
  EXPECT_EQ(text(all[0], "/initiator/id"), "u-1");
  EXPECT_EQ(text(all[1], "/outcome"), "failure");
  EXPECT_EQ(text(all[1], "/reason/reasonCode"), "401");
  EXPECT_EQ(text(all[1], "/target/id"), "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(text(all[2], "/target/id"), "unknown");
  const std::string whole = read_file(audit_file_.path());
  for (const char* secret : {"right", "guess", "gAAAA", "my password"})
    EXPECT_EQ(whole.find(secret), std::string::npos) << secret;
}

TEST_F(LogsTest, EachAnswerOfKeystoneVariesWithTheToken) {
  for (const char* path : {"/identity/v3/auth/tokens", "/identity/v3/none"})
    EXPECT_EQ(call("POST", path, "{}").headers.get("Vary"), "X-Auth-Token") << path;
}

TEST_F(LogsTest, ChangesAreAuditedWithActionAndTarget) {
  call("GET", "/compute/v2.1/servers/5");  // no change
  call("POST", "/compute/v2.1/servers", "{}", "member-token");
  call("POST", "/compute/v2.1/p-1/servers/s-7/action", R"({ "os-start" : null})", "member-token");
  call("POST", "/compute/v2.1/servers/s-8/action", R"({"se cret": null})", "member-token");
  call("DELETE", "/compute/v2.1/servers/s-9", "", "member-token");
  call("PUT", "/identity/v3/projects/p/users/u/roles/r", "", "member-token");
  call("POST", "/compute/v2.1/nothing", "{}");
  const auto all = events();
  ASSERT_EQ(all.size(), 6u);
  struct Expected {
    const char *action, *target, *id, *outcome, *code;
  };
  const Expected expected[] = {
      {"create", "service/compute/servers", "s-new", "success", "202"},
      {"update/os-start", "service/compute/servers/server", "s-7", "success", "202"},
      {"update", "service/compute/servers/server", "s-8", "success", "202"},
      {"delete", "service/compute/servers/server", "s-9", "failure", "403"},
      {"update", "service/security/projects/project/users/user/roles/role", "r", "success", "204"},
      {"create", "service/compute", "unknown", "failure", "404"}};
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(text(all[i], "/action"), expected[i].action) << i;
    EXPECT_EQ(text(all[i], "/target/typeURI"), expected[i].target) << i;
    EXPECT_EQ(text(all[i], "/target/id"), expected[i].id) << i;
    EXPECT_EQ(text(all[i], "/outcome"), expected[i].outcome) << i;
    EXPECT_EQ(text(all[i], "/reason/reasonCode"), expected[i].code) << i;
  }
  EXPECT_EQ(text(all[0], "/initiator/id"), "u-member");
  EXPECT_EQ(text(all[0], "/initiator/project_id"), "p-1");
  EXPECT_EQ(text(all[5], "/initiator/id"), "unknown");
  const std::string whole = read_file(audit_file_.path());
  for (const char* secret : {"member-token", "adminPass", "se cret"})
    EXPECT_EQ(whole.find(secret), std::string::npos) << secret;
}

// ---- metrics
// ----------------------------------------------------------------------------------------------------------

/// The value of a series; -1 if the page has none of that name.
double value_of(const std::string& page, const std::string& series) {
  const size_t at = page.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::strtod(page.c_str() + at + series.size() + 2, nullptr);
}

TEST_F(LogsTest, MetricsCountRequestsByRouteAndCode) {
  for (int i = 0; i < 3; ++i) call("GET", "/compute/v2.1/servers/" + std::to_string(i));
  call("HEAD", "/compute/v2.1/servers/1");
  call("DELETE", "/compute/v2.1/servers/9");
  call("GET", "/compute/v2.1/\"evil\\\n");
  call("GET", "/nowhere");
  const std::string page = metrics_.text();
  const std::string show = R"(service="nova",method="GET",route="/v2.1/servers/{server_id}")";
  EXPECT_EQ(value_of(page, "virga_http_requests_total{" + show + ",code=\"200\"}"), 4);
  EXPECT_EQ(
      value_of(
          page,
          R"(virga_http_requests_total{service="nova",method="DELETE",route="/v2.1/servers/{server_id}",code="401"})"),
      1);
  EXPECT_EQ(
      value_of(page, R"(virga_http_requests_total{service="nova",method="any",route="none",code="404"})"), 1);
  EXPECT_EQ(
      value_of(page, R"(virga_http_requests_total{service="none",method="any",route="none",code="404"})"), 1);
  EXPECT_EQ(value_of(page, "virga_http_request_duration_seconds_count{" + show + "}"), 4);
  EXPECT_EQ(value_of(page, "virga_http_request_duration_seconds_bucket{" + show + ",le=\"+Inf\"}"), 4);
  EXPECT_EQ(value_of(page, "virga_http_request_duration_seconds_bucket{" + show + ",le=\"10\"}"), 4);
  EXPECT_EQ(value_of(page, "virga_http_requests_in_flight"), 0);
  EXPECT_EQ(value_of(page, "virga_build_info{version=\"1.2.3\"}"), 1);
  EXPECT_GT(value_of(page, "process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value_of(page, "process_open_fds"), 2);
  EXPECT_GE(value_of(page, "process_cpu_seconds_total"), 0);
  EXPECT_NEAR(value_of(page, "process_start_time_seconds"), static_cast<double>(time(nullptr)), 600);
  EXPECT_EQ(page.find("evil"), std::string::npos);
}

TEST_F(LogsTest, ThePageIsOfTheFormPrometheusReads) {
  call("GET", "/compute/v2.1/servers/1");
  MetricsEndpoint endpoint(metrics_);
  const test::Reply r = roundtrip(endpoint, make_request("GET", "/metrics"));
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.headers.get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  const std::regex sample(
      R"re([a-z_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? -?[0-9.e+-]+)re"),
      comment("# (HELP|TYPE) [a-z_]+ .+");
  std::istringstream in(r.body);
  int samples = 0;
  for (std::string line; std::getline(in, line);) {
    EXPECT_TRUE(std::regex_match(line, sample) || std::regex_match(line, comment)) << line;
    samples += line[0] != '#';
  }
  EXPECT_GT(samples, 20);
  EXPECT_EQ(roundtrip(endpoint, make_request("GET", "/")).status, 404);
  EXPECT_EQ(roundtrip(endpoint, make_request("POST", "/metrics")).status, 405);
}

TEST_F(LogsTest, DurationsFallIntoTheirBuckets) {
  RequestFacts facts;
  facts.service = &compute_;
  facts.route = &compute_.routes[0];
  facts.status = 200;
  for (int us : {100, 101, 5'000'000, 20'000'000}) {
    facts.duration = std::chrono::microseconds(us);
    metrics_.began(facts);
    metrics_.finished(facts);
  }
  const std::string page = metrics_.text(),
                    labels = R"(_bucket{service="nova",method="GET",route="/v2.1/servers/{server_id}",le=)";
  const auto bucket = [&](const char* le) {
    return value_of(page, "virga_http_request_duration_seconds" + labels + "\"" + le + "\"}");
  };
  EXPECT_EQ(bucket("0.0001"), 1);
  EXPECT_EQ(bucket("0.00025"), 2);
  EXPECT_EQ(bucket("2.5"), 2);
  EXPECT_EQ(bucket("10"), 3);
  EXPECT_EQ(bucket("+Inf"), 4);
}

}  // namespace
}  // namespace virga::api
