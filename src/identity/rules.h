#pragma once
// Default policies, as keystone's documentation of Zed gives them with enforce_scope = false: the rules of
// secure RBAC and the older admin rules, either of which lets a call through.

#include <string_view>

namespace virga::identity::rules {

inline constexpr std::string_view admin = "rule:admin_required";
inline constexpr std::string_view admin_or_reader =
    "rule:admin_required or (role:reader and system_scope:all)";
inline constexpr std::string_view admin_or_domain_reader =
    "rule:admin_required or (role:reader and system_scope:all) or (role:reader and "
    "domain_id:%(target.domain_id)s)";
inline constexpr std::string_view admin_or_domain_admin =
    "rule:admin_required or (role:admin and domain_id:%(target.domain_id)s)";
inline constexpr std::string_view user_reader =
    "rule:admin_required or (role:reader and system_scope:all) or (role:reader and "
    "domain_id:%(target.user.domain_id)s) or "
    "user_id:%(target.user.id)s";
inline constexpr std::string_view project_reader =
    "rule:admin_required or (role:reader and system_scope:all) or (role:reader and "
    "domain_id:%(target.project.domain_id)s) or "
    "project_id:%(target.project.id)s";
inline constexpr std::string_view domain_reader =
    "rule:admin_required or (role:reader and system_scope:all) or token.domain.id:%(target.domain.id)s or "
    "token.project.domain.id:%(target.domain.id)s";
inline constexpr std::string_view token_reader =
    "rule:admin_required or (role:reader and system_scope:all) or role:service or "
    "user_id:%(target.token.user_id)s";
inline constexpr std::string_view token_checker =
    "rule:admin_required or (role:reader and system_scope:all) or user_id:%(target.token.user_id)s";
inline constexpr std::string_view token_owner = "rule:admin_required or user_id:%(target.token.user_id)s";
inline constexpr std::string_view admin_or_service = "rule:admin_required or role:service";
// What belongs to the user of the path, or of the row.
inline constexpr std::string_view owner = "user_id:%(user_id)s";
inline constexpr std::string_view owner_admin = "rule:admin_required or user_id:%(user_id)s";
inline constexpr std::string_view owner_reader =
    "rule:admin_required or (role:reader and system_scope:all) or user_id:%(user_id)s";
inline constexpr std::string_view access_rule_admin =
    "(role:admin and system_scope:all) or user_id:%(target.user.id)s";
inline constexpr std::string_view access_rule_reader =
    "(role:reader and system_scope:all) or user_id:%(target.user.id)s";
inline constexpr std::string_view credential_admin =
    "rule:admin_required or user_id:%(target.credential.user_id)s";
inline constexpr std::string_view credential_reader =
    "rule:admin_required or (role:reader and system_scope:all) or user_id:%(target.credential.user_id)s";
inline constexpr std::string_view trust_owner = "user_id:%(trust.trustor_user_id)s";
inline constexpr std::string_view trust_admin =
    "(role:admin and system_scope:all) or user_id:%(target.trust.trustor_user_id)s";
inline constexpr std::string_view trust_reader =
    "(role:reader and system_scope:all) or user_id:%(target.trust.trustor_user_id)s or "
    "user_id:%(target.trust.trustee_user_id)s";
inline constexpr std::string_view trustor_reader =
    "(role:reader and system_scope:all) or user_id:%(target.trust.trustor_user_id)s";
inline constexpr std::string_view trustee_reader =
    "(role:reader and system_scope:all) or user_id:%(target.trust.trustee_user_id)s";
inline constexpr std::string_view grant_list_reader =
    "rule:admin_required or (role:reader and system_scope:all) or (role:reader and "
    "(domain_id:%(target.user.domain_id)s or domain_id:%(target.group.domain_id)s) and "
    "(domain_id:%(target.project.domain_id)s or domain_id:%(target.domain.id)s))";
inline constexpr std::string_view grant_reader =
    "rule:admin_required or (role:reader and system_scope:all) or (role:reader and "
    "(domain_id:%(target.user.domain_id)s or domain_id:%(target.group.domain_id)s) and "
    "(domain_id:%(target.project.domain_id)s or domain_id:%(target.domain.id)s) and "
    "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s))";
inline constexpr std::string_view system_admin = "role:admin and system_scope:all";
inline constexpr std::string_view limit_reader =
    "(role:reader and system_scope:all) or domain_id:%(target.limit.domain.id)s or "
    "domain_id:%(target.limit.project.domain_id)s or project_id:%(target.limit.project_id)s";
inline constexpr std::string_view anyone = "";

}  // namespace virga::identity::rules
