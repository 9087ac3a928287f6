// Keystone's rules as Zed documents them: the default of secure RBAC, the scopes it is made for, and the older default
// that lets a call through as well until policy.new_defaults is set. The last two are keystone's of 2025: whoever sees a
// signed request could turn it into a token there, so only services may ask.
#include "identity/rules.h"

namespace virga::identity {
namespace {

constexpr std::string_view kProject = "project";
constexpr std::string_view kSystem = "system";
constexpr std::string_view kSystemDomain = "system domain";
constexpr std::string_view kSystemProject = "system project";
constexpr std::string_view kAnyScope = "system domain project";

constexpr std::string_view kSystemReader = "role:reader and system_scope:all";
constexpr std::string_view kSystemAdmin = "role:admin and system_scope:all";
constexpr std::string_view kAdmin = "rule:admin_required";
constexpr std::string_view kAdminOrOwner = "rule:admin_or_owner";
constexpr std::string_view kReadsOwn = "(role:reader and system_scope:all) or rule:owner";
constexpr std::string_view kDeletesOwn = "(role:admin and system_scope:all) or rule:owner";
constexpr std::string_view kAccessRuleReader =
    "(role:reader and system_scope:all) or user_id:%(target.user.id)s";
constexpr std::string_view kCredentialReader =
    "(role:reader and system_scope:all) or user_id:%(target.credential.user_id)s";
constexpr std::string_view kCredentialAdmin =
    "(role:admin and system_scope:all) or user_id:%(target.credential.user_id)s";
constexpr std::string_view kCredentialOwnerBefore =
    "rule:admin_required or (rule:owner and user_id:%(target.credential.user_id)s)";
constexpr std::string_view kDomainReader =
    "(role:reader and system_scope:all) or token.domain.id:%(target.domain.id)s or "
    "token.project.domain.id:%(target.domain.id)s";
constexpr std::string_view kDomainReaderBefore =
    "rule:admin_required or token.project.domain.id:%(target.domain.id)s";
constexpr std::string_view kGrantChecker =
    "(role:reader and system_scope:all) or ((role:reader and domain_id:%(target.user.domain_id)s and "
    "domain_id:%(target.project.domain_id)s) or (role:reader and domain_id:%(target.user.domain_id)s "
    "and domain_id:%(target.domain.id)s) or (role:reader and domain_id:%(target.group.domain_id)s and "
    "domain_id:%(target.project.domain_id)s) or (role:reader and domain_id:%(target.group.domain_id)s "
    "and domain_id:%(target.domain.id)s)) and (domain_id:%(target.role.domain_id)s or "
    "None:%(target.role.domain_id)s)";
constexpr std::string_view kGrantReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.user.domain_id)s and "
    "domain_id:%(target.project.domain_id)s) or (role:reader and domain_id:%(target.user.domain_id)s "
    "and domain_id:%(target.domain.id)s) or (role:reader and domain_id:%(target.group.domain_id)s and "
    "domain_id:%(target.project.domain_id)s) or (role:reader and domain_id:%(target.group.domain_id)s "
    "and domain_id:%(target.domain.id)s)";
constexpr std::string_view kGrantAdmin =
    "(role:admin and system_scope:all) or ((role:admin and domain_id:%(target.user.domain_id)s and "
    "domain_id:%(target.project.domain_id)s) or (role:admin and domain_id:%(target.user.domain_id)s "
    "and domain_id:%(target.domain.id)s) or (role:admin and domain_id:%(target.group.domain_id)s and "
    "domain_id:%(target.project.domain_id)s) or (role:admin and domain_id:%(target.group.domain_id)s "
    "and domain_id:%(target.domain.id)s)) and (domain_id:%(target.role.domain_id)s or "
    "None:%(target.role.domain_id)s)";
constexpr std::string_view kGroupReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.group.domain_id)s)";
constexpr std::string_view kGroupAdmin =
    "(role:admin and system_scope:all) or (role:admin and domain_id:%(target.group.domain_id)s)";
constexpr std::string_view kMemberReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.group.domain_id)s and "
    "domain_id:%(target.user.domain_id)s)";
