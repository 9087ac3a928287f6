#pragma once
// For tests of who may do what: every service over an empty database, the personas of the matrix signed in,
// and two owners with one of each thing that routes act on.
//
//   PolicyCloud cloud({.new_defaults = true});
//   const Estate own(cloud, "own"), other(cloud, "other");
//   own.move_in();                                          // the personas are the owner's user, project and
//   domain for (const Asked& a : guarded_routes(cloud)) ask(cloud, a, "project reader", other)

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/text.h"
#include "cloud/policy_report.h"
#include "compute/api.h"
#include "enrolment/api.h"
#include "image/api.h"
#include "network/api.h"
#include "placement/api.h"
#include "tests/support/api_client.h"

namespace virga::test {

inline const std::string kNowhere = "00000000-0000-4000-8000-00000000dead";

class PolicyCloud : public TestCloud {
 public:
  explicit PolicyCloud(api::PolicyOptions options = {}) : TestCloud("", std::move(options)) {
    std::filesystem::create_directory(directory() + "/images");
    identity_ = identity::make_identity({.master_key_file = directory() + "/master.key", .bcrypt_cost = 4}, database(),
                                        policy(), clock());
    images_ = image::make_images({directory() + "/images"}, database(), clock());
    placement_ = placement::make_placement(database(), clock());
    networks_ = network::make_networks({}, database(), clock());
    compute_ = compute::make_compute({}, database(), clock(), *identity_, *images_, *networks_,
                                     *placement_);
    enrolment_ = enrolment::make_enrolment({directory() + "/master.key", "192.0.2.1"}, database(), clock());
    for (api::Service* s : {&identity_->service(), &images_->service(), &placement_->service(),
                            &networks_->service(), &compute_->service()}) {
      services.push_back(s);
      mount(*s);
    }
    identity_->set_catalog({services.begin(), services.end()});
    services.push_back(&enrolment_->service());
    mount(enrolment_->service());
    identity_->bootstrap({"secret", {}});
    policy().load();
    for (const auto& persona : cloud::personas()) sign_in(persona.name, persona.caller);
  }

  std::vector<api::Service*> services;

 private:
  std::unique_ptr<identity::Identity> identity_;
  std::unique_ptr<image::Images> images_;
  std::unique_ptr<placement::Placement> placement_;
  std::unique_ptr<network::Networks> networks_;
  std::unique_ptr<compute::Compute> compute_;
  std::unique_ptr<enrolment::Enrolment> enrolment_;
};

/// A route with a rule, and its service.
struct Asked {
  const api::Service* service;
  const api::Route* route;
  std::string shown() const {
    return route->method.text + " " + service->prefix + route->path.text + " (" + route->policy.text + ")";
  }
};

inline std::vector<Asked> guarded_routes(const PolicyCloud& cloud) {
  std::vector<Asked> out;
  for (const api::Service* s : cloud.services)
    for (const api::Route& r : s->routes)
      if (!r.policy.empty()) out.push_back({s, &r});
  return out;
}

/// A domain with a project, a user and a group, and what these own in each service. Made as an administrator,
/// who may do it under all settings.
class Estate {
 public:
  Estate(PolicyCloud& cloud, const std::string& name) : cloud_(cloud), name_(name) {
    api::Caller boss = cloud::personas().front().caller;
    boss.user_id = "boss";
    cloud.sign_in("boss", boss);
    people();
    sign_in_maker();
    log_in();
    delegations();
    networks();
    images();
    servers();
  }

  const std::string& user() const { return owned("keystone", "users"); }
  const std::string& project() const { return owned("keystone", "projects"); }
  const std::string& domain() const { return owned("keystone", "domains"); }
  const std::string& token() const { return token_; }  ///< a real one of the user

  /// What stands in a path behind `word`: "servers" -> the server. kNowhere if the estate has none.
  const std::string& at(const std::string& service, const std::string& word) const {
    const auto own = owned_.find(service + " " + word);
    if (own != owned_.end()) return own->second;
    const auto any = shared_.find(service + " " + word);
    return any == shared_.end() ? kNowhere : any->second;
  }
  bool owns(const std::string& service, const std::string& word) const {
    return owned_.contains(service + " " + word);
  }

  /// The personas become the owner: its user, and its project or domain.
  void move_in() const {
    for (const auto& persona : cloud::personas()) {
      api::Caller c = persona.caller;
      c.user_id = user();
      c.user_domain_id = domain();
      if (!c.domain_id.empty()) c.domain_id = domain();
      if (!c.project_id.empty()) {
        c.project_id = project();
        c.project_domain_id = domain();
      }
      cloud_.sign_in(persona.name, c);
    }
  }

