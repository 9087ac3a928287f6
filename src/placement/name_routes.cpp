// Resource classes and traits: names, standard ones known here, custom ones stored.

#include <functional>

#include "base/text.h"
#include "placement/placement.h"

namespace virga::placement {
namespace {

// os-resource-classes.
constexpr std::string_view kStandard[] = {"VCPU",
                                          "MEMORY_MB",
                                          "DISK_GB",
                                          "PCI_DEVICE",
                                          "SRIOV_NET_VF",
                                          "NUMA_SOCKET",
                                          "NUMA_CORE",
                                          "NUMA_THREAD",
                                          "NUMA_MEMORY_MB",
                                          "IPV4_ADDRESS",
                                          "VGPU",
                                          "VGPU_DISPLAY_HEAD",
                                          "NET_BW_EGR_KILOBIT_PER_SEC",
                                          "NET_BW_IGR_KILOBIT_PER_SEC",
                                          "PCPU",
                                          "MEM_ENCRYPTION_CONTEXT",
                                          "FPGA",
                                          "PGPU",
                                          "NET_PACKET_RATE_KILOPACKET_PER_SEC",
                                          "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
                                          "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC"};

bool is_custom(std::string_view name) {
  const auto allowed = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; };
  return name.size() > 7 && name.size() <= 255 && name.substr(0, 7) == "CUSTOM_" &&
         std::all_of(name.begin(), name.end(), allowed);
}

void need_custom(const std::string& name) {
  if (!is_custom(name))
    throw Fault(FaultKind::bad_request,
                fmt::format("JSON does not validate: '{}' does not match '^CUSTOM\\_[A-Z0-9_]+$'", name));
}

json::object class_view(std::string_view name) {
  return {{"name", name},
          {"links", {{{"rel", "self"}, {"href", fmt::format("/placement/resource_classes/{}", name)}}}}};
}

bool has_name(db::Tx& tx, std::string_view table, const std::string& name) {
  return tx.first(fmt::format("SELECT name FROM {} WHERE name = ?", table), name).has_value();
}

/// 201 if it was made, 204 if it was there.
int ensure_name(db::Database& database, std::string_view table, const std::string& name) {
  try {
    return database.write([&](db::Tx& tx) {
      if (has_name(tx, table, name)) return 204;
      tx.exec(fmt::format("INSERT INTO {} (name) VALUES (?)", table), name);
      return 201;
    });
  } catch (const db::UniqueViolation&) {
    return 204;
  }
}

std::vector<std::string> all_traits(db::Tx& tx) {
  std::vector<std::string> all(standard_traits().begin(), standard_traits().end());
  for (const auto& row : tx.query("SELECT name FROM traits ORDER BY name")) all.push_back(row.text(0));
  return all;
}

/// name=startswith:PREFIX, name=in:A,B, and associated=true or false: with a provider that has it, or without.
std::function<bool(db::Tx&, const std::string&)> trait_filter(const api::Call& call) {
  std::string prefix;
  std::optional<std::vector<std::string>> among;
  std::optional<bool> associated;
  for (const auto& [key, value] : call.request.query) {
    const std::string_view text(value);
    if (key == "name" && text.starts_with("startswith:"))
      prefix = text.substr(11);
    else if (key == "name" && text.starts_with("in:"))
      among = split(text.substr(3), ',');
    else if (key == "associated" && (text == "true" || text == "false"))
      associated = text == "true";
    else
      throw Fault(FaultKind::bad_request, fmt::format("Invalid query string parameters: '{}={}' was unexpected", key, value));
  }
  return [=](db::Tx& tx, const std::string& name) {
    if (!name.starts_with(prefix)) return false;
    if (among && std::find(among->begin(), among->end(), name) == among->end()) return false;
    return !associated ||
           *associated == tx.first("SELECT trait FROM provider_traits WHERE trait = ? LIMIT 1", name).has_value();
  };
}

}  // namespace

bool is_standard_class(std::string_view name) {
  return std::find(std::begin(kStandard), std::end(kStandard), name) != std::end(kStandard);
}

void need_class(db::Tx& tx, const std::string& name) {
  if (is_standard_class(name) || has_name(tx, "resource_classes", name)) return;
  throw Fault(FaultKind::bad_request, fmt::format("Unknown resource class '{}'.", name));
}

void need_trait(db::Tx& tx, const std::string& name) {
  if (!is_standard_trait(name) && !has_name(tx, "traits", name))
    throw Fault(FaultKind::bad_request, fmt::format("No such trait(s): {}.", name));
}

