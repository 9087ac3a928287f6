// If-Match: revision_number=N, through the real API.
#include <gtest/gtest.h>

#include "network/api.h"
#include "tests/support/api_client.h"

namespace virga::network {
namespace {

using test::Reply;

class RevisionMatchTest : public ::testing::Test {
 protected:
  RevisionMatchTest() : networks_(make_networks({}, cloud_.database(), cloud_.clock())) {
    cloud_.mount(networks_->service());
    cloud_.sign_in("ann", test::project_caller("p-ann", {"member"}, "ann"));
    cloud_.sign_in("bob", test::project_caller("p-bob", {"member"}, "bob"));
    const Reply r = cloud_.post("/network/v2.0/networks", {{"network", {{"name", "first"}}}}, "ann");
    path_ = "/network/v2.0/networks/" + r.at("network.id");
    EXPECT_EQ(r.at("network.revision_number"), "1");
  }
  Reply rename(const std::string& name, const std::string& match, std::string_view token = "ann") {
    return cloud_.put(path_, {{"network", {{"name", name}}}}, token, {{"If-Match", match}});
  }

  test::TestCloud cloud_;
  std::unique_ptr<Networks> networks_;
  std::string path_;
};

TEST_F(RevisionMatchTest, AChangeIsMadeOnlyAtItsRevision) {
  EXPECT_EQ(rename("second", "revision_number=1").status, 200);
  const Reply late = rename("third", "revision_number=1");
  EXPECT_EQ(late.status, 412);
  EXPECT_EQ(late.at("NeutronError.type"), "RevisionNumberConstraintFailed");
  EXPECT_EQ(late.at("NeutronError.message"), "Constrained to 1, but current revision is 2");
  EXPECT_EQ(cloud_.get(path_, "ann").at("network.name"), "second");
  EXPECT_EQ(rename("third", "\"revision_number=2\"").status, 200);
}

TEST_F(RevisionMatchTest, SoIsADeletion) {
  EXPECT_EQ(cloud_.del(path_, "ann", {{"If-Match", "revision_number=7"}}).status, 412);
  EXPECT_EQ(cloud_.get(path_, "ann").status, 200);
  EXPECT_EQ(cloud_.del(path_, "ann", {{"If-Match", "revision_number=1"}}).status, 204);
}

TEST_F(RevisionMatchTest, WhatIsNoRevisionIsRefusedOrIgnoredAsInNeutron) {
  for (const char* bad : {"revision_number=", "revision_number=one", "revision_number=1x",
                          "\"revision_number=1\", \"revision_number=1\""}) {
    const Reply r = rename("x", bad);
    EXPECT_EQ(r.status, 400) << bad;
    EXPECT_EQ(r.at("NeutronError.type"), "BadRequest") << bad;
  }
  for (const char* other : {"*", "\"abc\"", "W/\"revision_number=9\""})
    EXPECT_EQ(rename("x", other).status, 200) << other;
}

TEST_F(RevisionMatchTest, ItTellsNothingOfWhatOneMayNotSee) {
  EXPECT_EQ(rename("x", "revision_number=9", "bob").status, 404);
}

TEST_F(RevisionMatchTest, RouterInterfacesAreConstrainedByTheRouter) {
  const std::string router =
      cloud_.post("/network/v2.0/routers", {{"router", {{"name", "r"}}}}, "ann").at("router.id");
  const Reply r = cloud_.put("/network/v2.0/routers/" + router + "/add_router_interface",
                             {{"subnet_id", "none"}}, "ann", {{"If-Match", "revision_number=9"}});
  EXPECT_EQ(r.status, 412);
}

}  // namespace
}  // namespace virga::network
