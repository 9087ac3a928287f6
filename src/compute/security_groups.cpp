// nova's old proxies of security groups (until microversion 2.35), over the network facade: the same groups and
// rules in nova's words. The servers' own addSecurityGroup and removeSecurityGroup stay.

#include "compute/misc_routes.h"
#include "compute/servers.h"

namespace virga::compute {
namespace {

/// The faults of neutron that clients of these proxies expect under other codes.
template <class F>
auto as_nova(F f) {
  try {
    return f();
  } catch (const Fault& fault) {
    if (fault.type == "OverQuota")
      throw Fault(FaultKind::forbidden, "Quota exceeded, too many security groups or rules.", fault.hint);
    // Only a group in use, a duplicate rule and the default group conflict here; nova calls them invalid.
    if (fault.kind == FaultKind::conflict) throw Fault(FaultKind::bad_request, fault.message, fault.hint);
    throw;
  }
}

void need_uuid(std::string_view what, const std::string& id) {
  if (!looks_like_uuid(id))
    throw Fault(FaultKind::bad_request, fmt::format("{} id should be uuid, not {}", what, id));
}

json::value port_or(const json::object& rule, const char* key, int64_t otherwise) {
  return has_value(rule, key) ? rule.at(key) : json::value(otherwise);
}

/// Null if the rule's source group is gone or hidden from the caller.
std::optional<json::object> rule_view(Core& core, db::Tx& tx, const api::Call& call, const json::object& rule) {
  const std::string protocol = find_string(rule, "protocol"), source = find_string(rule, "remote_group_id");
  const bool every_port = protocol == "tcp" || protocol == "udp";
  json::object view{{"id", rule.at("id")},
                    {"parent_group_id", rule.at("security_group_id")},
                    {"ip_protocol", rule.at("protocol")},
                    {"from_port", port_or(rule, "port_range_min", every_port ? 1 : -1)},
                    {"to_port", port_or(rule, "port_range_max", every_port ? 65535 : -1)},
                    {"group", json::object()},
                    {"ip_range", json::object()}};
  if (protocol.empty()) view["from_port"] = view["to_port"] = nullptr;
  if (source.empty()) {
    const bool v6 = find_string(rule, "ethertype") == "IPv6";
    view["ip_range"] = json::object{{"cidr", find_string(rule, "remote_ip_prefix", v6 ? "::/0" : "0.0.0.0/0")}};
    return view;
  }
  try {
    const auto group = core.networks.security_groups().find(tx, call.caller(), source);
    view["group"] = json::object{{"name", group.at("name")}, {"tenant_id", group.at("project_id")}};
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::not_found) throw;
    return std::nullopt;
  }
  return view;
}

json::object group_view(Core& core, db::Tx& tx, const api::Call& call, const json::object& group) {
  json::array rules;
  // nova knew no egress rules.
  for (const auto& rule : group.at("security_group_rules").as_array())
    if (find_string(rule.as_object(), "direction") == "ingress")
      if (auto view = rule_view(core, tx, call, rule.as_object())) rules.push_back(std::move(*view));
  return {{"id", group.at("id")},
          {"name", group.at("name")},
          {"description", find_string(group, "description")},
          {"tenant_id", group.at("project_id")},
          {"rules", std::move(rules)}};
}

http::Response list_groups(Core& core, api::Call& call) {
  const auto number = [&](const char* name, size_t otherwise) -> size_t {
    const auto text = call.request.query_value(name);
    if (!text) return otherwise;
    if (text->empty() || text->find_first_not_of("0123456789") != std::string::npos)
      throw Fault(FaultKind::bad_request, fmt::format("{} must be an integer that is not negative", name));
    return std::strtoul(text->c_str(), nullptr, 10);
  };
  const size_t limit = number("limit", 1000), offset = number("offset", 0);
  const bool all = call.request.query_value("all_tenants").has_value();
  json::array views;
  core.database.write([&](db::Tx& tx) {  // a project's default group is made at first sight
    views.clear();
    const auto groups = core.networks.security_groups().list(tx, call.caller(), all);
    for (size_t i = offset; i < groups.size() && views.size() < limit; ++i)
      views.push_back(group_view(core, tx, call, groups[i]));
  });
  return api::reply(200, json::object{{"security_groups", std::move(views)}});
}

/// {name, description}, both text of at most 255 characters.
json::object parse_group(api::Call& call) {
  json::object out;
  const auto& body = call.body_of("security_group");
  for (const char* key : {"name", "description"}) {
    if (!has_value(body, key)) continue;
    const auto& value = body.at(key);
    if (!value.is_string() || value.get_string().size() > 255)
      throw Fault(FaultKind::bad_request,
                  fmt::format("Security group {} should be text of at most 255 characters.", key));
    out[key] = value;
  }
  return out;
}

http::Response create_group(Core& core, api::Call& call) {
  json::object in = parse_group(call);
  if (!in.contains("name")) throw Fault(FaultKind::bad_request, "Security group name is missing.");
  json::object view = as_nova([&] {
    return core.database.write([&](db::Tx& tx) {
      return group_view(core, tx, call, core.networks.security_groups().create(tx, call, in));
    });
  });
  return api::reply(200, json::object{{"security_group", std::move(view)}});
}

http::Response show_group(Core& core, api::Call& call) {
  const std::string& id = call.param("id");
  need_uuid("Security group", id);
  json::object view = core.database.read([&](db::Tx& tx) {
    return group_view(core, tx, call, core.networks.security_groups().find(tx, call.caller(), id));
  });
  return api::reply(200, json::object{{"security_group", std::move(view)}});
}

http::Response update_group(Core& core, api::Call& call) {
  const std::string& id = call.param("id");
  need_uuid("Security group", id);
  const json::object in = parse_group(call);
  json::object view = as_nova([&] {
    return core.database.write([&](db::Tx& tx) {
      return group_view(core, tx, call, core.networks.security_groups().update(tx, call, id, in));
    });
  });
  return api::reply(200, json::object{{"security_group", std::move(view)}});
}

http::Response delete_group(Core& core, api::Call& call) {
  need_uuid("Security group", call.param("id"));
  as_nova([&] {
    core.database.write(
        [&](db::Tx& tx) { core.networks.security_groups().remove(tx, call, call.param("id")); });
  });
  return api::reply(202);
}

/// A port as a number or as text; -1 and null mean all.
json::value parse_port(const json::object& body, const char* key) {
  if (!has_value(body, key)) return nullptr;
  const auto& given = body.at(key);
  const std::string text = given.is_string() ? str(given) : json::serialize(given);
  char* end = nullptr;
  const int64_t port = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end || port < -1 || port > 65535)
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid port range: {} is not a port. Ports are 1 to 65535, and -1 means all.", text));
  return port == -1 ? json::value(nullptr) : json::value(port);
}

