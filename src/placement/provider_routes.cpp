// Resource providers, their aggregates and traits, and the root document.

#include "base/text.h"
#include "placement/placement.h"

namespace virga::placement {

json::object provider_view(const Provider& p, const api::Call& call) {
  struct Link {
    std::string_view rel;
    int since;
  };
  static constexpr Link kLinks[] = {{"self", 0},       {"inventories", 0}, {"usages", 0},
                                    {"aggregates", 1}, {"traits", 6},      {"allocations", 11}};
  const std::string self = "/placement/resource_providers/" + p.uuid;
  json::array links;
  for (const auto& link : kLinks)
    if (call.since(1, link.since))
      links.push_back(
          {{"rel", link.rel},
           {"href", link.since == 0 && link.rel == "self" ? self : self + "/" + std::string(link.rel)}});
  json::object view{
      {"uuid", p.uuid}, {"name", p.name}, {"generation", p.generation}, {"links", std::move(links)}};
  if (call.since(1, 14)) {
    view["parent_provider_uuid"] = p.parent.empty() ? json::value(nullptr) : json::value(p.parent);
    view["root_provider_uuid"] = p.parent.empty() ? p.uuid : p.parent;
  }
  return view;
}

namespace {

std::string provider_name(const json::object& body) {
  const std::string name = find_string(body, "name");
  if (name.empty() || name.size() > 200)
    throw Fault(FaultKind::bad_request, "JSON does not validate: 'name' must be text of 1 to 200 characters");
  return name;
}

api::Where filters(const api::Call& call) {
  api::Where where;
  for (const auto& [name, value] : call.request.query) {
    if (name == "name")
      where.add("name = ?", value);
    else if (name == "uuid")
      where.add("uuid = ?", value);
    else if (name == "in_tree")
      where.add("(uuid = ? OR parent_uuid = ?)", value, value);
    else if (name == "member_of") {
      const auto any = split(value.rfind("in:", 0) == 0 ? value.substr(3) : value, ',');
      where.add("uuid IN (SELECT provider_uuid FROM provider_aggregates WHERE aggregate_uuid IN (" +
                db::placeholders(any.size()) + "))");
      for (auto& one : any) where.values.emplace_back(one);
    } else if (name == "required") {
      where.add("uuid IN (SELECT provider_uuid FROM provider_traits WHERE trait = ?)", value);
    } else if (name == "resources") {
      for (const auto& [resource_class, amount] : parse_resources(value))
        where.add(
            "uuid IN (SELECT provider_uuid FROM inventories WHERE resource_class = ? AND used + ? <= "
            "capacity "
            "AND max_unit >= ?)",
            resource_class, amount, amount);
    } else {
      throw Fault(FaultKind::bad_request,
                  fmt::format("Invalid query string parameters: '{}' was unexpected", name));
    }
  }
  return where;
}

/// Texts of one column for a provider.
json::array names(db::Tx& tx, std::string_view sql, const std::string& provider) {
  json::array all;
  for (const auto& row : tx.query(sql, provider)) all.push_back(json::value(row.text(0)));
  return all;
}

json::object aggregates_view(db::Tx& tx, const api::Call& call, const Provider& provider) {
  json::object view{
      {"aggregates", names(tx,
                           "SELECT aggregate_uuid FROM provider_aggregates WHERE provider_uuid = ? "
                           "ORDER BY aggregate_uuid",
                           provider.uuid)}};
  if (call.since(1, 19)) view["resource_provider_generation"] = provider.generation;
  return view;
}

json::object traits_view(db::Tx& tx, const Provider& provider) {
  return {{"traits", names(tx, "SELECT trait FROM provider_traits WHERE provider_uuid = ? ORDER BY trait",
                           provider.uuid)},
          {"resource_provider_generation", provider.generation}};
}

json::array need_array(const json::object& body, std::string_view key) {
  if (const auto* found = find_array(body, key)) return *found;
  throw Fault(FaultKind::bad_request, fmt::format("JSON does not validate: '{}' must be a list", key));
}

std::string need_text(const json::value& v) {
  if (!v.is_string()) throw Fault(FaultKind::bad_request, "JSON does not validate: text expected");
  return str(v);
}

[[noreturn]] void name_taken(const std::string& what) {
  throw Fault(FaultKind::conflict, fmt::format("Conflicting resource provider {} already exists.", what), "",
              "placement.duplicate_name");
}

api::Handler root_document() {
  return [](api::Call&) {
    return api::reply(
        200, {{"versions", json::array{json::object{{"id", "v1.0"},
                                                    {"max_version", "1.39"},
                                                    {"min_version", "1.0"},
                                                    {"status", "CURRENT"},
                                                    {"links", {{{"rel", "self"}, {"href", ""}}}}}}}});
  };
}

}  // namespace

void Module::remove_provider(db::Tx& tx, const std::string& uuid) {
  if (tx.first("SELECT amount FROM allocations WHERE provider_uuid = ? LIMIT 1", uuid))
    throw Fault(FaultKind::conflict,
                fmt::format("Unable to delete resource provider {}: Resource provider has allocations.", uuid), "",
                "placement.resource_provider.inuse");
  for (const char* table : {"inventories", "provider_traits", "provider_aggregates"})
    tx.exec(fmt::format("DELETE FROM {} WHERE provider_uuid = ?", table), uuid);
  tx.exec("DELETE FROM resource_providers WHERE uuid = ?", uuid);
}

void Module::add_provider_routes() {
  for (std::string_view path : {"", "/"}) service_.routes.push_back({"GET", path, "", root_document()});
  route("GET", "/resource_providers", "resource_providers:list", [this](api::Call& call) {
    const auto where = filters(call);
    json::array all;
    database_.read([&](db::Tx& tx) {
      for (const auto& row : tx.query("SELECT uuid, name, generation, parent_uuid FROM resource_providers" +
                                          where.sql() + " ORDER BY name",
                                      where.values))
        all.push_back(provider_view({row.text(0), row.text(1), row.integer(2), row.text(3)}, call));
    });
    return api::reply(200, {{"resource_providers", std::move(all)}});
  });
  route("POST", "/resource_providers", "resource_providers:create", [this](api::Call& call) {
    Provider p{find_string(call.body(), "uuid", new_uuid()), provider_name(call.body()), 0,
               find_string(call.body(), "parent_provider_uuid")};
    if (!looks_like_uuid(p.uuid))
      throw Fault(FaultKind::bad_request, "JSON does not validate: 'uuid' is no uuid");
    try {
      database_.write([&](db::Tx& tx) {
        if (!p.parent.empty()) need_provider(tx, p.parent);
        insert_provider(tx, clock_.now(), p);
      });
    } catch (const db::UniqueViolation&) {
      name_taken(p.name);
    }
    auto answer = call.since(1, 20) ? api::reply(200, provider_view(p, call)) : api::reply(201);
    answer.headers.set("Location", call.base_url + "/resource_providers/" + p.uuid);
    return answer;
  });
  route("GET", "/resource_providers/{uuid}", "resource_providers:show", [this](api::Call& call) {
    return api::reply(200, database_.read([&](db::Tx& tx) {
      return provider_view(need_provider(tx, call.param("uuid")), call);
    }));
  });
  route("PUT", "/resource_providers/{uuid}", "resource_providers:update", [this](api::Call& call) {
    const std::string name = provider_name(call.body());
    try {
      return api::reply(200, database_.write([&](db::Tx& tx) {
        auto p = need_provider(tx, call.param("uuid"));
        p.name = name;
        tx.exec("UPDATE resource_providers SET name = ?, updated_at = ? WHERE uuid = ?", name, clock_.now(),
                p.uuid);
        return provider_view(p, call);
      }));
    } catch (const db::UniqueViolation&) {
      name_taken(name);
    }
  });
  route("DELETE", "/resource_providers/{uuid}", "resource_providers:delete", [this](api::Call& call) {
    database_.write([&](db::Tx& tx) {
      remove_provider(tx, need_provider(tx, call.param("uuid")).uuid);
    });
    return api::reply(204);
  });

  route("GET", "/resource_providers/{uuid}/aggregates", "resource_providers:aggregates:list",
        [this](api::Call& call) {
          return api::reply(200, database_.read([&](db::Tx& tx) {
            return aggregates_view(tx, call, need_provider(tx, call.param("uuid")));
          }));
        },
        {1, 1});
  route("PUT", "/resource_providers/{uuid}/aggregates", "resource_providers:aggregates:update",
        [this](api::Call& call) {
          const bool with_generation = call.since(1, 19);
          json::value body = parse_json(call.request.body);
          const json::array wanted =
              with_generation ? need_array(call.body(), "aggregates")
              : body.is_array()
                  ? body.as_array()
                  : throw Fault(FaultKind::bad_request, "JSON does not validate: a list expected");
          return api::reply(200, database_.write([&](db::Tx& tx) {
            const auto p = need_provider(tx, call.param("uuid"));
            bump_generation(tx, clock_.now(), p.uuid,
                            with_generation
                                ? std::optional(find_int(call.body(), "resource_provider_generation", -1))
                                : std::nullopt);
            tx.exec("DELETE FROM provider_aggregates WHERE provider_uuid = ?", p.uuid);
            for (const auto& one : wanted)
              tx.exec("INSERT INTO provider_aggregates (provider_uuid, aggregate_uuid) VALUES (?, ?)", p.uuid,
                      need_text(one));
            return aggregates_view(tx, call, need_provider(tx, p.uuid));
          }));
        },
        {1, 1});

  route("GET", "/resource_providers/{uuid}/traits", "resource_providers:traits:list",
        [this](api::Call& call) {
          return api::reply(200, database_.read([&](db::Tx& tx) {
            return traits_view(tx, need_provider(tx, call.param("uuid")));
          }));
        },
        {1, 6});
  route("PUT", "/resource_providers/{uuid}/traits", "resource_providers:traits:update",
        [this](api::Call& call) {
          const auto wanted = need_array(call.body(), "traits");
          return api::reply(200, database_.write([&](db::Tx& tx) {
            const auto p = need_provider(tx, call.param("uuid"));
            bump_generation(tx, clock_.now(), p.uuid,
                            find_int(call.body(), "resource_provider_generation", -1));
            tx.exec("DELETE FROM provider_traits WHERE provider_uuid = ?", p.uuid);
            for (const auto& one : wanted) {
              need_trait(tx, need_text(one));
              tx.exec("INSERT INTO provider_traits (provider_uuid, trait) VALUES (?, ?)", p.uuid,
                      need_text(one));
            }
            return traits_view(tx, need_provider(tx, p.uuid));
          }));
        },
        {1, 6});
  route("DELETE", "/resource_providers/{uuid}/traits", "resource_providers:traits:delete",
        [this](api::Call& call) {
          database_.write([&](db::Tx& tx) {
            const auto p = need_provider(tx, call.param("uuid"));
            tx.exec("DELETE FROM provider_traits WHERE provider_uuid = ?", p.uuid);
            bump_generation(tx, clock_.now(), p.uuid, std::nullopt);
          });
          return api::reply(204);
        },
        {1, 6});
}

}  // namespace virga::placement
