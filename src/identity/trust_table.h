#pragma once
// Trusts: rows and the SQL that reads them.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "db/api.h"
#include "identity/roles_of.h"

namespace virga::identity {

struct TrustRow {
  std::string id, trustor_user_id, trustee_user_id, project_id;
  bool impersonation = false;
  std::optional<Time> expires_at;
  std::optional<int64_t> remaining_uses;  ///< tokens that may still be made of it
  std::string redelegated_trust_id;       ///< the trust it passes on
  int64_t redelegation_count = 0;         ///< how often it may be passed on
  json::object extra;
  std::set<std::string> role_ids;

  bool expired(Time now) const { return expires_at && *expires_at <= now; }
  bool used_up() const { return remaining_uses && *remaining_uses <= 0; }
};

std::optional<TrustRow> find_trust(db::Tx& tx, const std::string& id);
/// `where` is a condition on the columns, with one parameter, or "".
std::vector<TrustRow> find_trusts(db::Tx& tx, std::string_view where, const std::string& value);
void insert_trust(db::Tx& tx, const TrustRow& trust);
/// With all that pass it on.
void erase_trust(db::Tx& tx, const std::string& id, Time now);
void erase_trusts_of_user(db::Tx& tx, const std::string& user_id);
void erase_trusts_of_project(db::Tx& tx, const std::string& project_id);

/// The trust and those it passes on, up to the first; nullopt if one of them is gone.
std::optional<std::vector<TrustRow>> trust_chain(db::Tx& tx, const TrustRow& trust);
/// Takes one use; Fault(forbidden) if there is none left.
void consume_trust(db::Tx& tx, const std::string& id);
/// The roles a trust's token has; empty if the first trustor no longer has one of them.
std::vector<RoleName> trust_roles(db::Tx& tx, const TrustRow& trust);

}  // namespace virga::identity
