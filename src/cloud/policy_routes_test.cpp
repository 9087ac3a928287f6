// Each route asked over its dispatcher by each persona, about its own things and about somebody else's, under
// each setting of the defaults: the matrix, run.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/policy_cloud.h"

namespace virga::cloud {
namespace {

using test::Asked;
using test::Estate;
using test::Reply;

/// A refusal by a rule, in any service's words.
bool is_policy_refusal(const Reply& reply) {
  if (reply.status != 403) return false;
  for (const char* words :
       {"not authorized to perform the requested action: identity:",
        "not authorized to perform the requested action: enrolment:", "Policy doesn't allow",
        "disallowed by policy", "not authorized to complete", "Policy does not allow"})
    if (reply.body.find(words) != std::string::npos) return true;
  return false;
}

/// One body for all of keystone's and nova's routes: each handler reads the member it knows.
json::object common_body(const Estate& estate) {
  const json::object named{{"name", "n"}};
  json::object homed{{"name", "n"}, {"domain_id", estate.domain()}};
  json::object body{{"domain", named}, {"role", named}, {"region", named}, {"policy", named}};
  for (const char* kind : {"user", "group", "project"}) body[kind] = homed;
  body["credential"] = json::object{{"user_id", estate.user()}, {"type", "cert"}, {"blob", "y"}};
  body["trust"] = json::object{
      {"trustor_user_id", estate.user()}, {"trustee_user_id", estate.user()}, {"impersonation", false}};
  body["tenant_id"] = estate.project();
  body["tags"] = json::array{"t"};
  body["server"] = named;
  body["metadata"] = json::object{{"key", "value"}};
  body["meta"] = json::object{{test::kNowhere, "value"}};
  body["security_group"] = json::object{{"name", "n"}, {"description", "d"}};
  body["remote_console"] = json::object{{"protocol", "vnc"}, {"type", "novnc"}};
  return body;
}

/// Neutron looks at what is wrong with a body before it asks its rules, so each has its own.
json::object network_body(const Asked& asked, const Estate& estate) {
  const bool update = asked.route->method == "PUT";
  const std::string& network = estate.at("neutron", "networks");
  const json::object named{{"name", "n"}};
  json::object body{{"network", named}, {"router", named}, {"security_group", named}};
  body["subnet"] =
      update ? named : json::object{{"network_id", network}, {"ip_version", 4}, {"cidr", "10.1.0.0/24"}};
  body["port"] = update ? named : json::object{{"network_id", network}};
  body["floatingip"] =
      update ? json::object{{"description", "d"}} : json::object{{"floating_network_id", test::kNowhere}};
  body["subnetpool"] = update ? named : json::object{{"name", "n"}, {"prefixes", json::array{"10.0.0.0/8"}}};
  body["security_group_rule"] =
      json::object{{"security_group_id", estate.at("neutron", "security-groups")}, {"direction", "egress"}};
  body["subnet_id"] = estate.at("neutron", "subnets");
  body["quota"] = json::object();
  body["tags"] = json::array();
  return body;
}

/// What the route reads; glance's bodies are flat and open.
std::string body_for(const Asked& asked, const Estate& estate) {
  const std::string &method = asked.route->method.text, &path = asked.route->path.text;
  if (method == "GET" || method == "HEAD" || method == "DELETE") return "";
  if (asked.service->name == "neutron") return json::serialize(network_body(asked, estate));
  if (asked.service->name != "glance") return json::serialize(common_body(estate));
  if (method == "PATCH") return "[]";
  if (path.find("/members") == std::string::npos) return R"({"name": "n"})";
  return method == "POST" ? R"({"member": "m"})" : R"({"status": "accepted"})";
}

Reply ask(test::PolicyCloud& cloud, const Asked& asked, std::string_view token, const Estate& about,
          const Estate& own) {
  const std::string &method = asked.route->method.text, &path = asked.route->path.text;
  test::Fields headers;
  if (const auto& m = asked.service->microversions)
    headers.emplace_back("OpenStack-API-Version",
                         fmt::format("{} {}", m->service_type,
                                     asked.route->max == api::Version{} ? "latest" : asked.route->max.str()));
  if (asked.service->name == "glance" && method == "PATCH")
    headers.emplace_back("Content-Type", "application/openstack-images-v2.1-json-patch");
  if (asked.service->name == "glance" && path.find("/file") != std::string::npos)
    headers.emplace_back("Content-Type", "application/octet-stream");
  if (path == "/v3/auth/tokens") headers.emplace_back("X-Subject-Token", about.token());
  return cloud.call(method, test::path_of(asked, about, own), body_for(asked, about), token, headers);
}

/// These answer 401 to a body that proves nothing, whoever asks.
bool proves_something(const Asked& asked) {
  return asked.route->policy == "identity:ec2tokens_validate" ||
         asked.route->policy == "identity:s3tokens_validate";
}

bool has_parameter(const Asked& asked) {
  return asked.route->path.text.find('{') != std::string::npos;
}

/// Neutron's lists of things are never refused: what the rule hides is left out.
bool is_filtered_list(const Asked& asked) {
  return asked.service->name == "neutron" && asked.route->method == "GET" && asked.route->chooses_policy &&
         !has_parameter(asked);
}

/// Its rule is the one of a single project's, and it is asked of all.
bool is_of_all(const Asked& asked) {
  return asked.route->path == "/v2.0/quotas";
}

/// True if the request names somebody's things: in its path, query or subject token, or, where keystone's
/// rules look there, in its body.
bool names_an_owner(const Asked& asked, const Estate& estate) {
  for (const auto& [word, parameter] : test::path_words(asked.route->path.text))
    if (estate.owns(asked.service->name, word)) return true;
  const std::string& path = asked.route->path.text;
  if (path == "/usages" || path == "/v3/auth/tokens" || path == "/v3/OS-TRUST/trusts") return true;
  return asked.service->name == "keystone" && asked.route->method == "POST" && !has_parameter(asked);
}

/// Neutron, nova and glance hide what a caller may not know of; whoever has no project there knows of
/// nothing.
bool may_hide(const Asked& asked, const api::Caller& persona, bool is_own) {
  if (asked.service->name == "keystone" || asked.service->name == "placement") return false;
  return !is_own || persona.project_id.empty();
}

struct Trial {
  std::string name;
  api::PolicyOptions options;
  size_t persona;
};
void PrintTo(const Trial& t, std::ostream* out) {
  *out << t.name;
}

class EachRoute : public testing::TestWithParam<Trial> {
 protected:
  EachRoute()
      : cloud_(GetParam().options),
        own_(cloud_, "own"),
        other_(cloud_, "other"),
        persona_(personas()[GetParam().persona]),
        routes_(test::guarded_routes(cloud_)),
        verdicts_(cloud_.policy()) {
    own_.move_in();
  }

