// /v3/policies: policy texts that keystone keeps for others, and which endpoint, service or region each is
// for. Virga's own rules do not come from here.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/catalog.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

struct PolicyRow {
  std::string id, type, blob;
  json::object extra;
};
constexpr std::string_view kColumns = "id, type, blob_text, extra";

const api::Resource& resource() {
  static const api::Resource r{.name = "policy",
                               .plural = "policies",
                               .attributes = {rows::id(),
                                              {.name = "type",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .filter = true},
                                              {.name = "blob",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .max = 0}},
                               .extra = true};
  return r;
}

PolicyRow read(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), read_json(r.text(3))};
}

PolicyRow get_policy(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_policies WHERE id = ?", kColumns), id);
  if (!row) not_found("policy", id);
  return read(*row);
}

json::object view(const api::Call& call, const PolicyRow& p) {
  json::object out = p.extra;
  out["id"] = p.id;
  out["type"] = p.type;
  out["blob"] = p.blob;
  out["links"] = self_link(call, "policies", p.id);
  return out;
}

http::Response create_policy(Core& core, api::Call& call) {
  json::object a = api::validate_create(resource(), call.body_of("policy"));
  PolicyRow p{.id = new_hex_id()};
  p.extra = take_extra(resource(), a);
  p.type = find_string(a, "type");
  p.blob = find_string(a, "blob");
  core.change([&](db::Tx& tx) {
    tx.exec("INSERT INTO identity_policies (id, type, blob_text, extra) VALUES (?, ?, ?, ?)", p.id, p.type,
            p.blob, json::serialize(p.extra));
  });
  return item_reply(201, "policy", view(call, p));
}

http::Response list_policies(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read(
      [&](db::Tx& tx) { return api::select_page(tx, kColumns, "identity_policies", query, {}); });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(view(call, read(row)));
  return list_reply(call, "policies", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_policy(Core& core, api::Call& call) {
  const auto p = core.database.read([&](db::Tx& tx) { return get_policy(tx, call.param("policy_id")); });
  return item_reply(200, "policy", view(call, p));
}

http::Response update_policy(Core& core, api::Call& call) {
  json::object a = update_body(call, resource(), call.param("policy_id"));
  const json::object extra = take_extra(resource(), a);
  const auto changed = core.change([&](db::Tx& tx) {
    PolicyRow p = get_policy(tx, call.param("policy_id"));
    p.type = find_string(a, "type", p.type);
    p.blob = find_string(a, "blob", p.blob);
    merge_extra(p.extra, extra);
    tx.exec("UPDATE identity_policies SET type = ?, blob_text = ?, extra = ? WHERE id = ?", p.type, p.blob,
            json::serialize(p.extra), p.id);
    return p;
  });
  return item_reply(200, "policy", view(call, changed));
}

http::Response delete_policy(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const PolicyRow p = get_policy(tx, call.param("policy_id"));
    tx.exec("DELETE FROM identity_policies WHERE id = ?", p.id);
  });
  return api::reply(204);
}

/// What a policy is associated with: an endpoint, a service, or a service in a region; "" = not part of it.
struct Association {
  std::string endpoint, service, region;
};
constexpr std::string_view kThis = " WHERE endpoint_id = ? AND service_id = ? AND region_id = ?";

void check_region(db::Tx& tx, const std::string& id) {
  if (!tx.first("SELECT 1 FROM identity_regions WHERE id = ?", id)) not_found("region", id);
}

/// The association that the path names. Everything in it must be there.
Association association_of(const Core& core, db::Tx& tx, const api::Call& call) {
  const auto value = [&](std::string_view name) {
    const std::string* given = call.find_param(name);
    return given ? *given : std::string();
  };
  get_policy(tx, call.param("policy_id"));
  const Association a{value("endpoint_id"), value("service_id"), value("region_id")};
  if (!a.endpoint.empty()) get_endpoint(core, tx, a.endpoint, call.cloud_url);
  if (!a.service.empty()) get_service(core, tx, a.service);
  if (!a.region.empty()) check_region(tx, a.region);
  return a;
}

http::Response associate(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const Association a = association_of(core, tx, call);
    tx.exec(fmt::format("DELETE FROM identity_policy_associations{}", kThis), a.endpoint, a.service,
            a.region);
    tx.exec(
        "INSERT INTO identity_policy_associations (endpoint_id, service_id, region_id, policy_id) VALUES "
        "(?, ?, ?, ?)",
        a.endpoint, a.service, a.region, call.param("policy_id"));
  });
  return api::reply(204);
}

