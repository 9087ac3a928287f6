// Which providers have what is wanted: a walk along the index of what is free, and the survey that says why
// not.

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/ids.h"
#include "placement/placement.h"

namespace virga::placement {
namespace {

/// A SELECT with its parameters, in the order in which they stand.
struct Sql {
  std::string text;
  std::vector<db::Value> values;
  void add(std::string_view part, std::initializer_list<db::Value> with = {}) {
    text += part;
    values.insert(values.end(), with);
  }
  void add_list(const std::vector<std::string>& all) {
    text += db::placeholders(all.size());
    values.insert(values.end(), all.begin(), all.end());
  }
};

constexpr size_t kFew =
    500;  ///< so many providers are looked at one by one sooner than come across in a walk


int64_t free_of_many(db::Tx& tx, Hints& hints, const std::string& name) {
  if (const auto known = hints.of(name)) return *known;
  const auto next = tx.first(
      fmt::format("SELECT free FROM inventories WHERE resource_class = ? ORDER BY free DESC LIMIT 1 OFFSET {}", kFew), name);
  const int64_t free = next ? next->integer(0) : -1;
  hints.note(name, free);
  return free;
}

/// The class that candidates are ordered by: memory, unless few providers have enough of another one and many
/// of memory; then that, since those few are at the top of its index.
std::string leading_class(db::Tx& tx, Hints& hints, const Demand& demand) {
  std::string leading;
  for (const auto& [name, amount] : demand.amounts)
    if (amount > 0 && (leading.empty() || name == "MEMORY_MB")) leading = name;
  if (leading.empty())
    throw Fault(FaultKind::bad_request, "At least one amount of a resource must be asked for.");
  const auto few_have = [&](const std::string& name, int64_t amount) { return free_of_many(tx, hints, name) < amount; };
  if (demand.only || few_have(leading, demand.amounts.at(leading))) return leading;
  for (const auto& [name, amount] : demand.amounts)
    if (amount > 0 && name != leading && few_have(name, amount)) return name;
  return leading;
}

/// A trait that few providers have narrows the search to these.
void add_few(db::Tx& tx, Sql& sql, const std::string& trait) {
  std::vector<std::string> providers;
  for (const auto& row :
       tx.query(fmt::format("SELECT provider_uuid FROM provider_traits WHERE trait = ? LIMIT {}", kFew + 1),
                trait))
    providers.push_back(row.text(0));
  if (providers.empty() || providers.size() > kFew) return;
  sql.add(" AND i.provider_uuid IN (");
  sql.add_list(providers);
  sql.add(")");
}

void add_fits(Sql& sql, std::string_view table, const std::string& name, int64_t amount) {
  sql.add(
      fmt::format("{0}.resource_class = ? AND {0}.free >= ? AND {0}.max_unit >= ? AND {0}.min_unit <= ? AND "
                  "? % {0}.step_size = 0",
                  table),
      {name, amount, amount, amount, amount});
}

/// EXISTS and not IN: the walk goes along i's index whatever the planner thinks of the aggregates, and ends
/// early.
void add_member(Sql& sql, std::string_view prefix, const std::vector<std::string>& aggregates) {
  sql.add(prefix);
  if (aggregates.empty()) return sql.add("0 = 1");
  sql.add(
      "EXISTS (SELECT 1 FROM provider_aggregates g WHERE g.provider_uuid = i.provider_uuid AND "
      "g.aggregate_uuid IN (");
  sql.add_list(aggregates);
  sql.add("))");
}

void add_trait(Sql& sql, std::string_view prefix, const std::string& trait) {
  sql.add(prefix);
  sql.add("EXISTS (SELECT 1 FROM provider_traits t WHERE t.provider_uuid = i.provider_uuid AND t.trait = ?)",
          {trait});
}

void add_conditions(Sql& sql, const Demand& demand) {
  for (const auto& trait : demand.required_traits) add_trait(sql, " AND ", trait);
  for (const auto& trait : demand.forbidden_traits) add_trait(sql, " AND NOT ", trait);
  for (const auto& group : demand.member_of) add_member(sql, " AND ", group);
  for (const auto& exclusion : demand.exclusions) {
    add_member(sql, " AND (NOT ", exclusion.members_of);
    add_member(sql, " OR ", exclusion.unless_in);
    sql.add(")");
  }
  if (!demand.only) return;
  if (demand.only->empty()) return sql.add(" AND 0 = 1");
  sql.add(" AND i.provider_uuid IN (");
  sql.add_list(*demand.only);
  sql.add(")");
}

std::vector<Candidate> found_by(db::Tx& tx, const Sql& sql) {
  std::vector<Candidate> all;
  for (const auto& row : tx.query(sql.text, sql.values)) {
    all.emplace_back();
    all.back().provider_id = row.text(0);
    all.back().order = row.integer(1);
  }
  return all;
}

/// One table and no join: whatever the planner thinks, it can only walk the leading class's index, and asks
/// EXISTS of each row until there are enough. What is rare (traits, aggregates) is asked before what most
/// have (room).
std::vector<Candidate> walk(db::Tx& tx, const std::string& leading, const Demand& demand, size_t limit, const Candidate* after) {
  Sql sql;
  sql.add("SELECT i.provider_uuid, i.free FROM inventories i WHERE ");
  add_fits(sql, "i", leading, demand.amounts.at(leading));
  if (after)
    sql.add(" AND i.free <= ? AND (i.free < ? OR i.provider_uuid < ?)",
            {after->order, after->order, after->provider_id});
  for (const auto& trait : demand.required_traits) add_few(tx, sql, trait);
  add_conditions(sql, demand);
  for (const auto& [name, amount] : demand.amounts) {
    if (name == leading || amount <= 0) continue;
    sql.add(" AND EXISTS (SELECT 1 FROM inventories j WHERE j.provider_uuid = i.provider_uuid AND ");
    add_fits(sql, "j", name, amount);
    sql.add(")");
  }
  sql.add(fmt::format(" ORDER BY i.free DESC, i.provider_uuid DESC LIMIT {}",
                      std::min<size_t>(limit, INT32_MAX)));
  return found_by(tx, sql);
}

/// Some that have the leading class, from a random place on: along the table itself, since the index of what is free is full
/// of entries that others move just now. Nothing else is asked, or MariaDB begins with whatever that is about.
std::vector<Candidate> sample(db::Tx& tx, const std::string& leading, const Demand& demand, size_t limit) {
  Sql sql;
  sql.add("SELECT i.provider_uuid, i.free FROM inventories i FORCE INDEX (PRIMARY) WHERE i.provider_uuid >= ? AND ", {new_uuid()});
  add_fits(sql, "i", leading, demand.amounts.at(leading));
  add_conditions(sql, demand);
  sql.add(fmt::format(" ORDER BY i.provider_uuid LIMIT {}", limit));
  return found_by(tx, sql);
}

bool has_room(const Candidate& candidate, const Amounts& amounts) {
  return std::all_of(amounts.begin(), amounts.end(), [&](const auto& wanted) {
    const auto& [name, amount] = wanted;
    const auto room = candidate.rooms.find(name);
    if (amount <= 0) return true;
    return room != candidate.rooms.end() && room->second.capacity - room->second.used >= amount && room->second.max_unit >= amount;
  });
}

/// True if it is about all providers: what is first for one such demand is first for another.
bool is_plain(const Demand& demand) {
  return !demand.only && demand.required_traits.empty() && demand.member_of.empty() && demand.exclusions.empty();
}

/// Of a row of inventories that is short of an amount. `what`: "MEMORY_MB: 512 wanted".
Shortage shortage_of(const std::string& what, int64_t wanted, const db::Row& row) {
  const int64_t capacity = row.integer(1), free = capacity - row.integer(2), max_unit = row.integer(3),
                min_unit = row.integer(4);
  if (free < wanted)
    return {what, fmt::format(", {} free of {}", std::max<int64_t>(0, free), capacity),
            std::max<int64_t>(0, free)};
  if (wanted > max_unit) return {what + fmt::format(", at most {} at once", max_unit), ""};
  if (wanted < min_unit) return {what + fmt::format(", at least {} at once", min_unit), ""};
  return {what + fmt::format(", only multiples of {}", row.integer(5)), ""};
}

/// By name; sorted here, for the index of names would be a look-up of each row.
std::vector<Candidate> all_providers(db::Tx& tx, const Demand& demand) {
  Sql sql;
  sql.add("SELECT uuid, name FROM resource_providers");
  if (demand.only) {
    sql.add(" WHERE uuid IN (");
    sql.add_list(*demand.only);
    sql.add(")");
  }
  db::Rows rows = tx.query(sql.text, sql.values);
  std::sort(rows.begin(), rows.end(),
            [](const db::Row& a, const db::Row& b) { return a.view(1) < b.view(1); });
  std::vector<Candidate> all(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) all[i].provider_id = rows[i].text(0);
  return all;
}

using ByProvider = std::unordered_map<std::string_view, size_t>;

/// Providers without any of a class; counted first, since mostly there are none.
void add_absent(db::Tx& tx, const std::string& name, const std::string& what, const ByProvider& at,
                std::vector<Candidate>& all) {
  const auto count = [&](const char* sql) { return tx.first(sql, std::vector<db::Value>{name})->integer(0); };
  if (count("SELECT (SELECT COUNT(*) FROM resource_providers) - (SELECT COUNT(*) FROM inventories WHERE "
            "resource_class = ?)") == 0)
    return;
  for (const auto& row :
       tx.query("SELECT uuid FROM resource_providers p WHERE NOT EXISTS (SELECT 1 FROM inventories i WHERE "
                "i.provider_uuid = p.uuid AND i.resource_class = ?)",
                name))
    if (const auto it = at.find(row.view(0)); it != at.end())
      all[it->second].shortages.push_back({what + ", none here", ""});
}

/// Only rows that are short of something are read, since of thousands of providers each row costs; and in the
/// table's own order (a column behind a plus has no index), since each would be a look-up otherwise.
void add_room_shortages(db::Tx& tx, const Demand& demand, std::vector<Candidate>& all) {
  ByProvider at;
  for (size_t i = 0; i < all.size(); ++i) at.emplace(all[i].provider_id, i);
  std::map<std::string, std::string, std::less<>> what;
  Sql sql;
  for (const auto& [name, amount] : demand.amounts) {
    if (amount <= 0) continue;
    sql.add(what.empty() ? " WHERE " : " OR ");
    sql.add("(+resource_class = ? AND (free < ? OR max_unit < ? OR min_unit > ? OR ? % step_size <> 0))",
            {name, amount, amount, amount, amount});
    what[name] = fmt::format("{}: {} wanted", name, amount);
  }
  sql.text =
      "SELECT provider_uuid, capacity, used, max_unit, min_unit, step_size, resource_class FROM inventories" +
      sql.text;
  for (const auto& row : tx.query(sql.text, sql.values)) {
    const auto provider = at.find(row.view(0));
    if (provider == at.end()) continue;
    const auto& [name, text] = *what.find(row.view(6));
    all[provider->second].shortages.push_back(shortage_of(text, demand.amounts.at(name), row));
  }
  for (const auto& [name, text] : what) add_absent(tx, name, text, at, all);
}

/// Which providers have a trait, or are in an aggregate: few of many, so they are asked for by name.
using Holders = std::map<std::string, std::unordered_set<std::string>>;

Holders holders_of(db::Tx& tx, std::string_view select, const std::set<std::string>& names) {
  Holders all;
  for (const auto& name : names) all[name];
  if (names.empty()) return all;
  const std::vector<db::Value> values(names.begin(), names.end());
  for (const auto& row : tx.query(fmt::format("{} ({})", select, db::placeholders(names.size())), values))
    all[row.text(1)].insert(row.text(0));
  return all;
}

void add_trait_shortages(db::Tx& tx, const Demand& demand, std::vector<Candidate>& all) {
  std::set<std::string> names(demand.required_traits.begin(), demand.required_traits.end());
  names.insert(demand.forbidden_traits.begin(), demand.forbidden_traits.end());
  const auto holders =
      holders_of(tx, "SELECT provider_uuid, trait FROM provider_traits WHERE trait IN", names);
  for (const auto& trait : demand.required_traits)
    for (auto& c : all)
      if (!holders.at(trait).contains(c.provider_id))
        c.shortages.push_back({fmt::format("it does not have the trait {}", trait), ""});
  for (const auto& trait : demand.forbidden_traits) {
    if (holders.at(trait).empty()) continue;
    for (auto& c : all)
      if (holders.at(trait).contains(c.provider_id))
        c.shortages.push_back({fmt::format("it has the trait {}, which is forbidden", trait), ""});
  }
}

void add_member_shortages(db::Tx& tx, const Demand& demand, std::vector<Candidate>& all) {
  std::set<std::string> names;
  for (const auto& group : demand.member_of) names.insert(group.begin(), group.end());
  for (const auto& e : demand.exclusions) {
    names.insert(e.members_of.begin(), e.members_of.end());
    names.insert(e.unless_in.begin(), e.unless_in.end());
  }
  const auto holders = holders_of(
      tx, "SELECT provider_uuid, aggregate_uuid FROM provider_aggregates WHERE aggregate_uuid IN", names);
  const auto in_any = [&](const Candidate& c, const std::vector<std::string>& group) {
    return std::any_of(group.begin(), group.end(),
                       [&](const auto& g) { return holders.at(g).contains(c.provider_id); });
  };
  for (auto& c : all) {
    for (const auto& group : demand.member_of)
      if (!in_any(c, group))
        c.shortages.push_back({"placement has it in none of the aggregates that are asked for", ""});
    for (const auto& e : demand.exclusions)
      if (in_any(c, e.members_of) && !in_any(c, e.unless_in))
        c.shortages.push_back({"placement has it in an aggregate that is not for this", ""});
  }
}

}  // namespace

std::optional<int64_t> Hints::of(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto it = known_.find(name);
  if (it == known_.end() || it->second.until < std::chrono::steady_clock::now()) return std::nullopt;
  return it->second.value;
}

void Hints::note(const std::string& name, int64_t value) {
  const std::lock_guard lock(mutex_);
  known_[name] = {value, std::chrono::steady_clock::now() + believed_for_};
}

void Hints::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  known_.erase(name);
}

