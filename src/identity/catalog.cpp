#include "identity/catalog.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/crypto.h"
#include "identity/attribute_rows.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

constexpr std::string_view kInterfaces[] = {"public", "internal", "admin"};

/// %(project_id)s, $(project_id)s and the older tenant_id. False if the URL needs a project and there is
/// none.
bool substitute(std::string& url, const api::Caller& caller) {
  for (std::string_view name : {"%(project_id)s", "$(project_id)s", "%(tenant_id)s", "$(tenant_id)s"})
    for (size_t at = url.find(name); at != std::string::npos; at = url.find(name)) {
      if (caller.project_id.empty()) return false;
      url.replace(at, name.size(), caller.project_id);
    }
  for (std::string_view name : {"%(user_id)s", "$(user_id)s"})
    for (size_t at = url.find(name); at != std::string::npos; at = url.find(name))
      url.replace(at, name.size(), caller.user_id);
  return true;
}

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object service_view(const api::Call& call, const ServiceRow& s) {
  json::object out = s.extra;
  out["id"] = s.id;
  out["type"] = s.type;
  out["name"] = s.name;
  out["enabled"] = s.enabled;
  if (!s.description.empty()) out["description"] = s.description;
  out["links"] = self_link(call, "services", s.id);
  return out;
}

}  // namespace

json::object endpoint_view(const api::Call& call, const EndpointRow& e) {
  json::object out = e.extra;
  out["id"] = e.id;
  out["service_id"] = e.service_id;
  out["interface"] = e.interface;
  out["url"] = e.url;
  out["enabled"] = e.enabled;
  out["region"] = or_null(e.region_id);
  out["region_id"] = or_null(e.region_id);
  out["links"] = self_link(call, "endpoints", e.id);
  return out;
}

std::string stable_id(std::string_view name) {
  return to_hex(sha256(fmt::format("virga catalogue {}", name))).substr(0, 32);
}

std::vector<ServiceRow> all_services(const Core& core, db::Tx& tx) {
  std::vector<ServiceRow> out;
  for (const auto& b : core.built_in) out.push_back({b.id, b.type, b.name, b.title, true, true, {}});
  for (const auto& r : tx.query(
           "SELECT id, type, name, description, enabled, extra FROM identity_services ORDER BY type, id"))
    out.push_back({r.text(0), r.text(1), r.text(2), r.text(3), r.boolean(4), false, read_json(r.text(5))});
  return out;
}

std::vector<EndpointRow> all_endpoints(const Core& core, db::Tx& tx, const std::string& cloud_url) {
  std::vector<EndpointRow> out;
  for (const auto& b : core.built_in)
    for (auto interface : kInterfaces)
      out.push_back({stable_id(fmt::format("endpoint {} {}", b.type, interface)),
                     b.id,
                     std::string(interface),
                     core.options.region,
                     cloud_url + b.catalog_path,
                     true,
                     true,
                     {}});
  for (const auto& r : tx.query("SELECT id, service_id, interface, region_id, url, enabled, extra FROM "
                                "identity_endpoints ORDER BY id"))
    out.push_back(
        {r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), r.boolean(5), false, read_json(r.text(6))});
  return out;
}

ServiceRow get_service(const Core& core, db::Tx& tx, const std::string& id) {
  for (auto& s : all_services(core, tx))
    if (s.id == id) return s;
  not_found("service", id);
}

EndpointRow get_endpoint(const Core& core, db::Tx& tx, const std::string& id, const std::string& cloud_url) {
  for (auto& e : all_endpoints(core, tx, cloud_url))
    if (e.id == id) return e;
  not_found("endpoint", id);
}

