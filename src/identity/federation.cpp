// OS-FEDERATION: mappings and service providers; and the logins that are not there.
#include "identity/federation.h"

#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/mapping_rules.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

json::object mapping_view(const api::Call& call, const std::string& id, json::value rules) {
  return {{"id", id},
          {"rules", std::move(rules)},
          {"links", self_link(call, "OS-FEDERATION/mappings", http::percent_encode(id))}};
}

json::value read_rules(api::Call& call) {
  const json::value* rules = call.body_of("mapping").if_contains("rules");
  if (!rules)
    throw Fault(FaultKind::bad_request,
                "The mapping does not fit its schema: 'rules' is a required property.");
  check_mapping_rules(*rules);
  return *rules;
}

json::value get_mapping(db::Tx& tx, const std::string& id) {
  const auto row = tx.first("SELECT rules FROM identity_mappings WHERE id = ?", id);
  if (!row) not_found("mapping", id);
  return parse_json(row->text(0));
}

http::Response create_mapping(Core& core, api::Call& call) {
  json::value rules = read_rules(call);
  const std::string id = check_federation_id(call.param("mapping_id"));
  core.change([&](db::Tx& tx) {
    try {
      tx.exec("INSERT INTO identity_mappings (id, rules) VALUES (?, ?)", id, json::serialize(rules));
    } catch (const db::UniqueViolation&) {
      duplicate("mapping", fmt::format("Duplicate entry found with ID {}", id));
    }
  });
  return item_reply(201, "mapping", mapping_view(call, id, std::move(rules)));
}

http::Response list_mappings(Core& core, api::Call& call) {
  json::array out;
  for (const auto& row : core.database.read(
           [](db::Tx& tx) { return tx.query("SELECT id, rules FROM identity_mappings ORDER BY id"); }))
    out.push_back(mapping_view(call, row.text(0), parse_json(row.text(1))));
  return list_reply(call, "mappings", std::move(out));
}

http::Response show_mapping(Core& core, api::Call& call) {
  const std::string& id = call.param("mapping_id");
  auto rules = core.database.read([&](db::Tx& tx) { return get_mapping(tx, id); });
  return item_reply(200, "mapping", mapping_view(call, id, std::move(rules)));
}

http::Response update_mapping(Core& core, api::Call& call) {
  json::value rules = read_rules(call);
  const std::string& id = call.param("mapping_id");
  core.change([&](db::Tx& tx) {
    get_mapping(tx, id);
    tx.exec("UPDATE identity_mappings SET rules = ? WHERE id = ?", json::serialize(rules), id);
  });
  return item_reply(200, "mapping", mapping_view(call, id, std::move(rules)));
}

http::Response delete_mapping(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    get_mapping(tx, call.param("mapping_id"));
    tx.exec("DELETE FROM identity_mappings WHERE id = ?", call.param("mapping_id"));
  });
  return api::reply(204);
}

struct ServiceProviderRow {
  std::string id;
  bool enabled = false;
  std::optional<std::string> description;
  std::string auth_url, sp_url, relay_state_prefix = "ss:mem:";
};
constexpr std::string_view kColumns = "id, enabled, description, auth_url, sp_url, relay_state_prefix";

const api::Resource& resource() {
  static const api::Resource r{.name = "service_provider",
                               .plural = "service_providers",
                               .attributes = {rows::id(),
                                              rows::enabled(false),
                                              rows::description(),
                                              {.name = "auth_url",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .max = 225},
                                              {.name = "sp_url",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .max = 225},
                                              {.name = "relay_state_prefix",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true,
                                               .max = 256}}};
  return r;
}

ServiceProviderRow read(const db::Row& r) {
  return {r.text(0), r.boolean(1), r.maybe_text(2), r.text(3), r.text(4), r.text(5)};
}

ServiceProviderRow get_service_provider(db::Tx& tx, const std::string& id) {
  const auto row =
      tx.first(fmt::format("SELECT {} FROM identity_service_providers WHERE id = ?", kColumns), id);
  if (!row) not_found("Service Provider", id);
  return read(*row);
}

json::object view(const api::Call& call, const ServiceProviderRow& p) {
  return {{"id", p.id},
          {"enabled", p.enabled},
          {"description", p.description ? json::value(*p.description) : json::value(nullptr)},
          {"auth_url", p.auth_url},
          {"sp_url", p.sp_url},
          {"relay_state_prefix", p.relay_state_prefix},
          {"links", self_link(call, "OS-FEDERATION/service_providers", http::percent_encode(p.id))}};
}

/// A scheme, a colon, and something.
std::string read_url(const json::object& a, std::string_view name, const std::string& old) {
  std::string url = find_string(a, name, old);
  const size_t colon = url.find(':');
  const bool scheme =
      colon != std::string::npos && colon > 0 && colon + 1 < url.size() &&
      std::all_of(url.begin(), url.begin() + static_cast<std::ptrdiff_t>(colon),
                  [](unsigned char c) { return std::isalnum(c) || c == '+' || c == '.' || c == '-'; });
  if (!scheme) throw Fault(FaultKind::bad_request, fmt::format("'{}' is no URL: {}.", name, url));
  return url;
}