std::vector<Candidate> Module::candidates(db::Tx& tx, const Demand& demand, size_t limit,
                                          const Candidate* after) {
  const std::string leading = leading_class(tx, free_of_many_, demand);
  auto all = walk(tx, leading, demand, limit, after);
  if (!after && is_plain(demand)) {
    const bool equal = all.size() == limit && all.front().order == all.back().order;
    if (equal) crowd_.note(leading, all.front().order);
    else crowd_.forget(leading);
  }
  return all;
}

std::vector<Candidate> Module::some_of_equals(db::Tx& tx, const Demand& demand, size_t limit) {
  if (tx.dialect() != db::Dialect::mariadb || !is_plain(demand)) return {};
  const std::string leading = leading_class(tx, free_of_many_, demand);
  const auto free = crowd_.of(leading);
  if (!free) return {};
  auto all = sample(tx, leading, demand, 2 * limit);
  std::erase_if(all, [&](const Candidate& c) { return c.order < *free; });
  if (2 * all.size() < limit) crowd_.forget(leading);  // few are left, or chance was at the end: look again
  if (all.size() > limit) all.resize(limit);
  std::vector<size_t> each(all.size());
  std::iota(each.begin(), each.end(), size_t{0});
  add_rooms(tx, all, each);
  std::erase_if(all, [&](const Candidate& c) { return !has_room(c, demand.amounts); });
  return all;
}

