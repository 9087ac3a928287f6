#pragma once
// Placement's SQL. Every change of what is used goes through `take` and `give_back`, whose conditional
// updates hold the invariant used <= capacity, whatever else runs at the same time.

#include <optional>
#include <string>
#include <vector>

#include "placement/api.h"

namespace virga::placement {

struct Provider {
  std::string uuid, name;
  int64_t generation = 0;
  std::string parent;  ///< "" for a root
};
struct StoredInventory : Inventory {
  int64_t capacity = 0, used = 0;
};
struct Consumer {
  std::string uuid;
  int64_t generation = 0;
  std::string project_id, user_id, type;
};
struct Allocation {
  std::string consumer, provider, resource_class;
  int64_t amount = 0;
};

std::optional<Provider> find_provider(db::Tx& tx, const std::string& uuid);
/// Throws Fault(not_found) in placement's words.
Provider need_provider(db::Tx& tx, const std::string& uuid);
void insert_provider(db::Tx& tx, Time now, const Provider& provider);
std::vector<StoredInventory> inventories(db::Tx& tx, const std::string& provider);
/// Inserts or updates; throws Fault(conflict) if the new capacity is below what is used.
void put_inventory(db::Tx& tx, const std::string& provider, const Inventory& inventory);
/// Throws Fault(conflict) if it is in use, not_found if there is none.
void remove_inventory(db::Tx& tx, const std::string& provider, const std::string& resource_class);
/// Compare and swap of the provider's generation; throws Fault(conflict) placement.concurrent_update.
void bump_generation(db::Tx& tx, Time now, const std::string& provider, std::optional<int64_t> expected);

std::optional<Consumer> find_consumer(db::Tx& tx, const std::string& uuid);
std::vector<Allocation> allocations_of(db::Tx& tx, const std::string& consumer);
/// Takes these amounts. Throws Fault(conflict) if one does not fit any more; those before it are taken then, until they are
/// given back.
void take(db::Tx& tx, const std::vector<Allocation>& all);
/// Gives back everything of a consumer; the consumer row stays.
void give_back(db::Tx& tx, const std::string& consumer);
void drop_consumer(db::Tx& tx, const std::string& consumer);

/// Fault(conflict) that says another writer came first.
Fault concurrent_update(const std::string& what);
int64_t capacity_of(const Inventory& inventory);

}  // namespace virga::placement
