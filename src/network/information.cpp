// What the Networking API tells about itself (versions, extensions, availability zones) and tags.

#include <fmt/format.h>

#include "network/row_policy.h"
#include "network/service.h"

namespace virga::network {
namespace {

struct Extension {
  const char *alias, *name;
};
/// Only what is built: a client takes an alias as a promise.
constexpr Extension kExtensions[] = {
    {"allowed-address-pairs", "Allowed Address Pairs"},
    {"availability_zone", "Availability Zone"},
    {"binding", "Port Binding"},
    {"default-subnetpools", "Default Subnetpools"},
    {"dns-integration", "DNS Integration"},
    {"ext-gw-mode", "Neutron L3 Configurable external gateway mode"},
    {"external-net", "Neutron external network"},
    {"extra_dhcp_opt", "Neutron Extra DHCP options"},
    {"extraroute", "Neutron Extra Route"},
    {"fip-port-details", "Floating IP Port Details Extension"},
    {"ip-substring-filtering", "IP address substring filtering"},
    {"net-mtu", "Network MTU"},
    {"net-mtu-writable", "Network MTU (writable)"},
    {"network_availability_zone", "Network Availability Zone"},
    {"pagination", "Pagination support"},
    {"port-security", "Port Security"},
    {"project-id", "project_id field enabled"},
    {"provider", "Provider Network"},
    {"quota_details", "Quota details management support"},
    {"quotas", "Quota management support"},
    {"revision-if-match", "If-Match constraints based on revision_number"},
    {"router", "Neutron L3 Router"},
    {"security-group", "security-group"},
    {"sorting", "Sorting support"},
    {"standard-attr-description", "standard-attr-description"},
    {"standard-attr-revisions", "Resource revision numbers"},
    {"standard-attr-tag", "Tag support for resources with standard attribute: port, subnet, subnetpool, network, router, floatingip, security_group"},
    {"standard-attr-timestamp", "Resource timestamps"},
    {"stateful-security-group", "Stateful security group"},
    {"subnet_allocation", "Subnet Allocation"},
    {"subnet-service-types", "Subnet service types"},
};

Object view(const Extension& e) {
  return {{"alias", e.alias}, {"name", e.name}, {"description", e.name}, {"updated", "2022-10-01T00:00:00-00:00"}, {"links", json::array()}};
}

http::Response list_extensions(api::Call&) {
  json::array out;
  for (const auto& e : kExtensions)
    out.push_back(view(e));
  return api::reply(200, Object{{"extensions", std::move(out)}});
}

http::Response show_extension(api::Call& call) {
  for (const auto& e : kExtensions)
    if (call.param("alias") == e.alias) return api::reply(200, Object{{"extension", view(e)}});
  throw Fault(FaultKind::not_found, fmt::format("Extension with alias {} does not exist", call.param("alias")), "", "HTTPNotFound");
}

Object version(const api::Call& call) {
  return {{"id", "v2.0"}, {"status", "CURRENT"}, {"links", json::array{Object{{"rel", "self"}, {"href", call.base_url + "/v2.0/"}}}}};
}

/// The API's resources below /v2.0, as neutron lists them.
http::Response show_version(api::Call& call) {
  json::array out;
  for (const char* name : {"network", "subnet", "subnetpool", "port", "router", "floatingip", "security-group", "security-group-rule", "quota"}) {
    const std::string collection = std::string(name) + "s";
    out.push_back(Object{{"name", std::string(name)}, {"collection", collection}, {"links", json::array{Object{{"rel", "self"}, {"href", fmt::format("{}/v2.0/{}", call.base_url, collection)}}}}});
  }
  return api::reply(200, Object{{"resources", std::move(out)}});
}

http::Response list_zones(api::Call&) {
  json::array out;
  for (const char* resource : {"network", "router"}) out.push_back(Object{{"name", "nova"}, {"resource", resource}, {"state", "available"}});
  return api::reply(200, Object{{"availability_zones", std::move(out)}});
}

}  // namespace

namespace {

/// PUT and DELETE below /{resource}/{id}/tags, for every resource that has tags.
struct Tags {
  NetworkService& service;
  const Collection& collection;

