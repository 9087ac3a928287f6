// OS-FEDERATION: identity providers, and the protocols by which each is spoken to.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/federation.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

struct ProviderRow {
  std::string id, domain_id;
  bool enabled = false;
  std::optional<std::string> description;
  std::optional<int64_t> authorization_ttl;
  std::vector<std::string> remote_ids;
};
constexpr std::string_view kColumns = "id, domain_id, enabled, description, authorization_ttl";

const api::Resource& resource() {
  static const api::Resource r{.name = "identity_provider",
                               .plural = "identity_providers",
                               .attributes = {rows::id(),
                                              rows::enabled(false),
                                              rows::description(),
                                              {.name = "domain_id",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .nullable = true,
                                               .min = 1,
                                               .max = 64},
                                              {.name = "authorization_ttl",
                                               .type = Type::integer,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true,
                                               .min = 0,
                                               .max = 0x7FFFFFFF},
                                              {.name = "remote_ids",
                                               .type = Type::array,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .nullable = true,
                                               .max = 0}}};
  return r;
}

std::vector<std::string> remote_ids_of(db::Tx& tx, const std::string& id) {
  std::vector<std::string> out;
  for (const auto& row :
       tx.query("SELECT remote_id FROM identity_provider_remote_ids WHERE idp_id = ? ORDER BY remote_id", id))
    out.push_back(row.text(0));
  return out;
}

ProviderRow read(db::Tx& tx, const db::Row& r) {
  return {r.text(0),       r.text(1),          r.boolean(2),
          r.maybe_text(3), r.maybe_integer(4), remote_ids_of(tx, r.text(0))};
}

ProviderRow get_provider(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_providers WHERE id = ?", kColumns), id);
  if (!row) not_found("Identity Provider", id);
  return read(tx, *row);
}

json::object view(const api::Call& call, const ProviderRow& p) {
  json::array remotes;
  for (const auto& id : p.remote_ids) remotes.emplace_back(id);
  json::object links = self_link(call, "OS-FEDERATION/identity_providers", http::percent_encode(p.id));
  links["protocols"] = str(links.at("self")) + "/protocols";
  return {
      {"id", p.id},
      {"enabled", p.enabled},
      {"description", p.description ? json::value(*p.description) : json::value(nullptr)},
      {"domain_id", p.domain_id},
      {"authorization_ttl", p.authorization_ttl ? json::value(*p.authorization_ttl) : json::value(nullptr)},
      {"remote_ids", std::move(remotes)},
      {"links", std::move(links)}};
}

std::vector<std::string> read_remote_ids(const json::object& a) {
  std::set<std::string> out;
  if (const auto* given = find_array(a, "remote_ids"))
    for (const auto& id : *given) {
      if (!id.is_string() || id.get_string().empty() || id.get_string().size() > 255)
        throw Fault(FaultKind::bad_request, "Each of 'remote_ids' must be a string of 1 to 255 characters.");
      if (!out.insert(str(id)).second)
        throw Fault(FaultKind::bad_request, fmt::format("The remote ID '{}' is there twice.", str(id)));
    }
  return {out.begin(), out.end()};
}

void read_attributes(ProviderRow& p, const json::object& a) {
  p.enabled = find_bool(a, "enabled", p.enabled);
  if (a.contains("description"))
    p.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
  if (a.contains("authorization_ttl"))
    p.authorization_ttl =
        has_value(a, "authorization_ttl") ? std::optional(find_int(a, "authorization_ttl")) : std::nullopt;
  if (a.contains("remote_ids")) p.remote_ids = read_remote_ids(a);
}

void write_remote_ids(db::Tx& tx, const ProviderRow& p) {
  tx.exec("DELETE FROM identity_provider_remote_ids WHERE idp_id = ?", p.id);
  for (const auto& id : p.remote_ids) try {
      tx.exec("INSERT INTO identity_provider_remote_ids (remote_id, idp_id) VALUES (?, ?)", id, p.id);
    } catch (const db::UniqueViolation&) {
      duplicate("identity_provider", fmt::format("Duplicate remote ID: {}", id));
    }
}

/// A provider without a domain gets one of its own.
std::string make_domain(db::Tx& tx, const std::string& idp_id) {
  const std::string id = new_hex_id();
  insert_project(tx, {.id = id,
                      .name = id,
                      .is_domain = true,
                      .description = "Auto generated federated domain for Identity Provider: " + idp_id});
  return id;
}

