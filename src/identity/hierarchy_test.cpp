// Projects as a tree, what is immutable, domain roles, and role assignments with their filters.
#include "tests/support/identity_fixture.h"

namespace virga::identity {
namespace {

using test::Reply;
using Names = std::vector<std::string>;

class HierarchyTest : public test::IdentityCloudTest {
 protected:
  Reply patch(const std::string& path, const std::string& name, json::object body) {
    return cloud_.patch("/v3/" + path, json::object{{name, std::move(body)}}, admin_);
  }
  Reply try_make(const std::string& collection, const std::string& name, json::object body) {
    return cloud_.post("/v3/" + collection, json::object{{name, std::move(body)}}, admin_);
  }
  int del(const std::string& path) { return cloud_.del("/v3/" + path, admin_).status; }
  std::string project(const std::string& name, const std::string& parent) {
    return make("projects", "project", {{"name", name}, {"parent_id", parent}});
  }
  std::string admin_id() { return get("users?name=admin").at("users.0.id"); }
};

TEST_P(HierarchyTest, FamilyOfAProject) {
  const std::string a = project("a", "default"), b = project("b", a), c = project("c", b),
                    d = project("d", b);
  put("projects/" + a + "/users/" + admin_id() + "/roles/" + role("reader"));
  put("projects/" + c + "/users/" + admin_id() + "/roles/" + role("reader"));
  EXPECT_EQ(get("projects/" + c + "?parents_as_ids").at("project.parents"),
            fmt::format(R"({{"{}":{{"{}":{{"default":null}}}}}})", b, a));
  const Reply ids = get("projects/" + a + "?subtree_as_ids");
  EXPECT_EQ(ids.at("project.subtree." + b + "." + d), "null");
  EXPECT_EQ(get("projects/" + d + "?subtree_as_ids").at("project.subtree"), "null");
  const Reply lists = get("projects/" + b + "?parents_as_list&subtree_as_list");
  EXPECT_EQ(lists.count("project.parents"), 1u) << "what the caller may enter only";
  EXPECT_EQ(lists.at("project.parents.0.project.id"), a);
  EXPECT_EQ(lists.count("project.subtree"), 1u);
  EXPECT_EQ(lists.at("project.subtree.0.project.id"), c);
  EXPECT_EQ(get("projects/" + b + "?parents_as_list=0").find("project.parents"), nullptr);
  EXPECT_EQ(get("projects/" + b + "?parents_as_list&parents_as_ids").status, 400);
  EXPECT_EQ(get("projects/" + b + "?subtree_as_list&subtree_as_ids").status, 400);
  EXPECT_EQ(get("projects?parent_id=" + b).count("projects"), 2u);
}

TEST_P(HierarchyTest, PlacesAndDepth) {
  std::string at = "default";
  for (int i = 0; i < 5; ++i) at = project("level" + std::to_string(i), at);
  EXPECT_EQ(try_make("projects", "project", {{"name", "deep"}, {"parent_id", at}}).status, 403);
  const std::string other = make("domains", "domain", {{"name", "other"}});
  EXPECT_EQ(try_make("projects", "project", {{"name", "x"}, {"parent_id", at}, {"domain_id", other}}).status,
            400);
  EXPECT_EQ(try_make("projects", "project", {{"name", "x"}, {"parent_id", "none"}}).status, 400);
  EXPECT_EQ(try_make("projects", "project", {{"name", "x"}, {"domain_id", "none"}}).status, 400);
  EXPECT_EQ(try_make("projects", "project", {{"name", "x"}, {"is_domain", true}, {"parent_id", at}}).status,
            400);
  EXPECT_EQ(try_make("projects", "project", {{"name", "  "}}).status, 400);
  EXPECT_EQ(try_make("projects", "project", {{"name", " x "}, {"domain_id", other}}).at("project.name"), "x");
  EXPECT_EQ(patch("projects/" + at, "project", {{"parent_id", "default"}}).status, 403);
  EXPECT_EQ(patch("projects/" + at, "project", {{"is_domain", true}}).status, 400);
  EXPECT_EQ(patch("projects/" + at, "project", json::object()).status, 400);
}

TEST_P(HierarchyTest, EnabledBranches) {
  const std::string a = project("a", "default"), b = project("b", a);
  EXPECT_EQ(patch("projects/" + a, "project", {{"enabled", false}}).status, 403);
  EXPECT_EQ(patch("projects/" + b, "project", {{"enabled", false}}).status, 200);
  EXPECT_EQ(patch("projects/" + a, "project", {{"enabled", false}}).status, 200);
  EXPECT_EQ(patch("projects/" + b, "project", {{"enabled", true}}).status, 403);
  EXPECT_EQ(try_make("projects", "project", {{"name", "c"}, {"parent_id", b}}).status, 400);
  EXPECT_EQ(del("projects/" + a), 403) << "not a leaf";
  EXPECT_EQ(del("projects/" + b), 204);
  EXPECT_EQ(del("projects/" + a), 204);
}

TEST_P(HierarchyTest, ADomainIsAProjectToo) {
  const std::string d =
      make("projects", "project", {{"name", "d"}, {"is_domain", true}, {"tags", json::array{"t"}}});
  EXPECT_EQ(get("domains/" + d).at("domain.name"), "d");
  EXPECT_EQ(get("domains/" + d).at("domain.tags"), R"(["t"])");
  EXPECT_EQ(patch("domains/" + d, "domain", {{"tags", json::array{"u"}}}).at("domain.tags"), R"(["u"])");
  EXPECT_EQ(get("projects/" + d).at("project.domain_id"), "null");
  EXPECT_EQ(get("projects?is_domain=true&name=d").count("projects"), 1u);
  project("inside", d);
  EXPECT_EQ(del("projects/" + d), 403) << "enabled";
  EXPECT_EQ(patch("projects/" + d, "project", {{"enabled", false}}).status, 200) << "whatever is in it";
  EXPECT_EQ(del("projects/" + d), 204);
  EXPECT_EQ(get("projects?name=inside").count("projects"), 0u);
}

TEST_P(HierarchyTest, TagFilters) {
  const auto tagged = [&](const std::string& name, json::array tags) {
    make("projects", "project", {{"name", name}, {"tags", std::move(tags)}});
  };
  tagged("xy", {"x", "y"});
  tagged("x", {"x"});
  tagged("z", {"z"});
  const auto found = [&](const std::string& query) {
    Names names = get("projects?" + query).each("projects", "name");
    std::erase_if(names, [](const std::string& n) { return n.size() > 2; });
    std::sort(names.begin(), names.end());
    return names;
  };
  EXPECT_EQ(found("tags=x,y"), Names{"xy"});
  EXPECT_EQ(found("tags-any=y,z"), (Names{"xy", "z"}));
  EXPECT_EQ(found("not-tags=x,y"), (Names{"x", "z"}));
  EXPECT_EQ(found("not-tags-any=y,z"), Names{"x"});
  EXPECT_EQ(found("tags=x&not-tags=x,y"), Names{"x"});
  EXPECT_EQ(try_make("projects", "project", {{"name", "q"}, {"tags", json::array{"a", "a"}}}).status, 400);
  EXPECT_EQ(try_make("projects", "project", {{"name", "q"}, {"tags", json::array{"a,b"}}}).status, 400);
}

TEST_P(HierarchyTest, WhatIsImmutableStays) {
  struct Case {
    std::string collection, name;
  };
  for (const auto& [collection, name] :
       {Case{"projects", "project"}, {"domains", "domain"}, {"roles", "role"}}) {
    const std::string path =
        collection + "/" + make(collection, name, {{"name", "n"}, {"options", {{"immutable", true}}}});
    EXPECT_EQ(patch(path, name, {{"description", "x"}}).status, 403) << path;
    EXPECT_EQ(patch(path, name, {{"description", "x"}, {"options", {{"immutable", false}}}}).status, 403);
    if (name == "domain") {
      EXPECT_EQ(patch(path, name, {{"enabled", false}}).status, 403);
    }
    EXPECT_EQ(del(path), 403);
    EXPECT_EQ(patch(path, name, {{"options", {{"immutable", nullptr}}}}).at(name + ".options"), "{}");
    EXPECT_EQ(patch(path, name, {{"description", "x"}}).status, 200);
    EXPECT_EQ(patch(path, name, {{"options", {{"colour", true}}}}).status, 400);
    EXPECT_EQ(patch(path, name, {{"options", {{"immutable", "yes"}}}}).status, 400);
  }
  const std::string p =
      "projects/" + make("projects", "project", {{"name", "m"}, {"options", {{"immutable", true}}}});
  EXPECT_EQ(cloud_.put("/v3/" + p + "/tags/x", nullptr, admin_).status, 403);
  EXPECT_EQ(cloud_.put("/v3/" + p + "/tags", {{"tags", json::array{}}}, admin_).status, 403);
  EXPECT_EQ(del(p + "/tags"), 403);
  EXPECT_EQ(del("roles/" + role("admin")), 403) << "as keystone's bootstrap makes it";
}

TEST_P(HierarchyTest, ADomainWithSomethingImmutableStays) {
  const std::string d = make("domains", "domain", {{"name", "d"}});
  make("projects", "project", {{"name", "p"}, {"domain_id", d}, {"options", {{"immutable", true}}}});
  patch("domains/" + d, "domain", {{"enabled", false}});
  EXPECT_EQ(del("domains/" + d), 403);
}

TEST_P(HierarchyTest, DomainRoles) {
  const std::string d = make("domains", "domain", {{"name", "d"}});
  const std::string r = make("roles", "role", {{"name", "local"}, {"domain_id", d}});
  const std::string user = make("users", "user", {{"name", "u"}});
  const std::string home = make("projects", "project", {{"name", "p"}, {"domain_id", d}});
  const std::string away = make("projects", "project", {{"name", "p"}});
  const auto grant = [&](const std::string& project) {
    return cloud_.put("/v3/projects/" + project + "/users/" + user + "/roles/" + r, nullptr, admin_).status;
  };
  EXPECT_EQ(grant(home), 204);
  EXPECT_EQ(grant(away), 403);
  EXPECT_EQ(get("roles").each("roles", "name").size(), 4u) << "without those of domains";
  EXPECT_EQ(get("roles?domain_id=" + d).each("roles", "name"), Names{"local"});
  EXPECT_EQ(patch("roles/" + r, "role", {{"domain_id", "default"}}).status, 400);
  const auto imply = [&](const std::string& prior, const std::string& implied) {
    return cloud_.put("/v3/roles/" + prior + "/implies/" + implied, nullptr, admin_).status;
  };
  EXPECT_EQ(imply(role("reader"), r), 403);
  EXPECT_EQ(imply(r, role("admin")), 403);
  EXPECT_EQ(imply(r, role("reader")), 201);
  EXPECT_EQ(get("role_assignments?effective&user.id=" + user).each("role_assignments", "role"), Names{""})
      << "an object, of the implied role";
  EXPECT_EQ(
      get("role_assignments?effective&include_names&user.id=" + user).at("role_assignments.0.role.name"),
      "reader");
  EXPECT_EQ(get("role_assignments?include_names&user.id=" + user).at("role_assignments.0.role.domain.name"),
            "d");
}

TEST_P(HierarchyTest, AssignmentsByEveryFilter) {
  const std::string a = project("a", "default"), b = project("b", a);
  const std::string user = make("users", "user", {{"name", "u"}}),
                    group = make("groups", "group", {{"name", "g"}});
  put("groups/" + group + "/users/" + user);
  put("projects/" + a + "/users/" + user + "/roles/" + role("member"));
  put("OS-INHERIT/projects/" + a + "/users/" + user + "/roles/" + role("service") + "/inherited_to_projects");
  put("domains/default/groups/" + group + "/roles/" + role("reader"));
  put("system/users/" + user + "/roles/" + role("reader"));
  const auto count = [&](const std::string& query) {
    const Reply r = get("role_assignments?" + query);
    EXPECT_EQ(r.status, 200) << r.body;
    return r.count("role_assignments");
  };
  EXPECT_EQ(count("user.id=" + user), 3u);
  EXPECT_EQ(count("group.id=" + group), 1u);
  EXPECT_EQ(count("scope.system=all&user.id=" + user), 1u);
  EXPECT_EQ(count("scope.domain.id=default"), 1u);
  EXPECT_EQ(count("scope.project.id=" + a), 2u);
  EXPECT_EQ(count("scope.project.id=" + a + "&scope.OS-INHERIT:inherited_to=projects"), 1u);
  EXPECT_EQ(count("scope.project.id=" + a + "&scope.OS-INHERIT:inherited_to=x"), 1u);
  EXPECT_EQ(count("role.id=" + role("service")), 1u);
  EXPECT_EQ(count("scope.project.id=" + a + "&include_subtree"), 2u);
  EXPECT_EQ(count("effective&user.id=" + user + "&scope.project.id=" + b), 1u);
  EXPECT_EQ(count("effective&user.id=" + user + "&scope.project.id=" + a), 2u) << "member, and reader by it";
  EXPECT_EQ(count("effective&user.id=" + user + "&scope.domain.id=default"), 1u);
  EXPECT_EQ(count("effective&user.id=" + user), 5u);
  const Reply named = get("role_assignments?include_names&scope.project.id=" + a);
  EXPECT_EQ(named.at("role_assignments.0.user.name"), "u");
  EXPECT_EQ(named.at("role_assignments.0.scope.project.domain.name"), "Default");
}

TEST_P(HierarchyTest, AssignmentsInPages) {
  const std::string a = project("a", "default"), user = make("users", "user", {{"name", "u"}});
  for (const char* r : {"member", "reader", "service"})
    put("projects/" + a + "/users/" + user + "/roles/" + role(r));
  put("OS-INHERIT/projects/" + a + "/users/" + user + "/roles/" + role("member") + "/inherited_to_projects");
  for (const std::string& query : {std::string("user.id=") + user, "effective&user.id=" + user}) {
    const Names all = get("role_assignments?" + query).each("role_assignments", "links");
    Names seen;
    std::string path = "/v3/role_assignments?limit=2&" + query;
    for (int pages = 0; !path.empty() && pages < 9; ++pages) {
      const Reply page = cloud_.get(path, admin_);
      ASSERT_EQ(page.status, 200) << page.body;
      EXPECT_LE(page.count("role_assignments"), 2u);
      for (const auto& one : page.json.at("role_assignments").as_array())
        seen.push_back(json::serialize(json::array{one.at("role"), one.at("scope")}));
      const std::string next = page.at("links.next");
      path = next == "null" ? "" : next.substr(std::string("http://127.0.0.1:5000").size());
    }
    EXPECT_EQ(seen.size(), all.size());
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), all.size()) << "none twice";
  }
  EXPECT_EQ(get("role_assignments?marker=x").status, 400);
}