  char letter(const Asked& asked) const {
    return verdicts_.of(asked.service->name, asked.route->policy.text, persona_.caller);
  }

  /// Asks, and holds what every answer holds.
  Reply ask_about(const Asked& asked, const Estate& about) {
    Reply reply = ask(cloud_, asked, persona_.name, about, own_);
    EXPECT_TRUE(reply.status < 500 || reply.status == 501) << told(asked, about, reply);
    EXPECT_TRUE(reply.status != 401 || proves_something(asked)) << told(asked, about, reply);
    return reply;
  }
  std::string told(const Asked& asked, const Estate& about, const Reply& reply) const {
    return fmt::format("{}, {} things: {} -> {} {}", persona_.name,
                       &about == &own_ ? "its own" : "somebody else's", asked.shown(), reply.status,
                       reply.body.substr(0, 200));
  }

  void expect_refused(const Asked& asked, const Estate& about) {
    const Reply reply = ask_about(asked, about);
    if (is_filtered_list(asked)) {
      ASSERT_EQ(reply.status, 200) << told(asked, about, reply);
      for (const auto& shown : reply.json.as_object().begin()->value().as_array())
        EXPECT_TRUE(find_bool(shown.as_object(), "router:external")) << told(asked, about, reply);
      return;
    }
    const bool hidden = reply.status == 404 && may_hide(asked, persona_.caller, &about == &own_);
    const bool homeless = reply.at("NeutronError.message").starts_with("Running without keystone AuthN");
    EXPECT_TRUE(hidden || homeless || is_policy_refusal(reply)) << told(asked, about, reply);
    ++refused_;
  }
  void expect_allowed(const Asked& asked, const Estate& about) {
    const Reply reply = ask_about(asked, about);
    EXPECT_FALSE(is_policy_refusal(reply)) << told(asked, about, reply);
    ++allowed_;
  }

