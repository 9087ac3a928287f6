#include "compute/flavors.h"

namespace virga::compute {
namespace {

constexpr std::string_view kColumns =
    "id, name, memory_mb, vcpus, root_gb, ephemeral_gb, swap_mb, rxtx_factor, is_public, disabled, "
    "description";

Flavor from_row(const db::Row& row) {
  Flavor f;
  f.id = row.text(0);
  f.name = row.text(1);
  f.memory_mb = row.integer(2);
  f.vcpus = row.integer(3);
  f.root_gb = row.integer(4);
  f.ephemeral_gb = row.integer(5);
  f.swap_mb = row.integer(6);
  f.rxtx_factor = row.real(7);
  f.is_public = row.boolean(8);
  f.disabled = row.boolean(9);
  f.description = row.maybe_text(10);
  return f;
}

json::object specs_of(db::Tx& tx, const std::string& id) {
  json::object specs;
  for (const auto& row :
       tx.query("SELECT name, value FROM flavor_extra_specs WHERE flavor_id = ? ORDER BY name", id))
    specs[row.text(0)] = row.text(1);
  return specs;
}

/// SQL for "this caller may use it": public, or its project is on the access list.
void add_access(api::Where& where, const api::Call& call) {
  where.add("(is_public = 1 OR id IN (SELECT flavor_id FROM flavor_access WHERE project_id = ?))",
            call.caller().project_id);
}

Fault not_found(const std::string& id) {
  return Fault(FaultKind::not_found, fmt::format("Flavor {} could not be found.", id));
}

Flavor need_flavor(db::Tx& tx, const std::string& id, const api::Call& call) {
  if (auto flavor = find_flavor(tx, id, call)) return *flavor;
  throw not_found(id);
}

json::array links(const api::Call& call, const std::string& id) {
  return {json::object{{"rel", "self"}, {"href", call.base_url + "/v2.1/flavors/" + id}},
          json::object{{"rel", "bookmark"}, {"href", call.base_url + "/flavors/" + id}}};
}

json::value maybe(const std::optional<std::string>& text) {
  return text ? json::value(*text) : json::value(nullptr);
}

json::object brief_view(const api::Call& call, const Flavor& f) {
  json::object view{{"id", f.id}, {"name", f.name}, {"links", links(call, f.id)}};
  if (call.since(2, 55)) view["description"] = maybe(f.description);
  return view;
}

json::object full_view(const api::Call& call, const Flavor& f) {
  json::object view = brief_view(call, f);
  view["ram"] = f.memory_mb;
  view["vcpus"] = f.vcpus;
  view["disk"] = f.root_gb;
  view["OS-FLV-EXT-DATA:ephemeral"] = f.ephemeral_gb;
  view["swap"] = f.swap_mb != 0 || call.since(2, 75) ? json::value(f.swap_mb) : json::value("");
  view["rxtx_factor"] = f.rxtx_factor;
  view["os-flavor-access:is_public"] = f.is_public;
  view["OS-FLV-DISABLED:disabled"] = f.disabled;
  if (call.since(2, 61)) view["extra_specs"] = f.extra_specs;
  return view;
}

const api::Resource& list_resource() {
  using api::Type;
  static const api::Resource r{"flavor",
                               "flavors",
                               {{.name = "flavorid", .sort = true, .column = "id"},
                                {.name = "name", .sort = true},
                                {.name = "memory_mb", .type = Type::integer, .sort = true},
                                {.name = "vcpus", .type = Type::integer, .sort = true},
                                {.name = "root_gb", .type = Type::integer, .sort = true},
                                {.name = "ephemeral_gb", .type = Type::integer, .sort = true},
                                {.name = "swap", .type = Type::integer, .sort = true, .column = "swap_mb"},
                                {.name = "created_at", .sort = true},
                                {.name = "updated_at", .sort = true},
                                {.name = "is_public", .sort = true},
                                {.name = "disabled", .sort = true},
                                {.name = "rxtx_factor", .sort = true},
                                {.name = "description", .sort = true},
                                {.name = "id", .sort = true}}};
  return r;
}

int64_t whole_number(std::string_view name, const std::string& value) {
  char* end = nullptr;
  const int64_t n = std::strtoll(value.c_str(), &end, 10);
  if (value.empty() || *end)
    throw Fault(FaultKind::bad_request, fmt::format("Invalid {} filter [{}]", name, value));
  return n;
}

api::Where list_filters(const api::Call& call) {
  api::Where where;
  where.add("disabled = 0");
  bool chosen = false;
  for (const auto& [name, value] : call.request.query) {
    if (name == "minRam")
      where.add("memory_mb >= ?", whole_number("minRam", value));
    else if (name == "minDisk")
      where.add("root_gb >= ?", whole_number("minDisk", value));
    else if (name == "is_public" && call.caller().is_admin()) {
      chosen = true;
      std::string lower = value;
      std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
      if (lower == "none") continue;
      const auto wanted = api::parse_bool(value);
      if (!wanted) throw Fault(FaultKind::bad_request, fmt::format("Invalid is_public filter [{}]", value));
      where.add("is_public = ?", *wanted);
    }
  }
  if (!chosen) {
    if (call.caller().is_admin())
      where.add("is_public = 1");
    else
      add_access(where, call);
  }
  return where;
}

http::Response list(Core& core, api::Call& call, bool detail) {
  auto query = api::parse_list(list_resource(), call.request, {.max_limit = 1000, .default_limit = true});
  if (query.sorts.empty()) query.sorts = {{list_resource().find("flavorid"), false}};
  const auto where = list_filters(call);
  json::array all;
  std::string next;
  core.database.read([&](db::Tx& tx) {
    auto rows = api::select_page(tx, kColumns, "flavors", query, where);
    if (api::take_page(rows, query) && !rows.empty()) next = api::next_url(call, rows.back().text(0));
    for (const auto& row : rows) {
      auto flavor = from_row(row);
      if (detail && call.since(2, 61)) flavor.extra_specs = specs_of(tx, flavor.id);
      all.push_back(detail ? full_view(call, flavor) : brief_view(call, flavor));
    }
  });
  json::object body{{"flavors", std::move(all)}};
  if (!next.empty()) body["flavors_links"] = json::array{json::object{{"rel", "next"}, {"href", next}}};
  return api::reply(200, body);
}

api::Resource make_resource() {
  using api::Set;
  using api::Type;
  const auto number = [](std::string_view name, Set set, int64_t min,
                         std::optional<json::value> fallback = {}) {
    return api::Attribute{.name = name,
                          .type = Type::integer,
                          .create = set,
                          .fallback = fallback,
                          .min = min,
                          .max = 2147483647};
  };
  return {"flavor",
          "flavors",
          {{.name = "name", .create = Set::required, .update = Set::no, .min = 1, .max = 255},
           {.name = "id", .type = Type::any, .create = Set::optional, .nullable = true},
           number("ram", Set::required, 1),
           number("vcpus", Set::required, 1),
           number("disk", Set::required, 0),
           number("OS-FLV-EXT-DATA:ephemeral", Set::optional, 0, 0),
           number("swap", Set::optional, 0, 0),
           {.name = "rxtx_factor", .type = Type::any, .create = Set::optional, .fallback = 1.0},
           {.name = "os-flavor-access:is_public",
            .type = Type::any,
            .create = Set::optional,
            .fallback = true},
           {.name = "description",
            .create = Set::optional,
            .update = Set::required,
            .nullable = true,
            .max = 65535,
            .since = {2, 55}}}};
}
const api::Resource& resource() {
  static const api::Resource r = make_resource();
  return r;
}

std::string parse_id(const json::object& in) {
  const auto* id = in.if_contains("id");
  if (!id || id->is_null()) return new_uuid();
  const std::string text = id->is_int64() ? std::to_string(id->get_int64()) : id->is_string() ? str(*id) : "";
  if (text == "auto") return new_uuid();
  const auto allowed = [](char c) { return isalnum(static_cast<unsigned char>(c)) || strchr(". _-", c); };
  if (text.empty() || text.size() > 255 || text.front() == ' ' || text.back() == ' ' ||
      !std::all_of(text.begin(), text.end(), allowed))
    throw Fault(
        FaultKind::bad_request,
        fmt::format(
            "Invalid input for field/attribute id. Value: {}. It may hold letters, digits and ._- only.",
            text));
  return text;
}

/// nova's boolean: also text ("False", "off", "0").
bool parse_public(const json::value& v) {
  if (v.is_bool()) return v.get_bool();
  if (v.is_string())
    if (const auto parsed = api::parse_bool(std::string_view(v.get_string()))) return *parsed;
  throw Fault(FaultKind::bad_request,
              fmt::format("Invalid input for field/attribute os-flavor-access:is_public. Value: {}. It is not a "
                          "'boolean'.",
                          json::serialize(v)));
}

double parse_rxtx(const json::value& v) {
  double factor = -1;
  if (v.is_number())
    factor = v.to_number<double>();
  else if (v.is_string())
    factor = std::strtod(str(v).c_str(), nullptr);
  if (!(factor > 0) || factor > 3.4e38)
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute rxtx_factor. Value: {}.", json::serialize(v)));
  return factor;
}

Flavor parse_new(api::Call& call) {
  const auto in = api::validate_create(resource(), call.body_of("flavor"), call.version);
  Flavor f;
  f.id = parse_id(in);
  f.name = find_string(in, "name");
  if (f.name.find_first_not_of(' ') != 0 || f.name.back() == ' ')
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Invalid input for field/attribute name. Value: {}. It has leading or trailing spaces.",
                    f.name));
  f.memory_mb = find_int(in, "ram");
  f.vcpus = find_int(in, "vcpus");
  f.root_gb = find_int(in, "disk");
  f.ephemeral_gb = find_int(in, "OS-FLV-EXT-DATA:ephemeral");
  f.swap_mb = find_int(in, "swap");
  f.rxtx_factor = parse_rxtx(in.at("rxtx_factor"));
  f.is_public = parse_public(in.at("os-flavor-access:is_public"));
  if (has_value(in, "description")) f.description = find_string(in, "description");
  return f;
}