constexpr std::string_view kMemberAdmin =
    "(role:admin and system_scope:all) or (role:admin and domain_id:%(target.group.domain_id)s and "
    "domain_id:%(target.user.domain_id)s)";
constexpr std::string_view kUsersGroupsReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.user.domain_id)s) or "
    "user_id:%(user_id)s";
constexpr std::string_view kLimitReader =
    "(role:reader and system_scope:all) or (domain_id:%(target.limit.domain.id)s or "
    "domain_id:%(target.limit.project.domain_id)s) or (project_id:%(target.limit.project_id)s and not "
    "None:%(target.limit.project_id)s)";
constexpr std::string_view kProjectReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.project.domain_id)s) "
    "or project_id:%(target.project.id)s";
constexpr std::string_view kProjectReaderBefore = "rule:admin_required or project_id:%(target.project.id)s";
constexpr std::string_view kProjectAdmin =
    "(role:admin and system_scope:all) or (role:admin and domain_id:%(target.project.domain_id)s)";
constexpr std::string_view kTagAdmin =
    "(role:admin and system_scope:all) or (role:admin and domain_id:%(target.project.domain_id)s) or "
    "(role:admin and project_id:%(target.project.id)s)";
constexpr std::string_view kListReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.domain_id)s)";
constexpr std::string_view kTreeReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.project.domain_id)s) "
    "or (role:admin and project_id:%(target.project.id)s)";
constexpr std::string_view kUsersProjectsReader =
    "(role:reader and system_scope:all) or (role:reader and domain_id:%(target.user.domain_id)s) or "
    "user_id:%(target.user.id)s";
constexpr std::string_view kUserReader =
    "(role:reader and system_scope:all) or (role:reader and "
    "token.domain.id:%(target.user.domain_id)s) or user_id:%(target.user.id)s";
constexpr std::string_view kUserAdmin =
    "(role:admin and system_scope:all) or (role:admin and token.domain.id:%(target.user.domain_id)s)";
constexpr std::string_view kTokenChecker = "(role:reader and system_scope:all) or rule:token_subject";
constexpr std::string_view kTokenReader =
    "(role:reader and system_scope:all) or rule:service_role or rule:token_subject";
constexpr std::string_view kTokenAdmin = "(role:admin and system_scope:all) or rule:token_subject";
constexpr std::string_view kTrustReader =
    "role:reader and system_scope:all or user_id:%(target.trust.trustor_user_id)s or "
    "user_id:%(target.trust.trustee_user_id)s";
constexpr std::string_view kTrustReaderBefore =
    "user_id:%(target.trust.trustor_user_id)s or user_id:%(target.trust.trustee_user_id)s";
constexpr std::string_view kTrustAdmin =
    "role:admin and system_scope:all or user_id:%(target.trust.trustor_user_id)s";
constexpr std::string_view kTrustorReader =
    "role:reader and system_scope:all or user_id:%(target.trust.trustor_user_id)s";
constexpr std::string_view kTrusteeReader =
    "role:reader and system_scope:all or user_id:%(target.trust.trustee_user_id)s";

