// What accepting a restored database means for servers. The epoch itself is db/api.h's.

#include "compute/api.h"

namespace virga::compute {

bool accept_restored_database(db::Database& database) {
  constexpr int64_t kLeap = 1'000'000;  // past whatever a host has seen of a server since the backup
  return database.write([&](db::Tx& tx) {
    if (!db::accept_as_newest(tx)) return false;
    // Domains of servers in quarantine keep their names, which are made of this number.
    tx.exec("UPDATE compute_counters SET value = value + ? WHERE name = 'server'", kLeap);
    tx.exec("UPDATE servers SET fence = fence + ?, generation = generation + ? WHERE host_id <> ''", kLeap, kLeap);
    return true;
  });
}

}  // namespace virga::compute