TEST_P(HierarchyTest, EffectiveAssignmentsOfManyUsersInPages) {
  const std::string a = project("a", "default"), group = make("groups", "group", {{"name", "g"}});
  put("projects/" + a + "/groups/" + group + "/roles/" + role("member"));  // and reader, by it
  for (int i = 0; i < 200; ++i) {
    const std::string user = make("users", "user", {{"name", "u" + std::to_string(i)}});
    if (i % 3 == 0) put("groups/" + group + "/users/" + user);
    if (i % 3 == 1) put("projects/" + a + "/users/" + user + "/roles/" + role("reader"));
  }
  const auto said = [](const json::value& one) { return json::serialize(json::array{one.at("user"), one.at("role"), one.at("scope")}); };
  std::vector<std::string> all, seen;
  const Reply whole = get("role_assignments?effective");
  for (const auto& one : whole.json.at("role_assignments").as_array()) all.push_back(said(one));
  EXPECT_GE(all.size(), 67u * 2 + 67u);
  std::string path = "/v3/role_assignments?effective&limit=70";
  int pages = 0;
  for (; !path.empty() && pages < 20; ++pages) {
    const Reply page = cloud_.get(path, admin_);
    ASSERT_EQ(page.status, 200) << page.body;
    for (const auto& one : page.json.at("role_assignments").as_array()) seen.push_back(said(one));
    const std::string next = page.at("links.next");
    path = next == "null" ? "" : next.substr(std::string("http://127.0.0.1:5000").size());
  }
  EXPECT_EQ(seen, all);
  EXPECT_GE(pages, 3);
}