void insert(db::Tx& tx, Time now, const Flavor& f) {
  if (tx.first("SELECT id FROM flavors WHERE name = ?", f.name))
    throw Fault(FaultKind::conflict, fmt::format("Flavor with name {} already exists.", f.name));
  if (tx.first("SELECT id FROM flavors WHERE id = ?", f.id))
    throw Fault(FaultKind::conflict, fmt::format("Flavor with ID {} already exists.", f.id));
  tx.exec(
      "INSERT INTO flavors (id, name, memory_mb, vcpus, root_gb, ephemeral_gb, swap_mb, rxtx_factor, "
      "is_public, disabled, "
      "description, created_at, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
      f.id, f.name, f.memory_mb, f.vcpus, f.root_gb, f.ephemeral_gb, f.swap_mb, f.rxtx_factor, f.is_public,
      f.description, now, next_number(tx, "flavor"));
}

void add_spec_routes(Routes& routes, Core& core) {
  const auto check = [](const json::object& specs) {
    for (const auto& [name, value] : specs) {
      const auto allowed = [](char c) {
        return isalnum(static_cast<unsigned char>(c)) || strchr("._: -", c);
      };
      if (name.empty() || name.size() > 255 || !std::all_of(name.begin(), name.end(), allowed))
        throw Fault(FaultKind::bad_request,
                    fmt::format("Invalid input for field/attribute extra_specs. Key '{}' is not valid.",
                                std::string_view(name)));
      if ((!value.is_string() && !value.is_number()) ||
          (value.is_string() && value.get_string().size() > 255))
        throw Fault(
            FaultKind::bad_request,
            fmt::format(
                "Invalid input for field/attribute {}. The value must be text of at most 255 characters.",
                std::string_view(name)));
    }
  };
  const auto put = [](db::Tx& tx, const std::string& flavor, const json::object& specs) {
    for (const auto& [name, value] : specs) {
      const std::string text = value.is_string() ? str(value) : json::serialize(value);
      if (tx.exec("UPDATE flavor_extra_specs SET value = ? WHERE flavor_id = ? AND name = ?", text, flavor,
                  std::string(name)) > 0)
        continue;
      tx.exec("INSERT INTO flavor_extra_specs (flavor_id, name, value) VALUES (?, ?, ?)", flavor,
              std::string(name), text);
    }
  };
  routes.add("GET", "/flavors/{id}/os-extra_specs", "os-flavor-extra-specs:index",
             [&core](api::Call& call) {
               return api::reply(200, json::object{{"extra_specs", core.database.read([&](db::Tx& tx) {
                                                      return specs_of(
                                                          tx, need_flavor(tx, call.param("id"), call).id);
                                                    })}});
             });
  routes.add(
      "POST", "/flavors/{id}/os-extra_specs", "os-flavor-extra-specs:create",
      [&core, check, put](api::Call& call) {
        const auto& specs = call.body_of("extra_specs");
        check(specs);
        core.database.write([&](db::Tx& tx) { put(tx, need_flavor(tx, call.param("id"), call).id, specs); });
        return api::reply(200, json::object{{"extra_specs", specs}});
      });
  routes.add("GET", "/flavors/{id}/os-extra_specs/{key}", "os-flavor-extra-specs:show",
             [&core](api::Call& call) {
               const auto specs = core.database.read(
                   [&](db::Tx& tx) { return specs_of(tx, need_flavor(tx, call.param("id"), call).id); });
               const auto* value = specs.if_contains(call.param("key"));
               if (!value)
                 throw Fault(FaultKind::not_found, fmt::format("Flavor {} has no extra specs with key {}.",
                                                               call.param("id"), call.param("key")));
               return api::reply(200, json::object{{call.param("key"), *value}});
             });
  routes.add(
      "PUT", "/flavors/{id}/os-extra_specs/{key}", "os-flavor-extra-specs:update",
      [&core, check, put](api::Call& call) {
        const auto& specs = call.body();
        check(specs);
        if (specs.size() != 1 || !specs.contains(call.param("key")))
          throw Fault(FaultKind::bad_request, "Request body and URI mismatch");
        core.database.write([&](db::Tx& tx) { put(tx, need_flavor(tx, call.param("id"), call).id, specs); });
        return api::reply(200, specs);
      });
  routes.add("DELETE", "/flavors/{id}/os-extra_specs/{key}", "os-flavor-extra-specs:delete",
             [&core](api::Call& call) {
               core.database.write([&](db::Tx& tx) {
                 need_flavor(tx, call.param("id"), call);
                 if (tx.exec("DELETE FROM flavor_extra_specs WHERE flavor_id = ? AND name = ?",
                             call.param("id"), call.param("key")) == 0)
                   throw Fault(FaultKind::not_found, fmt::format("Flavor {} has no extra specs with key {}.",
                                                                 call.param("id"), call.param("key")));
               });
               return api::reply(200);
             });
}

