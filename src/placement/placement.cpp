#include "placement/placement.h"

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

namespace {

std::string refusal_for(const std::string& name, int64_t wanted, const Candidate::Room& room,
                        int64_t min_unit, int64_t step) {
  if (room.used + wanted > room.capacity)
    return fmt::format("{}: {} wanted, {} free of {}", name, wanted,
                       std::max<int64_t>(0, room.capacity - room.used), room.capacity);
  if (wanted > room.max_unit)
    return fmt::format("{}: {} wanted, at most {} at once", name, wanted, room.max_unit);
  if (wanted < min_unit) return fmt::format("{}: {} wanted, at least {} at once", name, wanted, min_unit);
  if (step > 0 && wanted % step != 0)
    return fmt::format("{}: {} wanted, only multiples of {}", name, wanted, step);
  return {};
}

void add_refusal(Candidate& candidate, const std::string& why) {
  if (why.empty()) return;
  candidate.refusal += (candidate.refusal.empty() ? "" : "; ") + why;
}

}  // namespace

std::vector<Candidate> Module::candidates(db::Tx& tx, const Amounts& amounts) {
  std::vector<Candidate> all;
  for (const auto& row :
       tx.query("SELECT p.uuid, p.name, i.resource_class, i.capacity, i.used, i.max_unit, i.min_unit, "
                "i.step_size FROM resource_providers p LEFT JOIN inventories i "
                "ON i.provider_uuid = p.uuid ORDER BY p.name, p.uuid")) {
    if (all.empty() || all.back().provider_id != row.text(0))
      all.push_back({row.text(0), row.text(1), {}, {}});
    if (row.is_null(2)) continue;
    auto& candidate = all.back();
    const std::string name = row.text(2);
    const auto& room = candidate.rooms[name] = {row.integer(3), row.integer(4), row.integer(5)};
    const auto wanted = amounts.find(name);
    if (wanted != amounts.end() && wanted->second > 0)
      add_refusal(candidate, refusal_for(name, wanted->second, room, row.integer(6), row.integer(7)));
  }
  for (auto& candidate : all)
    for (const auto& [name, wanted] : amounts)
      if (wanted > 0 && !candidate.rooms.count(name))
        add_refusal(candidate, fmt::format("{}: {} wanted, none here", name, wanted));
  std::stable_partition(all.begin(), all.end(), [](const Candidate& c) { return c.refusal.empty(); });
  return all;
}

void Module::allocate(db::Tx& tx, const std::string& consumer, const std::string& provider,
                      const Amounts& amounts, const std::string& project_id, const std::string& user_id) {
  for (const auto& [name, amount] : amounts)
    if (amount > 0) take(tx, {consumer, provider, name, amount});
  if (tx.exec("UPDATE allocation_consumers SET generation = generation + 1 WHERE uuid = ?", consumer) == 0)
    tx.exec(
        "INSERT INTO allocation_consumers (uuid, generation, project_id, user_id, consumer_type, created_at) "
        "VALUES (?, 1, ?, ?, 'INSTANCE', ?)",
        consumer, project_id, user_id, clock_.now());
  bump_generation(tx, clock_.now(), provider, std::nullopt);
}

void Module::release(db::Tx& tx, const std::string& consumer) {
  give_back(tx, consumer);
  drop_consumer(tx, consumer);
}

std::unique_ptr<Placement> make_placement(db::Database& database, const Clock& clock) {
  return std::make_unique<Module>(database, clock);
}

}  // namespace virga::placement
