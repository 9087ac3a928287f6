#pragma once
// Rows of tokens, enrolled hosts and the CA.

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "db/api.h"

namespace virga::enrolment {

struct TokenRow {
  std::string id, hostname, created_by;
  std::string created_at, expires_at;
  std::optional<std::string> used_at;
  std::string used_by, used_key;  ///< host, and its key's fingerprint; of a controller its id twice
  std::string kind = "host";      ///< what it makes: or "controller"
  std::string sealed;             ///< for the machine alone, see api.h; "": nothing
};

struct HostRow {
  HostId id;
  std::string hostname, address;
  std::string fingerprint;       ///< of the certificate in use
  std::string next_fingerprint;  ///< of one that was given out and not used yet, or ""
  std::string certificate_until, enrolled_at;
};

std::string token_digest(const std::string& secret);
void insert_token(db::Tx& tx, const std::string& secret, const TokenRow& token);
std::optional<TokenRow> find_token(db::Tx& tx, const std::string& secret);
std::vector<TokenRow> all_tokens(db::Tx& tx);
/// False if it was used in the meantime.
bool use_token(db::Tx& tx, const TokenRow& token, const HostId& host, const std::string& key, Time now);
bool delete_token(db::Tx& tx, const std::string& id);
/// Those that ended more than a day ago.
void forget_old_tokens(db::Tx& tx, Time now);

std::optional<HostRow> find_host(db::Tx& tx, const HostId& id);
std::optional<HostRow> find_host_by_name(db::Tx& tx, const std::string& hostname);
std::vector<HostRow> all_hosts(db::Tx& tx);
void insert_host(db::Tx& tx, const HostRow& host, Time now);
/// Notes a certificate that was given out.
void offer_certificate(db::Tx& tx, const HostId& id, const std::string& fingerprint, Time until, Time now);
/// The one that was offered is in use.
void take_certificate(db::Tx& tx, const HostId& id, const std::string& fingerprint, Time now);
bool delete_host(db::Tx& tx, const HostId& id);

struct CaRow {
  std::string certificate, sealed_key;
};
std::optional<CaRow> find_ca(db::Tx& tx);
/// Throws db::UniqueViolation if another controller was quicker.
void insert_ca(db::Tx& tx, const CaRow& ca, Time now);

}  // namespace virga::enrolment
