#pragma once
// API tests without sockets: a small cloud (database, policy, clock, dispatcher) and calls through its real
// dispatcher.
//
//   TestCloud cloud;                                   // SQLite in a temporary directory, migrated
//   auto network = network::make_network(…, cloud.database(), cloud.policy(), cloud.clock());
//   cloud.mount(network->service());
//   cloud.sign_in("admin-token", admin_caller());      // or cloud.authenticate_with(*identity)
//   Reply r = cloud.post("/network/v2.0/networks", {{"network", {{"name", "n"}}}}, "admin-token");
//   EXPECT_EQ(r.status, 201) << r.body;
//   r.at("network.id")                                 // text at a path, "" if there is none

#include <stdlib.h>

#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "db/api.h"
#include "http/api.h"

namespace virga::test {

/// A directory that goes with the object.
class ScratchDir {
 public:
  ScratchDir() {
    char path[] = "/tmp/virga-test-XXXXXX";
    if (!::mkdtemp(path)) throw std::runtime_error("mkdtemp failed");
    path_ = path;
  }
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// An answer.
struct Reply {
  int status = 0;
  http::Headers headers;
  std::string body;
  json::value json;  ///< null if the body is not JSON

  /// Walks "server.addresses.0.addr". Null if there is no such member.
  const json::value* find(std::string_view path) const {
    const json::value* at = &json;
    while (at && !path.empty()) {
      const size_t dot = std::min(path.find('.'), path.size());
      const std::string_view key = path.substr(0, dot);
      path.remove_prefix(std::min(dot + 1, path.size()));
      if (at->is_object())
        at = at->get_object().if_contains(key);
      else if (at->is_array())
        at = at->get_array().if_contains(std::strtoul(std::string(key).c_str(), nullptr, 10));
      else
        at = nullptr;
    }
    return at;
  }
  /// Strings as they are, everything else as JSON text; "" if there is no such member.
  std::string at(std::string_view path) const {
    const json::value* v = find(path);
    return !v ? "" : v->is_string() ? str(*v) : json::serialize(*v);
  }
  /// Elements of the array there; 0 if it is none.
  size_t count(std::string_view path) const {
    const json::value* v = find(path);
    return v && v->is_array() ? v->get_array().size() : 0;
  }
  /// The member `key` of each object of the array there.
  std::vector<std::string> each(std::string_view path, std::string_view key) const {
    std::vector<std::string> out;
    const json::value* v = find(path);
    if (v && v->is_array())
      for (const auto& item : v->get_array())
        out.push_back(item.is_object() ? find_string(item.get_object(), key) : "");
    return out;
  }
};

/// Takes the one answer of a handler; also deferred ones.
class Catcher final : public http::Responder {
 public:
  void send(http::Response response) override {
    const std::lock_guard guard(mutex_);
    response_ = std::move(response);
    arrived_.notify_all();
  }
  bool gone() const override { return false; }
  http::Response wait(std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_for(lock, timeout, [this] { return response_.has_value(); }))
      throw std::runtime_error("no answer came");
    return std::move(*response_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<http::Response> response_;
};

/// Gives out a body of fixed text, for streamed routes.
class TextReader final : public http::BodyReader {
 public:
  explicit TextReader(std::string text) : text_(std::move(text)) {}
  size_t read(std::span<char> buffer) override {
    const size_t n = std::min(buffer.size(), text_.size() - at_);
    std::copy_n(text_.data() + at_, n, buffer.data());
    at_ += n;
    return n;
  }