  void expect_actions_ruled();

  test::PolicyCloud cloud_;
  const Estate own_, other_;
  const Persona& persona_;
  const std::vector<Asked> routes_;
  const Verdicts verdicts_;
  int refused_ = 0, allowed_ = 0;
};

/// Nova asks a rule for each action, behind one route.
struct ServerAction {
  const char *name, *rule;
  const char* body = "null";
};
constexpr ServerAction kServerActions[] = {
    {"os-start", "servers:start"},
    {"os-stop", "servers:stop"},
    {"reboot", "servers:reboot", R"({"type": "SOFT"})"},
    {"os-resetState", "os-admin-actions:reset_state"},
    {"injectNetworkInfo", "os-admin-actions:inject_network_info"},
    {"lock", "os-lock-server:lock"},
    {"unlock", "os-lock-server:unlock"},
    {"os-getConsoleOutput", "os-console-output"},
    {"os-getVNCConsole", "os-remote-consoles", R"({"type": "novnc"})"},
    {"createImage", "servers:create_image"},
    {"createBackup", "os-create-backup"},
    {"resize", "servers:resize", R"({"flavorRef": "n"})"},
    {"confirmResize", "servers:confirm_resize"},
    {"revertResize", "servers:revert_resize"},
    {"rebuild", "servers:rebuild"},
    {"pause", "os-pause-server:pause"},
    {"unpause", "os-pause-server:unpause"},
    {"suspend", "os-suspend-server:suspend"},
    {"resume", "os-suspend-server:resume"},
    {"rescue", "os-rescue"},
    {"unrescue", "os-unrescue"},
    {"shelve", "os-shelve:shelve"},
    {"shelveOffload", "os-shelve:shelve_offload"},
    {"unshelve", "os-shelve:unshelve"},
    {"migrate", "os-migrate-server:migrate"},
    {"os-migrateLive", "os-migrate-server:migrate_live", R"({"host": null, "block_migration": "auto"})"},
    {"evacuate", "os-evacuate"},
    {"changePassword", "os-admin-password"},
    {"restore", "os-deferred-delete:restore"},
    {"trigger_crash_dump", "servers:trigger_crash_dump"},
    {"addSecurityGroup", "os-security-groups:add", R"({"name": "n"})"},
    {"removeSecurityGroup", "os-security-groups:remove", R"({"name": "n"})"},
    {"addFixedIp", "os-multinic:add", R"({"networkId": "n"})"},
    {"removeFixedIp", "os-multinic:remove", R"({"address": "10.0.0.9"})"},
    {"addFloatingIp", "os-floating-ips:add"},
    {"removeFloatingIp", "os-floating-ips:remove"},
    {"forceDelete", "os-deferred-delete:force"}};

/// Things go after what hangs on them: keystone's rules say no where nothing is left to ask about.
int order_of(const Asked& asked) {
  if (asked.route->method != "DELETE") return 0;
  const std::string& path = asked.route->path.text;
  const int depth = static_cast<int>(std::count(path.begin(), path.end(), '/'));
  constexpr std::string_view kHolders[] = {"/v3/groups/", "/v3/users/", "/v3/projects/", "/v3/domains/"};
  int rank = 0;
  for (size_t i = 0; i < std::size(kHolders); ++i)
    if (depth == 3 && path.rfind(kHolders[i], 0) == 0) rank = static_cast<int>(i) + 1;
  return 100 - 10 * depth + rank;
}

void EachRoute::expect_actions_ruled() {
  for (const auto& [action, name, body] : kServerActions) {
    const std::string rule = fmt::format("os_compute_api:{}", name);
    const char may = verdicts_.of("nova", rule, persona_.caller);
    if (may != '-' && action == std::string_view("forceDelete")) continue;  // what follows needs the server
    for (const Estate* about : {&other_, &own_}) {
      const Reply reply = cloud_.post("/compute/v2.1/servers/" + about->at("nova", "servers") + "/action",
                                      json::object{{action, json::parse(body)}}, persona_.name);
      const std::string told =
          fmt::format("{}: {} ({}) -> {} {}", persona_.name, action, rule, reply.status, reply.body);
      EXPECT_TRUE(reply.status < 500 || reply.status == 501) << told;
      if (may == '-') {
        EXPECT_TRUE(is_policy_refusal(reply)) << told;
      } else if (may == 'o' && about == &other_) {
        EXPECT_EQ(reply.status, 404) << told;
      } else {
        EXPECT_FALSE(is_policy_refusal(reply)) << told;
      }
    }
  }
}

TEST_P(EachRoute, AnswersAsTheMatrixSays) {
  for (const auto& asked : routes_) {  // refusals change nothing, so all of these before anything goes
    const char may = letter(asked);
    if (may == '-' || (may == 'o' && is_of_all(asked))) expect_refused(asked, own_);
    if (may == '-' || (may == 'o' && names_an_owner(asked, other_))) expect_refused(asked, other_);
    if (may == 'A' && asked.route->method == "GET") expect_allowed(asked, other_);
  }
  expect_actions_ruled();
  std::vector<Asked> in_order = routes_;
  std::stable_sort(in_order.begin(), in_order.end(),
                   [](const Asked& a, const Asked& b) { return order_of(a) < order_of(b); });
  for (const auto& asked : in_order)
    if (letter(asked) == 'A' || (letter(asked) == 'o' && !is_of_all(asked))) expect_allowed(asked, own_);
  EXPECT_GT(refused_ + allowed_, static_cast<int>(routes_.size()));
  RecordProperty("refused", refused_);
  RecordProperty("allowed", allowed_);
}

std::vector<Trial> trials() {
  std::vector<Trial> out;
  for (size_t i = 0; i < personas().size(); ++i)
    for (const auto& [name, options] :
         {std::pair{std::string("zed"), api::PolicyOptions{}},
          std::pair{std::string("new"), api::PolicyOptions{"", true, false}},
          std::pair{std::string("scoped"), api::PolicyOptions{"", true, true}}}) {
      std::string title = name + "_" + personas()[i].name;
      std::replace(title.begin(), title.end(), ' ', '_');
      out.push_back({title, options, i});
    }
  return out;
}

INSTANTIATE_TEST_SUITE_P(PolicyMatrix, EachRoute, testing::ValuesIn(trials()),
                         [](const auto& info) { return info.param.name; });

TEST(PolicyMatrix, WithoutATokenEachGuardedRouteAnswers401) {
  test::PolicyCloud cloud;
  const Estate own(cloud, "own");
  for (const auto& asked : test::guarded_routes(cloud))
    EXPECT_EQ(ask(cloud, asked, "", own, own).status, 401) << asked.shown();
}

/// Keystone says no before it says what is wrong with a body.
TEST(PolicyMatrix, KeystoneAsksBeforeItLooksAtTheBody) {
  test::PolicyCloud cloud;
  const Estate own(cloud, "own");
  own.move_in();
  const Persona& reader = personas().at(8);
  ASSERT_EQ(reader.name, "project reader");
  const Verdicts verdicts(cloud.policy());
  int asked_for = 0;
  for (const auto& asked : test::guarded_routes(cloud)) {
    const std::string& method = asked.route->method.text;
    if (asked.service->name != "keystone" || method == "GET" || method == "HEAD") continue;
    if (verdicts.of("keystone", asked.route->policy.text, reader.caller) != '-') continue;
    for (const char* body :
         {"", "{}",
          R"({"user": 1, "group": [], "project": null, "trust": "x", "credential": {"blob": 7}})"}) {
      const Reply reply = cloud.call(method, test::path_of(asked, own, own), body, reader.name);
      EXPECT_TRUE(is_policy_refusal(reply))
          << asked.shown() << " " << body << " -> " << reply.status << " " << reply.body;
    }
    ++asked_for;
  }
  EXPECT_GT(asked_for, 50);
}

}  // namespace
}  // namespace virga::cloud
