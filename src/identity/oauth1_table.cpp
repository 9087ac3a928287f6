#include "identity/oauth1_table.h"

#include <fmt/format.h>

#include "identity/table.h"

namespace virga::identity {
namespace {

std::set<std::string> read_set(const std::string& text) {
  std::set<std::string> out;
  const json::value v = parse_json(text);
  if (v.is_array())
    for (const auto& id : v.get_array())
      if (id.is_string()) out.insert(str(id));
  return out;
}

constexpr std::string_view kAccessColumns =
    "id, secret, consumer_id, project_id, user_id, role_ids, expires_at";

AccessTokenRow read_access(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), read_set(r.text(5)), read_time(r, 6)};
}

}  // namespace

std::optional<ConsumerRow> find_consumer(db::Tx& tx, const std::string& id) {
  const auto r = tx.first("SELECT id, secret, description, extra FROM identity_consumers WHERE id = ?", id);
  if (!r) return std::nullopt;
  return ConsumerRow{r->text(0), r->text(1), r->maybe_text(2), read_json(r->text(3))};
}

std::optional<RequestTokenRow> find_request_token(db::Tx& tx, const std::string& id) {
  const auto r = tx.first(
      "SELECT id, secret, consumer_id, project_id, verifier, user_id, role_ids, expires_at FROM "
      "identity_request_tokens WHERE id = ?",
      id);
  if (!r) return std::nullopt;
  return RequestTokenRow{r->text(0), r->text(1), r->text(2),           r->text(3),
                         r->text(4), r->text(5), read_set(r->text(6)), read_time(*r, 7)};
}

std::optional<AccessTokenRow> find_access_token(db::Tx& tx, const std::string& id) {
  const auto r =
      tx.first(fmt::format("SELECT {} FROM identity_access_tokens WHERE id = ?", kAccessColumns), id);
  return r ? std::optional(read_access(*r)) : std::nullopt;
}

std::vector<AccessTokenRow> access_tokens_of(db::Tx& tx, const std::string& user_id) {
  std::vector<AccessTokenRow> out;
  for (const auto& r : tx.query(
           fmt::format("SELECT {} FROM identity_access_tokens WHERE user_id = ? ORDER BY id", kAccessColumns),
           user_id))
    out.push_back(read_access(r));
  return out;
}

}  // namespace virga::identity
