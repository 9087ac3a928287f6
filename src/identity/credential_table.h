#pragma once
// Credentials that must be readable again (EC2 secrets, TOTP seeds): sealed at rest with keys of their own.

#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/json.h"
#include "db/api.h"

namespace virga::identity {

class Core;

struct CredentialRow {
  std::string id, user_id, project_id, type;
  std::string blob;  ///< in the clear
  json::object extra;
};

/// Longest blob, as it is given.
constexpr size_t kMaxBlob = 40'000;

std::optional<CredentialRow> find_credential(Core& core, db::Tx& tx, const std::string& id);
std::vector<CredentialRow> find_credentials(Core& core, db::Tx& tx, const api::Where& where);
std::vector<CredentialRow> credentials_of(Core& core, db::Tx& tx, const std::string& user_id,
                                          const std::string& type);
void insert_credential(Core& core, db::Tx& tx, const CredentialRow& credential);
void save_credential(Core& core, db::Tx& tx, const CredentialRow& credential);
void erase_credential(db::Tx& tx, const std::string& id);
void erase_credentials_of_user(db::Tx& tx, const std::string& user_id);
void erase_credentials_of_project(db::Tx& tx, const std::string& project_id);

struct Resealed {
  int64_t sealed = 0;      ///< rows that another key than the one in use had sealed
  int64_t unreadable = 0;  ///< rows that no key opens; they stay as they are
};
/// Seals with the key in use what another one sealed, some rows a transaction, so that others write in between.
/// Cut off anywhere, it goes on when it is called again: at every start, and at every rotation.
Resealed reseal_credentials(Core& core);
/// Rotates the keys, and seals every row with the new one.
Resealed rotate_credential_keys(Core& core);
/// Whose a credential is, for policies. To a token with delegated rights only those belong that were made
/// with the same rights: with any other EC2 secret, or a TOTP seed, it could get a token with all rights of
/// the user.
std::string credential_owner(const api::Caller& caller, const CredentialRow& credential);
/// The id of an EC2 credential: what a request names is only the access key.
std::string ec2_credential_id(std::string_view access);

}  // namespace virga::identity
