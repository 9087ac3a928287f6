// Regions: names that endpoints carry; the caller may choose the id.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

struct RegionRow {
  std::string id, parent, description;
  json::object extra;
};
constexpr std::string_view kColumns = "id, parent_region_id, description, extra";

const api::Resource& resource() {
  static const api::Resource r{
      .name = "region",
      .plural = "regions",
      .attributes =
          {{.name = "id", .type = Type::string, .create = Set::optional, .filter = true, .sort = true},
           rows::owner("parent_region_id"),
           rows::description()},
      .extra = true};
  return r;
}

RegionRow read(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), read_json(r.text(3))};
}

json::object view(const api::Call& call, const RegionRow& r) {
  json::object out = r.extra;
  out["id"] = r.id;
  out["description"] = r.description;
  out["parent_region_id"] = r.parent.empty() ? json::value(nullptr) : json::value(r.parent);
  out["links"] = self_link(call, "regions", http::percent_encode(r.id));
  return out;
}

RegionRow get_region(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_regions WHERE id = ?", kColumns), id);
  if (!row) not_found("region", id);
  return read(*row);
}

db::Value or_null(const std::string& text) {
  return text.empty() ? db::Value() : db::Value(text);
}

/// The parent must be there, and no region may stand above itself.
void check_parent(db::Tx& tx, const RegionRow& r) {
  for (std::string at = r.parent; !at.empty(); at = get_region(tx, at).parent)
    if (at == r.id)
      throw Fault(FaultKind::bad_request, "Setting this parent would create a circular region hierarchy.");
}

http::Response save_new(Core& core, api::Call& call, const std::string& path_id) {
  json::object body = call.body_of("region");
  if (!path_id.empty()) {
    if (has_value(body, "id") && find_string(body, "id") != path_id)
      throw Fault(FaultKind::bad_request, "The region ID in the path differs from the one in the body.");
    body["id"] = path_id;
  }
  json::object a = api::validate_create(resource(), body);
  RegionRow r{.id = find_string(a, "id"),
              .parent = find_string(a, "parent_region_id"),
              .description = find_string(a, "description")};
  if (r.id.empty()) r.id = new_hex_id();
  r.extra = take_extra(resource(), a);
  core.change([&](db::Tx& tx) {
    check_parent(tx, r);
    try {
      tx.exec("INSERT INTO identity_regions (id, parent_region_id, description, extra) VALUES (?, ?, ?, ?)",
              r.id, or_null(r.parent), r.description, json::serialize(r.extra));
    } catch (const db::UniqueViolation&) {
      duplicate("region", fmt::format("Duplicate entry found with ID {}", r.id));
    }
  });
  return item_reply(201, "region", view(call, r));
}

http::Response create_region(Core& core, api::Call& call) {
  return save_new(core, call, "");
}
http::Response put_region(Core& core, api::Call& call) {
  return save_new(core, call, call.param("region_id"));
}

http::Response list_regions(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read(
      [&](db::Tx& tx) { return api::select_page(tx, kColumns, "identity_regions", query, {}); });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(view(call, read(row)));
  return list_reply(call, "regions", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_region(Core& core, api::Call& call) {
  const auto r = core.database.read([&](db::Tx& tx) { return get_region(tx, call.param("region_id")); });
  return item_reply(200, "region", view(call, r));
}

http::Response update_region(Core& core, api::Call& call) {
  json::object a = update_body(call, resource(), call.param("region_id"));
  const json::object extra = take_extra(resource(), a);
  const auto changed = core.change([&](db::Tx& tx) {
    RegionRow r = get_region(tx, call.param("region_id"));
    if (a.contains("parent_region_id")) r.parent = find_string(a, "parent_region_id");
    if (a.contains("description")) r.description = find_string(a, "description");
    merge_extra(r.extra, extra);
    check_parent(tx, r);
    tx.exec("UPDATE identity_regions SET parent_region_id = ?, description = ?, extra = ? WHERE id = ?",
            or_null(r.parent), r.description, json::serialize(r.extra), r.id);
    return r;
  });
  return item_reply(200, "region", view(call, changed));
}

http::Response delete_region(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const RegionRow r = get_region(tx, call.param("region_id"));
    const bool endpoints =
        tx.first("SELECT 1 FROM identity_endpoints WHERE region_id = ?", r.id).has_value() ||
        r.id == core.options.region;
    if (endpoints || tx.first("SELECT 1 FROM identity_regions WHERE parent_region_id = ?", r.id))
      throw Fault(
          FaultKind::forbidden,
          fmt::format("Unable to delete region {} because it or its child regions have associated endpoints.",
                      r.id));
    if (tx.first("SELECT 1 FROM identity_registered_limits WHERE region_id = ?", r.id))
      throw Fault(FaultKind::forbidden,
                  fmt::format("Unable to delete region {} because registered limits name it.", r.id),
                  "Delete those limits first.");
    tx.exec("DELETE FROM identity_policy_associations WHERE region_id = ?", r.id);
    tx.exec("DELETE FROM identity_regions WHERE id = ?", r.id);
  });
  return api::reply(204);
}

}  // namespace

void add_region_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/regions", "identity:create_region", on(create_region)});
  to.push_back({"GET", "/v3/regions", "identity:list_regions", on(list_regions)});
  to.push_back({"GET", "/v3/regions/{region_id}", "identity:get_region", on(show_region)});
  to.push_back({"PUT", "/v3/regions/{region_id}", "identity:create_region", on(put_region)});
  to.push_back(
      {"PATCH", "/v3/regions/{region_id}", "identity:update_region", on(update_region)});
  to.push_back(
      {"DELETE", "/v3/regions/{region_id}", "identity:delete_region", on(delete_region)});
}

}  // namespace virga::identity