 private:
  const std::string& owned(const std::string& service, const std::string& word) const {
    return owned_.at(service + " " + word);
  }
  /// Makes one, and keeps the text at `where` of the answer.
  std::string make(const std::string& token, const std::string& path, const json::value& body,
                   std::string_view where, const Fields& headers = {}) {
    const Reply reply = cloud_.post(path, body, token, headers);
    EXPECT_LT(reply.status, 300) << path << ": " << reply.body;
    EXPECT_NE(reply.at(where), "") << path << ": " << reply.body;
    return reply.at(where);
  }
  void own(const std::string& words, std::string id) { owned_[words] = std::move(id); }

  void people() {
    const auto one = [&](std::string_view kind, const std::string& plural, json::object body) {
      body["name"] = name_;
      own("keystone " + plural,
          make("boss", "/identity/v3/" + plural, {{kind, std::move(body)}}, std::string(kind) + ".id"));
    };
    one("domain", "domains", {});
    one("project", "projects", {{"domain_id", domain()}});
    one("user", "users", {{"domain_id", domain()}, {"password", "secret"}});
    one("group", "groups", {{"domain_id", domain()}});
    own("neutron quotas", project());
    for (const char* word : {"os-quota-sets", "os-simple-tenant-usage"})
      own(std::string("nova ") + word, project());
    shared_["keystone roles"] = make("boss", "/identity/v3/roles", {{"role", {{"name", name_}}}}, "role.id");
    const std::string service = make("boss", "/identity/v3/services",
                                     {{"service", {{"name", name_}, {"type", name_}}}}, "service.id");
    shared_["keystone services"] = service;
    const json::object limit{{"service_id", service}, {"resource_name", "thing"}};
    json::object registered = limit, of_project = limit;
    registered["default_limit"] = 5;
    of_project["resource_limit"] = 4;
    of_project["project_id"] = project();
    shared_["keystone registered_limits"] =
        make("boss", "/identity/v3/registered_limits", {{"registered_limits", json::array{registered}}},
             "registered_limits.0.id");
    own("keystone limits",
        make("boss", "/identity/v3/limits", {{"limits", json::array{of_project}}}, "limits.0.id"));
  }

  /// The owner as an administrator of its project: "own's".
  void sign_in_maker() {
    api::Caller c = project_caller(project(), {"admin", "member", "reader"}, user());
    c.user_domain_id = c.project_domain_id = domain();
    for (size_t i = 0; i < c.role_names.size(); ++i)
      c.role_ids[i] = cloud_.get("/identity/v3/roles?name=" + c.role_names[i], "boss").at("roles.0.id");
    member_ = c.role_ids[1];
    cloud_.sign_in(maker_, c);
    EXPECT_EQ(cloud_
                  .put(fmt::format("/identity/v3/projects/{}/users/{}/roles/{}", project(), user(), member_),
                       nullptr, "boss")
                  .status,
              204);
  }

  void log_in() {
    const json::object login{{"user", {{"id", user()}, {"password", "secret"}}}};
    const json::object identity{{"methods", json::array{"password"}}, {"password", login}};
    const json::object scope{{"project", {{"id", project()}}}};
    const Reply reply =
        cloud_.post("/identity/v3/auth/tokens", {{"auth", {{"identity", identity}, {"scope", scope}}}});
    EXPECT_EQ(reply.status, 201) << reply.body;
    token_ = std::string(reply.headers.get("X-Subject-Token"));
  }

  void delegations() {
    const json::array roles{json::object{{"id", member_}}};
    const std::string of_user = "/identity/v3/users/" + user();
    own("keystone credentials",
        make(maker_, "/identity/v3/credentials",
             {{"credential", {{"user_id", user()}, {"type", "cert"}, {"blob", "x"}}}}, "credential.id"));
    own("keystone OS-EC2",
        make(maker_, of_user + "/credentials/OS-EC2", {{"tenant_id", project()}}, "credential.access"));
    const json::object rule{{"path", "/v2.1/servers"}, {"method", "GET"}, {"service", "compute"}};
    own("keystone application_credentials",
        make(maker_, of_user + "/application_credentials",
             {{"application_credential",
               {{"name", "n"}, {"roles", roles}, {"access_rules", json::array{rule}}}}},
             "application_credential.id"));
    own("keystone access_rules", cloud_.get(of_user + "/access_rules", maker_).at("access_rules.0.id"));
    const std::string admin = cloud_.get("/identity/v3/users?name=admin", "boss").at("users.0.id");
    const json::object trust{{"trustor_user_id", user()},
                             {"trustee_user_id", admin},
                             {"project_id", project()},
                             {"impersonation", false},
                             {"roles", roles}};
    own("keystone trusts", make(maker_, "/identity/v3/OS-TRUST/trusts", {{"trust", trust}}, "trust.id"));
  }

