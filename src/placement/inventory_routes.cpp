// Inventories and usages of resource providers.

#include "placement/placement.h"

namespace virga::placement {

json::object inventory_view(const StoredInventory& i) {
  return {{"total", i.total},       {"reserved", i.reserved},   {"min_unit", i.min_unit},
          {"max_unit", i.max_unit}, {"step_size", i.step_size}, {"allocation_ratio", i.allocation_ratio}};
}

Inventory parse_inventory(const std::string& resource_class, const json::object& body) {
  const auto refuse = [&](std::string_view why) {
    return Fault(FaultKind::bad_request,
                 fmt::format("JSON does not validate: inventory of {}: {}", resource_class, why));
  };
  Inventory i{.resource_class = resource_class, .max_unit = 2147483647};
  struct Field {
    std::string_view name;
    int64_t Inventory::*member;
    int64_t min;
  };
  static constexpr Field kFields[] = {{"total", &Inventory::total, 1},
                                      {"reserved", &Inventory::reserved, 0},
                                      {"min_unit", &Inventory::min_unit, 1},
                                      {"max_unit", &Inventory::max_unit, 1},
                                      {"step_size", &Inventory::step_size, 1}};
  for (const auto& field : kFields) {
    if (!body.contains(field.name)) continue;
    i.*field.member = find_int(body, field.name, -1);
    if (i.*field.member < field.min || i.*field.member > 2147483647)
      throw refuse(fmt::format("'{}' must be an integer from {} to 2147483647", field.name, field.min));
  }
  if (!body.contains("total")) throw refuse("'total' is a required property");
  if (const auto* ratio = body.if_contains("allocation_ratio")) {
    if (!ratio->is_number()) throw refuse("'allocation_ratio' must be a number");
    i.allocation_ratio = ratio->to_number<double>();
  }
  if (i.allocation_ratio <= 0 || i.allocation_ratio > 3.4e38)
    throw refuse("'allocation_ratio' must be positive");
  if (i.reserved > i.total)
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Unable to update inventory: reserved is more than total of '{}'.", resource_class));
  return i;
}

namespace {

json::object all_view(db::Tx& tx, const std::string& uuid) {
  const auto provider = need_provider(tx, uuid);
  json::object all;
  for (const auto& i : inventories(tx, uuid)) all[i.resource_class] = inventory_view(i);
  return {{"resource_provider_generation", provider.generation}, {"inventories", std::move(all)}};
}

json::object one_view(db::Tx& tx, const std::string& uuid, const std::string& resource_class) {
  const auto provider = need_provider(tx, uuid);
  for (const auto& i : inventories(tx, uuid)) {
    if (i.resource_class != resource_class) continue;
    auto view = inventory_view(i);
    view["resource_provider_generation"] = provider.generation;
    return view;
  }
  throw Fault(FaultKind::not_found, fmt::format("No inventory of class {} for {}", resource_class, uuid));
}

int64_t generation_of(const json::object& body) {
  if (!body.contains("resource_provider_generation"))
    throw Fault(FaultKind::bad_request,
                "JSON does not validate: 'resource_provider_generation' is a required property");
  return find_int(body, "resource_provider_generation", -1);
}

void replace_all(db::Tx& tx, const std::string& uuid, const std::vector<Inventory>& wanted) {
  for (const auto& present : inventories(tx, uuid)) {
    const auto same = [&](const Inventory& w) { return w.resource_class == present.resource_class; };
    if (std::none_of(wanted.begin(), wanted.end(), same)) remove_inventory(tx, uuid, present.resource_class);
  }
  for (const auto& w : wanted) {
    need_class(tx, w.resource_class);
    put_inventory(tx, uuid, w);
  }
}

json::object usages_view(db::Tx& tx, const std::string& uuid) {
  const auto provider = need_provider(tx, uuid);
  json::object usages;
  for (const auto& i : inventories(tx, uuid)) usages[i.resource_class] = i.used;
  return {{"resource_provider_generation", provider.generation}, {"usages", std::move(usages)}};
}

}  // namespace

void Module::add_inventory_routes() {
  static constexpr std::string_view kAll = "/resource_providers/{uuid}/inventories";
  static constexpr std::string_view kOne = "/resource_providers/{uuid}/inventories/{resource_class}";
  route("GET", kAll, "resource_providers:inventories:list", [this](api::Call& call) {
    return api::reply(200, database_.read([&](db::Tx& tx) { return all_view(tx, call.param("uuid")); }));
  });
  route("PUT", kAll, "resource_providers:inventories:update", [this](api::Call& call) {
    const int64_t generation = generation_of(call.body());
    std::vector<Inventory> wanted;
    for (const auto& [name, one] : call.body_of("inventories")) {
      if (!one.is_object())
        throw Fault(FaultKind::bad_request, "JSON does not validate: an inventory is an object");
      wanted.push_back(parse_inventory(std::string(name), one.get_object()));
    }
    return api::reply(200, database_.write([&](db::Tx& tx) {
      need_provider(tx, call.param("uuid"));
      bump_generation(tx, clock_.now(), call.param("uuid"), generation);
      replace_all(tx, call.param("uuid"), wanted);
      return all_view(tx, call.param("uuid"));
    }));
  });
  route("POST", kAll, "resource_providers:inventories:create", [this](api::Call& call) {
    const int64_t generation = generation_of(call.body());
    const auto wanted = parse_inventory(find_string(call.body(), "resource_class"), call.body());
    return api::reply(201, database_.write([&](db::Tx& tx) {
      need_provider(tx, call.param("uuid"));
      bump_generation(tx, clock_.now(), call.param("uuid"), generation);
      replace_all(tx, call.param("uuid"), {wanted});
      return one_view(tx, call.param("uuid"), wanted.resource_class);
    }));
  });
  route("DELETE", kAll, "resource_providers:inventories:delete",
        [this](api::Call& call) {
          database_.write([&](db::Tx& tx) {
            need_provider(tx, call.param("uuid"));
            replace_all(tx, call.param("uuid"), {});
            bump_generation(tx, clock_.now(), call.param("uuid"), std::nullopt);
          });
          return api::reply(204);
        },
        {1, 5});
  route("GET", kOne, "resource_providers:inventories:show", [this](api::Call& call) {
    return api::reply(200, database_.read([&](db::Tx& tx) {
      return one_view(tx, call.param("uuid"), call.param("resource_class"));
    }));
  });
  route("PUT", kOne, "resource_providers:inventories:update", [this](api::Call& call) {
    const int64_t generation = generation_of(call.body());
    const auto wanted = parse_inventory(call.param("resource_class"), call.body());
    return api::reply(200, database_.write([&](db::Tx& tx) {
      need_provider(tx, call.param("uuid"));
      need_class(tx, wanted.resource_class);
      bump_generation(tx, clock_.now(), call.param("uuid"), generation);
      put_inventory(tx, call.param("uuid"), wanted);
      return one_view(tx, call.param("uuid"), wanted.resource_class);
    }));
  });
  route("DELETE", kOne, "resource_providers:inventories:delete", [this](api::Call& call) {
    database_.write([&](db::Tx& tx) {
      need_provider(tx, call.param("uuid"));
      remove_inventory(tx, call.param("uuid"), call.param("resource_class"));
      bump_generation(tx, clock_.now(), call.param("uuid"), std::nullopt);
    });
    return api::reply(204);
  });
  route("GET", "/resource_providers/{uuid}/usages", "resource_providers:usages", [this](api::Call& call) {
    return api::reply(200, database_.read([&](db::Tx& tx) { return usages_view(tx, call.param("uuid")); }));
  });
}

}  // namespace virga::placement
