// Rules that ask whose the server is, on the server itself.

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::compute {
namespace {

TEST(ServerPolicy, AsksTheServersUserNotTheCallers) {
  test::ComputeCloud cloud;
  cloud.add_host("one");
  cloud.sign_in("colleague", test::project_caller("demo", {"member", "reader"}, "user-9"));
  cloud.policy().declare("os_compute_api:servers:delete", "user_id:%(user_id)s");
  const std::string id = cloud.boot("s").at("server.id");
  const test::Reply refused = cloud.del("/compute/v2.1/servers/" + id, "colleague");
  EXPECT_EQ(refused.status, 403) << refused.body;
  EXPECT_EQ(refused.at("forbidden.message"), "Policy doesn't allow os_compute_api:servers:delete to be performed.");
  EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + id, "demo").status, 204);
}

TEST(ServerPolicy, EachActionHasItsOwnRule) {
  test::ComputeCloud cloud;
  cloud.add_host("one");
  const std::string id = cloud.boot("s").at("server.id"), path = "/compute/v2.1/servers/" + id + "/action";
  cloud.policy().declare("os_compute_api:os-lock-server:lock", "!");
  EXPECT_EQ(cloud.post(path, {{"lock", nullptr}}, "demo").at("forbidden.message"), "Policy doesn't allow os_compute_api:os-lock-server:lock to be performed.");
  EXPECT_EQ(cloud.post(path, {{"unlock", nullptr}}, "demo").status, 202);
  EXPECT_EQ(cloud.post(path, {{"os-resetState", {{"state", "active"}}}}, "demo").at("forbidden.message"), "Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed.");
  EXPECT_EQ(cloud.post(path, {{"os-resetState", {{"state", "active"}}}}, "admin").status, 202);
}

TEST(ServerPolicy, WhereItRunsIsAnAttributesRule) {
  test::ComputeCloud cloud;
  cloud.add_host("one");
  const std::string id = cloud.boot("s").at("server.id");
  EXPECT_EQ(cloud.show(id).find("server.OS-EXT-SRV-ATTR:host"), nullptr);
  cloud.policy().declare("os_compute_api:os-extended-server-attributes", "role:member");
  EXPECT_NE(cloud.show(id).find("server.OS-EXT-SRV-ATTR:host"), nullptr);
}

}  // namespace
}  // namespace virga::compute
