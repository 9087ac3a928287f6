#include "api/access_rules.h"

#include <gtest/gtest.h>

#include <string>

namespace virga::api {
namespace {

TEST(AccessRules, PatternsTakeSegmentsOrEverything) {
  EXPECT_TRUE(path_matches("/v2.1/servers", "/v2.1/servers"));
  EXPECT_FALSE(path_matches("/v2.1/servers", "/v2.1/servers/"));
  EXPECT_FALSE(path_matches("/v2.1/servers", "/v2x1/servers"));
  for (const char* one : {"/v2.1/servers/*/ips", "/v2.1/servers/{server_id}/ips"}) {
    EXPECT_TRUE(path_matches(one, "/v2.1/servers/abc/ips"));
    EXPECT_FALSE(path_matches(one, "/v2.1/servers//ips"));
    EXPECT_FALSE(path_matches(one, "/v2.1/servers/a/b/ips"));
    EXPECT_FALSE(path_matches(one, "/v2.1/servers/abc/ips/x"));
  }
  EXPECT_TRUE(path_matches("/v2.1/**", "/v2.1/servers/a/b"));
  EXPECT_TRUE(path_matches("/v2.1/**", "/v2.1/"));
  EXPECT_FALSE(path_matches("/v2.1/**", "/v2.1"));
  EXPECT_TRUE(path_matches("**/ips", "/v2.1/servers/a/ips"));
  EXPECT_TRUE(path_matches("/a*c/d", "/abbc/d"));
  EXPECT_FALSE(path_matches("/a*c/d", "/ac/d"));
  EXPECT_TRUE(path_matches("/{unclosed", "/{unclosed"));
}

TEST(AccessRules, NoPatternTakesLong) {
  std::string pattern, path(8000, 'a');
  for (int i = 0; i < 120; ++i) pattern += "**";
  EXPECT_FALSE(path_matches(pattern + "b", path));
  EXPECT_FALSE(path_matches(std::string(10'000, '*'), path));
  EXPECT_FALSE(path_matches("**", std::string(10'000, 'a')));
}

TEST(AccessRules, MethodServiceAndPathMustFitTogether) {
  const std::vector<AccessRule> rules{{"1", "compute", "/v2.1/servers", "GET"},
                                      {"2", "network", "/network/v2.0/ports/*", "DELETE"}};
  const auto allowed = [&](const char* service, const char* method, const std::string& root,
                           const std::string& path) {
    return rules_allow(rules, service, method, root + path, path);
  };
  EXPECT_TRUE(allowed("compute", "GET", "/compute", "/v2.1/servers"));
  EXPECT_FALSE(allowed("compute", "POST", "/compute", "/v2.1/servers"));
  EXPECT_FALSE(allowed("compute", "HEAD", "/compute", "/v2.1/servers"));
  EXPECT_FALSE(allowed("network", "GET", "/network", "/v2.1/servers"));
  EXPECT_TRUE(allowed("network", "DELETE", "/network", "/v2.0/ports/x"));
  EXPECT_FALSE(allowed("compute", "DELETE", "/network", "/v2.0/ports/x"));
  EXPECT_TRUE(allowed("identity", "GET", "/identity", "/v3/auth/tokens"));
  EXPECT_FALSE(allowed("identity", "DELETE", "/identity", "/v3/auth/tokens"));
}

}  // namespace
}  // namespace virga::api
