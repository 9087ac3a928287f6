#include "identity/mapping_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "base/fault.h"

namespace virga::identity {
namespace {

[[noreturn]] void refuse(const std::string& where, std::string_view why) {
  throw Fault(FaultKind::bad_request, fmt::format("The mapping does not fit its schema: {} {}.", where, why));
}

const json::object& need_object(const json::value& v, const std::string& where) {
  if (!v.is_object()) refuse(where, "is not of type 'object'");
  return v.get_object();
}

const json::array& need_array(const json::value& v, const std::string& where) {
  if (!v.is_array()) refuse(where, "is not of type 'array'");
  return v.get_array();
}

void need_text(const json::value& v, const std::string& where) {
  if (!v.is_string()) refuse(where, "is not of type 'string'");
}

const json::value& need_member(const json::object& o, std::string_view name, const std::string& where) {
  const json::value* found = o.if_contains(name);
  if (!found) refuse(where, fmt::format("lacks the required property '{}'", name));
  return *found;
}

void only(const json::object& o, std::initializer_list<std::string_view> names, const std::string& where) {
  for (const auto& [name, value] : o)
    if (std::find(names.begin(), names.end(), name) == names.end())
      refuse(where, fmt::format("has the unexpected property '{}'", name));
}

/// Each item of a list, with its place.
template <class F>
void each(const json::array& list, const std::string& where, F&& f) {
  for (size_t i = 0; i < list.size(); ++i) f(list[i], fmt::format("{}[{}]", where, i));
}

void check_domain(const json::value& v, const std::string& where) {
  const auto& o = need_object(v, where);
  only(o, {"id", "name"}, where);
  for (const auto& [name, value] : o) need_text(value, where + "." + std::string(name));
}

void check_user(const json::value& v, const std::string& where) {
  const auto& o = need_object(v, where);
  only(o, {"id", "name", "email", "domain", "type"}, where);
  for (const auto& [name, value] : o) {
    const std::string at = where + "." + std::string(name);
    if (name == "domain")
      check_domain(value, at);
    else
      need_text(value, at);
    if (name == "type" && str(value) != "ephemeral" && str(value) != "local")
      refuse(at, "is neither 'ephemeral' nor 'local'");
  }
}

void check_project(const json::value& v, const std::string& where) {
  const auto& o = need_object(v, where);
  only(o, {"name", "roles"}, where);
  need_text(need_member(o, "name", where), where + ".name");
  const std::string roles = where + ".roles";
  each(need_array(need_member(o, "roles", where), roles), roles,
       [](const json::value& role, const std::string& at) {
         need_text(need_member(need_object(role, at), "name", at), at + ".name");
       });
}

/// {"id": …}, or {"name": …, "domain": …}.
void check_group(const json::value& v, const std::string& where) {
  const auto& o = need_object(v, where);
  if (o.contains("id")) {
    only(o, {"id"}, where);
    return need_text(o.at("id"), where + ".id");
  }
  only(o, {"name", "domain"}, where);
  need_text(need_member(o, "name", where), where + ".name");
  check_domain(need_member(o, "domain", where), where + ".domain");
}

void check_local(const json::value& v, const std::string& where) {
  const auto& o = need_object(v, where);
  only(o, {"user", "projects", "group", "groups", "group_ids", "domain"}, where);
  for (const auto& [name, value] : o) {
    const std::string at = where + "." + std::string(name);
    if (name == "user") check_user(value, at);
    if (name == "projects") each(need_array(value, at), at, check_project);
    if (name == "group") check_group(value, at);
    if (name == "domain") check_domain(value, at);
    if (name == "groups" || name == "group_ids") need_text(value, at);
  }
}

/// {"type": …} with at most one condition.
void check_remote(const json::value& v, const std::string& where) {
  constexpr std::string_view conditions[] = {"any_one_of", "not_any_of", "blacklist", "whitelist"};
  const auto& o = need_object(v, where);
  need_text(need_member(o, "type", where), where + ".type");
  only(o, {"type", "any_one_of", "not_any_of", "blacklist", "whitelist", "regex"}, where);
  size_t count = 0;
  for (auto name : conditions)
    if (const auto* list = o.if_contains(name)) {
      need_array(*list, where + "." + std::string(name));
      ++count;
    }
  if (count > 1) refuse(where, "has more than one of any_one_of, not_any_of, blacklist and whitelist");
  if (const auto* regex = o.if_contains("regex")) {
    if (count == 0) refuse(where, "has 'regex' without a condition");
    if (!regex->is_bool()) refuse(where + ".regex", "is not of type 'boolean'");
  }
}

}  // namespace

void check_mapping_rules(const json::value& rules) {
  const auto& list = need_array(rules, "rules");
  if (list.empty()) refuse("rules", "is empty");
  each(list, "rules", [](const json::value& rule, const std::string& where) {
    const auto& o = need_object(rule, where);
    only(o, {"local", "remote"}, where);
    const std::string local = where + ".local", remote = where + ".remote";
    each(need_array(need_member(o, "local", where), local), local, check_local);
    const auto& conditions = need_array(need_member(o, "remote", where), remote);
    if (conditions.empty()) refuse(remote, "is empty");
    each(conditions, remote, check_remote);
  });
}

}  // namespace virga::identity
