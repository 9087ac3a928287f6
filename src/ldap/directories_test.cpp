// Against Debian's slapd.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "base/scope_exit.h"
#include "ldap/api.h"
#include "tests/support/slapd.h"

namespace virga::ldap {
namespace {

constexpr const char* kPeople = "ou=People,dc=example,dc=org";

class DirectoriesTest : public ::testing::Test {
 protected:
  Options options(int page_size = 0) const {
    Options o;
    o.url = slapd_.url();
    o.user = "cn=admin,dc=example,dc=org";
    o.password = "rootpw";
    o.page_size = page_size;
    return o;
  }
  std::vector<std::string> names(const Options& o, const std::string& filter, Scope scope = Scope::one) {
    std::vector<std::string> out;
    for (const auto& e : directories_.search(o, {kPeople, scope, filter, {"cn"}}))
      out.push_back(e.first("cn"));
    std::sort(out.begin(), out.end());
    return out;
  }
  test::Slapd slapd_;
  Directories directories_;
};

TEST_F(DirectoriesTest, Searches) {
  const Options o = options();
  EXPECT_EQ(names(o, "(objectClass=inetOrgPerson)"), (std::vector<std::string>{"ann", "ben", "odd*(name)"}));
  EXPECT_EQ(names(o, "(cn=a*)"), std::vector<std::string>{"ann"});
  EXPECT_EQ(names(o, "(cn=" + escape_filter("odd*(name)") + ")"), std::vector<std::string>{"odd*(name)"});
  EXPECT_EQ(names(o, "(objectClass=*)", Scope::base).size(), 1u) << "the unit itself";
  const auto found = directories_.search(o, {kPeople, Scope::one, "(cn=ann)", {"sn", "mail", "absent"}});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].dn, "cn=ann,ou=People,dc=example,dc=org");
  EXPECT_EQ(found[0].first("mail"), "ann@example.org");
  EXPECT_EQ(found[0].first("absent"), "");
  const auto groups = directories_.search(o, {"dc=example,dc=org", Scope::subtree, "(cn=dev)", {"member"}});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].all("member").size(), 2u);
}

TEST_F(DirectoriesTest, PagesAddUp) {
  for (int size : {1, 2, 3, 100})
    EXPECT_EQ(names(options(size), "(objectClass=inetOrgPerson)").size(), 3u) << size;
}

TEST_F(DirectoriesTest, Passwords) {
  const std::string ann = std::string("cn=ann,") + kPeople;
  const auto check = [&](const std::string& dn, const std::string& password) {
    return directories_.check_password(options(), dn, password);
  };
  EXPECT_TRUE(check(ann, "ann-pw"));
  EXPECT_FALSE(check(ann, "wrong"));
  EXPECT_FALSE(check(ann, "")) << "LDAP itself would say yes";
  EXPECT_FALSE(check("", "ann-pw"));
  EXPECT_FALSE(check(std::string("cn=none,") + kPeople, "x"));
  EXPECT_FALSE(check("no name at all", "x"));
  EXPECT_TRUE(check(ann, "ann-pw")) << "on a connection that others used before";
  EXPECT_EQ(names(options(), "(cn=ann)").size(), 1u) << "searches are not done as who logged in last";
}

void expect_unavailable(const std::function<void()>& work, const std::string& part) {
  try {
    work();
    FAIL() << "no fault: " << part;
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable);
    EXPECT_NE(fault.message.find(part), std::string::npos) << fault.message;
    EXPECT_FALSE(fault.hint.empty());
  }
}

TEST_F(DirectoriesTest, WhatFailsSaysSo) {
  Options bad = options();
  bad.password = "wrong";
  expect_unavailable([&] { names(bad, "(cn=*)"); }, "refuses the account cn=admin");
  bad.password = "";
  expect_unavailable([&] { names(bad, "(cn=*)"); }, "has no password");
  expect_unavailable([&] { names(options(), "((broken"); }, "search");
  expect_unavailable(
      [&] {
        directories_.search(options(), {"ou=Nowhere,dc=example,dc=org", Scope::one, "(cn=*)", {"cn"}});
      },
      "ou=Nowhere");
  slapd_.stop();
  expect_unavailable([&] { names(options(), "(cn=*)"); }, "does not serve");
  expect_unavailable(
      [&] { directories_.check_password(options(), std::string("cn=ann,") + kPeople, "ann-pw"); },
      "does not serve");
}

TEST_F(DirectoriesTest, AConnectionThatTheServerClosedIsMadeAgain) {
  EXPECT_EQ(names(options(), "(cn=ann)").size(), 1u);
  slapd_.stop();
  slapd_.start();
  EXPECT_EQ(names(options(), "(cn=ann)").size(), 1u);
}

TEST_F(DirectoriesTest, TlsIsCheckedAgainstTheAuthority) {
  for (const bool start_tls : {true, false}) {
    Options o = options();
    o.url = start_tls ? slapd_.tcp_url() : slapd_.tls_url();
    o.start_tls = start_tls;
    expect_unavailable([&] { names(o, "(cn=*)"); }, "does not serve");
    o.ca_file = slapd_.certificate();
    EXPECT_EQ(names(o, "(cn=ann)").size(), 1u) << o.url;
    EXPECT_TRUE(directories_.check_password(o, std::string("cn=ann,") + kPeople, "ann-pw"));
    o.ca_file = "/nowhere.pem";
    expect_unavailable([&] { names(o, "(cn=*)"); }, "TLS");
    o.ca_file.clear();
    o.require_certificate = "never";
    EXPECT_EQ(names(o, "(cn=ann)").size(), 1u) << o.url;
  }
}

/// Takes connections and says nothing.
TEST(SilentDirectory, CostsOneWaitAndThenNone) {
  char path[] = "/tmp/virga-test-XXXXXX";
  ASSERT_TRUE(::mkdtemp(path));
  const std::string dir = path, name = dir + "/s";
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  const ScopeExit clean([&] {
    ::close(listener);
    std::filesystem::remove_all(dir);
  });
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 8), 0);
  Options o;
  o.url = "ldapi://" + test::percent_encoded(name);
  o.timeout = std::chrono::seconds(1);
  Directories directories;
  const auto ask = [&] { directories.search(o, {kPeople, Scope::one, "(cn=*)", {"cn"}}); };
  expect_unavailable(ask, "does not answer");
  expect_unavailable(ask, "a moment ago");
}

TEST(Text, IsEscapedComparedAndToldFromBytes) {
  EXPECT_EQ(escape_filter("a*(b)\\c"), "a\\2a\\28b\\29\\5cc");
  EXPECT_EQ(escape_filter(std::string_view("\0\xc3\xa9", 3)), "\\00\\c3\\a9");
  EXPECT_EQ(normal_dn("CN=Ann , OU=People,dc=x"), normal_dn("cn=ann,ou=people,DC=x"));
  EXPECT_NE(normal_dn("cn=ann,dc=x"), normal_dn("cn=ben,dc=x"));
  EXPECT_EQ(normal_dn("Not A Name"), "not a name");
  EXPECT_TRUE(is_text("gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x98\x80"));
  for (std::string_view bytes : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"})
    EXPECT_FALSE(is_text(bytes)) << testing::PrintToString(bytes);
  EXPECT_FALSE(is_text(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace virga::ldap
