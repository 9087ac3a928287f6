// Who may do what: the table in docs/, refusals in each service's words, and what an operator's file changes.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/support/policy_cloud.h"

namespace virga::cloud {
namespace {

using Cloud = test::PolicyCloud;

TEST(PolicyMatrix, TheTableInDocsIsWhatTheRulesSay) {
  const Cloud cloud;
  // From build/PRESET/cloud_test: what a source file is called depends on how the compiler was.
  const auto program = std::filesystem::canonical("/proc/self/exe");
  std::ifstream in(program.parent_path() / "../../docs/policy-matrix.md");
  ASSERT_TRUE(in.good());
  std::stringstream written;
  written << in.rdbuf();
  std::vector<const api::Service*> services(cloud.services.begin(), cloud.services.end());
  EXPECT_TRUE(policy_matrix(services) == written.str())
      << "The rules or routes changed. Look at what that means for callers, then `virga policy matrix > "
         "docs/policy-matrix.md`.";
}

TEST(PolicyWords, ARefusalNamesTheRuleAsTheServiceDoes) {
  Cloud cloud;
  const std::string token = "project reader";
  EXPECT_EQ(cloud.get("/identity/v3/users", token).at("error.message"),
            "You are not authorized to perform the requested action: identity:list_users.");
  EXPECT_EQ(cloud.get("/compute/v2.1/os-services", token).at("forbidden.message"),
            "Policy doesn't allow os_compute_api:os-services:list to be performed.");
  EXPECT_EQ(cloud.get("/placement/resource_providers", token).at("errors.0.detail"),
            "Policy does not allow placement:resource_providers:list to be performed.");
  const test::Reply network =
      cloud.post("/network/v2.0/networks", {{"network", {{"name", "n"}, {"shared", true}}}}, token);
  EXPECT_EQ(network.at("NeutronError.message"),
            "(rule:create_network and rule:create_network:shared) is disallowed by policy");
  EXPECT_EQ(network.at("NeutronError.type"), "PolicyNotAuthorized");
  EXPECT_EQ(cloud.post("/image/v2/images", {{"name", "n"}, {"visibility", "public"}}, token).at("message"),
            "You are not authorized to complete publicize_image action.");
}

TEST(PolicyFile, ReachesEveryService) {
  const test::ScratchDir directory;
  const std::string file = directory.path() + "/policy.yaml";
  std::ofstream(file) << "identity:list_users: role:reader\n"
                         "os_compute_api:os-services: rule:project_reader_api\n"  // by its former name
                         "placement:resource_providers:list: rule:mine\n"
                         "mine: role:reader and not role:admin\n"
                         "create_network:shared: role:reader\n"
                         "publicize_image: '@'\n"
                         "delete_network: '!'\n";
  Cloud cloud({file, false, false});
  const std::string token = "project reader";
  EXPECT_EQ(cloud.get("/identity/v3/users", token).status, 200);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-services", token).status, 200);
  EXPECT_EQ(cloud.get("/placement/resource_providers", token).status, 200);
  EXPECT_EQ(cloud.get("/placement/resource_providers", "project admin").status, 403);
  const test::Reply network =
      cloud.post("/network/v2.0/networks", {{"network", {{"name", "n"}, {"shared", true}}}}, token);
  EXPECT_EQ(network.status, 201) << network.body;
  const test::Reply refused = cloud.del("/network/v2.0/networks/" + network.at("network.id"), token);
  EXPECT_EQ(refused.status, 403) << refused.body;
  EXPECT_EQ(refused.at("NeutronError.message"), "rule:delete_network is disallowed by policy");
  EXPECT_EQ(cloud.post("/image/v2/images", {{"name", "n"}, {"visibility", "public"}}, token).status, 201);
}

/// What the defaults of these routes do not look at.
TEST(PolicyFile, ItsRulesAreToldWhatTheServiceTellsItsOwn) {
  const test::ScratchDir directory;
  const std::string file = directory.path() + "/policy.yaml";
  std::ofstream(file) << "identity:list_system_grants_for_user: user_id:%(user_id)s\n"
                         "os_compute_api:os-hypervisors:list: project_id:%(project_id)s\n"
                         "placement:resource_providers:list: project_id:%(project_id)s\n";
  Cloud cloud({file, false, false});
  EXPECT_EQ(cloud.get("/identity/v3/system/users/own/roles", "project reader").status, 404) << "the path";
  EXPECT_EQ(cloud.get("/identity/v3/system/users/other/roles", "project reader").status, 403);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-hypervisors", "project reader").status, 200) << "the caller";
  EXPECT_EQ(cloud.get("/compute/v2.1/os-hypervisors", "domain reader").status, 403);
  EXPECT_EQ(cloud.get("/placement/resource_providers", "project reader").status, 200);
  EXPECT_EQ(cloud.get("/placement/resource_providers", "domain reader").status, 403);
}

TEST(PolicyFile, SaysWhoIsAnAdministrator) {
  const test::ScratchDir directory;
  const std::string file = directory.path() + "/policy.yaml";
  std::ofstream(file) << "context_is_admin: role:operator\n";
  Cloud cloud({file, false, false});
  cloud.sign_in("operator", test::project_caller("ops", {"operator"}));
  const std::string network =
      cloud.post("/network/v2.0/networks", {{"network", {{"name", "n"}}}}, "project reader").at("network.id");
  ASSERT_FALSE(network.empty());
  EXPECT_EQ(cloud.get("/network/v2.0/networks/" + network, "operator").status, 200);
  EXPECT_EQ(cloud.get("/network/v2.0/networks/" + network, "domain admin").status, 404);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-services", "operator").status, 200);
  EXPECT_EQ(cloud.get("/compute/v2.1/os-services", "project admin").status, 403);
}

TEST(PolicyFile, HidesAndShowsAsNeutronDoes) {
  Cloud cloud;
  cloud.sign_in("other", test::project_caller("other", {"member", "reader"}, "user-2"));
  const std::string own =
      cloud.post("/network/v2.0/networks", {{"network", {{"name", "n"}}}}, "project member").at("network.id");
  const std::string shared =
      cloud.post("/network/v2.0/networks", {{"network", {{"name", "s"}, {"shared", true}}}}, "project admin")
          .at("network.id");
  EXPECT_EQ(cloud.put("/network/v2.0/networks/" + own, {{"network", {{"name", "x"}}}}, "other").status, 404)
      << "not even that it is there";
  EXPECT_EQ(cloud.put("/network/v2.0/networks/" + shared, {{"network", {{"name", "x"}}}}, "other").status,
            403)
      << "it sees it, but may not";
  EXPECT_EQ(cloud.get("/network/v2.0/networks/" + shared, "other").find("network.provider:network_type"),
            nullptr);
  EXPECT_NE(
      cloud.get("/network/v2.0/networks/" + shared, "project admin").find("network.provider:network_type"),
      nullptr);
  const json::object port{{"network_id", shared}, {"mac_address", "fa:16:3e:00:00:01"}};
  EXPECT_EQ(cloud.post("/network/v2.0/ports", {{"port", port}}, "other").at("NeutronError.message"),
            "(rule:create_port and rule:create_port:mac_address) is disallowed by policy");
}

}  // namespace
}  // namespace virga::cloud