TEST_P(HierarchyTest, ContradictoryFiltersAreRefused) {
  const std::string a = project("a", "default");
  const auto status = [&](const std::string& query) { return get("role_assignments?" + query).status; };
  EXPECT_EQ(status("include_subtree"), 400);
  EXPECT_EQ(status("include_subtree&scope.project.id=none"), 404);
  EXPECT_EQ(status("scope.project.id=" + a + "&scope.domain.id=default"), 400);
  EXPECT_EQ(status("scope.system=all&scope.domain.id=default"), 400);
  EXPECT_EQ(status("scope.system=all&scope.project.id=" + a), 400);
  EXPECT_EQ(status("user.id=x&group.id=y"), 400);
  EXPECT_EQ(status("effective&group.id=y"), 400);
  EXPECT_EQ(status("effective&scope.domain.id=default&scope.OS-INHERIT:inherited_to=projects"), 400);
  EXPECT_EQ(status("effective=0&group.id=y"), 200);
}

TEST_P(HierarchyTest, ADomainsReaderSeesItsDomain) {
  const std::string d = make("domains", "domain", {{"name", "d"}});
  const std::string user = make("users", "user", {{"name", "u"}, {"password", "pw"}, {"domain_id", d}});
  const std::string inside = make("projects", "project", {{"name", "p"}, {"domain_id", d}});
  put("domains/" + d + "/users/" + user + "/roles/" + role("reader"));
  put("projects/" + inside + "/users/" + user + "/roles/" + role("member"));
  const Reply login =
      cloud_.post("/v3/auth/tokens", {{"auth",
                                       {{"identity",
                                         {{"methods", json::array{"password"}},
                                          {"password", {{"user", {{"id", user}, {"password", "pw"}}}}}}},
                                        {"scope", {{"domain", {{"id", d}}}}}}}});
  const std::string token(login.headers.get("X-Subject-Token"));
  EXPECT_EQ(cloud_.get("/v3/role_assignments", token).count("role_assignments"), 2u);
  EXPECT_EQ(status_of("GET", "domains/" + d + "/users/" + user + "/roles", token), 200);
  EXPECT_EQ(status_of("GET", "projects/" + inside + "/users/" + user + "/roles/" + role("member"), token),
            204);
  EXPECT_EQ(status_of("GET", "domains/default/users/" + admin_id() + "/roles", token), 403);
  EXPECT_EQ(status_of("PUT", "domains/" + d + "/users/" + user + "/roles/" + role("member"), token), 403);
  EXPECT_EQ(status_of("GET", "domains/none/users/" + user + "/roles", token), 403);
  EXPECT_EQ(status_of("GET", "domains/none/users/" + user + "/roles", admin_), 404);
}

