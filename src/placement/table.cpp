#include "placement/table.h"

#include <cmath>

namespace virga::placement {

Fault concurrent_update(const std::string& what) {
  return Fault(FaultKind::conflict, what, "Read it again and repeat the request.",
               "placement.concurrent_update");
}

int64_t capacity_of(const Inventory& inventory) {
  return static_cast<int64_t>(
      std::floor(static_cast<double>(inventory.total - inventory.reserved) * inventory.allocation_ratio));
}

std::optional<Provider> find_provider(db::Tx& tx, const std::string& uuid) {
  auto row =
      tx.first("SELECT uuid, name, generation, parent_uuid FROM resource_providers WHERE uuid = ?", uuid);
  if (!row) return std::nullopt;
  return Provider{row->text(0), row->text(1), row->integer(2), row->text(3)};
}

Provider need_provider(db::Tx& tx, const std::string& uuid) {
  if (auto found = find_provider(tx, uuid)) return *found;
  throw Fault(FaultKind::not_found, fmt::format("No resource provider with uuid {} found", uuid));
}

void insert_provider(db::Tx& tx, Time now, const Provider& p) {
  tx.exec(
      "INSERT INTO resource_providers (uuid, name, generation, parent_uuid, created_at, updated_at) "
      "VALUES (?, ?, ?, ?, ?, ?)",
      p.uuid, p.name, p.generation, p.parent.empty() ? std::optional<std::string>() : std::optional(p.parent),
      now, now);
}

std::vector<StoredInventory> inventories(db::Tx& tx, const std::string& provider) {
  std::vector<StoredInventory> all;
  for (const auto& row : tx.query("SELECT resource_class, total, reserved, min_unit, max_unit, step_size, "
                                  "allocation_ratio, capacity, used FROM inventories WHERE provider_uuid = ? "
                                  "ORDER BY resource_class",
                                  provider)) {
    StoredInventory i;
    i.resource_class = row.text(0);
    i.total = row.integer(1);
    i.reserved = row.integer(2);
    i.min_unit = row.integer(3);
    i.max_unit = row.integer(4);
    i.step_size = row.integer(5);
    i.allocation_ratio = row.real(6);
    i.capacity = row.integer(7);
    i.used = row.integer(8);
    all.push_back(std::move(i));
  }
  return all;
}

void put_inventory(db::Tx& tx, const std::string& provider, const Inventory& i) {
  // Capacity may fall below what is used (placement allows it): then nothing more fits until enough is given
  // back.
  const int64_t capacity = capacity_of(i);
  if (tx.exec("UPDATE inventories SET total = ?, reserved = ?, min_unit = ?, max_unit = ?, step_size = ?, "
              "allocation_ratio = ?, capacity = ? WHERE provider_uuid = ? AND resource_class = ?",
              i.total, i.reserved, i.min_unit, i.max_unit, i.step_size, i.allocation_ratio, capacity,
              provider, i.resource_class) > 0)
    return;
  tx.exec(
      "INSERT INTO inventories (provider_uuid, resource_class, total, reserved, min_unit, max_unit, "
      "step_size, "
      "allocation_ratio, capacity, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
      provider, i.resource_class, i.total, i.reserved, i.min_unit, i.max_unit, i.step_size,
      i.allocation_ratio, capacity);
}

void remove_inventory(db::Tx& tx, const std::string& provider, const std::string& resource_class) {
  if (tx.exec("DELETE FROM inventories WHERE provider_uuid = ? AND resource_class = ? AND used = 0", provider,
              resource_class) > 0)
    return;
  if (tx.first("SELECT used FROM inventories WHERE provider_uuid = ? AND resource_class = ?", provider,
               resource_class))
    throw Fault(
        FaultKind::conflict,
        fmt::format("Unable to delete inventory for resource provider {}: Inventory for '{}' on resource "
                    "provider '{}' in use.",
                    provider, resource_class, provider),
        "", "placement.inventory.inuse");
  throw Fault(FaultKind::not_found,
              fmt::format("No inventory of class {} found for delete on resource provider {}", resource_class,
                          provider));
}

void bump_generation(db::Tx& tx, Time now, const std::string& provider, std::optional<int64_t> expected) {
  const int64_t changed =
      expected
          ? tx.exec(
                "UPDATE resource_providers SET generation = generation + 1, updated_at = ? "
                "WHERE uuid = ? AND generation = ?",
                now, provider, *expected)
          : tx.exec(
                "UPDATE resource_providers SET generation = generation + 1, updated_at = ? WHERE uuid = ?",
                now, provider);
  if (changed == 0 && expected) throw concurrent_update("resource provider generation conflict");
}

std::optional<Consumer> find_consumer(db::Tx& tx, const std::string& uuid) {
  auto row = tx.first(
      "SELECT uuid, generation, project_id, user_id, consumer_type FROM allocation_consumers WHERE uuid = ?",
      uuid);
  if (!row) return std::nullopt;
  return Consumer{row->text(0), row->integer(1), row->text(2), row->text(3), row->text(4)};
}

std::vector<Allocation> allocations_of(db::Tx& tx, const std::string& consumer) {
  std::vector<Allocation> all;
  for (const auto& row : tx.query("SELECT provider_uuid, resource_class, amount FROM allocations "
                                  "WHERE consumer_uuid = ? ORDER BY provider_uuid, resource_class",
                                  consumer))
    all.push_back({consumer, row.text(0), row.text(1), row.integer(2)});
  return all;
}

namespace {

void use(db::Tx& tx, const Allocation& a) {
  if (tx.exec("UPDATE inventories SET used = used + ? WHERE provider_uuid = ? AND resource_class = ? "
              "AND used + ? <= capacity AND max_unit >= ? AND min_unit <= ? AND (? % step_size) = 0",
              a.amount, a.provider, a.resource_class, a.amount, a.amount, a.amount, a.amount) == 0)
    throw Fault(
        FaultKind::conflict,
        fmt::format("Unable to allocate inventory: Unable to create allocation for '{}' on resource provider "
                    "'{}'. The requested amount would exceed the capacity.",
                    a.resource_class, a.provider));
}

void insert_allocations(db::Tx& tx, const std::vector<Allocation>& all) {
  if (all.empty()) return;
  std::string rows;
  std::vector<db::Value> values;
  for (const auto& a : all) {
    rows += rows.empty() ? "(?, ?, ?, ?)" : ", (?, ?, ?, ?)";
    values.insert(values.end(), {a.consumer, a.provider, a.resource_class, a.amount});
  }
  tx.exec("INSERT INTO allocations (consumer_uuid, provider_uuid, resource_class, amount) VALUES " + rows, values);
}

}  // namespace

void take(db::Tx& tx, const std::vector<Allocation>& all) {
  std::vector<Allocation> taken;
  try {
    for (const auto& a : all) {
      use(tx, a);
      taken.push_back(a);
    }
  } catch (const Fault&) {
    insert_allocations(tx, taken);  // so that give_back knows of them
    throw;
  }
  insert_allocations(tx, taken);
}

void give_back(db::Tx& tx, const std::string& consumer) {
  for (const auto& a : allocations_of(tx, consumer)) {
    // The DELETE decides who gives back: of two that race, one finds the row.
    if (tx.exec(
            "DELETE FROM allocations WHERE consumer_uuid = ? AND provider_uuid = ? AND resource_class = ?",
            consumer, a.provider, a.resource_class) == 1)
      tx.exec("UPDATE inventories SET used = used - ? WHERE provider_uuid = ? AND resource_class = ?",
              a.amount, a.provider, a.resource_class);
  }
}

void drop_consumer(db::Tx& tx, const std::string& consumer) {
  tx.exec("DELETE FROM allocation_consumers WHERE uuid = ?", consumer);
}

}  // namespace virga::placement