/// nova's rule as neutron's.
json::object parse_rule(api::Call& call) {
  const auto& body = call.body_of("security_group_rule");
  const std::string parent = find_string(body, "parent_group_id"), source = find_string(body, "group_id");
  need_uuid("Parent group", parent);
  json::object rule{{"security_group_id", parent}, {"direction", "ingress"}, {"ethertype", "IPv4"}};
  if (!source.empty()) {
    need_uuid("Security group", source);
    rule["remote_group_id"] = source;
  } else {
    const std::string cidr = find_string(body, "cidr", "0.0.0.0/0");
    if (!api::is_cidr(cidr) && !api::is_ip(cidr))
      throw Fault(FaultKind::bad_request, fmt::format("Invalid cidr {}", cidr));
    rule["remote_ip_prefix"] = cidr;
    if (cidr.find(':') != std::string::npos) rule["ethertype"] = "IPv6";
  }
  std::string protocol = find_string(body, "ip_protocol");
  std::transform(protocol.begin(), protocol.end(), protocol.begin(), ::tolower);
  const bool group_only = !source.empty() && protocol.empty();
  if (protocol.empty() && !group_only)
    throw Fault(FaultKind::bad_request, "Not enough parameters to build a valid rule.");
  if (!protocol.empty()) rule["protocol"] = protocol;
  if (auto port = parse_port(body, "from_port"); !port.is_null()) rule["port_range_min"] = port;
  if (auto port = parse_port(body, "to_port"); !port.is_null()) rule["port_range_max"] = port;
  return rule;
}

http::Response create_rule(Core& core, api::Call& call) {
  const json::object in = parse_rule(call);
  json::object view = as_nova([&] {
    return core.database.write([&](db::Tx& tx) {
      return rule_view(core, tx, call, core.networks.security_groups().create_rule(tx, call, in)).value();
    });
  });
  return api::reply(200, json::object{{"security_group_rule", std::move(view)}});
}

http::Response delete_rule(Core& core, api::Call& call) {
  need_uuid("Rule", call.param("id"));
  as_nova([&] {
    core.database.write(
        [&](db::Tx& tx) { core.networks.security_groups().remove_rule(tx, call, call.param("id")); });
  });
  return api::reply(202);
}

http::Response server_groups(Core& core, api::Call& call) {
  json::array views;
  core.database.read([&](db::Tx& tx) {
    views.clear();
    const auto row = need_server(tx, call, call.param("id"));
    for (const auto& group : core.networks.security_groups().of_server(tx, row.server_id()))
      views.push_back(group_view(core, tx, call, group));
  });
  return api::reply(200, json::object{{"security_groups", std::move(views)}});
}

}  // namespace

void add_security_group_routes(Routes& routes, Core& core) {
  const api::Version first{}, last{2, 35};
  const auto add = [&](const char* method, const std::string& path, const char* rule,
                       http::Response (*handler)(Core&, api::Call&), api::Version max) {
    routes.add(method, path, rule, [&core, handler](api::Call& call) { return handler(core, call); },
               first, max);
  };
  const std::string all = "/os-security-groups", one = all + "/{id}", rules = "/os-security-group-rules";
  add("GET", all, "os-security-groups:get", list_groups, last);
  add("POST", all, "os-security-groups:create", create_group, last);
  add("GET", one, "os-security-groups:show", show_group, last);
  add("PUT", one, "os-security-groups:update", update_group, last);
  add("DELETE", one, "os-security-groups:delete", delete_group, last);
  add("POST", rules, "os-security-groups:rule:create", create_rule, last);
  add("DELETE", rules + "/{id}", "os-security-groups:rule:delete", delete_rule, last);
  add("GET", "/servers/{id}/os-security-groups", "os-security-groups:list", server_groups, {});
}

}  // namespace virga::compute
