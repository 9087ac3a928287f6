#pragma once
// What a domain's configuration says of its LDAP directory, and how an entry there becomes a user or group
// here. Pure.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "ldap/api.h"

namespace virga::identity {

/// Where one kind of entry lies, and which attribute is what.
struct DirectoryTree {
  std::string base;
  std::string filter;  ///< of the object class, the id, and the operator's own
  std::string id, name, description;
};

struct DirectorySettings {
  ldap::Options connection;
  ldap::Scope scope = ldap::Scope::one;
  DirectoryTree users, groups;
  std::string mail, enabled, default_project;  ///< attributes of users; "" = not looked at
  std::string enabled_default = "True";
  int64_t enabled_mask = 0;  ///< bits that mean "disabled"
  bool enabled_invert = false;
  /// user_enabled_emulation: whoever is a member of this entry is enabled, nobody else.
  struct EnabledGroup {
    std::string dn, object_class, members;
    bool members_are_ids = false;
  };
  std::optional<EnabledGroup> enabled_group;
  std::string members;  ///< attribute of groups
  bool members_are_ids = false;
  using Mapping = std::vector<std::pair<std::string, std::string>>;  ///< LDAP's name, ours
  Mapping more_of_users, more_of_groups;
};

struct DirectoryUser {
  std::string local_id, dn, name, default_project_id;
  bool enabled = true;
  json::object extra;
};

struct DirectoryGroup {
  std::string local_id, dn, name, description;
  json::object extra;
  std::vector<std::string> members;  ///< DNs, or ids of users
};

/// Nullopt unless the configuration makes LDAP the domain's driver.
std::optional<DirectorySettings> read_directory_settings(const json::object& config);

std::vector<std::string> user_attributes(const DirectorySettings& settings);
std::vector<std::string> group_attributes(const DirectorySettings& settings);
/// Nullopt for an entry without id or name, or whose id or name is longer than a row takes. Values that are
/// no text are left out.
std::optional<DirectoryUser> to_user(const DirectorySettings& settings, const ldap::Entry& entry);
std::optional<DirectoryGroup> to_group(const DirectorySettings& settings, const ldap::Entry& entry);

/// What to ask of the enabled group to know of these users: its members, or only whether the one user is
/// among them.
ldap::Search enabled_search(const DirectorySettings::EnabledGroup& group,
                            const std::vector<DirectoryUser>& users);
/// Sets each user's `enabled` from the answer to that.
void set_enabled(const DirectorySettings::EnabledGroup& group, const std::vector<ldap::Entry>& answer,
                 std::vector<DirectoryUser>& users);

/// The tree's filter, and that attribute with that value.
std::string filter_for(const DirectoryTree& tree, std::string_view attribute, std::string_view value);

/// Keystone's public id of an entry: the SHA-256 of domain, kind ("user", "group") and local id.
std::string public_id(std::string_view domain_id, std::string_view kind, std::string_view local_id);

}  // namespace virga::identity
