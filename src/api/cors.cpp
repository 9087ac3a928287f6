#include "api/cors.h"

#include <strings.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace virga::api {
namespace {

constexpr std::array<std::string_view, 7> kMethods{"GET",   "HEAD",   "POST",   "PUT",
                                                   "PATCH", "DELETE", "OPTIONS"};
constexpr std::string_view kMaxAgeS = "3600";

/// What the clients of the services send: the sum of what each OpenStack service allows by default.
constexpr std::array<std::string_view, 30> kRequestFields{"Accept",
                                                          "Accept-Language",
                                                          "Accept-Encoding",
                                                          "Cache-Control",
                                                          "Content-Language",
                                                          "Content-MD5",
                                                          "Content-Type",
                                                          "Expires",
                                                          "If-Match",
                                                          "Last-Modified",
                                                          "OpenStack-API-Version",
                                                          "Openstack-Auth-Receipt",
                                                          "Pragma",
                                                          "Range",
                                                          "X-Auth-Token",
                                                          "X-Domain-Id",
                                                          "X-Domain-Name",
                                                          "X-Identity-Status",
                                                          "X-Image-Meta-Checksum",
                                                          "X-OpenStack-Nova-API-Version",
                                                          "X-Openstack-Request-Id",
                                                          "X-Project-Domain-Id",
                                                          "X-Project-Domain-Name",
                                                          "X-Project-Id",
                                                          "X-Project-Name",
                                                          "X-Roles",
                                                          "X-Storage-Token",
                                                          "X-Subject-Token",
                                                          "X-Tenant-Id",
                                                          "X-User-Id"};

constexpr std::string_view kExposed =
    "Content-MD5,Content-Range,ETag,Location,OpenStack-API-Version,OpenStack-image-import-methods,Openstack-"
    "Auth-Receipt,"
    "Retry-After,WWW-Authenticate,X-Auth-Token,X-Compute-Request-Id,X-OpenStack-Nova-API-Version,X-Openstack-"
    "Request-Id,"
    "X-Service-Token,X-Subject-Token";

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// The wanted fields as one list; false if one of them is not allowed.
bool allow_fields(std::string_view wanted, std::string& list) {
  for (const std::string& part : split(wanted, ',')) {
    const std::string_view name = trimmed(part);
    if (name.empty()) continue;
    if (std::none_of(kRequestFields.begin(), kRequestFields.end(),
                     [&](std::string_view known) { return same_word(known, name); }))
      return false;
    list += (list.empty() ? "" : ",") + std::string(name);
  }
  return true;
}

}  // namespace

std::string_view Cors::allow(std::string_view origin) const {
  if (origin.empty()) return "";
  for (const std::string& allowed : allowed_) {
    if (allowed == origin) return allowed;
    if (allowed == "*") return "*";
  }
  return "";
}

void Cors::answer_preflight(const http::Request& request, http::Response& response) const {
  if (allowed_.empty()) return;
  add_vary(response, "Origin");
  const std::string_view origin = allow(request.headers.get("Origin"));
  const std::string_view method = request.headers.get("Access-Control-Request-Method");
  if (origin.empty() || std::find(kMethods.begin(), kMethods.end(), method) == kMethods.end()) return;
  std::string fields;
  if (!allow_fields(request.headers.get("Access-Control-Request-Headers"), fields)) return;
  response.headers.set("Access-Control-Allow-Origin", origin);
  if (origin != "*") response.headers.set("Access-Control-Allow-Credentials", "true");
  response.headers.set("Access-Control-Max-Age", kMaxAgeS);
  response.headers.set("Access-Control-Allow-Methods", method);
  if (!fields.empty()) response.headers.set("Access-Control-Allow-Headers", fields);
}

void Cors::decorate(std::string_view origin, http::Response& response) const {
  if (allowed_.empty()) return;
  add_vary(response, "Origin");  // a cache must not give one origin's answer to another
  const std::string_view allowed = allow(origin);
  if (allowed.empty()) return;
  response.headers.set("Access-Control-Allow-Origin", allowed);
  if (allowed != "*") response.headers.set("Access-Control-Allow-Credentials", "true");
  response.headers.set("Access-Control-Expose-Headers", kExposed);
}

void add_vary(http::Response& response, std::string_view name) {
  const std::string known(response.headers.get("Vary"));
  for (const std::string& part : split(known, ','))
    if (same_word(trimmed(part), name)) return;
  response.headers.set("Vary", known.empty() ? std::string(name) : known + ", " + std::string(name));
}

}  // namespace virga::api
