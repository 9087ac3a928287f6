// The table of options a domain may set, with keystone's defaults.
#include "identity/domain_config.h"

namespace virga::identity {
namespace {

std::vector<ConfigOption> make_options() {
  const json::value none = nullptr;
  return {
      {"identity", "driver", "sql"},
      {"identity", "list_limit", none},
      {"ldap", "url", "ldap://localhost"},
      {"ldap", "user", none},
      {"ldap", "suffix", "cn=example,cn=com"},
      {"ldap", "query_scope", "one"},
      {"ldap", "page_size", 0},
      {"ldap", "alias_dereferencing", "default"},
      {"ldap", "debug_level", none},
      {"ldap", "chase_referrals", none},
      {"ldap", "user_tree_dn", none},
      {"ldap", "user_filter", none},
      {"ldap", "user_objectclass", "inetOrgPerson"},
      {"ldap", "user_id_attribute", "cn"},
      {"ldap", "user_name_attribute", "sn"},
      {"ldap", "user_mail_attribute", "mail"},
      {"ldap", "user_description_attribute", "description"},
      {"ldap", "user_pass_attribute", "userPassword"},
      {"ldap", "user_enabled_attribute", "enabled"},
      {"ldap", "user_enabled_invert", false},
      {"ldap", "user_enabled_mask", 0},
      {"ldap", "user_enabled_default", "True"},
      {"ldap", "user_attribute_ignore", json::array{"default_project_id"}},
      {"ldap", "user_default_project_id_attribute", none},
      {"ldap", "user_enabled_emulation", false},
      {"ldap", "user_enabled_emulation_dn", none},
      {"ldap", "user_enabled_emulation_use_group_config", false},
      {"ldap", "user_additional_attribute_mapping", json::array{}},
      {"ldap", "group_tree_dn", none},
      {"ldap", "group_filter", none},
      {"ldap", "group_objectclass", "groupOfNames"},
      {"ldap", "group_id_attribute", "cn"},
      {"ldap", "group_name_attribute", "ou"},
      {"ldap", "group_members_are_ids", false},
      {"ldap", "group_member_attribute", "member"},
      {"ldap", "group_desc_attribute", "description"},
      {"ldap", "group_attribute_ignore", json::array{}},
      {"ldap", "group_additional_attribute_mapping", json::array{}},
      {"ldap", "tls_cacertfile", none},
      {"ldap", "tls_cacertdir", none},
      {"ldap", "use_tls", false},
      {"ldap", "tls_req_cert", "demand"},
      {"ldap", "use_pool", true},
      {"ldap", "pool_size", 10},
      {"ldap", "pool_retry_max", 3},
      {"ldap", "pool_retry_delay", 0.1},
      {"ldap", "pool_connection_timeout", -1},
      {"ldap", "pool_connection_lifetime", 600},
      {"ldap", "use_auth_pool", true},
      {"ldap", "auth_pool_size", 100},
      {"ldap", "auth_pool_connection_lifetime", 60},
      {"ldap", "password", none, true},
  };
}

}  // namespace

const std::vector<ConfigOption>& config_options() {
  static const std::vector<ConfigOption> options = make_options();
  return options;
}

const ConfigOption* find_config_option(std::string_view group, std::string_view name) {
  for (const auto& o : config_options())
    if (o.group == group && o.name == name) return &o;
  return nullptr;
}

}  // namespace virga::identity