json::array access_view(db::Tx& tx, const std::string& id) {
  json::array all;
  for (const auto& row :
       tx.query("SELECT project_id FROM flavor_access WHERE flavor_id = ? ORDER BY project_id", id))
    all.push_back(json::object{{"flavor_id", id}, {"tenant_id", row.text(0)}});
  return all;
}

void add_access_routes(Routes& routes, Core& core) {
  routes.add(
      "GET", "/flavors/{id}/os-flavor-access", "os-flavor-access", [&core](api::Call& call) {
        return api::reply(200, json::object{{"flavor_access", core.database.read([&](db::Tx& tx) {
                                               const auto flavor = need_flavor(tx, call.param("id"), call);
                                               if (flavor.is_public)
                                                 throw Fault(FaultKind::not_found,
                                                             "Access list not available for public flavors.");
                                               return access_view(tx, flavor.id);
                                             })}});
      });
  routes.add(
      "POST", "/flavors/{id}/action", "os-flavor-access:add_tenant_access",
      [&core](api::Call& call) {
        const bool add = call.body().contains("addTenantAccess");
        const auto& action = call.body_of(add ? "addTenantAccess" : "removeTenantAccess");
        const std::string project = find_string(action, "tenant");
        if (project.empty())
          throw Fault(FaultKind::bad_request,
                      "Invalid input for field/attribute tenant. It is a required property.");
        auto access = core.database.write([&](db::Tx& tx) {
          const auto flavor = need_flavor(tx, call.param("id"), call);
          if (flavor.is_public && add)
            throw Fault(FaultKind::conflict, "Can not add access to a public flavor.");
          const bool there =
              tx.first("SELECT flavor_id FROM flavor_access WHERE flavor_id = ? AND project_id = ?",
                       flavor.id, project)
                  .has_value();
          if (add && there)
            throw Fault(FaultKind::conflict,
                        fmt::format("Flavor access already exists for flavor {} and project {} combination.",
                                    flavor.id, project));
          if (!add && !there)
            throw Fault(FaultKind::not_found,
                        fmt::format("Flavor access not found for {} / {} combination.", flavor.id, project));
          tx.exec(add ? "INSERT INTO flavor_access (flavor_id, project_id) VALUES (?, ?)"
                      : "DELETE FROM flavor_access WHERE flavor_id = ? AND project_id = ?",
                  flavor.id, project);
          return access_view(tx, flavor.id);
        });
        return api::reply(200, json::object{{"flavor_access", std::move(access)}});
      });
}

}  // namespace

