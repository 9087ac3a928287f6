#pragma once
// An API is a table: a service is its rows, and a row is method, path, policy, version range and handler.
// Discovery, authentication, policy, microversions, faults and request ids are the dispatcher's work.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/context.h"
#include "api/fault_body.h"
#include "api/policy.h"
#include "api/version.h"
#include "base/json.h"
#include "http/api.h"

namespace virga::api {

struct Route;

/// One request on its way through a handler. Lives as long as the handler runs.
class Call {
 public:
  http::Request request;
  std::string request_id;       ///< "req-…", also in X-Openstack-Request-Id
  std::string base_url;         ///< service root as this client reaches it: "http://127.0.0.1:5000/identity"
  std::string cloud_url;        ///< "http://127.0.0.1:5000"
  Version version;              ///< negotiated microversion
  std::shared_ptr<const Caller> maybe_caller;  ///< null only on routes without policy

  /// The caller; throws Fault(unauthorized) if there is none.
  const Caller& caller() const;
  /// Path parameter: "{user_id}" in the route's path. Decoded.
  const std::string& param(std::string_view name) const;
  /// The same for a handler of several paths: null if this one has no such parameter.
  const std::string* find_param(std::string_view name) const;
  /// The JSON body as an object. Throws Fault(bad_request).
  const json::object& body();
  /// The member `key` of the body, which must be an object: {"user": {…}}. Throws Fault(bad_request).
  const json::object& body_of(std::string_view key);
  /// Checks the route's rule (or `rule`, of this service) on a target; throws Fault(forbidden) that names it. Every
  /// handler whose rule looks at a target must call it.
  void require(const Target& target);
  void require(std::string_view rule, const Target& target);
  bool allows(std::string_view rule, const Target& target) const;
  /// The same for one that is asked of many targets.
  const PolicyRule* find_rule(std::string_view rule) const;  ///< null if there is none
  bool allows(const PolicyRule& rule, const Target& target) const;
  /// For a handler that asks of each row itself, with allows(): the check is done.
  void pass() { checked_ = true; }
  /// Asks the rule that was required last once more, now that the target itself is known.
  void require_still(const Target& target) const;
  /// True from this microversion on.
  bool since(int major, int minor) const { return version >= Version{major, minor}; }
  /// Takes the responder: the handler's return value is then ignored and the answer is sent later, from any thread.
  std::shared_ptr<http::Responder> defer();

 private:
  friend class Dispatcher;
  const RuleTable& rules() const;
  void require(const PolicyRule& rule, const Target& target);
  const Policy* policy_ = nullptr;
  mutable Policy::Table rules_;  ///< those that were in force when the first was asked
  std::string_view service_;
  FaultStyle style_ = FaultStyle::nova;
  const Route* route_ = nullptr;
  PathParts params_;
  std::optional<json::value> body_;
  std::shared_ptr<http::Responder> responder_;
  const PolicyRule* last_rule_ = nullptr;
  bool deferred_ = false, checked_ = false;
};

using Handler = std::function<http::Response(Call&)>;

/// Text of a route row: owned, made from literals and computed strings alike.
struct RowText {
  RowText(const char* text) : text(text) {}
  RowText(std::string_view text) : text(text) {}
  RowText(std::string text) : text(std::move(text)) {}
  operator std::string_view() const { return text; }
  bool empty() const { return text.empty(); }
  friend bool operator==(const RowText& a, std::string_view b) { return a.text == b; }
  std::string text;
};

struct Route {
  RowText method;
  RowText path;     ///< below the service's root: "/v3/users/{user_id}"; a last "{name...}" takes the rest
  RowText policy;   ///< name of a rule of the service; "" = no token needed (a valid one is still recognised)
  Handler handler;
  Version min{}, max{};      ///< microversions that know this route; {} = no bound
  http::BodyMode body = http::BodyMode::buffered;
  bool chooses_policy = false;  ///< the handler decides which rule counts on which target, and must check it
  RuleId rule{};                ///< of `policy`; the dispatcher's
};

/// One service of the cloud. Built once at start, never copied.
struct Service {
  std::string name;               ///< "keystone": as operators and `virga service` call it
  std::string type;               ///< "identity": catalogue type
  std::string title;              ///< "Identity Service"
  std::string prefix;             ///< "/identity"
  std::vector<std::string> bare;  ///< also served at the root for paths that start with one of these: {"/v3"}
  std::string catalog_path;       ///< appended to the cloud's URL in the catalogue: "/compute/v2.1"
  FaultStyle faults = FaultStyle::nova;
  std::optional<Microversions> microversions;
  std::vector<Route> routes;
  std::span<const RuleDefault> rules;  ///< each that a route or a handler asks, with its documented default
  std::atomic<bool> enabled{true};  ///< false: 503 with Retry-After
};

/// JSON answer with Content-Type.
http::Response reply(int status, const json::value& body);
http::Response reply(int status);  ///< empty body
/// An answer from text that is JSON already (hot lists are written straight to text).
http::Response reply_text(int status, std::string json_text);

}  // namespace virga::api
