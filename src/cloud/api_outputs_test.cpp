// Each key of [api] that concerns logs, metrics and limits does what it says.
#include "cloud/api_outputs.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/process.h"
#include "tests/support/api_client.h"
#include "tests/support/listening_port.h"

namespace virga::cloud {
namespace {

/// A port that was free a moment ago.
int free_port() {
  const int fd = http::listen_tcp("127.0.0.1", 0);
  const int port = test::port_of(fd);
  close(fd);
  return port;
}

class ApiOutputsTest : public ::testing::Test {
 protected:
  ApiOutputsTest() { config_.cloud.log_dir = dir_.path() + "/log"; }
  bool there(const char* name) const { return std::filesystem::exists(config_.cloud.log_dir + "/" + name); }

  test::ScratchDir dir_;
  Config config_;
};

TEST_F(ApiOutputsTest, LogsAreWrittenUnlessSwitchedOff) {
  {
    ApiOutputs outputs(config_, std::nullopt);
    EXPECT_EQ(outputs.conventions().observers.size(), 3u);
  }
  EXPECT_TRUE(there("access.log"));
  EXPECT_TRUE(there("audit.log"));
  std::filesystem::remove_all(config_.cloud.log_dir);
  config_.api.access_log = config_.api.audit_log = false;
  ApiOutputs outputs(config_, std::nullopt);
  EXPECT_EQ(outputs.conventions().observers.size(), 1u);
  EXPECT_FALSE(there("access.log"));
  EXPECT_FALSE(there("audit.log"));
}

TEST_F(ApiOutputsTest, ConventionsFollowTheConfiguration) {
  config_.api.cors_allowed_origins = {"https://a.example"};
  config_.api.compression = false;
  config_.api.rate_limit = 7;
  config_.api.rate_limit_burst = 9;
  const api::ConventionOptions o = ApiOutputs(config_, std::nullopt).conventions();
  EXPECT_EQ(o.cors_allowed_origins, config_.api.cors_allowed_origins);
  EXPECT_FALSE(o.compression);
  EXPECT_EQ(o.rate_limit, 7);
  EXPECT_EQ(o.rate_limit_burst, 9);
}

TEST_F(ApiOutputsTest, MetricsAreServedAtTheirPort) {
  config_.api.metrics_port = free_port();
  ApiOutputs outputs(config_, std::nullopt);
  outputs.start();
  http::ClientRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(config_.api.metrics_port) + "/metrics";
  const http::Response r = http::fetch(request);
  EXPECT_EQ(r.status, 200);
  for (const char* name :
       {"virga_build_info", "virga_access_log_lost_lines_total 0", "virga_audit_log_lost_lines_total 0"})
    EXPECT_NE(r.body.find(name), std::string::npos) << name;
}

TEST_F(ApiOutputsTest, TheAccountOwnsTheLogsAndRootTheFolder) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ApiOutputs outputs(config_, Account{64990, 64990});
  struct stat file {
  }, folder{};
  ASSERT_EQ(stat((config_.cloud.log_dir + "/audit.log").c_str(), &file), 0);
  ASSERT_EQ(stat(config_.cloud.log_dir.c_str(), &folder), 0);
  EXPECT_EQ(file.st_uid, 64990u);
  EXPECT_EQ(folder.st_uid, 0u);
}

}  // namespace
}  // namespace virga::cloud