std::optional<Flavor> find_flavor(db::Tx& tx, const std::string& id, const api::Call& call) {
  api::Where where;
  where.add("id = ?", id);
  if (!call.caller().is_admin()) add_access(where, call);
  // One statement: each boot asks for it.
  const auto rows = tx.query(fmt::format("SELECT {}, spec, value FROM flavors LEFT JOIN (SELECT flavor_id, name AS spec, value FROM "
                                         "flavor_extra_specs) s ON flavor_id = id{} ORDER BY spec", kColumns, where.sql()),
                             where.values);
  if (rows.empty()) return std::nullopt;
  auto flavor = from_row(rows.front());
  constexpr size_t kSpec = 11;
  for (const auto& row : rows)
    if (!row.is_null(kSpec)) flavor.extra_specs[row.text(kSpec)] = row.text(kSpec + 1);
  return flavor;
}

void add_flavor_routes(Routes& routes, Core& core) {
  routes.add("GET", "/flavors", "flavors",
             [&core](api::Call& call) { return list(core, call, false); });
  routes.add("GET", "/flavors/detail", "flavors",
             [&core](api::Call& call) { return list(core, call, true); });
  routes.add("GET", "/flavors/{id}", "flavors", [&core](api::Call& call) {
    return api::reply(200, json::object{{"flavor", core.database.read([&](db::Tx& tx) {
                                           return full_view(call, need_flavor(tx, call.param("id"), call));
                                         })}});
  });
  routes.add("POST", "/flavors", "os-flavor-manage:create", [&core](api::Call& call) {
    const auto flavor = parse_new(call);
    core.database.write([&](db::Tx& tx) { insert(tx, core.clock.now(), flavor); });
    return api::reply(200, json::object{{"flavor", full_view(call, flavor)}});
  });
  routes.add(
      "PUT", "/flavors/{id}", "os-flavor-manage:update",
      [&core](api::Call& call) {
        const auto in = api::validate_update(resource(), call.body_of("flavor"), call.version);
        if (!in.contains("description"))
          throw Fault(FaultKind::bad_request,
                      "Invalid input for field/attribute flavor. 'description' is a required property");
        const auto flavor = core.database.write([&](db::Tx& tx) {
          auto f = need_flavor(tx, call.param("id"), call);
          f.description =
              has_value(in, "description") ? std::optional(find_string(in, "description")) : std::nullopt;
          tx.exec("UPDATE flavors SET description = ?, updated_at = ? WHERE id = ?", f.description,
                  core.clock.now(), f.id);
          return f;
        });
        return api::reply(200, json::object{{"flavor", full_view(call, flavor)}});
      },
      {2, 55});
  routes.add("DELETE", "/flavors/{id}", "os-flavor-manage:delete", [&core](api::Call& call) {
    core.database.write([&](db::Tx& tx) {
      if (tx.exec("DELETE FROM flavors WHERE id = ?", call.param("id")) == 0)
        throw not_found(call.param("id"));
      tx.exec("DELETE FROM flavor_extra_specs WHERE flavor_id = ?", call.param("id"));
      tx.exec("DELETE FROM flavor_access WHERE flavor_id = ?", call.param("id"));
    });
    return api::reply(202);
  });
  add_spec_routes(routes, core);
  add_access_routes(routes, core);
}

}  // namespace virga::compute
