#include "api/policy_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "api/policy.h"
#include "base/fault.h"
#include "tests/support/api_client.h"

namespace virga::api {
namespace {

Caller member(std::vector<std::string> roles = {"member"}) {
  return test::project_caller("p", std::move(roles), "u");
}

constexpr RuleDefault kKeystone[] = {
    {"admin_required", "role:admin"},
    {"owner", "user_id:%(user_id)s"},
    {"identity:list_users", "role:reader and system_scope:all", "system domain", "rule:admin_required"},
    {"identity:get_user", "rule:owner", "system project"},
};
constexpr RuleDefault kNova[] = {
    {"admin_required", "role:admin"},
    {"owner", "project_id:%(project_id)s"},
    {"os:services:list", "role:admin", "project", "role:old", "os:services"},
    {"os:services:update", "role:admin", "project", "role:old", "os:services"},
};

/// Two services and a file.
struct Cloud {
  explicit Cloud(const std::string& yaml = {}, PolicyOptions options = {}) {
    path = directory.path() + "/policy.yaml";
    if (!yaml.empty()) {
      write(yaml);
      options.file = path;
    }
    policy = std::make_unique<Policy>(options);
    policy->declare("keystone", kKeystone);
    policy->declare("nova", kNova);
  }
  void write(const std::string& yaml) const { std::ofstream(path) << yaml; }
  bool allows(std::string_view rule, const Caller& caller, const Target& target = {}) const {
    return policy->allows(rule, caller, target);
  }
  /// What load() says of the file.
  std::string refusal() const {
    try {
      policy->load();
    } catch (const Fault& fault) {
      return fault.message.substr(path.size() > fault.message.size() ? 0 : path.size());
    }
    return "none";
  }

