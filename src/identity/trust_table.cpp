#include "identity/trust_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fault.h"
#include "identity/revocations.h"

namespace virga::identity {
namespace {

constexpr std::string_view kColumns =
    "id, trustor_user_id, trustee_user_id, project_id, impersonation, expires_at, remaining_uses, "
    "redelegated_trust_id, redelegation_count, extra";
constexpr size_t kLongestChain = 64;

std::optional<std::string> or_null(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

TrustRow read_trust(db::Tx& tx, const db::Row& r) {
  TrustRow t;
  t.id = r.text(0);
  t.trustor_user_id = r.text(1);
  t.trustee_user_id = r.text(2);
  t.project_id = r.text(3);
  t.impersonation = r.boolean(4);
  t.expires_at = read_time(r, 5);
  t.remaining_uses = r.maybe_integer(6);
  t.redelegated_trust_id = r.text(7);
  t.redelegation_count = r.integer(8);
  t.extra = read_json(r.text(9));
  for (const auto& role : tx.query("SELECT role_id FROM identity_trust_roles WHERE trust_id = ?", t.id))
    t.role_ids.insert(role.text(0));
  return t;
}

}  // namespace

std::optional<TrustRow> find_trust(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM identity_trusts WHERE id = ?", kColumns), id);
  return row ? std::optional(read_trust(tx, *row)) : std::nullopt;
}

std::vector<TrustRow> find_trusts(db::Tx& tx, std::string_view where, const std::string& value) {
  const std::string sql = fmt::format("SELECT {} FROM identity_trusts{} ORDER BY id", kColumns,
                                      where.empty() ? "" : fmt::format(" WHERE {}", where));
  const auto rows = where.empty() ? tx.query(sql) : tx.query(sql, value);
  std::vector<TrustRow> out;
  for (const auto& row : rows) out.push_back(read_trust(tx, row));
  return out;
}

void insert_trust(db::Tx& tx, const TrustRow& t) {
  try {
    tx.exec(fmt::format("INSERT INTO identity_trusts ({}) VALUES ({})", kColumns, db::placeholders(10)), t.id,
            t.trustor_user_id, t.trustee_user_id, or_null(t.project_id), t.impersonation, t.expires_at,
            t.remaining_uses, or_null(t.redelegated_trust_id), t.redelegation_count,
            json::serialize(t.extra));
  } catch (const db::UniqueViolation&) {
    duplicate("trust", "Duplicate entry");
  }
  for (const auto& role : t.role_ids)
    tx.exec("INSERT INTO identity_trust_roles (trust_id, role_id) VALUES (?, ?)", t.id, role);
}

void erase_trust(db::Tx& tx, const std::string& id, Time now) {
  for (const auto& row : tx.query("SELECT id FROM identity_trusts WHERE redelegated_trust_id = ?", id))
    erase_trust(tx, row.text(0), now);
  tx.exec("DELETE FROM identity_trusts WHERE id = ?", id);
  record_revocation(tx, {.trust_id = id}, now);
}

// What passes a trust of theirs on stays as a row: its chain is broken, and so it gives no tokens.
void erase_trusts_of_user(db::Tx& tx, const std::string& user_id) {
  tx.exec("DELETE FROM identity_trusts WHERE trustor_user_id = ? OR trustee_user_id = ?", user_id, user_id);
}

void erase_trusts_of_project(db::Tx& tx, const std::string& project_id) {
  tx.exec("DELETE FROM identity_trusts WHERE project_id = ?", project_id);
}

std::optional<std::vector<TrustRow>> trust_chain(db::Tx& tx, const TrustRow& trust) {
  std::vector<TrustRow> chain{trust};
  while (!chain.back().redelegated_trust_id.empty()) {
    auto parent = find_trust(tx, chain.back().redelegated_trust_id);
    if (!parent || chain.size() >= kLongestChain) return std::nullopt;
    chain.push_back(std::move(*parent));
  }
  return chain;
}

void consume_trust(db::Tx& tx, const std::string& id) {
  if (tx.exec("UPDATE identity_trusts SET remaining_uses = remaining_uses - 1 WHERE id = ? AND "
              "(remaining_uses IS NULL OR remaining_uses > 0)",
              id) == 0)
    throw Fault(FaultKind::forbidden, fmt::format("No remaining uses for trust: {}.", id));
}

std::vector<RoleName> trust_roles(db::Tx& tx, const TrustRow& trust) {
  const auto chain = trust_chain(tx, trust);
  if (!chain) return {};
  const RoleGraph graph(tx);
  const auto delegated = graph.closure(trust.role_ids);
  const auto held = role_ids_of(tx, chain->back().trustor_user_id, {"project", trust.project_id});
  if (!std::includes(held.begin(), held.end(), delegated.begin(), delegated.end())) return {};
  return graph.expand(trust.role_ids);
}

}  // namespace virga::identity