  std::string owned(db::Tx& tx, api::Call& call) const {
    const Object row = find_visible(tx, collection, call.caller(), call.param("id"));
    call.require(target_of(tx, row));
    return text_of(row, "id");
  }
  static json::array of(db::Tx& tx, const std::string& id) {
    json::array out;
    for (const auto& r : tx.query("SELECT tag FROM network_tags WHERE resource_id = ? ORDER BY tag", id)) out.push_back(json::value(r.text(0)));
    return out;
  }
  static void put(db::Tx& tx, const std::string& id, const std::string& tag) {
    if (tag.empty() || tag.size() > 255) throw bad_request(fmt::format("Invalid input for tag. Reason: '{}' must have 1 to 255 characters.", tag));
    if (!tx.first("SELECT 1 FROM network_tags WHERE resource_id = ? AND tag = ?", id, tag)) tx.exec("INSERT INTO network_tags (resource_id, tag) VALUES (?, ?)", id, tag);
  }

  http::Response list(api::Call& call) const {
    return api::reply(200, Object{{"tags", service.database().read([&](db::Tx& tx) { return of(tx, text_of(find_visible(tx, collection, call.caller(), call.param("id")), "id")); })}});
  }
  http::Response replace(api::Call& call) const {
    const json::array* given = find_array(call.body(), "tags");
    if (!given) throw bad_request("Invalid input for tags. Reason: the body must hold a list of tags.");
    json::array tags = service.database().write([&](db::Tx& tx) {
      const std::string id = owned(tx, call);
      tx.exec("DELETE FROM network_tags WHERE resource_id = ?", id);
      for (const auto& t : *given) put(tx, id, t.is_string() ? str(t) : "");
      return of(tx, id);
    });
    return api::reply(200, Object{{"tags", std::move(tags)}});
  }
  http::Response clear(api::Call& call) const {
    service.database().write([&](db::Tx& tx) { tx.exec("DELETE FROM network_tags WHERE resource_id = ?", owned(tx, call)); });
    return api::reply(204);
  }
  http::Response has(api::Call& call) const {
    const bool found = service.database().read([&](db::Tx& tx) {
      return tx.first("SELECT 1 FROM network_tags WHERE resource_id = ? AND tag = ?", text_of(find_visible(tx, collection, call.caller(), call.param("id")), "id"), call.param("tag")).has_value();
    });
    if (!found) throw Fault(FaultKind::not_found, fmt::format("Tag {} could not be found.", call.param("tag")), "", "TagNotFound");
    return api::reply(204);
  }
  http::Response add(api::Call& call) const {
    service.database().write([&](db::Tx& tx) { put(tx, owned(tx, call), call.param("tag")); });
    return api::reply(201);
  }
  http::Response remove(api::Call& call) const {
    service.database().write([&](db::Tx& tx) {
      if (tx.exec("DELETE FROM network_tags WHERE resource_id = ? AND tag = ?", owned(tx, call), call.param("tag")) == 0)
        throw Fault(FaultKind::not_found, fmt::format("Tag {} could not be found.", call.param("tag")), "", "TagNotFound");
    });
    return api::reply(204);
  }
};

}  // namespace

void NetworkService::add_information_routes() {
  auto& r = service_.routes;
  r.push_back({"GET", "/", "", [](api::Call& call) { return api::reply(200, Object{{"versions", json::array{version(call)}}}); }});
  r.push_back({"GET", "/v2.0", "", show_version});
  r.push_back({"GET", "/v2.0/extensions", "get_extension", list_extensions});
  r.push_back({"GET", "/v2.0/extensions/{alias}", "get_extension", show_extension});
  r.push_back({"GET", "/v2.0/availability_zones", "get_availability_zone", list_zones});
  for (const Collection* c : {networks_.get(), subnets_.get(), subnet_pools_.get(), ports_.get(), routers_.get(), floating_ips_.get(), groups_.get()}) {
    const std::string all = std::string(c->path) + "/{id}/tags", one = all + "/{tag}";
    const Tags tags{*this, *c};
    r.push_back({"GET", all, "get_tags", [tags](api::Call& call) { return tags.list(call); }});
    r.push_back({"PUT", all, "update_tags", [tags](api::Call& call) { return tags.replace(call); }});
    r.push_back({"DELETE", all, "delete_tags", [tags](api::Call& call) { return tags.clear(call); }});
    r.push_back({"GET", one, "get_tags", [tags](api::Call& call) { return tags.has(call); }});
    r.push_back({"PUT", one, "update_tags", [tags](api::Call& call) { return tags.add(call); }});
    r.push_back({"DELETE", one, "delete_tags", [tags](api::Call& call) { return tags.remove(call); }});
  }
}

}  // namespace virga::network
