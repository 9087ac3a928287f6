#include "api/record.h"

#include <fmt/format.h>

namespace virga::api {
namespace {

bool stored(const Attribute& a) { return a.column != kNotStored; }
std::string_view column_of(const Attribute& a) { return a.column.empty() ? a.name : a.column; }
bool is_time(const Attribute& a) { return a.name == "created_at" || a.name == "updated_at"; }

json::value read_value(const Attribute& a, const db::Row& row, size_t i) {
  if (row.is_null(i)) return nullptr;
  switch (a.type) {
    case Type::boolean: return row.boolean(i);
    case Type::integer: return row.integer(i);
    case Type::object:
    case Type::array:
    case Type::any: return json::parse(row.text(i));  // written by ourselves
    default: return json::value(is_time(a) ? db_to_iso(row.text(i)) : row.text(i));
  }
}

db::Value write_value(const Attribute& a, const json::value& v) {
  if (v.is_null()) return nullptr;
  if (a.type == Type::object || a.type == Type::array || a.type == Type::any) return json::serialize(v);
  if (v.is_bool()) return v.get_bool();
  if (v.is_int64()) return v.get_int64();
  if (v.is_uint64()) return static_cast<int64_t>(v.get_uint64());
  if (is_time(a)) return parse_time(std::string_view(v.as_string()));
  return std::string_view(v.as_string());
}

}  // namespace

std::string record_columns(const Resource& resource) {
  std::string out;
  for (const auto& a : resource.attributes)
    if (stored(a)) out += (out.empty() ? "" : ", ") + std::string(column_of(a));
  return out;
}

json::object read_record(const Resource& resource, const db::Row& row, size_t at) {
  json::object out;
  for (const auto& a : resource.attributes)
    if (stored(a)) out[a.name] = read_value(a, row, at++);
  return out;
}

void insert_record(db::Tx& tx, const Resource& resource, std::string_view table, const json::object& record) {
  std::string columns;
  std::vector<db::Value> values;
  for (const auto& a : resource.attributes) {
    const json::value* v = stored(a) ? record.if_contains(a.name) : nullptr;
    if (!v) continue;
    columns += (columns.empty() ? "" : ", ") + std::string(column_of(a));
    values.push_back(write_value(a, *v));
  }
  tx.exec(fmt::format("INSERT INTO {} ({}) VALUES ({})", table, columns, db::placeholders(values.size())), values);
}

bool update_record(db::Tx& tx, const Resource& resource, std::string_view table, std::string_view id, const json::object& changes, Time now) {
  std::string sets = "revision_number = revision_number + 1, updated_at = ?";
  std::vector<db::Value> values{now};
  for (const auto& [name, value] : changes) {
    const Attribute* a = resource.find(std::string_view(name));
    if (!a || !stored(*a)) continue;
    sets += fmt::format(", {} = ?", column_of(*a));
    values.push_back(write_value(*a, value));
  }
  values.emplace_back(id);
  return tx.exec(fmt::format("UPDATE {} SET {} WHERE id = ?", table, sets), values) == 1;
}

std::optional<json::object> find_record(db::Tx& tx, const Resource& resource, std::string_view table, std::string_view id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM {} WHERE id = ?", record_columns(resource), table), id);
  return row ? std::optional(read_record(resource, *row)) : std::nullopt;
}

}  // namespace virga::api
