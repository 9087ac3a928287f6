// /v3/registered_limits: what every project gets unless it has a limit of its own.
#include <fmt/format.h>

#include "identity/attribute_rows.h"
#include "identity/limits.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

constexpr std::string_view kColumns = "id, service_id, region_id, resource_name, default_limit, description";

const api::Resource& resource() {
  static const api::Resource r{.name = "registered_limit",
                               .plural = "registered_limits",
                               .attributes = {rows::id(),
                                              {.name = "service_id",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = 1,
                                               .max = 64,
                                               .filter = true},
                                              rows::owner("region_id"),
                                              {.name = "resource_name",
                                               .type = Type::string,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = 1,
                                               .filter = true},
                                              {.name = "default_limit",
                                               .type = Type::integer,
                                               .create = Set::required,
                                               .update = Set::optional,
                                               .min = -1,
                                               .max = 0x7FFFFFFF},
                                              rows::description()}};
  return r;
}

json::object view(const api::Call& call, const RegisteredLimitRow& r) {
  return {{"id", r.id},
          {"service_id", r.service_id},
          {"region_id", r.region_id.empty() ? json::value(nullptr) : json::value(r.region_id)},
          {"resource_name", r.resource_name},
          {"default_limit", r.default_limit},
          {"description", r.description ? json::value(*r.description) : json::value(nullptr)},
          {"links", self_link(call, "registered_limits", r.id)}};
}

void read_attributes(RegisteredLimitRow& r, const json::object& a) {
  r.service_id = find_string(a, "service_id", r.service_id);
  if (a.contains("region_id")) r.region_id = find_string(a, "region_id");
  r.resource_name = find_string(a, "resource_name", r.resource_name);
  r.default_limit = find_int(a, "default_limit", r.default_limit);
  if (a.contains("description"))
    r.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
}

RegisteredLimitRow get_registered_limit(db::Tx& tx, const std::string& id) {
  const auto row =
      tx.first(fmt::format("SELECT {} FROM identity_registered_limits WHERE id = ?", kColumns), id);
  if (!row) throw Fault(FaultKind::not_found, fmt::format("Could not find registered limit for {}.", id));
  return read_registered_limit(*row);
}

/// Limits hold on to their registered limit.
void check_unused(db::Tx& tx, const std::string& id) {
  if (tx.first("SELECT 1 FROM identity_limits WHERE registered_limit_id = ?", id))
    throw Fault(FaultKind::forbidden,
                fmt::format("Unable to update or delete registered limit {} because there are project limits "
                            "associated with it.",
                            id));
}

http::Response create_registered_limits(Core& core, api::Call& call) {
  std::vector<RegisteredLimitRow> rows;
  for (const auto& item : limit_list(call, "registered_limits")) {
    rows.push_back({.id = new_hex_id()});
    read_attributes(rows.back(), api::validate_create(resource(), item.get_object()));
  }
  core.change([&](db::Tx& tx) {
    for (const auto& r : rows) check_limit_target(core, tx, r.service_id, r.region_id, "registered_limit");
    for (const auto& r : rows) try {
        tx.exec(fmt::format("INSERT INTO identity_registered_limits ({}) VALUES ({})", kColumns,
                            db::placeholders(6)),
                r.id, r.service_id, r.region_id, r.resource_name, r.default_limit, r.description);
      } catch (const db::UniqueViolation&) {
        duplicate("registered_limit", "Duplicate entry");
      }
  });
  json::array out;
  for (const auto& r : rows) out.push_back(view(call, r));
  return api::reply(201, json::object{{"registered_limits", std::move(out)}});
}

http::Response list_registered_limits(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read(
      [&](db::Tx& tx) { return api::select_page(tx, kColumns, "identity_registered_limits", query, {}); });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& row : rows) out.push_back(view(call, read_registered_limit(row)));
  return list_reply(call, "registered_limits", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_registered_limit(Core& core, api::Call& call) {
  const auto r = core.database.read(
      [&](db::Tx& tx) { return get_registered_limit(tx, call.param("registered_limit_id")); });
  return item_reply(200, "registered_limit", view(call, r));
}

http::Response update_registered_limit(Core& core, api::Call& call) {
  const json::object a = api::validate_update(resource(), call.body_of("registered_limit"));
  const auto changed = core.change([&](db::Tx& tx) {
    RegisteredLimitRow r = get_registered_limit(tx, call.param("registered_limit_id"));
    read_attributes(r, a);
    check_limit_target(core, tx, r.service_id, r.region_id, "registered_limit");
    check_unused(tx, r.id);
    try {
      tx.exec(
          "UPDATE identity_registered_limits SET service_id = ?, region_id = ?, resource_name = ?, "
          "default_limit = ?, description = ? WHERE id = ?",
          r.service_id, r.region_id, r.resource_name, r.default_limit, r.description, r.id);
    } catch (const db::UniqueViolation&) {
      duplicate("registered_limit", "Duplicate entry");
    }
    return r;
  });
  return item_reply(200, "registered_limit", view(call, changed));
}

http::Response delete_registered_limit(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const auto r = get_registered_limit(tx, call.param("registered_limit_id"));
    check_unused(tx, r.id);
    tx.exec("DELETE FROM identity_registered_limits WHERE id = ?", r.id);
  });
  return api::reply(204);
}

}  // namespace

void add_registered_limit_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  constexpr std::string_view all = "/v3/registered_limits",
                             one = "/v3/registered_limits/{registered_limit_id}";
  to.push_back(
      {"POST", all, "identity:create_registered_limits", on(create_registered_limits)});
  to.push_back({"GET", all, "identity:list_registered_limits", on(list_registered_limits)});
  to.push_back({"GET", one, "identity:get_registered_limit", on(show_registered_limit)});
  to.push_back(
      {"PATCH", one, "identity:update_registered_limit", on(update_registered_limit)});
  to.push_back(
      {"DELETE", one, "identity:delete_registered_limit", on(delete_registered_limit)});
}

}  // namespace virga::identity
