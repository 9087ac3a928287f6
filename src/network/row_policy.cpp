#include "network/row_policy.h"

#include <fmt/format.h>

#include <map>
#include <set>

namespace virga::network {
namespace {

using api::Target;

/// Rows of `table` that the others name in `key`: id -> columns of `columns`.
std::map<std::string, db::Row> parents(db::Tx& tx, const Objects& rows, std::string_view key,
                                       std::string_view table, std::string_view columns) {
  std::set<std::string> ids;
  for (const auto& row : rows)
    if (const std::string id = text_of(row, key); !id.empty()) ids.insert(id);
  std::map<std::string, db::Row> out;
  if (ids.empty()) return out;
  const std::vector<db::Value> values(ids.begin(), ids.end());
  for (auto& r : tx.query(fmt::format("SELECT id, {} FROM {} WHERE id IN ({})", columns, table,
                                      db::placeholders(values.size())),
                          values)) {
    std::string id = r.text(0);
    out.emplace(std::move(id), std::move(r));
  }
  return out;
}

/// As Python shows them, which is how rules are written.
std::string shown(const json::value& value) {
  if (value.is_string()) return str(value);
  if (value.is_bool()) return value.get_bool() ? "True" : "False";
  if (value.is_null()) return "";
  return json::serialize(value);
}

void add(Target& to, const AttributeNames* only, std::string_view name, std::string value) {
  if (!only || only->contains(name)) to.emplace_back(name, std::move(value));
}

Target own_target(const Object& row, const AttributeNames* only) {
  Target out;
  for (const auto& [name, value] : row)
    if (!value.is_object() && !value.is_array() && (!only || only->contains(std::string_view(name))))
      out.emplace_back(name, shown(value));
  if (row.contains("project_id")) add(out, only, "tenant_id", text_of(row, "project_id"));
  return out;
}

/// The rules of one request, and how neutron names them together.
struct Together {
  std::vector<std::string> rules;
  std::string text;

  explicit Together(std::string first) : rules{first}, text("rule:" + first) {}
  void add(const Together& other) {
    rules.insert(rules.end(), other.rules.begin(), other.rules.end());
    text = fmt::format("({} and {})", text, other.text);
  }
};

/// The rules of a value's parts: "create_port:fixed_ips:ip_address".
void add_parts(const api::Call& call, const std::string& rule, const json::value& value, Together& to) {
  std::set<std::string> names;
  const auto collect = [&](const json::value& v) {
    if (v.is_object())
      for (const auto& [name, unused] : v.get_object()) names.emplace(name);
  };
  collect(value);
  if (value.is_array())
    for (const auto& item : value.get_array()) collect(item);
  for (const auto& name : names)
    if (const std::string part = rule + ":" + name; call.find_rule(part)) to.add(Together(part));
}

Together rules_of(const api::Call& call, const Collection& c, std::string_view verb, const Object& given) {
  Together all(fmt::format("{}_{}", verb, c.resource.name));
  const std::string action = all.rules.front();
  for (const auto& attribute : c.resource.attributes) {
    const json::value* value = given.if_contains(attribute.name);
    if (!value) continue;
    const std::string rule = fmt::format("{}:{}", action, attribute.name);
    if (!call.find_rule(rule)) continue;
    if (verb == "create" && attribute.fallback && *attribute.fallback == *value) continue;
    Together one(rule);
    add_parts(call, rule, *value, one);
    all.add(one);
  }
  return all;
}

}  // namespace

std::vector<Target> targets_of(db::Tx& tx, const Objects& rows, const AttributeNames* only) {
  const auto networks = parents(tx, rows, "network_id", "network_networks", "project_id, shared");
  const auto groups = parents(tx, rows, "security_group_id", "network_security_groups", "project_id");
  std::vector<Target> out;
  for (const auto& row : rows) {
    Target target = own_target(row, only);
    if (const auto net = networks.find(text_of(row, "network_id")); net != networks.end()) {
      for (const char* name : {"network:tenant_id", "network:project_id"})
        add(target, only, name, net->second.text(1));
      if (!row.contains("shared")) add(target, only, "shared", net->second.boolean(2) ? "True" : "False");
    }
    if (const auto group = groups.find(text_of(row, "security_group_id")); group != groups.end())
      for (const char* name : {"security_group:tenant_id", "security_group:project_id"})
        add(target, only, name, group->second.text(1));
    out.push_back(std::move(target));
  }
  return out;
}

Target target_of(db::Tx& tx, const Object& row) {
  return targets_of(tx, {row}).front();
}

void require_action(api::Call& call, const Collection& c, std::string_view verb, const Object& given,
                    const Target& target) {
  const Together together = rules_of(call, c, verb, given);
  for (const auto& rule : together.rules)
    if (!call.allows(rule, target))
      throw Fault(FaultKind::forbidden, together.text + " is disallowed by policy", "",
                  "PolicyNotAuthorized");
  call.require(together.rules.front(), target);
}

void require_change(db::Tx& tx, api::Call& call, const Collection& c, std::string_view verb,
                    const Object& current, const Object& given) {
  Object merged = current;
  for (const auto& [name, value] : given) merged[name] = value;
  const Target target = target_of(tx, merged);
  try {
    require_action(call, c, verb, given, target);
  } catch (const Fault&) {
    if (ReadFilter(call, c).may_get(target)) throw;
    throw Fault(FaultKind::not_found, "The resource could not be found.", "", "HTTPNotFound");
  }
}

ReadFilter::ReadFilter(const api::Call& call, const Collection& c)
    : call_(call), whole_(call.find_rule(fmt::format("get_{}", c.resource.name))) {
  const auto add = [&](std::string_view name) {
    if (const auto* rule = call.find_rule(fmt::format("get_{}:{}", c.resource.name, name)))
      rules_.emplace_back(name, rule);
  };
  for (const auto& attribute : c.resource.attributes) add(attribute.name);
  for (auto name : c.computed) add(name);
  if (whole_) asked_.insert(whole_->attributes.begin(), whole_->attributes.end());
  for (const auto& [name, rule] : rules_) asked_.insert(rule->attributes.begin(), rule->attributes.end());
}

bool ReadFilter::may_get(const Target& target) const {
  return whole_ && call_.allows(*whole_, target);
}

void ReadFilter::apply(Object& row, const Target& target) const {
  for (const auto& [name, rule] : rules_)
    if (row.contains(name) && !call_.allows(*rule, target)) row.erase(name);
}

}  // namespace virga::network
