#include "api/service.h"

#include <fmt/format.h>

#include <charconv>

namespace virga::api {

std::optional<Version> parse_version(std::string_view text) {
  Version v;
  const char* end = text.data() + text.size();
  const auto [dot, error] = std::from_chars(text.data(), end, v.major);
  if (error != std::errc() || dot == end || *dot != '.') return std::nullopt;
  const auto [stop, minor_error] = std::from_chars(dot + 1, end, v.minor);
  if (minor_error != std::errc() || stop != end || v.major < 0 || v.minor < 0) return std::nullopt;
  return v;
}

const Caller& Call::caller() const {
  if (!maybe_caller) throw Fault(FaultKind::unauthorized, "The request you have made requires authentication.");
  return *maybe_caller;
}

const std::string* Call::find_param(std::string_view name) const {
  for (const auto& [known, value] : params_)
    if (known == name) return &value;
  return nullptr;
}

const std::string& Call::param(std::string_view name) const {
  if (const std::string* value = find_param(name)) return *value;
  throw Fault(FaultKind::internal, fmt::format("The route has no parameter {}.", name));
}

const json::object& Call::body() {
  if (!body_) {
    if (request.body.empty())
      throw Fault(FaultKind::bad_request, "The request needs a JSON body, and has none.");
    body_ = parse_json(request.body);
  }
  if (!body_->is_object()) throw Fault(FaultKind::bad_request, "The request's body must be a JSON object.");
  return body_->get_object();
}

const json::object& Call::body_of(std::string_view key) {
  const json::object* inner = find_object(body(), key);
  if (!inner)
    throw Fault(FaultKind::bad_request, fmt::format("'{}' is a required property: the body must hold an object of that name.", key));
  return *inner;
}

const RuleTable& Call::rules() const {
  if (!rules_) rules_ = policy_->table();
  return *rules_;
}

void Call::require(const Target& target) {
  require(rules()[route_->rule], target);
}

void Call::require(std::string_view rule, const Target& target) {
  const PolicyRule* found = find_rule(rule);
  if (!found) throw Fault(FaultKind::internal, fmt::format("{} does not declare the policy rule {}.", service_, rule));
  require(*found, target);
}

void Call::require(const PolicyRule& rule, const Target& target) {
  checked_ = true;
  last_rule_ = &rule;
  require_still(target);
}

void Call::require_still(const Target& target) const {
  const PolicyRule& rule = last_rule_ ? *last_rule_ : rules()[route_->rule];
  if (!allows(rule, target)) throw policy_refusal(style_, rule.name);
}

const PolicyRule* Call::find_rule(std::string_view rule) const { return rules().find(rule, service_); }

bool Call::allows(std::string_view rule, const Target& target) const {
  const PolicyRule* found = maybe_caller ? find_rule(rule) : nullptr;
  return found && allows(*found, target);
}

bool Call::allows(const PolicyRule& rule, const Target& target) const {
  // Keystone's rules know the parts of the path besides what the handler tells of the target.
  return rule.holds(caller(), target, style_ == FaultStyle::keystone ? &params_ : nullptr);
}

std::shared_ptr<http::Responder> Call::defer() {
  deferred_ = true;
  return responder_;
}

http::Response reply_text(int status, std::string json_text) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", "application/json");
  response.body = std::move(json_text);
  return response;
}

http::Response reply(int status, const json::value& body) { return reply_text(status, json::serialize(body)); }

http::Response reply(int status) {
  http::Response response;
  response.status = status;
  return response;
}

}  // namespace virga::api
