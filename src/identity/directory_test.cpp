// Domains in a directory: the settings, and whole logins against Debian's slapd.
#include "identity/directory.h"

#include "tests/support/identity_fixture.h"
#include "tests/support/slapd.h"

namespace virga::identity {
namespace {

using test::Reply;
using Names = std::vector<std::string>;

DirectorySettings settings(json::object ldap) {
  return *read_directory_settings({{"identity", {{"driver", "ldap"}}}, {"ldap", std::move(ldap)}});
}

TEST(Directory, SettingsHaveKeystonesDefaults) {
  EXPECT_FALSE(read_directory_settings({}));
  EXPECT_FALSE(read_directory_settings({{"identity", {{"driver", "sql"}}}}));
  const auto s =
      settings({{"url", "ldap://a,ldap://b"}, {"suffix", "dc=x"}, {"page_size", "50"}, {"use_tls", "True"}});
  EXPECT_EQ(s.connection.url, "ldap://a ldap://b");
  EXPECT_EQ(s.connection.page_size, 50);
  EXPECT_TRUE(s.connection.start_tls);
  EXPECT_EQ(s.users.base, "ou=Users,dc=x");
  EXPECT_EQ(s.groups.base, "ou=UserGroups,dc=x");
  EXPECT_EQ(s.users.filter, "(&(objectClass=inetOrgPerson)(cn=*))");
  EXPECT_EQ(filter_for(s.users, "sn", "a*(b)"), "(&(&(objectClass=inetOrgPerson)(cn=*))(sn=a\\2a\\28b\\29))");
  EXPECT_FALSE(s.enabled_group);
}

TEST(Directory, EnabledIsWhoIsInTheEnabledGroup) {
  auto s = settings({{"suffix", "dc=x"}, {"user_enabled_emulation", "true"}, {"group_member_attribute", "uniqueMember"}});
  ASSERT_TRUE(s.enabled_group);
  EXPECT_EQ(s.enabled_group->dn, "cn=enabled_users,ou=Users,dc=x");
  std::vector<DirectoryUser> users{{.local_id = "a", .dn = "cn=a, ou=Users,dc=x", .name = "A"}};
  EXPECT_EQ(enabled_search(*s.enabled_group, users).filter, "(&(objectClass=groupOfNames)(member=cn=a, ou=Users,dc=x))");
  users.push_back({.local_id = "b", .dn = "cn=b,ou=Users,dc=x", .name = "B"});
  EXPECT_EQ(enabled_search(*s.enabled_group, users).filter, "(objectClass=groupOfNames)");
  set_enabled(*s.enabled_group, {{.dn = s.enabled_group->dn, .attributes = {{"member", {"CN=a,ou=users,dc=x"}}}}}, users);
  EXPECT_TRUE(users[0].enabled) << "names of entries have no one spelling";
  EXPECT_FALSE(users[1].enabled);
  set_enabled(*s.enabled_group, {}, users);
  EXPECT_FALSE(users[0].enabled);

  s = settings({{"suffix", "dc=x"},
                {"user_enabled_emulation", true},
                {"user_enabled_emulation_dn", "cn=in"},
                {"user_enabled_emulation_use_group_config", true},
                {"group_objectclass", "posixGroup"},
                {"group_member_attribute", "memberUid"},
                {"group_members_are_ids", true}});
  users.pop_back();
  const auto search = enabled_search(*s.enabled_group, users);
  EXPECT_EQ(search.base, "cn=in");
  EXPECT_EQ(search.filter, "(&(objectClass=posixGroup)(memberUid=a))");
  set_enabled(*s.enabled_group, {{.dn = "cn=in", .attributes = {{"memberUid", {"a"}}}}}, users);
  EXPECT_TRUE(users[0].enabled);
}

TEST(Directory, EntriesBecomeUsers) {
  auto s = settings({{"user_additional_attribute_mapping", json::array{"telephoneNumber:phone"}}});
  ldap::Entry e{.dn = "cn=a", .attributes = {{"cn", {"a"}}, {"sn", {"Ann"}}, {"telephoneNumber", {"1"}}}};
  const auto user = to_user(s, e);
  ASSERT_TRUE(user);
  EXPECT_TRUE(user->enabled) << "the default";
  EXPECT_EQ(user->extra.at("phone"), "1");
  e.attributes["enabled"] = {"FALSE"};
  EXPECT_FALSE(to_user(s, e)->enabled);
  s.enabled_invert = true;
  EXPECT_TRUE(to_user(s, e)->enabled);
  s.enabled_mask = 2;
  e.attributes["enabled"] = {"514"};
  EXPECT_FALSE(to_user(s, e)->enabled) << "as Active Directory says it";
  e.attributes["enabled"] = {"512"};
  EXPECT_TRUE(to_user(s, e)->enabled);
  e.attributes.erase("sn");
  EXPECT_FALSE(to_user(s, e)) << "without a name";
}

TEST(Directory, PublicIdsAreKeystones) {
  // hashlib.sha256(b"default" + b"user" + b"ann").hexdigest()
  EXPECT_EQ(public_id("default", "user", "ann"),
            "a2d27fc74a2f61b3a64815e71dad383e0c9e2d6e5678a4a385ed076e6d0041d8");
}

TEST(Directory, EntriesBecomeGroups) {
  const auto s = settings({{"group_additional_attribute_mapping", "telephoneNumber:phone"},
                           {"group_attribute_ignore", "description"}});
  ldap::Entry e{.dn = "cn=g",
                .attributes = {{"cn", {"g"}},
                               {"ou", {"Group"}},
                               {"description", {"x"}},
                               {"telephoneNumber", {"1"}},
                               {"member", {"cn=a", "cn=b"}}}};
  const auto group = to_group(s, e);
  ASSERT_TRUE(group);
  EXPECT_EQ(group->name, "Group");
  EXPECT_EQ(group->description, "");
  EXPECT_EQ(group->extra.at("phone"), "1");
  EXPECT_EQ(group->members.size(), 2u);
  const auto wanted = group_attributes(s);
  EXPECT_NE(std::find(wanted.begin(), wanted.end(), "telephoneNumber"), wanted.end());
  e.attributes["ou"] = {std::string(256, 'x')};
  EXPECT_FALSE(to_group(s, e)) << "longer than a row takes";
  e.attributes["ou"] = {"\xff"};
  EXPECT_FALSE(to_group(s, e)) << "no text";
}

class DirectoryDomainTest : public test::IdentityCloudTest {
 protected:
  identity::Options options() const override {
    auto o = IdentityCloudTest::options();
    o.security.disable_user_account_days_inactive = 30;
    return o;
  }
  void SetUp() override {
    IdentityCloudTest::SetUp();
    domain_ = make("domains", "domain", {{"name", "corp"}});
    configure({});
  }
  void configure(json::object more) {
    json::object ldap{{"url", slapd_.url()},
                      {"user", "cn=admin,dc=example,dc=org"},
                      {"password", "rootpw"},
                      {"suffix", "dc=example,dc=org"},
                      {"user_tree_dn", "ou=People,dc=example,dc=org"},
                      {"group_tree_dn", "ou=Groups,dc=example,dc=org"},
                      {"user_name_attribute", "cn"},
                      {"user_enabled_attribute", "employeeType"}};
    for (const auto& [name, value] : more) ldap[name] = value;
    const Reply r =
        cloud_.put("/v3/domains/" + domain_ + "/config",
                   {{"config", {{"identity", {{"driver", "ldap"}}}, {"ldap", std::move(ldap)}}}}, admin_);
    EXPECT_LT(r.status, 300) << r.body;
  }
  Reply log_in_at(const std::string& name, const std::string& password, json::value scope = nullptr) {
    json::object auth{
        {"identity",
         {{"methods", json::array{"password"}},
          {"password",
           {{"user", {{"name", name}, {"domain", {{"id", domain_}}}, {"password", password}}}}}}}};
    if (!scope.is_null()) auth["scope"] = std::move(scope);
    return cloud_.post("/v3/auth/tokens", json::object{{"auth", std::move(auth)}});
  }
  Names listed(const std::string& collection) {
    const Reply r = get(collection + "?domain_id=" + domain_);
    EXPECT_EQ(r.status, 200) << r.body;
    Names names = r.each(collection, "name");
    std::sort(names.begin(), names.end());
    return names;
  }
  std::string user_id(const std::string& name) {
    return get("users?domain_id=" + domain_ + "&name=" + name).at("users.0.id");
  }

