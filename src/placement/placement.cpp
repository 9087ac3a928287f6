#include "placement/placement.h"

#include <set>

#include "placement/rules.h"

namespace virga::placement {

Module::Module(db::Database& database, const Clock& clock)
    : database_(database), clock_(clock) {
  service_.name = "placement";
  service_.type = "placement";
  service_.title = "Placement";
  service_.prefix = "/placement";
  service_.catalog_path = "/placement";
  service_.faults = api::FaultStyle::placement;
  service_.rules = rules();
  service_.microversions = api::Microversions{"placement", "", {1, 0}, {1, 39}};
  add_provider_routes();
  add_inventory_routes();
  add_allocation_routes();
  add_name_routes();
}

void Module::route(std::string_view method, std::string_view path, std::string_view rule, api::Handler handler,
                   api::Version min, api::Version max) {
  service_.routes.push_back({method, path, fmt::format("placement:{}", rule), std::move(handler), min, max});
}

void Module::ensure_provider(db::Tx& tx, const std::string& uuid, const std::string& name,
                             const std::vector<Inventory>& wanted) {
  bool changed = false;
  auto provider = find_provider(tx, uuid);
  if (!provider) {
    insert_provider(tx, clock_.now(), {uuid, name, 0, ""});
    changed = true;
  } else if (provider->name != name) {
    tx.exec("UPDATE resource_providers SET name = ? WHERE uuid = ?", name, uuid);
    changed = true;
  }
  const auto present = inventories(tx, uuid);
  for (const auto& w : wanted) {
    const auto same = [&](const StoredInventory& p) {
      return p.resource_class == w.resource_class && p.total == w.total && p.reserved == w.reserved &&
             p.min_unit == w.min_unit && p.max_unit == w.max_unit && p.step_size == w.step_size &&
             p.allocation_ratio == w.allocation_ratio;
    };
    if (std::any_of(present.begin(), present.end(), same)) continue;
    put_inventory(tx, uuid, w);
    changed = true;
  }
  if (changed) bump_generation(tx, clock_.now(), uuid, std::nullopt);
}

void Module::allocate(db::Tx& tx, const std::string& consumer, const std::string& provider,
                      const Amounts& amounts, const std::string& project_id, const std::string& user_id) {
  std::vector<Allocation> all;
  for (const auto& [name, amount] : amounts)
    if (amount > 0) all.push_back({consumer, provider, name, amount});
  take(tx, all);
  try {  // nearly always the consumer is new
    tx.exec(
        "INSERT INTO allocation_consumers (uuid, generation, project_id, user_id, consumer_type, created_at) "
        "VALUES (?, 1, ?, ?, 'INSTANCE', ?)",
        consumer, project_id, user_id, clock_.now());
  } catch (const db::UniqueViolation&) {
    tx.exec("UPDATE allocation_consumers SET generation = generation + 1 WHERE uuid = ?", consumer);
  }
  bump_generation(tx, clock_.now(), provider, std::nullopt);
}

void Module::release(db::Tx& tx, const std::string& consumer) {
  give_back(tx, consumer);
  drop_consumer(tx, consumer);
}

void Module::set_trait(db::Tx& tx, const std::string& provider, const std::string& trait, bool has) {
  const bool had =
      tx.first("SELECT trait FROM provider_traits WHERE provider_uuid = ? AND trait = ?", provider, trait).has_value();
  if (had == has || !find_provider(tx, provider)) return;
  if (has) {
    if (!is_standard_trait(trait) && !tx.first("SELECT name FROM traits WHERE name = ?", trait))
      tx.exec("INSERT INTO traits (name) VALUES (?)", trait);
    tx.exec("INSERT INTO provider_traits (provider_uuid, trait) VALUES (?, ?)", provider, trait);
  } else {
    tx.exec("DELETE FROM provider_traits WHERE provider_uuid = ? AND trait = ?", provider, trait);
  }
  bump_generation(tx, clock_.now(), provider, std::nullopt);
}

void Module::report_traits(db::Tx& tx, const std::string& provider, const std::vector<std::string>& traits) {
  const auto reported = [](std::string_view trait) {
    const bool ours = trait.starts_with("HW_CPU_") || (trait.starts_with("COMPUTE_") && !trait.starts_with("COMPUTE_STATUS_"));
    return ours && is_standard_trait(trait);
  };
  std::set<std::string> wanted, there;
  for (const auto& trait : traits)
    if (reported(trait)) wanted.insert(trait);
  for (const auto& row : tx.query("SELECT trait FROM provider_traits WHERE provider_uuid = ?", provider))
    if (reported(row.text(0))) there.insert(row.text(0));
  if (wanted == there || !find_provider(tx, provider)) return;
  for (const auto& trait : there)
    if (!wanted.contains(trait)) tx.exec("DELETE FROM provider_traits WHERE provider_uuid = ? AND trait = ?", provider, trait);
  for (const auto& trait : wanted)
    if (!there.contains(trait)) tx.exec("INSERT INTO provider_traits (provider_uuid, trait) VALUES (?, ?)", provider, trait);
  bump_generation(tx, clock_.now(), provider, std::nullopt);
}

void Module::set_member(db::Tx& tx, const std::string& provider, const std::string& aggregate, bool member) {
  const bool was = tx.first("SELECT aggregate_uuid FROM provider_aggregates WHERE provider_uuid = ? AND aggregate_uuid = ?",
                            provider, aggregate)
                       .has_value();
  if (was == member || !find_provider(tx, provider)) return;
  if (member)
    tx.exec("INSERT INTO provider_aggregates (provider_uuid, aggregate_uuid) VALUES (?, ?)", provider, aggregate);
  else
    tx.exec("DELETE FROM provider_aggregates WHERE provider_uuid = ? AND aggregate_uuid = ?", provider, aggregate);
  bump_generation(tx, clock_.now(), provider, std::nullopt);
}

std::unique_ptr<Placement> make_placement(db::Database& database, const Clock& clock) {
  return std::make_unique<Module>(database, clock);
}

}  // namespace virga::placement