constexpr api::RuleDefault kRules[] = {
    {"admin_required", "role:admin or is_admin:1"},
    {"service_role", "role:service"},
    {"service_or_admin", "rule:admin_required or rule:service_role"},
    {"owner", "user_id:%(user_id)s"},
    {"admin_or_owner", "rule:admin_required or rule:owner"},
    {"token_subject", "user_id:%(target.token.user_id)s"},
    {"admin_or_token_subject", "rule:admin_required or rule:token_subject"},
    {"service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject"},
    {"identity:get_access_rule", kAccessRuleReader, kSystemProject},
    {"identity:list_access_rules", kAccessRuleReader, kSystemProject},
    {"identity:delete_access_rule", "(role:admin and system_scope:all) or user_id:%(target.user.id)s",
     kSystemProject},
    {"identity:authorize_request_token", kAdmin, kProject},
    {"identity:get_access_token", kAdmin, kProject},
    {"identity:get_access_token_role", kAdmin, kProject},
    {"identity:list_access_tokens", kAdmin, kProject},
    {"identity:list_access_token_roles", kAdmin, kProject},
    {"identity:delete_access_token", kAdmin, kProject},
    {"identity:get_application_credential", kReadsOwn, kSystemProject, kAdminOrOwner},
    {"identity:list_application_credentials", kReadsOwn, kSystemProject, kAdminOrOwner},
    {"identity:create_application_credential", "user_id:%(user_id)s", kProject},
    {"identity:delete_application_credential", kDeletesOwn, kSystemProject, kAdminOrOwner},
    {"identity:get_auth_catalog", ""},
    {"identity:get_auth_projects", ""},
    {"identity:get_auth_domains", ""},
    {"identity:get_auth_system", ""},
    {"identity:get_consumer", kSystemReader, kSystem, kAdmin},
    {"identity:list_consumers", kSystemReader, kSystem, kAdmin},
    {"identity:create_consumer", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_consumer", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_consumer", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_credential", kCredentialReader, kSystemProject, kAdmin},
    {"identity:list_credentials", kCredentialReader, kSystemProject, kAdmin},
    {"identity:create_credential", kCredentialAdmin, kSystemProject, kAdmin},
    {"identity:update_credential", kCredentialAdmin, kSystemProject, kAdmin},
    {"identity:delete_credential", kCredentialAdmin, kSystemProject, kAdmin},
    {"identity:get_domain", kDomainReader, kAnyScope, kDomainReaderBefore},
    {"identity:list_domains", kSystemReader, kSystem, kAdmin},
    {"identity:create_domain", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_domain", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_domain", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_domain_config", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_domain_config", kSystemReader, kSystem, kAdmin},
    {"identity:get_security_compliance_domain_config", "", kAnyScope},
    {"identity:update_domain_config", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_domain_config", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_domain_config_default", kSystemReader, kSystem, kAdmin},
    {"identity:ec2_get_credential", kCredentialReader, kSystemProject, kCredentialOwnerBefore},
    {"identity:ec2_list_credentials", kReadsOwn, kSystemProject, kAdminOrOwner},
    {"identity:ec2_create_credential", kDeletesOwn, kSystemProject, kAdminOrOwner},
    {"identity:ec2_delete_credential", kCredentialAdmin, kSystemProject, kCredentialOwnerBefore},
    {"identity:get_endpoint", kSystemReader, kSystem, kAdmin},
    {"identity:list_endpoints", kSystemReader, kSystem, kAdmin},
    {"identity:create_endpoint", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_endpoint", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_endpoint", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_endpoint_group", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_endpoint_groups", kSystemReader, kSystem, kAdmin},
    {"identity:get_endpoint_group", kSystemReader, kSystem, kAdmin},
    {"identity:update_endpoint_group", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_endpoint_group", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_projects_associated_with_endpoint_group", kSystemReader, kSystem, kAdmin},
    {"identity:list_endpoints_associated_with_endpoint_group", kSystemReader, kSystem, kAdmin},
    {"identity:get_endpoint_group_in_project", kSystemReader, kSystem, kAdmin},
    {"identity:list_endpoint_groups_for_project", kSystemReader, kSystem, kAdmin},
    {"identity:add_endpoint_group_to_project", kSystemAdmin, kSystem, kAdmin},
    {"identity:remove_endpoint_group_from_project", kSystemAdmin, kSystem, kAdmin},
    {"identity:check_grant", kGrantChecker, kSystemDomain, kAdmin},
    {"identity:list_grants", kGrantReader, kSystemDomain, kAdmin},
    {"identity:create_grant", kGrantAdmin, kSystemDomain, kAdmin},
    {"identity:revoke_grant", kGrantAdmin, kSystemDomain, kAdmin},
    {"identity:list_system_grants_for_user", kSystemReader, kSystem, kAdmin},
    {"identity:check_system_grant_for_user", kSystemReader, kSystem, kAdmin},
    {"identity:create_system_grant_for_user", kSystemAdmin, kSystem, kAdmin},
    {"identity:revoke_system_grant_for_user", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_system_grants_for_group", kSystemReader, kSystem, kAdmin},
    {"identity:check_system_grant_for_group", kSystemReader, kSystem, kAdmin},
    {"identity:create_system_grant_for_group", kSystemAdmin, kSystem, kAdmin},
    {"identity:revoke_system_grant_for_group", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_group", kGroupReader, kSystemDomain, kAdmin},
    {"identity:list_groups", kGroupReader, kSystemDomain, kAdmin},
    {"identity:list_groups_for_user", kUsersGroupsReader, kAnyScope, kAdminOrOwner},
    {"identity:create_group", kGroupAdmin, kSystemDomain, kAdmin},
    {"identity:update_group", kGroupAdmin, kSystemDomain, kAdmin},
    {"identity:delete_group", kGroupAdmin, kSystemDomain, kAdmin},
    {"identity:list_users_in_group", kGroupReader, kSystemDomain, kAdmin},
    {"identity:remove_user_from_group", kMemberAdmin, kSystemDomain, kAdmin},
    {"identity:check_user_in_group", kMemberReader, kSystemDomain, kAdmin},
    {"identity:add_user_to_group", kMemberAdmin, kSystemDomain, kAdmin},
    {"identity:create_identity_provider", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_identity_providers", kSystemReader, kSystem, kAdmin},
    {"identity:get_identity_provider", kSystemReader, kSystem, kAdmin},
    {"identity:update_identity_provider", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_identity_provider", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_implied_role", kSystemReader, kSystem, kAdmin},
    {"identity:list_implied_roles", kSystemReader, kSystem, kAdmin},
    {"identity:create_implied_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_implied_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_role_inference_rules", kSystemReader, kSystem, kAdmin},
    {"identity:check_implied_role", kSystemReader, kSystem, kAdmin},
    {"identity:get_limit_model", "", kAnyScope},
    {"identity:get_limit", kLimitReader, kAnyScope},
    {"identity:list_limits", "", kAnyScope},
    {"identity:create_limits", kSystemAdmin, kSystem},
    {"identity:update_limit", kSystemAdmin, kSystem},
    {"identity:delete_limit", kSystemAdmin, kSystem},
    {"identity:create_mapping", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_mapping", kSystemReader, kSystem, kAdmin},
    {"identity:list_mappings", kSystemReader, kSystem, kAdmin},
    {"identity:delete_mapping", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_mapping", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_policy", kSystemReader, kSystem, kAdmin},
    {"identity:list_policies", kSystemReader, kSystem, kAdmin},
    {"identity:create_policy", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_policy", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_policy", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_policy_association_for_endpoint", kSystemAdmin, kSystem, kAdmin},
    {"identity:check_policy_association_for_endpoint", kSystemReader, kSystem, kAdmin},
    {"identity:delete_policy_association_for_endpoint", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_policy_association_for_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:check_policy_association_for_service", kSystemReader, kSystem, kAdmin},
    {"identity:delete_policy_association_for_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_policy_association_for_region_and_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:check_policy_association_for_region_and_service", kSystemReader, kSystem, kAdmin},
    {"identity:delete_policy_association_for_region_and_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_policy_for_endpoint", kSystemReader, kSystem, kAdmin},
    {"identity:list_endpoints_for_policy", kSystemReader, kSystem, kAdmin},
    {"identity:get_project", kProjectReader, kAnyScope, kProjectReaderBefore},
    {"identity:list_projects", kListReader, kSystemDomain, kAdmin},
    {"identity:list_user_projects", kUsersProjectsReader, kAnyScope, kAdminOrOwner},
    {"identity:create_project", kProjectAdmin, kSystemDomain, kAdmin},
    {"identity:update_project", kProjectAdmin, kSystemDomain, kAdmin},
    {"identity:delete_project", kProjectAdmin, kSystemDomain, kAdmin},
    {"identity:list_project_tags", kProjectReader, kAnyScope, kProjectReaderBefore},
    {"identity:get_project_tag", kProjectReader, kAnyScope, kProjectReaderBefore},
    {"identity:update_project_tags", kTagAdmin, kAnyScope, kAdmin},
    {"identity:create_project_tag", kTagAdmin, kAnyScope, kAdmin},
    {"identity:delete_project_tags", kTagAdmin, kAnyScope, kAdmin},
    {"identity:delete_project_tag", kTagAdmin, kAnyScope, kAdmin},
    {"identity:list_projects_for_endpoint", kSystemReader, kSystem, kAdmin},
    {"identity:add_endpoint_to_project", kSystemAdmin, kSystem, kAdmin},
    {"identity:check_endpoint_in_project", kSystemReader, kSystem, kAdmin},
    {"identity:list_endpoints_for_project", kSystemReader, kSystem, kAdmin},
    {"identity:remove_endpoint_from_project", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_protocol", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_protocol", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_protocol", kSystemReader, kSystem, kAdmin},
    {"identity:list_protocols", kSystemReader, kSystem, kAdmin},
    {"identity:delete_protocol", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_region", "", kAnyScope},
    {"identity:list_regions", "", kAnyScope},
    {"identity:create_region", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_region", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_region", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_registered_limit", "", kAnyScope},
    {"identity:list_registered_limits", "", kAnyScope},
    {"identity:create_registered_limits", kSystemAdmin, kSystem},
    {"identity:update_registered_limit", kSystemAdmin, kSystem},
    {"identity:delete_registered_limit", kSystemAdmin, kSystem},
    {"identity:list_revoke_events", "rule:service_or_admin", kSystem},
    {"identity:get_role", kSystemReader, kSystem, kAdmin},
    {"identity:list_roles", kSystemReader, kSystem, kAdmin},
    {"identity:create_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:get_domain_role", kSystemReader, kSystem, kAdmin},
    {"identity:list_domain_roles", kSystemReader, kSystem, kAdmin},
    {"identity:create_domain_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_domain_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_domain_role", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_role_assignments", kListReader, kSystemDomain, kAdmin},
    {"identity:list_role_assignments_for_tree", kTreeReader, kAnyScope, kAdmin},
    {"identity:get_service", kSystemReader, kSystem, kAdmin},
    {"identity:list_services", kSystemReader, kSystem, kAdmin},
    {"identity:create_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:update_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_service", kSystemAdmin, kSystem, kAdmin},
    {"identity:create_service_provider", kSystemAdmin, kSystem, kAdmin},
    {"identity:list_service_providers", kSystemReader, kSystem, kAdmin},
    {"identity:get_service_provider", kSystemReader, kSystem, kAdmin},
    {"identity:update_service_provider", kSystemAdmin, kSystem, kAdmin},
    {"identity:delete_service_provider", kSystemAdmin, kSystem, kAdmin},
    {"identity:check_token", kTokenChecker, kAnyScope, "rule:admin_or_token_subject"},
    {"identity:validate_token", kTokenReader, kAnyScope, "rule:service_admin_or_token_subject"},
    {"identity:revoke_token", kTokenAdmin, kAnyScope, "rule:admin_or_token_subject"},
    {"identity:create_trust", "user_id:%(trust.trustor_user_id)s", kProject},
    {"identity:list_trusts", kSystemReader, kSystem, kAdmin},
    {"identity:list_trusts_for_trustor", kTrustorReader, kSystemProject},
    {"identity:list_trusts_for_trustee", kTrusteeReader, kSystemProject},
    {"identity:list_roles_for_trust", kTrustReader, kSystemProject, kTrustReaderBefore},
    {"identity:get_role_for_trust", kTrustReader, kSystemProject, kTrustReaderBefore},
    {"identity:delete_trust", kTrustAdmin, kSystemProject, "user_id:%(target.trust.trustor_user_id)s"},
    {"identity:get_trust", kTrustReader, kSystemProject, kTrustReaderBefore},
    {"identity:get_user", kUserReader, kAnyScope, kAdminOrOwner},
    {"identity:list_users", kListReader, kSystemDomain, kAdmin},
    {"identity:create_user", kUserAdmin, kSystemDomain, kAdmin},
    {"identity:update_user", kUserAdmin, kSystemDomain, kAdmin},
    {"identity:delete_user", kUserAdmin, kSystemDomain, kAdmin},
    {"identity:ec2tokens_validate", "rule:service_or_admin"},
    {"identity:s3tokens_validate", "rule:service_or_admin"},
};

}  // namespace

std::span<const api::RuleDefault> rules() { return kRules; }

}  // namespace virga::identity
