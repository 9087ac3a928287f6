#pragma once
// A domain's own configuration: which options there are, their defaults, and what a domain has set.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "db/api.h"

namespace virga::identity {

struct ConfigOption {
  std::string_view group, name;
  json::value fallback;
  bool sensitive = false;  ///< taken, never shown
};

/// Keystone's options that a domain may set, in the order of its documentation.
const std::vector<ConfigOption>& config_options();
const ConfigOption* find_config_option(std::string_view group, std::string_view name);

/// {"ldap": {"url": …}}: everything the domain has set, sensitive options and their substitutions
/// (%(password)s) included. For drivers, never for an answer.
json::object full_domain_config(db::Tx& tx, const std::string& domain_id);

}  // namespace virga::identity