  std::string network_thing(const std::string& kind, const std::string& plural, json::object body) {
    return make(maker_, "/network/v2.0/" + plural, {{kind, std::move(body)}}, kind + ".id");
  }

  void networks() {
    const std::string network = network_thing("network", "networks", {{"name", "n"}});
    own("neutron networks", network);
    own("neutron subnets",
        network_thing("subnet", "subnets",
                      {{"network_id", network}, {"ip_version", 4}, {"cidr", "10.0.0.0/24"}}));
    own("neutron ports", network_thing("port", "ports", {{"network_id", network}}));
    own("neutron port", at("neutron", "ports"));
    own("neutron routers", network_thing("router", "routers", {{"name", "r"}}));
    const std::string group = network_thing("security_group", "security-groups", {{"name", "g"}});
    own("neutron security-groups", group);
    own("nova os-security-groups", group);
    const std::string rule =
        network_thing("security_group_rule", "security-group-rules",
                      {{"security_group_id", group}, {"direction", "ingress"}, {"protocol", "tcp"}});
    own("neutron security-group-rules", rule);
    own("nova os-security-group-rules", rule);
    own("neutron subnetpools", network_thing("subnetpool", "subnetpools",
                                             {{"name", "p"}, {"prefixes", json::array{"10.9.0.0/16"}}}));
    const std::string outside =
        network_thing("network", "networks", {{"name", "outside"}, {"router:external", true}});
    network_thing("subnet", "subnets",
                  {{"network_id", outside}, {"ip_version", 4}, {"cidr", "192.0.2.0/24"}});
    own("neutron floatingips",
        network_thing("floatingip", "floatingips", {{"floating_network_id", outside}}));
  }

  void images() {
    const std::string image =
        make(maker_, "/image/v2/images",
             {{"name", "i"}, {"disk_format", "raw"}, {"container_format", "bare"}}, "id");
    own("glance images", image);
    EXPECT_EQ(cloud_
                  .call("PUT", "/image/v2/images/" + image + "/file", "bytes", maker_,
                        {{"Content-Type", "application/octet-stream"}})
                  .status,
              204);
    make(maker_, "/image/v2/images/" + image + "/members", {{"member", project()}}, "member_id");
    own("glance members", project());
    EXPECT_LT(cloud_.put("/image/v2/images/" + image + "/tags/t", nullptr, maker_).status, 300);
    shared_["glance tags"] = "t";
  }

  void servers() {
    const Fields latest{{"OpenStack-API-Version", "compute 2.93"}};
    const std::string flavor =
        make(maker_, "/compute/v2.1/flavors",
             {{"flavor", {{"name", name_}, {"ram", 64}, {"vcpus", 1}, {"disk", 1}}}}, "flavor.id");
    shared_["nova flavors"] = flavor;
    const json::object server{
        {"name", "s"}, {"imageRef", at("glance", "images")}, {"flavorRef", flavor}, {"networks", "none"}};
    own("nova servers", make(maker_, "/compute/v2.1/servers", {{"server", server}}, "server.id", latest));
    own("nova os-server-groups",
        make(maker_, "/compute/v2.1/os-server-groups",
             {{"server_group", {{"name", "g"}, {"policy", "affinity"}}}}, "server_group.id", latest));
    const std::string provider = new_uuid();
    EXPECT_LT(
        cloud_.post("/placement/resource_providers", {{"name", name_}, {"uuid", provider}}, "boss").status,
        300);
    shared_["placement resource_providers"] = provider;
  }

  PolicyCloud& cloud_;
  std::string name_, maker_ = name_ + "'s", member_, token_;
  std::map<std::string, std::string> owned_, shared_;
};

/// The parameters of a path: each with the last word before it that is none.
inline std::vector<std::pair<std::string, std::string>> path_words(const std::string& pattern) {
  std::vector<std::pair<std::string, std::string>> out;
  std::string word;
  for (const auto& part : split(pattern, '/')) {
    if (part.empty()) continue;
    if (part.front() == '{')
      out.emplace_back(word, part);
    else
      word = part;
  }
  return out;
}

/// The route's path about what the estate has; a project in nova's root is the asking one's.
inline std::string path_of(const Asked& asked, const Estate& estate, const Estate& own) {
  std::string path = asked.service->prefix + asked.route->path.text;
  const bool nova = asked.service->name == "nova";
  for (const auto& [word, parameter] : path_words(asked.route->path.text)) {
    const std::string& id =
        nova && parameter == "{project_id}" ? own.project() : estate.at(asked.service->name, word);
    path.replace(path.find(parameter), parameter.size(), id);
  }
  if (asked.route->path == "/usages") path += "?project_id=" + estate.project();
  if (asked.route->policy == "identity:list_trusts_for_trustor") path += "?trustor_user_id=" + estate.user();
  return path;
}

}  // namespace virga::test
