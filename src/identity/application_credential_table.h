#pragma once
// Application credentials and access rules: rows and their SQL.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/context.h"
#include "db/api.h"

namespace virga::identity {

struct ApplicationCredentialRow {
  std::string id, user_id, project_id, name;
  std::optional<std::string> description;
  std::string secret_hash;
  std::optional<Time> expires_at;
  bool unrestricted = false;
  std::set<std::string> role_ids;
  std::vector<api::AccessRule> access_rules;

  bool expired(Time now) const { return expires_at && *expires_at <= now; }
};

std::optional<ApplicationCredentialRow> find_application_credential(db::Tx& tx, const std::string& id);
std::optional<ApplicationCredentialRow> find_application_credential_by_name(db::Tx& tx,
                                                                            const std::string& user_id,
                                                                            const std::string& name);
std::vector<ApplicationCredentialRow> application_credentials_of(db::Tx& tx, const std::string& user_id);
/// Rules without an id are made, or found among the user's.
void insert_application_credential(db::Tx& tx, ApplicationCredentialRow& credential);
void erase_application_credential(db::Tx& tx, const std::string& id);
/// All of them, and the access rules.
void erase_application_credentials_of_user(db::Tx& tx, const std::string& user_id);
void erase_application_credentials_of_project(db::Tx& tx, const std::string& project_id);
void erase_application_credentials_with_role(db::Tx& tx, const std::string& role_id);
/// After the user lost roles: removes the credentials that pass on what the user no longer has.
void prune_application_credentials(db::Tx& tx, const std::string& user_id);

std::optional<api::AccessRule> find_access_rule(db::Tx& tx, const std::string& user_id,
                                                const std::string& id);
std::vector<api::AccessRule> access_rules_of(db::Tx& tx, const std::string& user_id);

}  // namespace virga::identity