void read_attributes(ServiceProviderRow& p, const json::object& a) {
  p.enabled = find_bool(a, "enabled", p.enabled);
  if (a.contains("description"))
    p.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
  p.auth_url = read_url(a, "auth_url", p.auth_url);
  p.sp_url = read_url(a, "sp_url", p.sp_url);
  if (has_value(a, "relay_state_prefix")) p.relay_state_prefix = find_string(a, "relay_state_prefix");
}

http::Response create_service_provider(Core& core, api::Call& call) {
  ServiceProviderRow p{.id = check_federation_id(call.param("sp_id"))};
  read_attributes(p, api::validate_create(resource(), call.body_of("service_provider")));
  core.change([&](db::Tx& tx) {
    try {
      tx.exec(fmt::format("INSERT INTO identity_service_providers ({}) VALUES ({})", kColumns,
                          db::placeholders(6)),
              p.id, p.enabled, p.description, p.auth_url, p.sp_url, p.relay_state_prefix);
    } catch (const db::UniqueViolation&) {
      duplicate("service_provider", fmt::format("Duplicate entry found with ID {}", p.id));
    }
  });
  return item_reply(201, "service_provider", view(call, p));
}

http::Response list_service_providers(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read(
      [&](db::Tx& tx) { return api::select_page(tx, kColumns, "identity_service_providers", query, {}); });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(view(call, read(row)));
  return list_reply(call, "service_providers", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_service_provider(Core& core, api::Call& call) {
  const auto p =
      core.database.read([&](db::Tx& tx) { return get_service_provider(tx, call.param("sp_id")); });
  return item_reply(200, "service_provider", view(call, p));
}

http::Response update_service_provider(Core& core, api::Call& call) {
  const json::object a = update_body(call, resource(), call.param("sp_id"));
  const auto changed = core.change([&](db::Tx& tx) {
    ServiceProviderRow p = get_service_provider(tx, call.param("sp_id"));
    read_attributes(p, a);
    tx.exec(
        "UPDATE identity_service_providers SET enabled = ?, description = ?, auth_url = ?, sp_url = ?, "
        "relay_state_prefix = ? WHERE id = ?",
        p.enabled, p.description, p.auth_url, p.sp_url, p.relay_state_prefix, p.id);
    return p;
  });
  return item_reply(200, "service_provider", view(call, changed));
}

http::Response delete_service_provider(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    tx.exec("DELETE FROM identity_service_providers WHERE id = ?",
            get_service_provider(tx, call.param("sp_id")).id);
  });
  return api::reply(204);
}

/// Older names of two lists: what a user may have a token for.
void add_older_name(Routes& to, std::string_view older, std::string_view path) {
  for (size_t i = 0; i < to.size(); ++i)
    if (to[i].path == path && to[i].method == "GET") {
      api::Route same = to[i];
      same.path = older;
      to.push_back(std::move(same));
      return;
    }
}

http::Response no_federated_login(api::Call&) {
  throw Fault(
      FaultKind::not_implemented, "Federated login (OpenID Connect, SAML) is not built.",
      "Identity providers, protocols and mappings are kept, but users log in with a password, a token or an "
      "application credential.");
}

}  // namespace

void add_federation_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string root = "/v3/OS-FEDERATION", mappings = root + "/mappings",
                    mapping = mappings + "/{mapping_id}", providers = root + "/service_providers",
                    provider = providers + "/{sp_id}",
                    protocol = "/identity_providers/{idp_id}/protocols/{protocol_id}";
  to.push_back({"PUT", mapping, "identity:create_mapping", on(create_mapping)});
  to.push_back({"GET", mappings, "identity:list_mappings", on(list_mappings)});
  to.push_back({"GET", mapping, "identity:get_mapping", on(show_mapping)});
  to.push_back({"PATCH", mapping, "identity:update_mapping", on(update_mapping)});
  to.push_back({"DELETE", mapping, "identity:delete_mapping", on(delete_mapping)});
  to.push_back(
      {"PUT", provider, "identity:create_service_provider", on(create_service_provider)});
  to.push_back({"GET", providers, "identity:list_service_providers",
                on(list_service_providers)});
  to.push_back(
      {"GET", provider, "identity:get_service_provider", on(show_service_provider)});
  to.push_back(
      {"PATCH", provider, "identity:update_service_provider", on(update_service_provider)});
  to.push_back(
      {"DELETE", provider, "identity:delete_service_provider", on(delete_service_provider)});
  add_older_name(to, root + "/projects", "/v3/auth/projects");
  add_older_name(to, root + "/domains", "/v3/auth/domains");
  const std::string auth = "/v3/auth/OS-FEDERATION";
  for (const std::string& path :
       {root + protocol + "/auth", auth + protocol + "/websso", auth + "/websso/{protocol_id}"})
    for (const char* method : {"GET", "POST"}) to.push_back({method, path, "", no_federated_login});
  for (const std::string& path : {auth + "/saml2", auth + "/saml2/ecp"})
    to.push_back({"POST", path, "", no_federated_login});
  to.push_back({"GET", root + "/saml2/metadata", "", no_federated_login});
}

}  // namespace virga::identity
