// The table of methods, and what they share.
#include <fmt/format.h>

#include "identity/auth.h"

namespace virga::identity {

const std::vector<AuthMethod>& auth_methods() {
  static const std::vector<AuthMethod> methods{
      {"password", method_password, check_password_method},
      {"token", method_token, check_token_method},
      {"application_credential", method_application_credential, check_application_credential_method},
      {"totp", method_totp, check_totp_method},
      {"oauth1", method_oauth1, check_oauth1_method},
      {"mapped", method_mapped, nullptr},
      {"external", method_external, nullptr},
  };
  return methods;
}

std::vector<std::string> method_names(uint16_t methods) {
  std::vector<std::string> names;
  for (const auto& method : auth_methods())
    if (methods & method.bit) names.emplace_back(method.name);
  if (methods & method_ec2) names.emplace_back("ec2credential");  // a signature: no method of /auth/tokens
  return names;
}

std::optional<Method> method_bit(std::string_view name) {
  for (const auto& method : auth_methods())
    if (method.check && method.name == name) return method.bit;
  return std::nullopt;
}

void Attempt::prove(const std::string& user_id) {
  if (!proof.user_id.empty() && proof.user_id != user_id) refuse_authentication();
  proof.user_id = user_id;
}

void Attempt::prove(const UserRow& user) {
  prove(user.id);
  if (proof.generation && *proof.generation != user.generation) refuse_authentication();
  proof.generation = user.generation;
}

void Attempt::delegate(Delegation kind, const std::string& id, const std::string& project_id) {
  if (proof.delegation != Delegation::none && (proof.delegation != kind || proof.delegation_id != id))
    refuse_authentication();
  proof.delegation = kind;
  proof.delegation_id = id;
  proof.project_id = project_id;
}

const json::object& need_object(const json::object& in, std::string_view key, std::string_view where) {
  const json::object* found = find_object(in, key);
  if (!found && in.contains(key)) refuse_body(fmt::format("'{}' of {} must be an object.", key, where));
  if (!found) expecting(key, where);
  return *found;
}

std::string need_string(const json::object& in, std::string_view key, std::string_view where) {
  const auto* found = in.if_contains(key);
  if (!found) expecting(key, where);
  if (!found->is_string()) refuse_body(fmt::format("'{}' of {} must be a string.", key, where));
  return str(*found);
}

std::optional<std::string> named_domain(db::Tx& tx, const json::object& domain) {
  if (has_value(domain, "id")) {
    const auto found = find_project(tx, need_string(domain, "id", "domain"));
    return found && found->is_domain ? std::optional(found->id) : std::nullopt;
  }
  if (!has_value(domain, "name")) expecting("id or name", "domain");
  const auto found = find_project_by_name(tx, "", need_string(domain, "name", "domain"));
  return found ? std::optional(found->id) : std::nullopt;
}

std::optional<UserRow> named_user(db::Tx& tx, const json::object& user) {
  if (has_value(user, "id")) return find_user(tx, need_string(user, "id", "user"));
  if (!has_value(user, "name")) expecting("id or name", "user");
  const std::string name = need_string(user, "name", "user");
  const auto domain_id = named_domain(tx, need_object(user, "domain", "user"));
  return domain_id ? find_user_by_name(tx, *domain_id, name) : std::nullopt;
}

}  // namespace virga::identity