http::Response create_provider(Core& core, api::Call& call) {
  const json::object a = api::validate_create(resource(), call.body_of("identity_provider"));
  ProviderRow p{.id = check_federation_id(call.param("idp_id"))};
  read_attributes(p, a);
  core.change([&](db::Tx& tx) {
    p.domain_id = find_string(a, "domain_id");
    if (p.domain_id.empty())
      p.domain_id = make_domain(tx, p.id);
    else
      get_domain(tx, p.domain_id);
    try {
      tx.exec(fmt::format("INSERT INTO identity_providers ({}) VALUES ({})", kColumns, db::placeholders(5)),
              p.id, p.domain_id, p.enabled, p.description, p.authorization_ttl);
    } catch (const db::UniqueViolation&) {
      duplicate("identity_provider", fmt::format("Duplicate entry: {}", p.id));
    }
    write_remote_ids(tx, p);
  });
  return item_reply(201, "identity_provider", view(call, p));
}

http::Response list_providers(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  json::array out;
  std::string next;
  core.database.read([&](db::Tx& tx) {
    db::Rows rows = api::select_page(tx, kColumns, "identity_providers", query, {});
    next = api::take_page(rows, query) ? rows.back().text(0) : "";
    out.clear();
    for (const auto& row : rows) out.push_back(view(call, read(tx, row)));
  });
  return list_reply(call, "identity_providers", std::move(out), next);
}

http::Response show_provider(Core& core, api::Call& call) {
  const auto p = core.database.read([&](db::Tx& tx) { return get_provider(tx, call.param("idp_id")); });
  return item_reply(200, "identity_provider", view(call, p));
}

http::Response update_provider(Core& core, api::Call& call) {
  const json::object a = update_body(call, resource(), call.param("idp_id"));
  const auto changed = core.change([&](db::Tx& tx) {
    ProviderRow p = get_provider(tx, call.param("idp_id"));
    read_attributes(p, a);
    tx.exec("UPDATE identity_providers SET enabled = ?, description = ?, authorization_ttl = ? WHERE id = ?",
            p.enabled, p.description, p.authorization_ttl, p.id);
    if (a.contains("remote_ids")) write_remote_ids(tx, p);
    return p;
  });
  return item_reply(200, "identity_provider", view(call, changed));
}

http::Response delete_provider(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    tx.exec("DELETE FROM identity_providers WHERE id = ?", get_provider(tx, call.param("idp_id")).id);
  });
  return api::reply(204);
}

struct ProtocolRow {
  std::string id, idp_id, mapping_id;
  std::optional<std::string> remote_id_attribute;
};
constexpr std::string_view kProtocolColumns = "id, idp_id, mapping_id, remote_id_attribute";

const api::Resource& protocol_resource() {
  static const api::Resource r{.name = "protocol",
                               .plural = "protocols",
                               .attributes = {{.name = "mapping_id",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = 1,
                                               .max = 64},
                                              {.name = "remote_id_attribute",
                                               .type = Type::string,
                                               .create = Set::optional,
                                               .update = Set::optional,
                                               .max = 64}}};
  return r;
}

ProtocolRow read_protocol(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.maybe_text(3)};
}

ProtocolRow get_protocol(db::Tx& tx, const api::Call& call) {
  const std::string &idp = call.param("idp_id"), &id = call.param("protocol_id");
  const auto row =
      tx.first(fmt::format("SELECT {} FROM identity_federation_protocols WHERE idp_id = ? AND id = ?",
                           kProtocolColumns),
               idp, id);
  if (!row)
    throw Fault(FaultKind::not_found,
                fmt::format("Could not find federated protocol {} for Identity Provider: {}.", id, idp));
  return read_protocol(*row);
}

json::object protocol_view(const api::Call& call, const ProtocolRow& p) {
  const json::object provider =
      self_link(call, "OS-FEDERATION/identity_providers", http::percent_encode(p.idp_id));
  const std::string above = str(provider.at("self"));
  json::object out{
      {"id", p.id},
      {"mapping_id", p.mapping_id},
      {"links",
       {{"self", above + "/protocols/" + http::percent_encode(p.id)}, {"identity_provider", above}}}};
  if (p.remote_id_attribute) out["remote_id_attribute"] = *p.remote_id_attribute;
  return out;
}

