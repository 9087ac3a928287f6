#include "db/api.h"

namespace virga::db {
namespace {

// Two of compute's counters, since hosts were the first to remember it. There is an "epoch_ahead" only while something
// is ahead of the database.
constexpr std::string_view kEpoch = "epoch", kAhead = "epoch_ahead";

std::optional<int64_t> value_of(Tx& tx, std::string_view counter) {
  const auto row = tx.first("SELECT value FROM compute_counters WHERE name = ?", counter);
  return row ? std::optional(row->integer(0)) : std::nullopt;
}

}  // namespace

int64_t cloud_epoch(Tx& tx) { return value_of(tx, kEpoch).value_or(0); }

void grow_epoch(Tx& tx) {
  if (!value_of(tx, kAhead)) tx.exec("UPDATE compute_counters SET value = value + 1 WHERE name = ?", kEpoch);
}

bool is_older_than(Tx& tx, int64_t seen) {
  const auto ahead = value_of(tx, kAhead);
  if (seen <= cloud_epoch(tx)) return ahead.has_value();
  if (!ahead) tx.exec("INSERT INTO compute_counters (name, value) VALUES (?, ?)", kAhead, seen);
  else if (*ahead < seen) tx.exec("UPDATE compute_counters SET value = ? WHERE name = ?", seen, kAhead);
  return true;
}

bool is_known_older(Tx& tx) { return value_of(tx, kAhead).has_value(); }

bool accept_as_newest(Tx& tx) {
  const auto ahead = value_of(tx, kAhead);
  if (!ahead) return false;
  tx.exec("UPDATE compute_counters SET value = ? WHERE name = ?", *ahead + 1, kEpoch);
  tx.exec("DELETE FROM compute_counters WHERE name = ?", kAhead);
  return true;
}

}  // namespace virga::db