void Module::add_name_routes() {
  route("GET", "/resource_classes", "resource_classes:list",
        [this](api::Call&) {
          json::array all;
          for (const auto name : kStandard) all.push_back(class_view(name));
          database_.read([&](db::Tx& tx) {
            for (const auto& row : tx.query("SELECT name FROM resource_classes ORDER BY name"))
              all.push_back(class_view(row.text(0)));
          });
          return api::reply(200, {{"resource_classes", std::move(all)}});
        },
        {1, 2});
  route("POST", "/resource_classes", "resource_classes:create",
        [this](api::Call& call) {
          const std::string name = find_string(call.body(), "name");
          need_custom(name);
          if (ensure_name(database_, "resource_classes", name) != 201)
            throw Fault(FaultKind::conflict,
                        fmt::format("Conflicting resource class already exists: {}", name));
          auto answer = api::reply(201);
          answer.headers.set("Location", call.base_url + "/resource_classes/" + name);
          return answer;
        },
        {1, 2});
  route("GET", "/resource_classes/{name}", "resource_classes:show",
        [this](api::Call& call) {
          const std::string& name = call.param("name");
          if (!is_standard_class(name) &&
              !database_.read([&](db::Tx& tx) { return has_name(tx, "resource_classes", name); }))
            throw Fault(FaultKind::not_found, fmt::format("No such resource class {}.", name));
          return api::reply(200, class_view(name));
        },
        {1, 2});
  route("PUT", "/resource_classes/{name}", "resource_classes:update",
        [this](api::Call& call) {
          need_custom(call.param("name"));
          return api::reply(ensure_name(database_, "resource_classes", call.param("name")));
        },
        {1, 7});
  route(
      "DELETE", "/resource_classes/{name}", "resource_classes:delete",
      [this](api::Call& call) {
        const std::string& name = call.param("name");
        if (is_standard_class(name))
          throw Fault(
              FaultKind::bad_request,
              fmt::format("Error in delete resource class: Cannot delete standard resource class {}.", name));
        database_.write([&](db::Tx& tx) {
          if (tx.first("SELECT used FROM inventories WHERE resource_class = ? LIMIT 1", name))
            throw Fault(FaultKind::conflict,
                        fmt::format("Error in delete resource class: {} is in use in inventory.", name));
          if (tx.exec("DELETE FROM resource_classes WHERE name = ?", name) == 0)
            throw Fault(FaultKind::not_found, fmt::format("No such resource class {}.", name));
        });
        return api::reply(204);
      },
      {1, 2});

  route("GET", "/traits", "traits:list",
        [this](api::Call& call) {
          const auto wanted = trait_filter(call);
          const auto all = database_.read([&](db::Tx& tx) {
            json::array found;
            for (const auto& name : all_traits(tx))
              if (wanted(tx, name)) found.push_back(json::value(name));
            return found;
          });
          return api::reply(200, {{"traits", all}});
        },
        {1, 6});
  route("GET", "/traits/{name}", "traits:show",
        [this](api::Call& call) {
          if (!is_standard_trait(call.param("name")) &&
              !database_.read([&](db::Tx& tx) { return has_name(tx, "traits", call.param("name")); }))
            throw Fault(FaultKind::not_found, fmt::format("No such trait {}.", call.param("name")));
          return api::reply(204);
        },
        {1, 6});
  route("PUT", "/traits/{name}", "traits:update",
        [this](api::Call& call) {
          need_custom(call.param("name"));
          return api::reply(ensure_name(database_, "traits", call.param("name")));
        },
        {1, 6});
  route("DELETE", "/traits/{name}", "traits:delete",
        [this](api::Call& call) {
          if (is_standard_trait(call.param("name")))
            throw Fault(FaultKind::bad_request,
                        fmt::format("Cannot delete standard trait {}.", call.param("name")));
          database_.write([&](db::Tx& tx) {
            if (tx.first("SELECT trait FROM provider_traits WHERE trait = ? LIMIT 1", call.param("name")))
              throw Fault(FaultKind::conflict,
                          fmt::format("The trait {} is in use by a resource provider.", call.param("name")));
            if (tx.exec("DELETE FROM traits WHERE name = ?", call.param("name")) == 0)
              throw Fault(FaultKind::not_found, fmt::format("No such trait {}.", call.param("name")));
          });
          return api::reply(204);
        },
        {1, 6});
}

}  // namespace virga::placement