  test::ScratchDir directory;
  std::string path;
  std::unique_ptr<Policy> policy;
};

TEST(PolicyFile, ReadsWhatOsloPolicyReads) {
  const auto rules = parse_policy_file(
      "# a comment\n"
      "\"a\": \"role:admin\"\n"
      "b: role:x or role:y\n"
      "'c': ''\n"
      "d: [[role:admin, 'project_id:%(project_id)s'], [role:boss], role:single]\n"
      "e: []\n"
      "f: [[]]\n"
      "g: >\n  role:folded\n  or role:text\n",
      "f");
  ASSERT_EQ(rules.size(), 7u);
  EXPECT_EQ(rules[0].check, "role:admin");
  EXPECT_EQ(rules[0].line, 2);
  EXPECT_EQ(rules[1].check, "role:x or role:y");
  EXPECT_EQ(rules[2].check, "");
  EXPECT_EQ(rules[3].check, "role:admin and project_id:%(project_id)s or role:boss or role:single");
  EXPECT_EQ(rules[4].check, "");
  EXPECT_EQ(rules[5].check, "!");
  EXPECT_EQ(rules[6].check, "role:folded or role:text\n");
  EXPECT_TRUE(parse_policy_file("", "f").empty());
  EXPECT_TRUE(parse_policy_file("# nothing\n", "f").empty());
  EXPECT_EQ(parse_policy_file("{\"json\": \"role:x\"}", "f").front().check, "role:x");
}

TEST(PolicyFile, RefusesWithFileAndLine) {
  const auto refusal = [](std::string_view yaml) {
    try {
      parse_policy_file(yaml, "f");
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::bad_request);
      return fault.message;
    }
    return std::string("none");
  };
  EXPECT_EQ(refusal("- a\n"), "f:1: the file must be a mapping of rule names to checks.");
  EXPECT_EQ(refusal("\na: &x role:a\n"), "f:2: anchors are not offered.");
  EXPECT_EQ(refusal("a: b:c\nd: *x\n"), "f:2: aliases are not offered.");
  EXPECT_EQ(refusal("a: !\n"), "f:1: tags are not offered; a check that is \"!\" needs its quotes.");
  EXPECT_EQ(refusal("a: x:y\nb: x:y\na: x:y\n"), "f:3: rule \"a\": it stands in line 1 already.");
  EXPECT_EQ(refusal("a:\n"),
            "f:1: rule \"a\": it has no check; write \"\" if all may do it, \"!\" if nobody may.");
  EXPECT_EQ(refusal("a: {b: c}\n"), "f:1: rule \"a\": its check must be a text or a list.");
  EXPECT_EQ(refusal("a: [[[deep]]]\n"),
            "f:1: rule \"a\": in a list of lists each entry is one check, as \"role:admin\".");
  EXPECT_EQ(refusal("a: [role:x or role:y]\n"),
            "f:1: rule \"a\": in a list of lists each entry is one check, as \"role:admin\".");
  EXPECT_EQ(refusal("a: x:y\n---\nb: x:y\n"), "f:2: a second document begins.");
  EXPECT_NE(refusal("a: \"x\n").find("f:"), std::string::npos);
  EXPECT_NE(refusal("a: @\n").find("f:1:"), std::string::npos);
  EXPECT_NE(refusal(std::string(1024 * 1024 + 1, '#')).find("at most"), std::string::npos);
}

TEST(PolicyFile, ReplacesRulesAndTakesNamesOfItsOwn) {
  Cloud cloud(
      "\"identity:list_users\": \"rule:support or rule:admin_required\"\n"
      "support: role:helpdesk\n");
  cloud.policy->load();
  EXPECT_TRUE(cloud.allows("identity:list_users", member({"helpdesk"})));
  EXPECT_TRUE(cloud.allows("identity:list_users", member({"admin"})));
  EXPECT_FALSE(cloud.allows("identity:list_users", member()));
  EXPECT_TRUE(cloud.policy->explain("identity:list_users", member(), {}).overridden);
}

TEST(PolicyFile, SaysWhatIsWrongWithARule) {
  EXPECT_EQ(
      Cloud("identity:list_user: role:x\n").refusal(),
      ":1: rule \"identity:list_user\": there is no such rule; the nearest is \"identity:list_users\".");
  EXPECT_EQ(Cloud("a: role:x\n\nidentity:list_users: role:x and\n").refusal(),
            ":3: rule \"identity:list_users\": The policy rule \"role:x and\" does not parse: a check is "
            "missing, near \"\".");
  EXPECT_EQ(Cloud("identity:list_users: rule:nowhere\n").refusal(),
            ":1: rule \"identity:list_users\": it refers to rule:nowhere, which does not exist.");
  EXPECT_EQ(Cloud("identity:list_users: rule:a\na: rule:b\nb: rule:a\n").refusal(),
            ":1: rule \"identity:list_users\": it leads in a circle: identity:list_users → a → b → a.");
  EXPECT_EQ(Cloud("identity:list_users: http://localhost/%(x)s\n").refusal(),
            ":1: rule \"identity:list_users\": The policy rule \"http://localhost/%(x)s\" does not parse: a "
            "check may not ask another server (http:), near \"http://localhost/%(x)s\".");
  EXPECT_NE(Cloud("identity:list_users: projct_id:x\n")
                .refusal()
                .find("nothing of a caller is called \"projct_id\" (\"project_id\"?)"),
            std::string::npos);
  EXPECT_EQ(Cloud("owner: role:x\n").refusal(),
            ":1: rule \"owner\": keystone and nova mean different things by that name.");
}

TEST(PolicyFile, ANameMeansTheServicesOwnRule) {
  Cloud cloud("os:services:list: rule:owner\n");
  cloud.policy->load();
  EXPECT_TRUE(cloud.allows("os:services:list", member(), {{"project_id", "p"}, {"user_id", "other"}}));
  EXPECT_FALSE(cloud.allows("identity:get_user", member(), {{"project_id", "p"}, {"user_id", "other"}}));
}

TEST(PolicyFile, TakesARulesFormerName) {
  Cloud cloud("os:services: role:operator\nos:services:update: role:boss\n");
  cloud.policy->load();
  EXPECT_TRUE(cloud.allows("os:services:list", member({"operator"})));
  EXPECT_FALSE(cloud.allows("os:services:update", member({"operator"})));
  EXPECT_TRUE(cloud.allows("os:services:update", member({"boss"})));
}

TEST(PolicyFile, IsReadAgainWhenItChangesAndKeptWhenItIsWrong) {
  Cloud cloud("identity:list_users: role:first\n");
  cloud.policy->load();
  EXPECT_FALSE(cloud.policy->reload(false)) << "nothing changed";
  cloud.write("identity:list_users: role:second_one\n");
  EXPECT_TRUE(cloud.policy->reload(false));
  EXPECT_TRUE(cloud.allows("identity:list_users", member({"second_one"})));
  cloud.write("identity:list_users: (role:broken\n");
  EXPECT_FALSE(cloud.policy->reload(true));
  EXPECT_TRUE(cloud.allows("identity:list_users", member({"second_one"})));
  std::filesystem::remove(cloud.path);
  EXPECT_FALSE(cloud.policy->reload(false));
  EXPECT_TRUE(cloud.allows("identity:list_users", member({"second_one"})));
  cloud.write("# back to the defaults\n");
  EXPECT_TRUE(cloud.policy->reload(false));
  EXPECT_FALSE(cloud.allows("identity:list_users", member({"second_one"})));
}

TEST(PolicyFile, MustBeThereAtTheStart) {
  Policy policy({.file = "/nonexistent/policy.yaml"});
  EXPECT_THROW(policy.load(), Fault);
}

TEST(Policy, NewDefaultsDropTheOlderOnes) {
  const Cloud both, only("", {.new_defaults = true});
  Caller system = member({"reader"});
  system.project_id.clear();
  system.system = true;
  EXPECT_TRUE(both.allows("identity:list_users", member({"admin"})));
  EXPECT_TRUE(both.allows("identity:list_users", system));
  EXPECT_FALSE(only.allows("identity:list_users", member({"admin"})));
  EXPECT_TRUE(only.allows("identity:list_users", system));
}

TEST(Policy, ScopeIsEnforcedIfAsked) {
  const Cloud scoped("", {.enforce_scope = true});
  EXPECT_FALSE(scoped.allows("identity:list_users", member({"admin"})))
      << "a project's token, where the rule is the system's";
  const PolicyAnswer answer = scoped.policy->explain("identity:list_users", member({"admin"}), {});
  EXPECT_FALSE(answer.allowed);
  EXPECT_TRUE(answer.explanation.value);
  EXPECT_EQ(
      answer.scope_refusal,
      "the rule is for tokens of a system or domain, and this one is of a project (policy.enforce_scope)");
  Caller domain = member({"admin"});
  domain.project_id.clear();
  domain.domain_id = "d";
  EXPECT_TRUE(scoped.allows("identity:list_users", domain));
}

TEST(Policy, ExplainsWhichLeafDecided) {
  const Cloud cloud;
  const auto texts = [&](const Caller& caller) {
    std::string out;
    const PolicyAnswer answer = cloud.policy->explain("identity:list_users", caller, {});
    for (const auto* leaf : deciding_leaves(answer.explanation))
      out += (out.empty() ? "" : "; ") + leaf->text + (leaf->value ? "+" : "-");
    return out;
  };
  EXPECT_EQ(texts(member({"admin"})), "role:admin+");
  EXPECT_EQ(texts(member({"reader"})), "system_scope:all-; role:admin-");
  EXPECT_EQ(texts(member({})), "role:reader-; role:admin-");
  try {
    cloud.policy->explain("identity:list_user", member(), {});
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.hint, "Is identity:list_users meant?");
  }
}

TEST(Policy, FieldsAsNeutronHasThem) {
  Policy policy;
  policy.declare("shared", "field:networks:shared=True");
  policy.declare("external", "field:networks:router:external=True");
  policy.declare("device", "field:port:device_owner=~^network:");
  EXPECT_TRUE(policy.allows("shared", member(), {{"shared", "True"}}));
  EXPECT_FALSE(policy.allows("shared", member(), {{"shared", "False"}}));
  EXPECT_TRUE(policy.allows("external", member(), {{"router:external", "True"}}));
  EXPECT_TRUE(policy.allows("device", member(), {{"device_owner", "network:dhcp"}}));
  EXPECT_FALSE(policy.allows("device", member(), {{"device_owner", "compute:nova"}}));
  EXPECT_THROW(policy.declare("x", "field:port:device_owner=~^(a+)+$"), Fault);
}

}  // namespace
}  // namespace virga::api