http::Response check_association(Core& core, api::Call& call) {
  core.database.read([&](db::Tx& tx) {
    const Association a = association_of(core, tx, call);
    if (!tx.first(fmt::format("SELECT 1 FROM identity_policy_associations{} AND policy_id = ?", kThis),
                  a.endpoint, a.service, a.region, call.param("policy_id")))
      throw Fault(FaultKind::not_found, "Could not find policy association.");
  });
  return api::reply(204);
}

/// Like keystone's: removing what is not there is no fault.
http::Response dissociate(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const Association a = association_of(core, tx, call);
    tx.exec(fmt::format("DELETE FROM identity_policy_associations{} AND policy_id = ?", kThis), a.endpoint,
            a.service, a.region, call.param("policy_id"));
  });
  return api::reply(204);
}

/// The region, its parent, and so on.
std::vector<std::string> regions_up(db::Tx& tx, std::string at) {
  std::vector<std::string> out;
  while (!at.empty() && std::find(out.begin(), out.end(), at) == out.end()) {
    out.push_back(at);
    const auto row = tx.first("SELECT parent_region_id FROM identity_regions WHERE id = ?", at);
    at = row ? row->text(0) : "";
  }
  return out;
}

http::Response list_endpoints_for_policy(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    const PolicyRow p = get_policy(tx, call.param("policy_id"));
    const auto rows = tx.query(
        "SELECT endpoint_id, service_id, region_id FROM identity_policy_associations WHERE policy_id = ?",
        p.id);
    const auto covers = [&](const db::Row& a, const EndpointRow& e) {
      if (!a.text(0).empty()) return a.text(0) == e.id;
      if (a.text(1) != e.service_id) return false;
      const std::string region = a.text(2);
      if (region.empty()) return true;
      const auto above = regions_up(tx, e.region_id);
      return std::find(above.begin(), above.end(), region) != above.end();
    };
    for (const auto& e : all_endpoints(core, tx, call.cloud_url))
      if (std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return covers(row, e); }))
        out.push_back(endpoint_view(call, e));
  });
  return list_reply(call, "endpoints", std::move(out));
}

/// The nearest: the endpoint's own, its service's in its region or one above, its service's.
http::Response show_policy_for_endpoint(Core& core, api::Call& call) {
  const auto p = core.database.read([&](db::Tx& tx) {
    const EndpointRow e = get_endpoint(core, tx, call.param("endpoint_id"), call.cloud_url);
    std::vector<Association> order{{e.id, "", ""}};
    for (auto& region : regions_up(tx, e.region_id)) order.push_back({"", e.service_id, std::move(region)});
    order.push_back({"", e.service_id, ""});
    for (const auto& a : order)
      if (const auto row =
              tx.first(fmt::format("SELECT policy_id FROM identity_policy_associations{}", kThis), a.endpoint,
                       a.service, a.region))
        return get_policy(tx, row->text(0));
    throw Fault(FaultKind::not_found, fmt::format("No policy is associated with endpoint {}.", e.id));
  });
  return item_reply(200, "policy", view(call, p));
}

}  // namespace

void add_policy_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string one = "/v3/policies/{policy_id}", uses = one + "/OS-ENDPOINT-POLICY";
  to.push_back({"POST", "/v3/policies", "identity:create_policy", on(create_policy)});
  to.push_back({"GET", "/v3/policies", "identity:list_policies", on(list_policies)});
  to.push_back({"GET", one, "identity:get_policy", on(show_policy)});
  to.push_back({"PATCH", one, "identity:update_policy", on(update_policy)});
  to.push_back({"DELETE", one, "identity:delete_policy", on(delete_policy)});
  to.push_back({"GET", uses + "/endpoints", "identity:list_endpoints_for_policy",
                on(list_endpoints_for_policy)});
  to.push_back({"GET", "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
                "identity:get_policy_for_endpoint", on(show_policy_for_endpoint)});
  struct Family {
    std::string path, rule;
  };
  for (const auto& [path, rule] :
       {Family{uses + "/endpoints/{endpoint_id}", "policy_association_for_endpoint"},
        Family{uses + "/services/{service_id}", "policy_association_for_service"},
        Family{uses + "/services/{service_id}/regions/{region_id}",
               "policy_association_for_region_and_service"}}) {
    to.push_back({"PUT", path, "identity:create_" + rule, on(associate)});
    to.push_back({"GET", path, "identity:check_" + rule, on(check_association)});
    to.push_back({"DELETE", path, "identity:delete_" + rule, on(dissociate)});
  }
}

}  // namespace virga::identity
