// {"totp": {"user": {"id": …, "passcode": "123456"}}}: the seed is a credential of type "totp".
#include "identity/auth.h"
#include "identity/credential_table.h"
#include "identity/login.h"
#include "identity/totp.h"

namespace virga::identity {

// A passcode has a million values: wrong ones count like wrong passwords.
void check_totp_method(Attempt& a) {
  const json::object& given = need_object(a.data, "user", "totp");
  const std::string passcode = need_string(given, "passcode", "user");
  std::vector<CredentialRow> seeds;
  const auto user = a.core.database.read([&](db::Tx& tx) {
    auto row = named_user(tx, given);
    seeds = row ? credentials_of(a.core, tx, row->id, "totp") : std::vector<CredentialRow>();
    return row;
  });
  if (!user || is_locked(a.core, *user)) refuse_authentication();
  bool right = false;
  for (const auto& seed : seeds)
    right |= totp_matches(seed.blob, passcode, a.core.clock.now(), a.core.options.totp_previous_windows);
  if (!right) note_failure(a.core, *user);
  if (!right || !is_enabled(a.core, *user)) refuse_authentication();
  a.prove(*user);
  a.proof.methods |= method_totp;
}

}  // namespace virga::identity
