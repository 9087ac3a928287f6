#include "compute/epoch.h"

namespace virga::compute {
namespace {

/// There is such a row only while a host is ahead of the database.
constexpr std::string_view kAhead = "epoch_ahead";

std::optional<int64_t> value_of(db::Tx& tx, std::string_view counter) {
  const auto row = tx.first("SELECT value FROM compute_counters WHERE name = ?", counter);
  return row ? std::optional(row->integer(0)) : std::nullopt;
}

}  // namespace

int64_t cloud_epoch(db::Tx& tx) {
  return value_of(tx, "epoch").value_or(0);
}

void grow_epoch(db::Tx& tx) {
  if (!value_of(tx, kAhead)) next_number(tx, "epoch");
}

bool is_older_than_host(db::Tx& tx, int64_t seen) {
  if (seen <= cloud_epoch(tx)) return false;
  const auto known = value_of(tx, kAhead);
  if (!known) tx.exec("INSERT INTO compute_counters (name, value) VALUES (?, ?)", kAhead, seen);
  if (known && *known < seen) tx.exec("UPDATE compute_counters SET value = ? WHERE name = ?", seen, kAhead);
  return true;
}

bool accept_restored_database(db::Database& database) {
  constexpr int64_t kLeap = 1'000'000;  // past whatever a host has seen of a server since the backup
  return database.write([&](db::Tx& tx) {
    const auto ahead = value_of(tx, kAhead);
    if (!ahead) return false;
    tx.exec("UPDATE compute_counters SET value = ? WHERE name = 'epoch'", *ahead + 1);
    tx.exec("DELETE FROM compute_counters WHERE name = ?", kAhead);
    tx.exec("UPDATE servers SET fence = fence + ?, generation = generation + ? WHERE host_id <> ''", kLeap, kLeap);
    return true;
  });
}

}  // namespace virga::compute