namespace {

json::array catalog_view(const Core& core, db::Tx& tx, const std::vector<EndpointRow>& endpoints,
                         const api::Caller& caller) {
  const auto only = filtered_endpoints(tx, caller.project_id, endpoints);
  json::array out;
  for (const auto& service : all_services(core, tx)) {
    if (!service.enabled) continue;
    json::array listed;
    for (const auto& e : endpoints) {
      std::string url = e.url;
      if (e.service_id != service.id || !e.enabled || (only && !only->contains(e.id))) continue;
      if (!substitute(url, caller)) continue;
      listed.push_back(json::object{{"id", e.id},
                                    {"interface", e.interface},
                                    {"region_id", or_null(e.region_id)},
                                    {"region", or_null(e.region_id)},
                                    {"url", std::move(url)}});
    }
    if (only && listed.empty()) continue;
    out.push_back(json::object{{"id", service.id},
                               {"type", service.type},
                               {"name", service.name},
                               {"endpoints", std::move(listed)}});
  }
  return out;
}

/// Does the catalogue depend on more than the project?
bool names_users(const std::vector<EndpointRow>& endpoints) {
  return std::any_of(endpoints.begin(), endpoints.end(),
                     [](const auto& e) { return e.url.find("(user_id)s") != std::string::npos; });
}

}  // namespace

std::shared_ptr<const std::string> catalog_text(Core& core, const std::string& cloud_url,
                                                const api::Caller& caller) {
  const uint64_t epoch = core.current_epoch();
  if (auto known = core.catalogs.find(cloud_url, caller.project_id, epoch)) return known;
  bool shared = false;
  auto text = core.database.read([&](db::Tx& tx) {
    const auto endpoints = all_endpoints(core, tx, cloud_url);
    shared = !names_users(endpoints);
    return std::make_shared<const std::string>(json::serialize(catalog_view(core, tx, endpoints, caller)));
  });
  if (shared) core.catalogs.put(cloud_url, caller.project_id, epoch, text);
  return text;
}

