#include "enrolment/table.h"

#include "base/crypto.h"

namespace virga::enrolment {
namespace {

constexpr std::string_view kTokenColumns =
    "SELECT id, hostname, created_by, created_at, expires_at, used_at, used_by, used_key, kind, sealed FROM enrolment_tokens ";
constexpr std::string_view kHostColumns =
    "SELECT host_id, hostname, address, fingerprint, next_fingerprint, certificate_until, enrolled_at FROM "
    "enrolled_hosts ";
constexpr std::string_view kCa = "hosts";

TokenRow token_from(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), r.maybe_text(5), r.text(6), r.text(7), r.text(8), r.maybe_text(9).value_or("")};
}

HostRow host_from(const db::Row& r) {
  return {r.id<HostId>(0), r.text(1), r.text(2), r.text(3), r.text(4), r.text(5), r.text(6)};
}

}  // namespace

std::string token_digest(const std::string& secret) {
  return to_hex(sha256(secret));
}

void insert_token(db::Tx& tx, const std::string& secret, const TokenRow& token) {
  tx.exec(
      "INSERT INTO enrolment_tokens (digest, id, hostname, created_by, created_at, expires_at, used_by, used_key, kind, sealed) "
      "VALUES (?, ?, ?, ?, ?, ?, '', '', ?, ?)",
      token_digest(secret), token.id, token.hostname, token.created_by, token.created_at, token.expires_at, token.kind,
      token.sealed.empty() ? db::Value() : db::Value(token.sealed));
}

std::optional<TokenRow> find_token(db::Tx& tx, const std::string& secret) {
  const auto row = tx.first(std::string(kTokenColumns) + "WHERE digest = ?", token_digest(secret));
  if (!row) return std::nullopt;
  return token_from(*row);
}

std::vector<TokenRow> all_tokens(db::Tx& tx) {
  std::vector<TokenRow> out;
  for (const auto& row : tx.query(std::string(kTokenColumns) + "ORDER BY created_at, id")) out.push_back(token_from(row));
  return out;
}

bool use_token(db::Tx& tx, const TokenRow& token, const HostId& host, const std::string& key, Time now) {
  return tx.exec("UPDATE enrolment_tokens SET used_at = ?, used_by = ?, used_key = ? WHERE id = ? AND used_at IS NULL",
                 now, host, key, token.id) == 1;
}

bool delete_token(db::Tx& tx, const std::string& id) {
  return tx.exec("DELETE FROM enrolment_tokens WHERE id = ?", id) == 1;
}

void forget_old_tokens(db::Tx& tx, Time now) {
  tx.exec("DELETE FROM enrolment_tokens WHERE expires_at < ?", now - std::chrono::hours(24));
}

std::optional<HostRow> find_host(db::Tx& tx, const HostId& id) {
  const auto row = tx.first(std::string(kHostColumns) + "WHERE host_id = ?", id);
  if (!row) return std::nullopt;
  return host_from(*row);
}

std::optional<HostRow> find_host_by_name(db::Tx& tx, const std::string& hostname) {
  const auto row = tx.first(std::string(kHostColumns) + "WHERE hostname = ?", hostname);
  if (!row) return std::nullopt;
  return host_from(*row);
}

std::vector<HostRow> all_hosts(db::Tx& tx) {
  std::vector<HostRow> out;
  for (const auto& row : tx.query(std::string(kHostColumns) + "ORDER BY hostname")) out.push_back(host_from(row));
  return out;
}

void insert_host(db::Tx& tx, const HostRow& host, Time now) {
  tx.exec(
      "INSERT INTO enrolled_hosts (host_id, hostname, address, fingerprint, next_fingerprint, certificate_until, "
      "enrolled_at, updated_at) VALUES (?, ?, ?, ?, '', ?, ?, ?)",
      host.id, host.hostname, host.address, host.fingerprint, host.certificate_until, now, now);
}

void offer_certificate(db::Tx& tx, const HostId& id, const std::string& fingerprint, Time until, Time now) {
  tx.exec("UPDATE enrolled_hosts SET next_fingerprint = ?, certificate_until = ?, updated_at = ? WHERE host_id = ?",
          fingerprint, until, now, id);
}

void take_certificate(db::Tx& tx, const HostId& id, const std::string& fingerprint, Time now) {
  tx.exec(
      "UPDATE enrolled_hosts SET fingerprint = ?, next_fingerprint = '', updated_at = ? WHERE host_id = ? AND "
      "next_fingerprint = ?",
      fingerprint, now, id, fingerprint);
}

bool delete_host(db::Tx& tx, const HostId& id) {
  return tx.exec("DELETE FROM enrolled_hosts WHERE host_id = ?", id) == 1;
}

std::optional<CaRow> find_ca(db::Tx& tx) {
  const auto row = tx.first("SELECT certificate, sealed_key FROM enrolment_ca WHERE name = ?", kCa);
  if (!row) return std::nullopt;
  return CaRow{row->text(0), row->text(1)};
}

void insert_ca(db::Tx& tx, const CaRow& ca, Time now) {
  tx.exec("INSERT INTO enrolment_ca (name, certificate, sealed_key, created_at) VALUES (?, ?, ?, ?)", kCa,
          ca.certificate, ca.sealed_key, now);
}

}  // namespace virga::enrolment