TEST_P(HierarchyTest, InexactFilters) {
  for (const char* name : {"alpha", "alphabet", "BETA", "100%"}) make("users", "user", {{"name", name}});
  const auto found = [&](const std::string& query) {
    Names names = get("users?" + query).each("users", "name");
    std::sort(names.begin(), names.end());
    return names;
  };
  EXPECT_EQ(found("name__startswith=alpha"), (Names{"alpha", "alphabet"}));
  EXPECT_EQ(found("name__endswith=bet"), Names{"alphabet"});
  EXPECT_EQ(found("name__contains=et"), Names{"alphabet"});
  EXPECT_EQ(found("name__icontains=ET"), (Names{"BETA", "alphabet"}));
  EXPECT_EQ(found("name__istartswith=be"), Names{"BETA"});
  EXPECT_EQ(found("name__iendswith=TA"), Names{"BETA"});
  EXPECT_EQ(found("name__contains=0%25"), Names{"100%"}) << "no pattern of the client's own";
  EXPECT_EQ(found("name__contains=l_h"), Names{});
  EXPECT_EQ(found("name__startswith=alpha&name__endswith=bet"), Names{"alphabet"});
  EXPECT_EQ(found("name__sounds=x").size(), 5u) << "keystone ignores what it does not know";
  make("services", "service", {{"type", "toy-box"}, {"name", "Toys"}});
  EXPECT_EQ(get("services?type__contains=y-b").each("services", "name"), Names{"Toys"});
  EXPECT_EQ(get("services?name__istartswith=toy").count("services"), 1u);
  EXPECT_EQ(get("services?name__startswith=toy").count("services"), 0u);
  EXPECT_EQ(get("endpoints?interface__startswith=pub").count("endpoints"), 2u);
}

INSTANTIATE_TEST_SUITE_P(Engines, HierarchyTest, test::engines(), test::engine_name);

}  // namespace
}  // namespace virga::identity