namespace {

using api::Set;
using api::Type;

const api::Resource& service_resource() {
  static const api::Resource r{.name = "service",
                               .plural = "services",
                               .attributes = {{.name = "type",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = 1,
                                               .filter = true},
                                              {.name = "name",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true,
                                               .filter = true},
                                              rows::description(),
                                              {.name = "enabled",
                                               .type = Type::boolean,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .fallback = json::value(true)}},
                               .extra = true};
  return r;
}

const api::Resource& endpoint_resource() {
  static const api::Resource r{.name = "endpoint",
                               .plural = "endpoints",
                               .attributes = {{.name = "service_id",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = 1,
                                               .filter = true},
                                              {.name = "interface",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .one_of = {"public", "internal", "admin"},
                                               .filter = true},
                                              {.name = "url",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = 1,
                                               .max = 2048},
                                              {.name = "region",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true},
                                              rows::owner("region_id"),
                                              {.name = "enabled",
                                               .type = Type::boolean,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .fallback = json::value(true)}},
                               .extra = true};
  return r;
}

[[noreturn]] void refuse_built_in(std::string_view what) {
  throw Fault(FaultKind::forbidden,
              fmt::format("This {} belongs to the cloud itself and cannot be changed.", what),
              "It follows the cloud's URL (public_url in virga.toml).");
}

void read_service(ServiceRow& s, const json::object& a) {
  s.type = find_string(a, "type", s.type);
  if (a.contains("name")) s.name = find_string(a, "name");
  if (a.contains("description")) s.description = find_string(a, "description");
  s.enabled = find_bool(a, "enabled", s.enabled);
}

http::Response create_service(Core& core, api::Call& call) {
  json::object a = api::validate_create(service_resource(), call.body_of("service"));
  ServiceRow s{.id = new_hex_id()};
  s.extra = take_extra(service_resource(), a);
  read_service(s, a);
  core.change([&](db::Tx& tx) {
    tx.exec(
        "INSERT INTO identity_services (id, type, name, description, enabled, extra) VALUES (?, ?, ?, ?, ?, "
        "?)",
        s.id, s.type, s.name, s.description, s.enabled, json::serialize(s.extra));
  });
  return item_reply(201, "service", service_view(call, s));
}

http::Response list_services(Core& core, api::Call& call) {
  const auto query = api::parse_list(service_resource(), call.request, list_rules());
  json::array out;
  for (const auto& s : core.database.read([&](db::Tx& tx) { return all_services(core, tx); })) {
    json::object view = service_view(call, s);
    if (query.matches(view)) out.push_back(std::move(view));
  }
  return list_reply(call, "services", std::move(out));
}

http::Response show_service(Core& core, api::Call& call) {
  const auto s =
      core.database.read([&](db::Tx& tx) { return get_service(core, tx, call.param("service_id")); });
  return item_reply(200, "service", service_view(call, s));
}

http::Response update_service(Core& core, api::Call& call) {
  json::object a = update_body(call, service_resource(), call.param("service_id"));
  const json::object extra = take_extra(service_resource(), a);
  const auto changed = core.change([&](db::Tx& tx) {
    ServiceRow s = get_service(core, tx, call.param("service_id"));
    if (s.built_in) refuse_built_in("service");
    read_service(s, a);
    merge_extra(s.extra, extra);
    tx.exec(
        "UPDATE identity_services SET type = ?, name = ?, description = ?, enabled = ?, extra = ? WHERE id = "
        "?",
        s.type, s.name, s.description, s.enabled, json::serialize(s.extra), s.id);
    return s;
  });
  return item_reply(200, "service", service_view(call, changed));
}

http::Response delete_service(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const ServiceRow s = get_service(core, tx, call.param("service_id"));
    if (s.built_in) refuse_built_in("service");
    if (tx.first("SELECT 1 FROM identity_registered_limits WHERE service_id = ?", s.id))
      throw Fault(FaultKind::forbidden,
                  fmt::format("Unable to delete service {} because registered limits name it.", s.id),
                  "Delete those limits first.");
    for (const auto& row : tx.query("SELECT id FROM identity_endpoints WHERE service_id = ?", s.id))
      forget_endpoint(tx, row.text(0));
    forget_service(tx, s.id);
    tx.exec("DELETE FROM identity_endpoints WHERE service_id = ?", s.id);
    tx.exec("DELETE FROM identity_services WHERE id = ?", s.id);
  });
  return api::reply(204);
}

void read_endpoint(EndpointRow& e, const json::object& a) {
  e.service_id = find_string(a, "service_id", e.service_id);
  e.interface = find_string(a, "interface", e.interface);
  e.url = find_string(a, "url", e.url);
  if (a.contains("region")) e.region_id = find_string(a, "region");
  if (a.contains("region_id")) e.region_id = find_string(a, "region_id");
  e.enabled = find_bool(a, "enabled", e.enabled);
}

/// Keystone makes a region named by the older "region" attribute; one named by region_id must be there.
void check_endpoint(const Core& core, db::Tx& tx, const EndpointRow& e, bool make_region) {
  const auto services = all_services(core, tx);
  if (std::none_of(services.begin(), services.end(), [&](const auto& s) { return s.id == e.service_id; }))
    throw Fault(FaultKind::bad_request, fmt::format("Could not find service: {}.", e.service_id));
  if (e.region_id.empty() || tx.first("SELECT 1 FROM identity_regions WHERE id = ?", e.region_id)) return;
  if (!make_region)
    throw Fault(FaultKind::bad_request, fmt::format("Could not find region: {}.", e.region_id));
  tx.exec("INSERT INTO identity_regions (id, description, extra) VALUES (?, '', '{}')", e.region_id);
}