  test::Slapd slapd_;
  std::string domain_;
};

TEST_P(DirectoryDomainTest, UsersAndGroupsAreTheDirectorys) {
  EXPECT_EQ(listed("users"), (Names{"ann", "ben", "odd*(name)"}));
  EXPECT_EQ(listed("groups"), (Names{"dev-name", "empty-handed-name", "ops-name"}));
  const std::string ann = user_id("ann");
  EXPECT_EQ(ann, public_id(domain_, "user", "ann"));
  const Reply shown = get("users/" + ann);
  EXPECT_EQ(shown.at("user.email"), "ann@example.org");
  EXPECT_EQ(shown.at("user.domain_id"), domain_);
  EXPECT_EQ(get("users/" + user_id("ben")).at("user.enabled"), "false");
  const std::string dev = get("groups?domain_id=" + domain_ + "&name=dev-name").at("groups.0.id");
  EXPECT_EQ(get("groups/" + dev + "/users").count("users"), 2u);
  EXPECT_EQ(get("users/" + ann + "/groups").count("groups"), 2u);
  EXPECT_EQ(get("groups/" + dev).at("group.description"), "group dev");
}

TEST_P(DirectoryDomainTest, PasswordsAreCheckedThere) {
  EXPECT_EQ(log_in_at("ann", "ann-pw").status, 201);
  EXPECT_EQ(log_in_at("ann", "wrong").status, 401);
  EXPECT_EQ(log_in_at("ann", "").status, 401);
  EXPECT_EQ(log_in_at("ben", "ben-pw").status, 401) << "disabled there";
  EXPECT_EQ(log_in_at("nobody", "x").status, 401);
  EXPECT_EQ(log_in_at("*", "ann-pw").status, 401);
  EXPECT_EQ(log_in_at("odd*(name)", "odd-pw").status, 201);
  const json::object by_id{{"id", user_id("ann")}, {"password", "ann-pw"}};
  EXPECT_EQ(
      cloud_
          .post("/v3/auth/tokens",
                {{"auth",
                  {{"identity", {{"methods", json::array{"password"}}, {"password", {{"user", by_id}}}}}}}})
          .status,
      201);
}

TEST_P(DirectoryDomainTest, AnEnabledGroupSaysWhoMayLogIn) {
  configure({{"user_enabled_emulation", true}, {"user_enabled_emulation_dn", "cn=ops,ou=Groups,dc=example,dc=org"}});
  EXPECT_EQ(get("users/" + user_id("ann")).at("user.enabled"), "true");
  EXPECT_EQ(get("users/" + user_id("odd*(name)")).at("user.enabled"), "false");
  const Reply in = log_in_at("ann", "ann-pw");
  EXPECT_EQ(in.status, 201);
  EXPECT_EQ(log_in_at("odd*(name)", "odd-pw").status, 401);
  slapd_.change("slapmodify",
                "dn: cn=ops,ou=Groups,dc=example,dc=org\nchangetype: modify\nreplace: member\n"
                "member: cn=odd*(name),ou=People,dc=example,dc=org\n\n");
  EXPECT_EQ(log_in_at("ann", "ann-pw").status, 401);
  EXPECT_EQ(log_in_at("odd*(name)", "odd-pw").status, 201);
  EXPECT_EQ(get("users/" + in.at("token.user.id")).at("user.enabled"), "false");
  EXPECT_EQ(validate(std::string(in.headers.get("X-Subject-Token"))), 404);
}

TEST_P(DirectoryDomainTest, NobodyLogsInByANameThatSeveralHave) {
  configure({{"user_name_attribute", "employeeType"}});
  EXPECT_EQ(log_in_at("TRUE", "ann-pw").status, 401);
  EXPECT_EQ(listed("users"), (Names{"FALSE", "TRUE"})) << "the first has it";
}

TEST_P(DirectoryDomainTest, WhoDidNotComeForLongMayComeAgain) {
  EXPECT_EQ(log_in_at("ann", "ann-pw").status, 201);
  cloud_.clock().advance(std::chrono::hours(24 * 40));
  EXPECT_EQ(log_in_at("ann", "ann-pw").status, 201) << "nobody could enable her here";
}

TEST_P(DirectoryDomainTest, AWrongTreeIsNoEmptyOne) {
  const Reply r = log_in_at("ann", "ann-pw");
  const std::string token(r.headers.get("X-Subject-Token"));
  configure({{"user_tree_dn", "ou=Nowhere,dc=example,dc=org"}});
  EXPECT_EQ(get("users?domain_id=" + domain_).status, 503);
  EXPECT_EQ(validate(token), 200);
  configure({});
  EXPECT_EQ(listed("users").size(), 3u);
}

TEST_P(DirectoryDomainTest, RolesHangOnUsersAndOnTheDirectorysGroups) {
  const std::string project = make("projects", "project", {{"name", "p"}, {"domain_id", domain_}});
  listed("groups");
  const std::string ops = public_id(domain_, "group", "ops");
  put("projects/" + project + "/groups/" + ops + "/roles/" + role("member"));
  const Reply r = log_in_at("ann", "ann-pw", test::project_scope_id(project));
  ASSERT_EQ(r.status, 201) << r.body;
  EXPECT_EQ(r.at("token.user.name"), "ann");
  const std::string token(r.headers.get("X-Subject-Token"));
  EXPECT_EQ(validate(token), 200);
  slapd_.change("slapmodify",
                "dn: cn=ops,ou=Groups,dc=example,dc=org\nchangetype: modify\nreplace: member\n"
                "member: cn=odd*(name),ou=People,dc=example,dc=org\n\n");
  EXPECT_EQ(log_in_at("ann", "ann-pw", test::project_scope_id(project)).status, 401);
  EXPECT_EQ(validate(token), 404) << "what the login saw counts for older tokens too";
  EXPECT_EQ(log_in_at("odd*(name)", "odd-pw", test::project_scope_id(project)).status, 201);
}

TEST_P(DirectoryDomainTest, WhoLeavesTheDirectoryIsOut) {
  const Reply r = log_in_at("ann", "ann-pw");
  const std::string token(r.headers.get("X-Subject-Token")), ann = r.at("token.user.id");
  const std::string ldif = "dn: cn=ann,ou=People,dc=example,dc=org\nchangetype: delete\n\n";
  slapd_.change("slapmodify", ldif);
  EXPECT_EQ(get("users/" + ann).status, 404);
  EXPECT_EQ(validate(token), 404);
  EXPECT_EQ(listed("users"), (Names{"ben", "odd*(name)"}));
  EXPECT_EQ(log_in_at("ann", "ann-pw").status, 401);
}

TEST_P(DirectoryDomainTest, WhoComesBackFindsEverythingAgain) {
  const std::string project = make("projects", "project", {{"name", "p"}, {"domain_id", domain_}});
  listed("groups");
  put("projects/" + project + "/groups/" + public_id(domain_, "group", "ops") + "/roles/" + role("member"));
  const std::string token = token_of(log_in_at("ann", "ann-pw", test::project_scope_id(project)));
  const Reply made =
      cloud_.post("/v3/users/" + public_id(domain_, "user", "ann") + "/application_credentials",
                  {{"application_credential", {{"name", "c"}, {"secret", "s3cret"}}}}, token);
  ASSERT_EQ(made.status, 201) << made.body;
  const json::object credential{{"id", made.at("application_credential.id")}, {"secret", "s3cret"}};
  const auto use = [&] {
    return cloud_
        .post("/v3/auth/tokens", {{"auth",
                                   {{"identity",
                                     {{"methods", json::array{"application_credential"}},
                                      {"application_credential", credential}}}}}})
        .status;
  };
  EXPECT_EQ(use(), 201);
  for (const auto& [option, collection] :
       {std::pair("user_filter", "users"), std::pair("group_filter", "groups")}) {
    configure({{option, "(cn=nobody)"}});
    EXPECT_EQ(listed(collection), Names{}) << "somebody mistyped";
    EXPECT_EQ(use(), 401) << option;
    EXPECT_EQ(validate(token), 404);
    configure({});
    EXPECT_EQ(listed(collection).size(), 3u);
    EXPECT_EQ(use(), 201) << option;
  }
}

TEST_P(DirectoryDomainTest, NothingIsWrittenThere) {
  listed("users");
  const std::string ann = user_id("ann"), dev = public_id(domain_, "group", "dev");
  EXPECT_EQ(cloud_.post("/v3/users", {{"user", {{"name", "x"}, {"domain_id", domain_}}}}, admin_).status,
            403);
  EXPECT_EQ(cloud_.patch("/v3/users/" + ann, {{"user", {{"enabled", false}}}}, admin_).status, 403);
  EXPECT_EQ(cloud_.del("/v3/users/" + ann, admin_).status, 403);
  EXPECT_EQ(cloud_
                .post("/v3/users/" + ann + "/password",
                      {{"user", {{"password", "n"}, {"original_password", "ann-pw"}}}})
                .status,
            403);
  EXPECT_EQ(cloud_.post("/v3/groups", {{"group", {{"name", "x"}, {"domain_id", domain_}}}}, admin_).status,
            403);
  EXPECT_EQ(cloud_.patch("/v3/groups/" + dev, {{"group", {{"name", "x"}}}}, admin_).status, 403);
  EXPECT_EQ(cloud_.del("/v3/groups/" + dev, admin_).status, 403);
  EXPECT_EQ(status_of("PUT", "groups/" + dev + "/users/" + ann, admin_), 403);
  EXPECT_EQ(status_of("DELETE", "groups/" + dev + "/users/" + ann, admin_), 403);
}

TEST_P(DirectoryDomainTest, ADirectoryThatIsDownSaysSo) {
  const Reply r = log_in_at("ann", "ann-pw");
  const std::string token(r.headers.get("X-Subject-Token"));
  slapd_.stop();
  EXPECT_EQ(get("users?domain_id=" + domain_).status, 503);
  const Reply down = log_in_at("ann", "ann-pw");
  EXPECT_EQ(down.status, 503);
  EXPECT_EQ(down.body.find("ldapi"), std::string::npos) << "which server it is, is nobody's business";
  EXPECT_EQ(cloud_.post("/v3/auth/tokens", test::password_auth("admin", "secret")).status, 201)
      << "other domains do not mind";
  EXPECT_EQ(validate(token), 200) << "tokens do not ask it";
  EXPECT_EQ(get("users").status, 200) << "nor do lists of all domains";
}

INSTANTIATE_TEST_SUITE_P(Engines, DirectoryDomainTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
