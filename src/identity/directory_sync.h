#pragma once
// Domains whose users and groups live in an LDAP directory (identity/driver = "ldap" in the domain's
// configuration).
//
// The directory says who there is, their names, whether they are enabled, their groups and passwords; it is
// never written. Each user and group has a row here as well, made when it is first seen, under keystone's
// public id: roles, tokens and trusts hang on that row as on any other. The rows are brought up to date when
// somebody logs in, or when they are listed or shown; no directory is asked inside of a transaction, nor when
// a token is checked.
//
// The default domain is never one of these: the cloud's own accounts live in it.

#include <optional>
#include <string>

#include "identity/core.h"
#include "identity/directory.h"
#include "identity/table.h"

namespace virga::identity {

/// The settings of such a domain; nullopt of any other.
std::optional<DirectorySettings> directory_of(db::Tx& tx, const std::string& domain_id);

// Nothing happens for a domain without a directory. Throws Fault(unavailable) if the directory does not
// answer; the log says why.
/// Every user and group.
void refresh_domain(Core& core, const std::string& domain_id);
/// One user with his groups.
void refresh_user(Core& core, const std::string& user_id);
/// One group with its members.
void refresh_group(Core& core, const std::string& group_id);

/// The user of that name, or with that id, if the directory takes the password; otherwise
/// Fault(unauthorized).
UserRow directory_login(Core& core, const std::string& domain_id, const DirectorySettings& settings,
                        const std::string& user_id, const std::string& name, const std::string& password);

/// Before a list of users or groups: refreshes the domain that the list is of, if it is of one.
void refresh_listed(Core& core, const api::Call& call);

/// Refuses (403) to change what lives in a directory.
void refuse_directory_write(Core& core, const std::string& domain_id);

/// True if the directory no longer shows that user or group.
bool is_gone(db::Tx& tx, const std::string& id);
/// A condition on `table` (identity_users, identity_groups): not of those that the directory no longer shows.
std::string present_in_directory(std::string_view table);

}  // namespace virga::identity
