#include "cloud/rest_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/fault.h"

namespace virga::cloud {
namespace {

std::string environment(const char* name, const char* fallback = "") {
  const char* value = std::getenv(name);
  return value ? value : fallback;
}

std::string without_suffix(std::string url) {
  while (!url.empty() && url.back() == '/') url.pop_back();
  for (std::string_view suffix : {"/v3", "/identity"})
    if (url.size() > suffix.size() && std::string_view(url).substr(url.size() - suffix.size()) == suffix)
      url.resize(url.size() - suffix.size());
  return url;
}

/// The message of an error body, whichever service's form it has.
std::string message_of(const std::string& body) {
  try {
    const json::value parsed = parse_json(body);
    const json::object* object = parsed.if_object();
    if (!object) return body;
    if (const json::value* m = object->if_contains("message"); m && m->is_string()) return str(*m);
    if (const json::array* errors = find_array(*object, "errors"); errors && !errors->empty())
      return find_string(errors->front().as_object(), "detail");
    for (const auto& member : *object)
      if (const json::object* inner = member.value().if_object()) return find_string(*inner, "message", body);
  } catch (const std::exception&) {
  }
  return body.substr(0, 500);
}

/// An operator's own rate limit (429) delays the command line; it does not fail it. A minute is the most.
http::Response fetch_patiently(const http::ClientRequest& request) {
  for (int waited_s = 0;;) {
    http::Response response = http::fetch(request);
    if (response.status != 429 || request.source || request.sink || waited_s >= 60) return response;
    const int pause_s = std::clamp(std::atoi(std::string(response.headers.get("Retry-After")).c_str()), 1, 10);
    std::this_thread::sleep_for(std::chrono::seconds(pause_s));
    waited_s += pause_s;
  }
}

}  // namespace

std::optional<Credentials> credentials_from_environment() {
  Credentials c;
  c.auth_url = environment("OS_AUTH_URL");
  c.ca_file = environment("OS_CACERT");
  c.user = environment("OS_USERNAME");
  c.password = environment("OS_PASSWORD");
  c.project = environment("OS_PROJECT_NAME", environment("OS_TENANT_NAME").c_str());
  c.user_domain = environment("OS_USER_DOMAIN_NAME", "Default");
  c.project_domain = environment("OS_PROJECT_DOMAIN_NAME", "Default");
  if (c.auth_url.empty() || c.user.empty()) return std::nullopt;
  return c;
}

RestClient::RestClient(Credentials credentials) : credentials_(std::move(credentials)), base_(without_suffix(credentials_.auth_url)) {}

void RestClient::authenticate() {
  json::object auth{
      {"identity",
       {{"methods", {"password"}},
        {"password",
         {{"user",
           {{"name", credentials_.user}, {"password", credentials_.password}, {"domain", {{"name", credentials_.user_domain}}}}}}}}}};
  if (credentials_.system)
    auth["scope"] = {{"system", {{"all", true}}}};
  else if (!credentials_.project.empty())
    auth["scope"] = {{"project", {{"name", credentials_.project}, {"domain", {{"name", credentials_.project_domain}}}}}};
  http::ClientRequest request;
  request.method = "POST";
  request.url = base_ + "/identity/v3/auth/tokens";
  request.headers.set("Content-Type", "application/json");
  request.body = json::serialize(json::object{{"auth", std::move(auth)}});
  request.ca_file = credentials_.ca_file;
  const http::Response response = fetch_patiently(request);
  if (response.status != 201)
    throw Fault(static_cast<FaultKind>(response.status), fmt::format("{} was not let in: {}", credentials_.user, message_of(response.body)));
  token_ = response.headers.get("X-Subject-Token");
  const json::value body = parse_json(response.body);
  const json::object& token = body.as_object().at("token").as_object();
  user_id_ = str(token.at("user").at("id"));
  if (const json::object* project = find_object(token, "project")) project_id_ = find_string(*project, "id");
}

http::Response RestClient::send(http::ClientRequest request, bool may_renew) {
  if (token_.empty()) authenticate();
  request.headers.set("X-Auth-Token", token_);
  if (!compute_version.empty() && request.url.find("/compute/") != std::string::npos)
    request.headers.set("OpenStack-API-Version", "compute " + compute_version);
  request.ca_file = credentials_.ca_file;
  http::Response response = fetch_patiently(request);
  if (response.status == 401 && may_renew && !request.source) {
    token_.clear();
    return send(std::move(request), false);
  }
  if (response.status >= 300)
    throw Fault(static_cast<FaultKind>(response.status), message_of(response.body));
  return response;
}

json::value RestClient::call(const char* method, const std::string& path, const json::value* body) {
  http::ClientRequest request;
  request.method = method;
  request.url = base_ + path;
  if (body) {
    const bool json_patch = request.method == "PATCH" && body->is_array();
    request.headers.set("Content-Type", json_patch ? "application/openstack-images-v2.1-json-patch" : "application/json");
    request.body = json::serialize(*body);
  }
  const http::Response response = send(std::move(request));
  return response.body.empty() ? json::value() : parse_json(response.body);
}

json::value RestClient::get(const std::string& path) { return call("GET", path, nullptr); }
json::value RestClient::post(const std::string& path, const json::value& body) { return call("POST", path, &body); }
json::value RestClient::put(const std::string& path, const json::value& body) { return call("PUT", path, body.is_null() ? nullptr : &body); }
json::value RestClient::patch(const std::string& path, const json::value& body) { return call("PATCH", path, &body); }
void RestClient::remove(const std::string& path) { call("DELETE", path, nullptr); }

void RestClient::put_file(const std::string& path, const std::string& file) {
  auto in = std::make_shared<std::ifstream>(file, std::ios::binary);
  if (!*in) throw Fault(FaultKind::not_found, fmt::format("{} cannot be read.", file));
  http::ClientRequest request;
  request.method = "PUT";
  request.url = base_ + path;
  request.timeout = std::chrono::minutes(30);
  request.headers.set("Content-Type", "application/octet-stream");
  request.source = [in](std::span<char> buffer) {
    in->read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    return static_cast<size_t>(in->gcount());
  };
  send(std::move(request));
}

json::value RestClient::find(const std::string& path, const std::string& plural, const std::string& name) {
  const json::value answer = get(path);
  const json::array* items = answer.is_object() ? find_array(answer.get_object(), plural) : nullptr;
  if (items)
    for (const auto& item : *items)
      if (find_string(item.as_object(), "name") == name || find_string(item.as_object(), "id") == name) return item;
  return nullptr;
}

const std::string& RestClient::project_id() {
  if (token_.empty()) authenticate();
  return project_id_;
}

const std::string& RestClient::user_id() {
  if (token_.empty()) authenticate();
  return user_id_;
}

const std::string& RestClient::token() {
  if (token_.empty()) authenticate();
  return token_;
}

}  // namespace virga::cloud