void read_protocol_attributes(db::Tx& tx, ProtocolRow& p, const json::object& a) {
  p.mapping_id = find_string(a, "mapping_id", p.mapping_id);
  if (a.contains("remote_id_attribute")) p.remote_id_attribute = find_string(a, "remote_id_attribute");
  if (!tx.first("SELECT 1 FROM identity_mappings WHERE id = ?", p.mapping_id))
    throw Fault(FaultKind::bad_request, fmt::format("Invalid mapping id: {}", p.mapping_id));
}

http::Response create_protocol(Core& core, api::Call& call) {
  const json::object a = api::validate_create(protocol_resource(), call.body_of("protocol"));
  ProtocolRow p{.id = check_federation_id(call.param("protocol_id")), .idp_id = call.param("idp_id")};
  core.change([&](db::Tx& tx) {
    read_protocol_attributes(tx, p, a);
    get_provider(tx, p.idp_id);
    try {
      tx.exec(fmt::format("INSERT INTO identity_federation_protocols ({}) VALUES ({})", kProtocolColumns,
                          db::placeholders(4)),
              p.id, p.idp_id, p.mapping_id, p.remote_id_attribute);
    } catch (const db::UniqueViolation&) {
      duplicate("federation_protocol", fmt::format("Duplicate entry found with ID {}", p.id));
    }
  });
  return item_reply(201, "protocol", protocol_view(call, p));
}

/// Like keystone's, the list of a provider that is not there is empty.
http::Response list_protocols(Core& core, api::Call& call) {
  const auto rows = core.database.read([&](db::Tx& tx) {
    return tx.query(fmt::format("SELECT {} FROM identity_federation_protocols WHERE idp_id = ? ORDER BY id",
                                kProtocolColumns),
                    call.param("idp_id"));
  });
  json::array out;
  for (const auto& row : rows) out.push_back(protocol_view(call, read_protocol(row)));
  return list_reply(call, "protocols", std::move(out));
}

http::Response show_protocol(Core& core, api::Call& call) {
  const auto p = core.database.read([&](db::Tx& tx) { return get_protocol(tx, call); });
  return item_reply(200, "protocol", protocol_view(call, p));
}

http::Response update_protocol(Core& core, api::Call& call) {
  const json::object a = update_body(call, protocol_resource(), call.param("protocol_id"));
  const auto changed = core.change([&](db::Tx& tx) {
    ProtocolRow p = get_protocol(tx, call);
    read_protocol_attributes(tx, p, a);
    tx.exec(
        "UPDATE identity_federation_protocols SET mapping_id = ?, remote_id_attribute = ? WHERE idp_id = ? "
        "AND id = ?",
        p.mapping_id, p.remote_id_attribute, p.idp_id, p.id);
    return p;
  });
  return item_reply(200, "protocol", protocol_view(call, changed));
}

http::Response delete_protocol(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const ProtocolRow p = get_protocol(tx, call);
    tx.exec("DELETE FROM identity_federation_protocols WHERE idp_id = ? AND id = ?", p.idp_id, p.id);
  });
  return api::reply(204);
}

}  // namespace

std::string check_federation_id(const std::string& id) {
  if (id.size() > 64) throw Fault(FaultKind::bad_request, fmt::format("'{}' is too long", id));
  return id;
}

void add_identity_provider_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string all = "/v3/OS-FEDERATION/identity_providers", one = all + "/{idp_id}",
                    protocols = one + "/protocols", protocol = protocols + "/{protocol_id}";
  to.push_back({"PUT", one, "identity:create_identity_provider", on(create_provider)});
  to.push_back({"GET", all, "identity:list_identity_providers", on(list_providers)});
  to.push_back({"GET", one, "identity:get_identity_provider", on(show_provider)});
  to.push_back({"PATCH", one, "identity:update_identity_provider", on(update_provider)});
  to.push_back({"DELETE", one, "identity:delete_identity_provider", on(delete_provider)});
  to.push_back({"PUT", protocol, "identity:create_protocol", on(create_protocol)});
  to.push_back({"GET", protocols, "identity:list_protocols", on(list_protocols)});
  to.push_back({"GET", protocol, "identity:get_protocol", on(show_protocol)});
  to.push_back({"PATCH", protocol, "identity:update_protocol", on(update_protocol)});
  to.push_back({"DELETE", protocol, "identity:delete_protocol", on(delete_protocol)});
}

}  // namespace virga::identity
