#include "ovn/replica.h"

#include "base/fault.h"

namespace virga::ovn {
namespace {

const json::object& object_of(const json::value& v) {
  const auto* o = v.if_object();
  if (!o) throw Fault(FaultKind::bad_gateway, "The OVSDB server sent a malformed update.");
  return *o;
}

/// The default of a column (RFC 7047 section 5.2.1) and whether it may hold more than one element.
std::pair<bool, Datum> column_of(const json::value& type) {
  const auto* o = type.if_object();
  const auto* max = o ? o->if_contains("max") : nullptr;
  const bool composite = max && (max->is_string() || (max->is_int64() && max->get_int64() > 1));
  const bool optional = o && find_int(*o, "min", 1) == 0;
  if (o && o->contains("value")) return {composite, Datum::text_map({})};
  if (optional) return {composite, Datum()};
  const auto* key = o ? o->if_contains("key") : &type;
  const auto* key_object = key ? key->if_object() : nullptr;
  const std::string base = key && key->is_string() ? str(*key)
                           : key_object            ? find_string(*key_object, "type")
                                                   : "";
  if (base == "string") return {composite, Datum::text("")};
  if (base == "boolean") return {composite, Datum::boolean(false)};
  if (base == "integer") return {composite, Datum::integer(0)};
  return {composite, Datum()};
}

}  // namespace

const Replica::Table& Replica::table(std::string_view name) const {
  static const Table none;
  const auto it = tables_.find(name);
  return it == tables_.end() ? none : it->second;
}

const Row* Replica::find(std::string_view name, const std::string& uuid) const {
  const Table& rows = table(name);
  const auto it = rows.find(uuid);
  return it == rows.end() ? nullptr : &it->second;
}

std::pair<std::string, const Row*> Replica::find_by_name(std::string_view name,
                                                         std::string_view value) const {
  for (const auto& [uuid, row] : table(name))
    if (column(row, "name").as_text() == value) return {uuid, &row};
  return {"", nullptr};
}

void Replica::set_schema(const json::object& schema, const std::vector<Monitor>& monitors) {
  schema_.clear();
  const auto* tables = find_object(schema, "tables");
  if (!tables) throw Fault(FaultKind::bad_gateway, "The OVSDB server sent a malformed schema.");
  for (const auto& monitor : monitors) {
    const auto* table = find_object(*tables, monitor.table);
    const auto* columns = table ? find_object(*table, "columns") : nullptr;
    if (!columns) continue;
    for (const auto& name : monitor.columns) {
      const auto* definition = find_object(*columns, name);
      const auto* type = definition ? definition->if_contains("type") : nullptr;
      if (!type) continue;
      auto [composite, initial] = column_of(*type);
      schema_[monitor.table][name] = Column{composite, std::move(initial)};
    }
  }
}

bool Replica::has_column(std::string_view table, std::string_view name) const {
  const auto it = schema_.find(table);
  return it != schema_.end() && it->second.find(name) != it->second.end();
}

bool Replica::is_composite(std::string_view table, std::string_view name) const {
  const auto it = schema_.find(table);
  if (it == schema_.end()) return false;
  const auto found = it->second.find(name);
  return found != it->second.end() && found->second.composite;
}

Row Replica::default_row(const std::string& table) const {
  Row row;
  const auto it = schema_.find(table);
  if (it == schema_.end()) return row;
  for (const auto& [name, definition] : it->second)
    if (!definition.initial.empty()) row[name] = definition.initial;
  return row;
}

void Replica::apply_row(const std::string& table, const std::string& uuid, const json::object& change,
                        const Listener& listener) {
  Table& rows = tables_[table];
  if (change.contains("delete")) {
    auto node = rows.extract(uuid);
    if (!node.empty() && listener) listener({table, uuid, &node.mapped(), nullptr});
    return;
  }
  const json::object* fresh = find_object(change, "initial");
  if (!fresh) fresh = find_object(change, "insert");
  if (fresh) {
    Row row = default_row(table);
    for (const auto& [name, value] : *fresh) row[name] = Datum::from_json(value);
    Row& stored = rows[uuid] = std::move(row);
    if (listener) listener({table, uuid, nullptr, &stored});
    return;
  }
  const json::object* modified = find_object(change, "modify");
  const auto it = rows.find(uuid);
  if (!modified || it == rows.end())
    throw Fault(FaultKind::bad_gateway, "The OVSDB server sent an update of no row.");
  const Row before = listener ? it->second : Row();
  for (const auto& [name, value] : *modified)
    it->second[name].apply_difference(Datum::from_json(value), is_composite(table, name));
  if (listener) listener({table, uuid, &before, &it->second});
}

void Replica::apply(const json::value& updates, const Listener& listener) {
  for (const auto& [table, rows] : object_of(updates))
    for (const auto& [uuid, change] : object_of(rows)) apply_row(table, uuid, object_of(change), listener);
}

void Replica::reset(const json::value& initial, const Listener& listener) {
  const auto old = std::exchange(tables_, {});
  apply(initial, {});
  if (!listener) return;
  for (const auto& [name, rows] : old)
    for (const auto& [uuid, row] : rows)
      if (!find(name, uuid)) listener({name, uuid, &row, nullptr});
  for (const auto& [name, rows] : tables_) {
    const auto previous = old.find(name);
    for (const auto& [uuid, row] : rows) {
      const Row* before = nullptr;
      if (previous != old.end()) {
        const auto it = previous->second.find(uuid);
        if (it != previous->second.end()) before = &it->second;
      }
      if (!before || *before != row) listener({name, uuid, before, &row});
    }
  }
}

}  // namespace virga::ovn