 private:
  std::string text_;
  size_t at_ = 0;
};

using Fields = std::vector<std::pair<std::string, std::string>>;

inline http::Request make_request(std::string method, std::string target, std::string body = {},
                                  std::string_view token = {}, const Fields& headers = {}) {
  http::Request r;
  r.method = std::move(method);
  const size_t mark = std::min(target.find('?'), target.size());
  r.path = http::percent_decode(std::string_view(target).substr(0, mark));
  for (size_t from = mark + 1; from < target.size();) {
    const size_t to = std::min(target.find('&', from), target.size());
    const std::string_view pair = std::string_view(target).substr(from, to - from);
    const size_t equals = std::min(pair.find('='), pair.size());
    r.query.emplace_back(http::percent_decode(pair.substr(0, equals), true),
                         http::percent_decode(pair.substr(std::min(equals + 1, pair.size())), true));
    from = to + 1;
  }
  r.target = std::move(target);
  r.headers.set("Host", "127.0.0.1:5000");
  if (!body.empty()) r.headers.set("Content-Type", "application/json");
  if (!token.empty()) r.headers.set("X-Auth-Token", token);
  for (const auto& [name, value] : headers) r.headers.set(name, value);
  r.content_length = body.size();
  r.body = std::move(body);
  r.remote_address = "127.0.0.1";
  return r;
}

/// One request through a handler, streamed bodies included.
inline Reply roundtrip(http::Handler& handler, http::Request request) {
  TextReader reader(request.body);
  if (handler.body_mode(request) == http::BodyMode::streamed) {
    request.stream = &reader;
    request.body.clear();
  }
  auto catcher = std::make_shared<Catcher>();
  handler.handle(std::move(request), catcher);
  http::Response response = catcher->wait();
  if (response.source) {
    char piece[65536];
    while (const size_t n = response.source(piece)) response.body.append(piece, n);
  }
  Reply reply{response.status, response.headers, std::move(response.body), nullptr};
  boost::system::error_code error;
  if (!reply.body.empty()) reply.json = json::parse(reply.body, error);
  if (error) reply.json = nullptr;
  return reply;
}

/// Knows the tokens that a test gave out.
class KnownCallers final : public api::Authenticator {
 public:
  void sign_in(const std::string& token, api::Caller caller) {
    caller.token = token;
    callers_[token] = std::make_shared<const api::Caller>(std::move(caller));
  }
  std::shared_ptr<const api::Caller> authenticate(std::string_view token) override {
    if (real) return real->authenticate(token);
    const auto found = callers_.find(token);
    return found == callers_.end() ? nullptr : found->second;
  }
  api::Authenticator* real = nullptr;

 private:
  std::map<std::string, std::shared_ptr<const api::Caller>, std::less<>> callers_;
};

/// A caller with a project scope.
inline api::Caller project_caller(const std::string& project_id, std::vector<std::string> roles,
                                  const std::string& user_id = "user-1") {
  api::Caller c;
  c.user_id = c.user_name = user_id;
  c.user_domain_id = c.project_domain_id = "default";
  c.user_domain_name = c.project_domain_name = "Default";
  c.project_id = c.project_name = project_id;
  for (const auto& role : roles) c.role_ids.push_back("id-of-" + role);
  c.role_names = std::move(roles);
  c.expires = Time::max();
  return c;
}
inline api::Caller admin_caller(const std::string& project_id = "admin-project") {
  return project_caller(project_id, {"admin", "member", "reader"}, "admin-user");
}

/// The parts every service needs, and calls through the dispatcher.
class TestCloud {
 public:
  /// An empty URL: SQLite in a temporary directory.
  explicit TestCloud(const std::string& database_url = {}, api::PolicyOptions policy = {})
      : policy_(std::move(policy)),
        database_(db::open(
            {.url = database_url.empty() ? "sqlite://" + directory_.path() + "/virga.db" : database_url})),
        dispatcher_({}, policy_, callers_) {
    spdlog::set_level(spdlog::level::warn);  // migrations are no news here
    database_->migrate();
  }

  const std::string& directory() const { return directory_.path(); }
  db::Database& database() { return *database_; }
  api::Policy& policy() { return policy_; }
  ManualClock& clock() { return clock_; }
  api::Dispatcher& dispatcher() { return dispatcher_; }
  void mount(api::Service& service) { dispatcher_.mount(service); }
  void sign_in(const std::string& token, api::Caller caller) { callers_.sign_in(token, std::move(caller)); }
  void authenticate_with(api::Authenticator& real) { callers_.real = &real; }

  Reply call(std::string method, std::string target, std::string body = {}, std::string_view token = {},
             const Fields& headers = {}) {
    return roundtrip(dispatcher_,
                     make_request(std::move(method), std::move(target), std::move(body), token, headers));
  }
  Reply get(std::string target, std::string_view token = {}, const Fields& headers = {}) {
    return call("GET", std::move(target), {}, token, headers);
  }
  Reply post(std::string target, const json::value& body, std::string_view token = {},
             const Fields& headers = {}) {
    return call("POST", std::move(target), json::serialize(body), token, headers);
  }
  Reply put(std::string target, const json::value& body, std::string_view token = {},
            const Fields& headers = {}) {
    return call("PUT", std::move(target), body.is_null() ? "" : json::serialize(body), token, headers);
  }
  Reply patch(std::string target, const json::value& body, std::string_view token = {},
              const Fields& headers = {}) {
    return call("PATCH", std::move(target), json::serialize(body), token, headers);
  }
  Reply del(std::string target, std::string_view token = {}, const Fields& headers = {}) {
    return call("DELETE", std::move(target), {}, token, headers);
  }

 private:
  ScratchDir directory_;
  api::Policy policy_;
  std::unique_ptr<db::Database> database_;
  ManualClock clock_{parse_time("2026-11-23T12:00:00Z")};
  KnownCallers callers_;
  api::Dispatcher dispatcher_;
};

}  // namespace virga::test
