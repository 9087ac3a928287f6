#include "api/audit_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/access_log.h"
#include "api/service.h"
#include "base/ids.h"
#include "base/text.h"

namespace virga::api {
namespace {

constexpr std::string_view kUnknown = "unknown";  // CADF's word
constexpr size_t kMaxBody = 256 << 10;            // larger ones are not looked into

bool is_change(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH" || method == "DELETE";
}

/// Routes whose POST proves who one is and answers with a token.
bool gives_token(const Route& route) {
  static constexpr std::array<std::string_view, 5> paths{
      "/v3/auth/tokens", "/v3/ec2tokens", "/v3/s3tokens", "/v3/OS-OAUTH2/token",
      "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth"};
  return route.method == "POST" &&
         std::find(paths.begin(), paths.end(), std::string_view(route.path)) != paths.end();
}

/// CADF's taxonomy, as pycadf's audit maps give it to each service.
std::string service_uri(const std::string& type) {
  static const std::map<std::string, std::string> known{{"identity", "service/security"},
                                                        {"image", "service/storage/image"},
                                                        {"object-store", "service/storage/object"},
                                                        {"volumev3", "service/storage/block"},
                                                        {"block-storage", "service/storage/block"}};
  const auto found = known.find(type);
  return found != known.end() ? found->second : "service/" + type;
}

bool is_version(const std::string& segment) {
  return segment.size() > 1 && segment[0] == 'v' && segment[1] >= '0' && segment[1] <= '9';
}
bool is_parameter(const std::string& segment) {
  return segment.front() == '{';
}

/// "{server_id}" is a server; "{id}" is one of what stands before: "networks" are of "network".
std::string singular_of(const std::string& parameter, const std::string& plural) {
  std::string name = parameter.substr(1, parameter.find_first_of(".}") - 1);
  if (name.size() > 3 && name.substr(name.size() - 3) == "_id") return name.substr(0, name.size() - 3);
  if (name != "id") return name;
  if (plural.size() > 3 && plural.substr(plural.size() - 3) == "ies")
    return plural.substr(0, plural.size() - 3) + "y";
  return plural.size() > 1 && plural.back() == 's' ? plural.substr(0, plural.size() - 1) : plural;
}

/// Of the path's resources, and the parameter that names the last one.
std::pair<std::string, int> resources_of(std::vector<std::string> segments, bool names_action) {
  if (names_action) segments.pop_back();
  std::string uri, before;
  int parameter = -1, target = -1;
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string& s = segments[i];
    if (is_version(s)) continue;
    if (!is_parameter(s)) {
      uri += "/" + (before = s);
      target = -1;
      continue;
    }
    ++parameter;
    if (s == "{project_id}" && i > 0 && is_version(segments[i - 1])) continue;  // nova's older paths
    uri += "/" + singular_of(s, before);
    target = parameter;
  }
  return {uri, target};
}

bool is_collection(const Service& service, const Route& route) {
  const std::string one = route.path.text + "/{";
  return std::any_of(service.routes.begin(), service.routes.end(), [&](const Route& other) {
    return other.path.text.rfind(one, 0) == 0 && other.path.text.find('/', one.size()) == std::string::npos;
  });
}

/// The name of an object's only member, if it looks like an action's: {"os-start": null}.
std::string action_name(std::string_view body) {
  const size_t open = body.find_first_not_of(" \t\r\n{");
  if (open == std::string_view::npos || body[open] != '"') return {};
  const std::string_view rest = body.substr(open + 1, 65);
  const size_t end =
      rest.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-:.");
  return end == std::string_view::npos || rest[end] != '"' ? std::string() : std::string(rest.substr(0, end));
}

json::value parsed(std::string_view text) {
  json::error_code error;
  json::value v = text.size() > kMaxBody ? json::value() : json::parse(text, error);
  return error ? json::value() : v;
}

const json::object* inside(const json::object* in, std::string_view key) {
  return in ? find_object(*in, key) : nullptr;
}

/// The user id that a login claims. Names stay out: people type passwords there.
std::string claimed_user(std::string_view body) {
  const json::value v = parsed(body);
  const json::object* identity = inside(inside(v.if_object(), "auth"), "identity");
  for (std::string_view method : {"password", "totp", "application_credential"})
    if (const json::object* user = inside(inside(identity, method), "user"))
      if (const std::string id = find_string(*user, "id"); looks_like_uuid(id)) return id;
  return {};
}

/// {"token": {"user": {"id": …}}}
std::string user_of_token(std::string_view body) {
  const json::value v = parsed(body);
  const json::object* token = inside(v.if_object(), "token");
  const json::object* user = inside(token ? token : inside(v.if_object(), "access"), "user");
  return user ? find_string(*user, "id") : std::string();
}

/// The id of what was made: {"server": {"id": …}}, or glance's {"id": …}.
std::string made_id(const http::Response& response) {
  if (response.status >= 300) return {};
  const json::value v = parsed(response.body);
  const json::object* outer = v.if_object();
  if (!outer) return {};
  if (outer->contains("id")) return find_string(*outer, "id");
  for (const auto& [key, value] : *outer)
    if (const json::object* inner = value.if_object())
      return find_string(*inner, inner->contains("id") ? "id" : "name");
  return {};
}

struct Writer {
  std::string& out;
  void text(std::string_view name, std::string_view value) const { append_foreign_member(out, name, value); }
  void text_if(std::string_view name, std::string_view value) const {
    if (!value.empty()) text(name, value);
  }
  void open(std::string_view name) const {
    out += ",\"";
    out += name;
    out += "\":{";
  }
  void close() const { out += '}'; }
};

void write_initiator(const Writer& w, const RequestFacts& facts, const std::string& user) {
  const Caller* caller = facts.caller.get();
  w.open("initiator");
  w.text("typeURI", "service/security/account/user");
  w.text("id", !user.empty() ? std::string_view(user)
               : caller      ? std::string_view(caller->user_id)
                             : kUnknown);
  if (caller) {
    w.text_if("name", caller->user_name);
    w.text_if("project_id", caller->project_id);
    w.text_if("domain_id", caller->domain_id);
  }
  w.text("request_id", facts.request_id);
  w.text_if("global_request_id", facts.global_request_id);
  w.open("host");
  w.text("address", facts.client);
  w.text_if("agent", std::string_view(facts.agent).substr(0, 256));
  w.close();
  w.close();
}

}  // namespace

