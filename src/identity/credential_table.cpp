#include "identity/credential_table.h"

#include <fmt/format.h>

#include <array>

#include "base/crypto.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "identity/core.h"
#include "identity/table.h"

namespace virga::identity {
namespace {

constexpr std::string_view kColumns = "id, user_id, project_id, type, sealed_blob, extra";
constexpr size_t kMaxSealed = 64'000;  // MariaDB's TEXT
constexpr size_t kCredentialKeys = 3;  // as keystone's: the staged one, the one in use, the one before

std::optional<std::string> or_null(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

CredentialRow read_row(Core& core, db::Tx& tx, const db::Row& r) {
  auto blob = core.credential_keys.open(r.view(4), kMaxSealed, &tx);
  if (!blob)
    throw Fault(FaultKind::internal,
                "An unexpected error prevented the server from accessing encrypted credentials.",
                "The key that sealed it is not in the database any more.");
  return {r.text(0), r.text(1), r.text(2), r.text(3), std::move(*blob), read_json(r.text(5))};
}

}  // namespace

std::string credential_owner(const api::Caller& caller, const CredentialRow& c) {
  const std::pair<const std::string&, const char*> bounds[] = {
      {caller.trust_id, "trust_id"},
      {caller.application_credential_id, "app_cred_id"},
      {caller.access_token_id, "access_token_id"}};
  for (const auto& [id, name] : bounds)
    if (!id.empty() && (c.type != "ec2" || find_string(read_json(c.blob), name) != id)) return "";
  return c.user_id;
}

std::string ec2_credential_id(std::string_view access) {
  return to_hex(sha256(access));
}

std::vector<CredentialRow> find_credentials(Core& core, db::Tx& tx, const api::Where& where) {
  std::vector<CredentialRow> out;
  for (const auto& row :
       tx.query(fmt::format("SELECT {} FROM identity_credentials{} ORDER BY id", kColumns, where.sql()),
                where.values))
    out.push_back(read_row(core, tx, row));
  return out;
}

std::optional<CredentialRow> find_credential(Core& core, db::Tx& tx, const std::string& id) {
  api::Where where;
  where.add("id = ?", id);
  auto found = find_credentials(core, tx, where);
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

std::vector<CredentialRow> credentials_of(Core& core, db::Tx& tx, const std::string& user_id,
                                          const std::string& type) {
  api::Where where;
  where.add("user_id = ?", user_id);
  where.add("type = ?", type);
  return find_credentials(core, tx, where);
}

void insert_credential(Core& core, db::Tx& tx, const CredentialRow& c) {
  try {
    tx.exec(fmt::format("INSERT INTO identity_credentials ({}) VALUES ({})", kColumns, db::placeholders(6)),
            c.id, c.user_id, or_null(c.project_id), c.type, core.credential_keys.seal(c.blob),
            json::serialize(c.extra));
  } catch (const db::UniqueViolation&) {
    duplicate("credential", fmt::format("Duplicate entry found with ID {}", c.id));
  }
}

void save_credential(Core& core, db::Tx& tx, const CredentialRow& c) {
  tx.exec(
      "UPDATE identity_credentials SET user_id = ?, project_id = ?, type = ?, sealed_blob = ?, extra = ? "
      "WHERE "
      "id = ?",
      c.user_id, or_null(c.project_id), c.type, core.credential_keys.seal(c.blob), json::serialize(c.extra),
      c.id);
}

void erase_credential(db::Tx& tx, const std::string& id) {
  tx.exec("DELETE FROM identity_credentials WHERE id = ?", id);
}

void erase_credentials_of_user(db::Tx& tx, const std::string& user_id) {
  tx.exec("DELETE FROM identity_credentials WHERE user_id = ?", user_id);
}

void erase_credentials_of_project(db::Tx& tx, const std::string& project_id) {
  tx.exec("DELETE FROM identity_credentials WHERE project_id = ?", project_id);
}

// A row that no key opens stays as it is: its key may come back from a backup.
Resealed reseal_credentials(Core& core) {
  constexpr size_t kBatch = 100;
  Resealed all;
  for (std::string after;;) {
    const auto seen = core.database.read([&](db::Tx& tx) {
      return tx.query(
          fmt::format("SELECT id, sealed_blob FROM identity_credentials WHERE id > ? ORDER BY id LIMIT {}", kBatch),
          after);
    });
    std::vector<std::array<std::string, 3>> changes;  // id, before, after
    for (const auto& row : seen) {
      if (core.credential_keys.is_current(row.view(1))) continue;
      if (const auto blob = core.credential_keys.open(row.view(1), kMaxSealed))
        changes.push_back({row.text(0), row.text(1), core.credential_keys.seal(*blob)});
      else
        ++all.unreadable, log::warn("No key opens the credential {}; it is left as it is.", row.text(0));
    }
    // A row that someone changed since is sealed with the new key already, so it must not be put back.
    if (!changes.empty()) {
      core.database.write([&](db::Tx& tx) {
        for (const auto& [id, before, now] : changes)
          tx.exec("UPDATE identity_credentials SET sealed_blob = ? WHERE id = ? AND sealed_blob = ?", now, id, before);
      });
      kill_point("identity.credentials_resealed");
    }
    all.sealed += static_cast<int64_t>(changes.size());
    if (seen.size() < kBatch) return all;
    after = seen.back().text(0);
  }
}

// What an earlier rotation that was cut off left comes first: then two keys open everything, however often one rotates.
Resealed rotate_credential_keys(Core& core) {
  reseal_credentials(core);
  core.credential_keys.rotate(kCredentialKeys);
  return reseal_credentials(core);
}

}  // namespace virga::identity
