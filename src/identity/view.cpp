#include "identity/view.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "identity/faults.h"
#include "identity/login.h"

namespace virga::identity {
namespace {

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

/// Our own attributes win over anything of the same name among the extra ones.
json::object with_extra(const json::object& extra, json::object own) {
  for (const auto& [name, value] : extra)
    if (!own.contains(name)) own[name] = value;
  return own;
}

json::array to_array(const std::vector<std::string>& texts) {
  json::array out;
  for (const auto& t : texts) out.emplace_back(t);
  return out;
}

}  // namespace

json::object self_link(const api::Call& call, std::string_view collection, const std::string& id) {
  return {{"self", fmt::format("{}/v3/{}/{}", call.base_url, collection, id)}};
}

json::object user_view(const Core& core, const api::Call& call, const UserRow& u) {
  json::object own{{"id", u.id},
                   {"name", u.name},
                   {"domain_id", u.domain_id},
                   {"enabled", is_enabled(core, u)},
                   {"password_expires_at", time_view(u.password_expires_at)},
                   {"options", u.options},
                   {"links", self_link(call, "users", u.id)}};
  if (!u.default_project_id.empty()) own["default_project_id"] = u.default_project_id;
  return with_extra(u.extra, std::move(own));
}

json::object project_view(const api::Call& call, const ProjectRow& p, const std::vector<std::string>& tags) {
  json::object own{{"id", p.id},
                   {"name", p.name},
                   {"domain_id", or_null(p.domain_id)},
                   {"description", p.description},
                   {"enabled", p.enabled},
                   {"parent_id", or_null(p.parent_id)},
                   {"is_domain", p.is_domain},
                   {"tags", to_array(tags)},
                   {"options", p.options},
                   {"links", self_link(call, "projects", p.id)}};
  return with_extra(p.extra, std::move(own));
}

json::object domain_view(const api::Call& call, const ProjectRow& d, const std::vector<std::string>& tags) {
  json::object own{{"id", d.id},
                   {"name", d.name},
                   {"description", d.description},
                   {"enabled", d.enabled},
                   {"tags", to_array(tags)},
                   {"options", d.options},
                   {"links", self_link(call, "domains", d.id)}};
  return with_extra(d.extra, std::move(own));
}

json::object group_view(const api::Call& call, const GroupRow& g) {
  json::object own{{"id", g.id},
                   {"name", g.name},
                   {"domain_id", g.domain_id},
                   {"description", g.description},
                   {"links", self_link(call, "groups", g.id)}};
  return with_extra(g.extra, std::move(own));
}

json::object role_view(const api::Call& call, const RoleRow& r) {
  json::object own{{"id", r.id},
                   {"name", r.name},
                   {"domain_id", or_null(r.domain_id)},
                   {"description", r.description ? json::value(*r.description) : json::value(nullptr)},
                   {"options", r.options},
                   {"links", self_link(call, "roles", r.id)}};
  return with_extra(r.extra, std::move(own));
}

http::Response list_reply(const api::Call& call, std::string_view plural, json::array items,
                          const std::string& next_marker) {
  json::object links{
      {"next", nullptr}, {"self", call.cloud_url + call.request.target}, {"previous", nullptr}};
  if (!next_marker.empty()) links["next"] = api::next_url(call, next_marker);
  return api::reply(200, json::object{{plural, std::move(items)}, {"links", std::move(links)}});
}

http::Response item_reply(int status, std::string_view name, json::object item) {
  return api::reply(status, json::object{{name, std::move(item)}});
}

json::value time_view(const std::optional<Time>& time) {
  return time ? json::value(to_iso_us_no_zone(*time)) : json::value(nullptr);
}

void add_password_expiry_filter(const api::Call& call, api::Where& where) {
  const auto filter = call.request.query_value("password_expires_at");
  if (!filter) return;
  // "lt:2026-11-23T12:00:00Z"; without an operator the first colon is the time's own.
  const size_t colon = filter->find(':');
  const bool has_operator = colon == 2 || colon == 3;
  const std::string name = has_operator ? filter->substr(0, colon) : "eq";
  Time time;
  try {
    time = parse_time(has_operator ? filter->substr(colon + 1) : *filter);
  } catch (const Fault&) {
    refuse_body(
        "Timestamp not in expected format. The server could not comply with the request since it is either "
        "malformed or otherwise incorrect. The client is assumed to be in error.");
  }
  constexpr std::pair<std::string_view, std::string_view> kOperators[] = {
      {"lt", "<"}, {"lte", "<="}, {"gt", ">"}, {"gte", ">="}, {"eq", "="}, {"neq", "<>"}};
  for (const auto& [known, sql] : kOperators)
    if (known == name) return where.add(fmt::format("password_expires_at {} ?", sql), time);
  refuse_body(
      fmt::format("The given operator {} is not valid. It must be one of the following: 'eq', 'neq', "
                  "'lt', 'lte', 'gt', or 'gte'.",
                  name));
}

Time read_expiry(std::string_view text, Time now) {
  Time time;
  try {
    time = parse_time(text);
  } catch (const Fault&) {
    refuse_body(
        "Timestamp not in expected format. The server could not comply with the request since it is either "
        "malformed or otherwise incorrect. The client is assumed to be in error.");
  }
  if (time < now)
    refuse_body(
        "The 'expires_at' must not be before now. The server could not comply with the request since it is "
        "either malformed or otherwise incorrect. The client is assumed to be in error.");
  return time;
}

json::object take_extra(const api::Resource& resource, json::object& attributes) {
  json::object extra;
  for (auto it = attributes.begin(); it != attributes.end();) {
    const std::string name(it->key());
    if (resource.find(name)) {
      ++it;
      continue;
    }
    if (name != "links") extra[name] = it->value();
    it = attributes.erase(it);
  }
  return extra;
}

void merge_extra(json::object& stored, const json::object& changes) {
  for (const auto& [name, value] : changes) {
    if (value.is_null())
      stored.erase(name);
    else
      stored[name] = value;
  }
}

json::object unchecked_body(api::Call& call, std::string_view key) {
  if (call.request.body.empty()) return {};
  const json::object* given = find_object(call.body(), key);
  return given ? *given : json::object{};
}

json::object update_body(api::Call& call, const api::Resource& resource, const std::string& id) {
  json::object body = call.body_of(resource.name);
  if (body.empty()) throw Fault(FaultKind::bad_request, "{} does not have enough properties");
  if (const auto* given = body.if_contains("id")) {
    if (!given->is_string() || str(*given) != id)
      throw Fault(FaultKind::bad_request, fmt::format("Cannot change {} ID", resource.name));
    body.erase("id");
  }
  body.erase("links");
  return api::validate_update(resource, body);
}

std::string own_domain(const api::Call& call) {
  const api::Caller& c = call.caller();
  if (!c.domain_id.empty()) return c.domain_id;
  return c.project_domain_id.empty() ? "default" : c.project_domain_id;
}

bool query_flag(const api::Call& call, std::string_view name) {
  const auto value = call.request.query_value(name);
  return value && *value != "0";
}

api::ListRules list_rules() {
  return {.max_limit = 0, .inexact = true};
}

void confine(const api::Call& call, api::Where& where, std::string_view column) {
  const api::Caller& c = call.caller();
  if (!c.domain_id.empty()) where.add(fmt::format("{} = ?", column), c.domain_id);
}

}  // namespace virga::identity