http::Response create_endpoint(Core& core, api::Call& call) {
  json::object a = api::validate_create(endpoint_resource(), call.body_of("endpoint"));
  EndpointRow e{.id = new_hex_id()};
  e.extra = take_extra(endpoint_resource(), a);
  read_endpoint(e, a);
  core.change([&](db::Tx& tx) {
    check_endpoint(core, tx, e, a.contains("region"));
    tx.exec(
        "INSERT INTO identity_endpoints (id, service_id, interface, region_id, url, enabled, extra) VALUES "
        "(?, ?, ?, ?, ?, ?, ?)",
        e.id, e.service_id, e.interface, e.region_id.empty() ? db::Value() : db::Value(e.region_id), e.url,
        e.enabled, json::serialize(e.extra));
  });
  return item_reply(201, "endpoint", endpoint_view(call, e));
}

http::Response list_endpoints(Core& core, api::Call& call) {
  const auto query = api::parse_list(endpoint_resource(), call.request, list_rules());
  json::array out;
  for (const auto& e :
       core.database.read([&](db::Tx& tx) { return all_endpoints(core, tx, call.cloud_url); })) {
    json::object view = endpoint_view(call, e);
    if (query.matches(view)) out.push_back(std::move(view));
  }
  return list_reply(call, "endpoints", std::move(out));
}

http::Response show_endpoint(Core& core, api::Call& call) {
  const auto e = core.database.read(
      [&](db::Tx& tx) { return get_endpoint(core, tx, call.param("endpoint_id"), call.cloud_url); });
  return item_reply(200, "endpoint", endpoint_view(call, e));
}

http::Response update_endpoint(Core& core, api::Call& call) {
  json::object a = update_body(call, endpoint_resource(), call.param("endpoint_id"));
  const json::object extra = take_extra(endpoint_resource(), a);
  const auto changed = core.change([&](db::Tx& tx) {
    EndpointRow e = get_endpoint(core, tx, call.param("endpoint_id"), call.cloud_url);
    if (e.built_in) refuse_built_in("endpoint");
    read_endpoint(e, a);
    merge_extra(e.extra, extra);
    check_endpoint(core, tx, e, a.contains("region"));
    tx.exec(
        "UPDATE identity_endpoints SET service_id = ?, interface = ?, region_id = ?, url = ?, enabled = ?, "
        "extra = ? WHERE id = ?",
        e.service_id, e.interface, e.region_id.empty() ? db::Value() : db::Value(e.region_id), e.url,
        e.enabled, json::serialize(e.extra), e.id);
    return e;
  });
  return item_reply(200, "endpoint", endpoint_view(call, changed));
}

http::Response delete_endpoint(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const EndpointRow e = get_endpoint(core, tx, call.param("endpoint_id"), call.cloud_url);
    if (e.built_in) refuse_built_in("endpoint");
    forget_endpoint(tx, e.id);
    tx.exec("DELETE FROM identity_endpoints WHERE id = ?", e.id);
  });
  return api::reply(204);
}

}  // namespace

void add_catalog_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/services", "identity:create_service", on(create_service)});
  to.push_back({"GET", "/v3/services", "identity:list_services", on(list_services)});
  to.push_back(
      {"GET", "/v3/services/{service_id}", "identity:get_service", on(show_service)});
  to.push_back(
      {"PATCH", "/v3/services/{service_id}", "identity:update_service", on(update_service)});
  to.push_back(
      {"DELETE", "/v3/services/{service_id}", "identity:delete_service", on(delete_service)});
  to.push_back({"POST", "/v3/endpoints", "identity:create_endpoint", on(create_endpoint)});
  to.push_back(
      {"GET", "/v3/endpoints", "identity:list_endpoints", on(list_endpoints)});
  to.push_back({"GET", "/v3/endpoints/{endpoint_id}", "identity:get_endpoint",
                on(show_endpoint)});
  to.push_back({"PATCH", "/v3/endpoints/{endpoint_id}", "identity:update_endpoint",
                on(update_endpoint)});
  to.push_back({"DELETE", "/v3/endpoints/{endpoint_id}", "identity:delete_endpoint",
                on(delete_endpoint)});
}

}  // namespace virga::identity
