#pragma once
// What identity's handlers share: the database, keys, passwords, the catalogue, and the sessions behind
// tokens.

#include <atomic>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "identity/api.h"
#include "identity/catalog_cache.h"
#include "identity/keys.h"
#include "identity/password.h"
#include "identity/password_rules.h"
#include "identity/session_cache.h"
#include "identity/token.h"
#include "ldap/api.h"

namespace virga::identity {

/// A service of this cloud, as the catalogue shows it. Its ids are made from its type, so they never change.
struct BuiltIn {
  std::string id, type, name, title, catalog_path;
};

class Core {
 public:
  Core(Options options, db::Database& database, api::Policy& policy, const Clock& clock);

  const Options options;
  db::Database& database;
  api::Policy& policy;
  const Clock& clock;
  KeyRing keys;             ///< seals tokens and receipts
  KeyRing credential_keys;  ///< seals the secrets that must be readable again: /v3/credentials
  Passwords passwords;
  PasswordRules password_rules;
  ldap::Directories directories;
  CatalogCache catalogs;
  std::vector<BuiltIn> built_in;

  /// A write to identity's tables. It takes the state row first, so identity writes run one after the other
  /// on every engine and with any number of controllers (no write skew), and every cached session is looked
  /// at again.
  template <class F>
  auto change(F&& f) -> std::invoke_result_t<F, db::Tx&> {
    return database.write([&](db::Tx& tx) -> std::invoke_result_t<F, db::Tx&> {
      begin_change(tx);
      return f(tx);
    });
  }

  /// Null if the token is not valid now.
  std::shared_ptr<const Session> session(std::string_view token_text);
  /// The same for a token that may be over by up to `window`.
  std::shared_ptr<const Session> expired_session(std::string_view token_text, std::chrono::seconds window);
  /// The session a token's content gives by the rows of this snapshot; null if they do not allow it.
  std::shared_ptr<Session> load(db::Tx& tx, const Token& token);
  /// Fills user_generation, scope_generation by the rows, then loads; the token ends no later than what its
  /// rights come from.
  std::shared_ptr<Session> begin_session(db::Tx& tx, Token token);
  /// Grows with every change(). What was read after it was asked for is as new as it says.
  uint64_t current_epoch();

 private:
  void begin_change(db::Tx& tx);

  std::atomic<uint64_t> epoch_{1};
  SessionCache cache_;
};

}  // namespace virga::identity
