#pragma once
// For tests of identity's resources: the service through its real dispatcher, on both engines, with an
// administrator signed in.
//
//   class ThingTest : public virga::test::IdentityCloudTest {};
//   TEST_P(ThingTest, …) { … cloud_.get("/v3/things", admin_) … }
//   INSTANTIATE_TEST_SUITE_P(Engines, ThingTest, virga::test::engines(), virga::test::engine_name);

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "identity/api.h"
#include "tests/support/api_client.h"
#include "tests/support/mariadb.h"

namespace virga::test {

inline json::object password_auth(const std::string& user, const std::string& password,
                                  json::value scope = nullptr) {
  json::object auth{
      {"identity",
       {{"methods", json::array{"password"}},
        {"password",
         {{"user", {{"name", user}, {"domain", {{"id", "default"}}}, {"password", password}}}}}}}};
  if (!scope.is_null()) auth["scope"] = std::move(scope);
  return {{"auth", std::move(auth)}};
}

inline json::object token_auth(const std::string& token, json::value scope) {
  json::object auth{{"identity", {{"methods", json::array{"token"}}, {"token", {{"id", token}}}}}};
  if (!scope.is_null()) auth["scope"] = std::move(scope);
  return {{"auth", std::move(auth)}};
}

inline json::value project_scope(const std::string& name) {
  return {{"project", {{"name", name}, {"domain", {{"name", "Default"}}}}}};
}
inline json::value project_scope_id(const std::string& id) {
  return {{"project", {{"id", id}}}};
}

class IdentityCloudTest : public ::testing::TestWithParam<db::Dialect> {
 protected:
  /// MariaDB takes a second for a new schema: its tests share one, emptied before each.
  static std::string database_url() {
    if (GetParam() == db::Dialect::sqlite) return "";
    static const std::string url = mariadb_server().new_database();
    return url;
  }
  void empty() {
    if (GetParam() == db::Dialect::sqlite) return;  // new for each test
    cloud_.database().write([](db::Tx& tx) {
      tx.exec("SET foreign_key_checks = 0");
      for (const auto& row :
           tx.query("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND "
                    "(table_name LIKE 'identity|_%' ESCAPE '|' OR table_name LIKE 'secret|_%' ESCAPE '|') AND "
                    "table_name <> 'identity_state'"))
        tx.exec("DELETE FROM " + row.text(0));
      tx.exec("SET foreign_key_checks = 1");
    });
  }

  virtual identity::Options options() const {
    return {.master_key_file = cloud_.directory() + "/master.key", .bcrypt_cost = 4};
  }

  void SetUp() override {
    empty();
    start(options());
  }

  void start(identity::Options options) {
    identity_ =
        identity::make_identity(std::move(options), cloud_.database(), cloud_.policy(), cloud_.clock());
    identity_->bootstrap({.admin_password = "secret"});
    compute_.name = "nova";
    compute_.type = "compute";
    compute_.prefix = "/compute";
    compute_.catalog_path = "/compute/v2.1";
    identity_->set_catalog({&identity_->service(), &compute_});
    cloud_.authenticate_with(*identity_);
    cloud_.mount(identity_->service());
    admin_ = log_in("admin", "secret", project_scope("admin"));
  }

  Reply try_log_in(const std::string& user, const std::string& password, json::value scope = nullptr) {
    return cloud_.post("/identity/v3/auth/tokens", password_auth(user, password, std::move(scope)));
  }
  std::string log_in(const std::string& user, const std::string& password, json::value scope = nullptr) {
    return token_of(try_log_in(user, password, std::move(scope)));
  }
  static std::string token_of(const Reply& r) {
    EXPECT_EQ(r.status, 201) << r.body;
    return std::string(r.headers.get("X-Subject-Token"));
  }
  std::string make(const std::string& collection, const std::string& name, json::object attributes) {
    const Reply r =
        cloud_.post("/identity/v3/" + collection, json::object{{name, std::move(attributes)}}, admin_);
    EXPECT_EQ(r.status, 201) << r.body;
    return r.at(name + ".id");
  }
  std::string role(const std::string& name) {
    return cloud_.get("/v3/roles?name=" + name, admin_).at("roles.0.id");
  }
  /// PUT without a body, which answers 204.
  void put(const std::string& path) {
    const Reply r = cloud_.put("/v3/" + path, nullptr, admin_);
    EXPECT_EQ(r.status, 204) << path << " " << r.body;
  }
  void grant(const std::string& path) { put(path); }
  Reply get(const std::string& path) { return cloud_.get("/v3/" + path, admin_); }
  int status_of(const std::string& method, const std::string& path, std::string_view token) {
    return cloud_.call(method, "/v3/" + path, {}, token).status;
  }
  void revoke(const std::string& path) { EXPECT_EQ(cloud_.del("/v3/" + path, admin_).status, 204) << path; }
  int validate(const std::string& token) { return show_token(token).status; }
  Reply show_token(const std::string& token, const std::string& query = "") {
    return cloud_.get("/v3/auth/tokens" + query, admin_,
                      {{"X-Subject-Token", token}, {"OpenStack-Identity-Access-Rules", "1.0"}});
  }
  /// PATCH of a user's attributes by the administrator.
  Reply change_user(const std::string& id, json::object attributes) {
    return cloud_.patch("/v3/users/" + id, json::object{{"user", std::move(attributes)}}, admin_);
  }

  /// A user "joe" (password "pw") with the member role on project "p", and his token there if the rules give
  /// him one.
  void make_joe() {
    project_ = make("projects", "project", {{"name", "p"}});
    joe_ = make("users", "user", {{"name", "joe"}, {"password", "pw"}});
    grant("projects/" + project_ + "/users/" + joe_ + "/roles/" + role("member"));
    const Reply r = try_log_in("joe", "pw", project_scope_id(project_));
    joe_token_ = r.headers.get("X-Subject-Token");
  }

  TestCloud cloud_{database_url()};
  std::unique_ptr<identity::Identity> identity_;
  api::Service compute_;
  std::string admin_, project_, joe_, joe_token_;
};

}  // namespace virga::test
