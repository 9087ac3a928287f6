// The files of the console's page: only noVNC's, wherever it stands.

#include <gtest/gtest.h>

#include <filesystem>

#include "base/process.h"
#include "tests/support/compute_fixture.h"

namespace virga::test {
namespace {

class Novnc : public ::testing::Test {
 protected:
  static compute::Options options(const std::string& folder) {
    compute::Options o;
    o.novnc_folders = {folder + "/none", folder + "/novnc"};
    return o;
  }
  void install() {
    std::filesystem::create_directories(folder_.path() + "/novnc/core");
    write_file(folder_.path() + "/novnc/vnc_lite.html", "<html>noVNC itself</html>");
    write_file(folder_.path() + "/novnc/core/rfb.js", "script");
    write_file(folder_.path() + "/novnc/core/tool.pl", "program");
    write_file(folder_.path() + "/secret.js", "secret");
  }
  ScratchDir folder_;
  ComputeCloud cloud_{"", options(folder_.path())};
};

TEST_F(Novnc, ServesPageAndScripts) {
  install();
  const auto page = cloud_.get("/console/vnc_lite.html?path=x", "");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body, "<html>noVNC itself</html>");
  EXPECT_EQ(page.headers.get("Cache-Control"), "no-store");
  EXPECT_NE(page.headers.get("Content-Security-Policy").find("connect-src 'self' ws://"), std::string_view::npos);
  const auto script = cloud_.get("/console/core/rfb.js", "");
  EXPECT_EQ(script.body, "script");
  EXPECT_EQ(script.headers.get("Content-Type"), "text/javascript; charset=utf-8");
}

TEST_F(Novnc, NothingElse) {
  install();
  for (const char* path : {"core/tool.pl", "core", "core/", "core//rfb.js", "../secret.js", "%2e%2e/secret.js", "core/../../secret.js",
                           ".hidden.js", "core/none.js", "core/rfb.js%00"})
    EXPECT_EQ(cloud_.get(std::string("/console/") + path, "").status, 404) << path;
}

TEST_F(Novnc, SaysHowToGetIt) {
  const auto page = cloud_.get("/console/vnc_lite.html", "");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.body.find("apt-get install --no-install-recommends novnc"), std::string::npos);
  EXPECT_EQ(cloud_.get("/console/core/rfb.js", "").status, 404);
}

}  // namespace
}  // namespace virga::test
