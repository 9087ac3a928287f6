#include "api/policy.h"

#include <gtest/gtest.h>

#include "base/fault.h"

namespace virga::api {
namespace {

Caller member() {
  Caller caller;
  caller.user_id = "u";
  caller.project_id = "p";
  caller.role_names = {"member"};
  return caller;
}

bool holds(std::string_view check, const Target& target = {}) {
  Policy policy;
  policy.declare("base", "role:member");
  policy.declare("r", check);
  return policy.allows("r", member(), target);
}

TEST(Policy, Language) {
  EXPECT_TRUE(holds(""));
  EXPECT_TRUE(holds("@"));
  EXPECT_FALSE(holds("!"));
  EXPECT_TRUE(holds("role:Member"));
  EXPECT_FALSE(holds("role:admin"));
  EXPECT_TRUE(holds("role:admin or rule:base"));
  EXPECT_FALSE(holds("rule:base and not (role:member or role:reader)"));
  EXPECT_TRUE(holds("project_id:%(project_id)s", {{"project_id", "p"}}));
  EXPECT_FALSE(holds("project_id:%(project_id)s", {{"project_id", "q"}}));
  EXPECT_FALSE(holds("project_id:%(project_id)s"));
  EXPECT_TRUE(holds("'public':%(visibility)s", {{"visibility", "public"}}));
  EXPECT_FALSE(holds("system_scope:all"));
  for (const char* bad : {"role", "(role:a", "role:a)", "or role:a", "role:a role:b", ":x"})
    EXPECT_THROW(holds(bad), Fault) << bad;
}

TEST(Policy, ThePathIsAskedAfterTheTarget) {
  Policy policy;
  policy.declare("r", "user_id:%(user_id)s");
  const Policy::Table table = policy.table();
  const PolicyRule& rule = *table->find("r", "");
  const PathParts own{{"user_id", "u"}}, others{{"user_id", "v"}};
  EXPECT_TRUE(rule.holds(member(), {}, &own));
  EXPECT_FALSE(rule.holds(member(), {}, &others));
  EXPECT_FALSE(rule.holds(member(), {{"user_id", "v"}}, &own));
  EXPECT_FALSE(rule.holds(member(), {}));
}

TEST(Policy, ARuleKeepsItsNumberWhenItsDefaultChanges) {
  constexpr RuleDefault kNova[] = {{"owner", "project_id:%(project_id)s"}, {"show", "rule:owner"}};
  constexpr RuleDefault kKeystone[] = {{"owner", "user_id:%(user_id)s"}, {"get", "rule:owner"}};
  Policy policy;
  policy.declare("nova", kNova);
  policy.declare("keystone", kKeystone);
  const RuleId get = policy.find("get", "keystone").value();
  EXPECT_FALSE(policy.find("get", "nova").has_value());
  const Target target{{"user_id", "u"}, {"project_id", "q"}};
  EXPECT_TRUE((*policy.table())[get].holds(member(), target)) << "its own service's owner";
  EXPECT_FALSE(policy.allows("show", member(), target));
  const Policy::Table before = policy.table();
  policy.declare("get", "!");
  EXPECT_FALSE((*policy.table())[get].holds(member(), target));
  EXPECT_TRUE((*before)[get].holds(member(), target)) << "a request that began before asks what was";
}

TEST(Policy, IsAdminIsWhatTheRuleSays) {
  Policy policy;
  policy.declare("context_is_admin", "role:member");
  policy.declare("r", "is_admin:True");
  EXPECT_TRUE(policy.allows("r", member(), {}));
  policy.declare("context_is_admin", "role:admin");
  EXPECT_FALSE(policy.allows("r", member(), {}));
}

TEST(Policy, RulesInACircleDenyAtOnce) {
  Policy policy;
  policy.declare("a", "rule:b or rule:b or rule:b");
  policy.declare("b", "rule:a or not rule:a");
  EXPECT_FALSE(policy.allows("a", member(), {}));
  policy.declare("self", "not rule:self");
  EXPECT_FALSE(policy.allows("self", member(), {}));
  policy.declare("way_out", "role:member or rule:way_out");
  EXPECT_TRUE(policy.allows("way_out", member(), {}));
}

TEST(Policy, TowersThatDoubleEndInTime) {
  Policy policy;
  policy.declare("floor0", "role:nobody");
  for (int i = 1; i < 30; ++i) {
    const std::string below = "rule:floor" + std::to_string(i - 1);
    policy.declare("floor" + std::to_string(i), below + " or " + below);
  }
  EXPECT_FALSE(policy.allows("floor29", member(), {}));
  EXPECT_TRUE(policy.attributes("floor29").empty());
  EXPECT_TRUE(policy.allows("floor29",
                            [] {
                              Caller c = member();
                              c.role_names = {"nobody"};
                              return c;
                            }(),
                            {}));
}

}  // namespace
}  // namespace virga::api