void Module::add_rooms(db::Tx& tx, std::vector<Candidate>& all, const std::vector<size_t>& of) {
  constexpr size_t kPiece = 500;  // ids in one statement
  std::vector<Candidate*> without;
  for (const size_t i : of)
    if (all[i].rooms.empty()) without.push_back(&all[i]);
  for (size_t from = 0; from < without.size(); from += kPiece) {
    std::vector<db::Value> ids;
    std::unordered_map<std::string_view, Candidate*> at;
    for (size_t i = from; i < std::min(without.size(), from + kPiece); ++i) {
      at.emplace(without[i]->provider_id, without[i]);
      ids.emplace_back(without[i]->provider_id);
    }
    for (const auto& row :
         tx.query("SELECT provider_uuid, resource_class, capacity, used, max_unit FROM inventories WHERE "
                  "provider_uuid IN (" +
                      db::placeholders(ids.size()) + ")",
                  ids))
      at.at(row.view(0))->rooms[row.text(1)] = {row.integer(2), row.integer(3), row.integer(4)};
  }
}

std::vector<Candidate> Module::survey(db::Tx& tx, const Demand& demand) {
  if (demand.only && demand.only->empty()) return {};
  auto all = all_providers(tx, demand);
  add_room_shortages(tx, demand, all);
  add_trait_shortages(tx, demand, all);
  add_member_shortages(tx, demand, all);
  return all;
}

}  // namespace virga::placement