AuditLog::Meaning AuditLog::meaning_of(const Service& service, const Route& route) const {
  Meaning m;
  const std::vector<std::string> segments = split_words(route.path, '/');
  m.names_action = route.method == "POST" && !segments.empty() && segments.back() == "action";
  m.is_login = gives_token(route);
  const auto [uri, target] = resources_of(segments, m.names_action);
  m.type_uri = service_uri(service.type) + (m.is_login ? "/account/user" : uri);
  m.target = target;
  m.action = m.is_login                      ? "authenticate"
             : route.method == "DELETE"      ? "delete"
             : route.method != "POST"        ? "update"
             : is_collection(service, route) ? "create"
                                             : "update";
  return m;
}

void AuditLog::mounted(const Service& service) {
  std::vector<Meaning>& all = meanings_[&service];
  for (const Route& route : service.routes) all.push_back(meaning_of(service, route));
}

const AuditLog::Meaning* AuditLog::find(const RequestFacts& facts) const {
  const auto found = facts.route ? meanings_.find(facts.service) : meanings_.end();
  return found == meanings_.end()
             ? nullptr
             : &found->second.at(static_cast<size_t>(facts.route - facts.service->routes.data()));
}

void AuditLog::routed(RequestFacts& facts, const http::Request& request) {
  if (!is_change(facts.method)) return;
  const Meaning* m = find(facts);
  if (m && m->names_action) facts.audit_note = action_name(request.body);
  if (m && m->is_login) facts.audit_note = claimed_user(request.body);
}

void AuditLog::answered(const RequestFacts& facts, const http::Response& response) {
  if (!is_change(facts.method)) return;
  const Meaning* m = find(facts);
  const bool login = m && m->is_login;
  std::string user = login ? facts.audit_note : std::string();
  if (login && response.status < 300)
    if (std::string id = user_of_token(response.body); !id.empty()) user = std::move(id);
  std::string target = login ? user
                       : m && m->target >= 0 && static_cast<size_t>(m->target) < facts.values.size()
                           ? facts.values[static_cast<size_t>(m->target)]
                           : std::string();
  if (m && m->action == "create") target = made_id(response);
  std::string action = m                          ? m->action
                       : facts.method == "POST"   ? "create"
                       : facts.method == "DELETE" ? "delete"
                                                  : "update";
  if (m && m->names_action && !facts.audit_note.empty()) action += "/" + facts.audit_note;

  std::string out = "{";
  const Writer w{out};
  w.text("typeURI", "http://schemas.dmtf.org/cloud/audit/1.0/event");
  w.text("eventType", "activity");
  w.text("id", new_uuid());
  w.text("eventTime", to_iso_us_no_zone(facts.at) + "+0000");
  w.text("action", action);
  w.text("outcome", response.status < 400 ? "success" : "failure");
  w.open("reason");
  w.text("reasonType", "HTTP");
  w.text("reasonCode", fmt::to_string(response.status));
  w.close();
  w.text("requestPath", loggable_path(facts));
  write_initiator(w, facts, user);
  const std::string service = facts.service ? service_uri(facts.service->type) : std::string(kUnknown);
  w.open("target");
  w.text("typeURI", m ? m->type_uri : service);
  w.text("id", target.empty() ? kUnknown : std::string_view(target));
  w.close();
  w.open("observer");
  w.text("typeURI", service);
  w.text("id", facts.service ? std::string_view(facts.service->name) : kUnknown);
  w.close();
  w.close();
  log_.write(out);
}

}  // namespace virga::api
