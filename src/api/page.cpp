#include "api/page.h"

#include <fmt/format.h>

#include <charconv>

#include "base/fault.h"
#include "base/text.h"

namespace virga::api {
namespace {

std::string_view column_of(const Attribute& a) { return a.column.empty() ? a.name : a.column; }

bool is_descending(std::string_view direction) {
  if (direction == "desc") return true;
  if (direction == "asc") return false;
  throw Fault(FaultKind::bad_request, fmt::format("Unknown sort direction '{}', must be one of: asc, desc", direction));
}

const Attribute& sortable(const Resource& resource, std::string_view key) {
  const Attribute* a = resource.find(key);
  if (!a || !a->sort) throw Fault(FaultKind::bad_request, fmt::format("'{}' is not a sort key of {}.", key, resource.plural));
  return *a;
}

int64_t read_limit(std::string_view text) {
  int64_t n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0)
    throw Fault(FaultKind::bad_request, fmt::format("limit must be a whole number of at least 0, not '{}'.", text));
  return n;
}

struct SortWords {
  std::vector<std::string> keys, directions;
};

/// True if the parameter was one of the list's own words.
bool read_word(const Resource& resource, std::string_view name, const std::string& value, ListQuery& query, SortWords& words) {
  if (name == "limit") query.limit = read_limit(value);
  else if (name == "marker") query.marker = value;
  else if (name == "page_reverse") query.page_reverse = parse_bool(value).value_or(false);
  else if (name == "sort_key") words.keys.push_back(value);
  else if (name == "sort_dir") words.directions.push_back(value);
  else if (name == "fields") query.fields.push_back(value);
  else if (name == "sort" && !(resource.find(name) && resource.find(name)->filter)) {
    for (const auto& part : split(value, ',')) {
      const size_t colon = part.find(':');
      words.keys.push_back(part.substr(0, colon));
      words.directions.push_back(colon == std::string::npos ? "asc" : part.substr(colon + 1));
    }
  } else return false;
  return true;
}

using Match = ListQuery::Match;

std::string folded(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// "name__icontains": the attribute "name" and how it is to be compared; nullopt if it is no inexact filter.
std::optional<ListQuery::Filter> inexact_filter(const Resource& resource, const std::string& name) {
  const size_t mark = name.find("__");
  if (mark == std::string::npos) return std::nullopt;
  const Attribute* a = resource.find(std::string_view(name).substr(0, mark));
  if (!a || !a->filter || (a->type != Type::string && a->type != Type::word)) return std::nullopt;
  std::string_view how = std::string_view(name).substr(mark + 2);
  const bool fold = how.starts_with('i');
  if (fold) how.remove_prefix(1);
  const Match match = how == "contains"     ? Match::contains
                      : how == "startswith" ? Match::starts_with
                      : how == "endswith"   ? Match::ends_with
                                            : Match::exact;
  if (match == Match::exact) return std::nullopt;
  return ListQuery::Filter{a, {}, match, fold};
}

/// A pattern for LIKE with '|' as its escape.
std::string like_pattern(Match match, std::string_view text) {
  std::string out = match == Match::starts_with ? "" : "%";
  for (char c : text) {
    if (c == '%' || c == '_' || c == '|') out += '|';
    out += c;
  }
  return match == Match::ends_with ? out : out + "%";
}

/// The condition of one value of an inexact filter. What counts as the same letter in another case, the engine says:
/// SQLite knows ASCII alone.
std::string inexact_condition(const ListQuery::Filter& f, const std::string& text, std::vector<db::Value>& values) {
  values.emplace_back(like_pattern(f.match, text));
  const std::string_view column = column_of(*f.attribute);
  return f.fold_case ? fmt::format("LOWER({}) LIKE LOWER(?) ESCAPE '|'", column) : fmt::format("{} LIKE ? ESCAPE '|'", column);
}

bool value_matches(const ListQuery::Filter& f, std::string have, std::string wanted) {
  if (f.fold_case) {
    have = folded(have);
    wanted = folded(wanted);
  }
  switch (f.match) {
    case Match::exact: return have == wanted;
    case Match::contains: return have.find(wanted) != std::string::npos;
    case Match::starts_with: return have.starts_with(wanted);
    case Match::ends_with: return have.ends_with(wanted);
  }
  return false;
}

std::optional<db::Value> filter_value(const Attribute& a, const std::string& text) {
  if (a.type == Type::boolean) {
    const auto b = parse_bool(text);
    return b ? std::optional<db::Value>(db::Value(*b)) : std::nullopt;
  }
  if (a.type == Type::integer) {
    int64_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return db::Value(n);
  }
  return db::Value(text);
}

}  // namespace

void Where::add_in(std::string_view column, const std::vector<std::string>& any_of) {
  if (any_of.empty()) return add("1 = 0");
  add(fmt::format("{} IN ({})", column, db::placeholders(any_of.size())));
  for (const auto& v : any_of) values.emplace_back(v);
}

bool ListQuery::matches(const json::object& item) const {
  return std::all_of(filters.begin(), filters.end(), [&](const Filter& f) {
    const json::value* v = item.if_contains(f.attribute->name);
    return std::any_of(f.values.begin(), f.values.end(), [&](const std::string& text) {
      if (!v || v->is_null()) return text.empty() && f.match == Match::exact;
      if (v->is_bool()) return parse_bool(text) == v->get_bool();
      return value_matches(f, v->is_string() ? str(*v) : json::serialize(*v), text);
    });
  });
}

void ListQuery::apply(Where& where) const {
  for (const auto& f : filters) {
    std::string any;
    std::vector<db::Value> values;
    for (const auto& text : f.values) {
      if (f.match != Match::exact) {
        any += (any.empty() ? "" : " OR ") + inexact_condition(f, text, values);
        continue;
      }
      const bool null_text = text.empty() && f.attribute->nullable;
      const auto v = filter_value(*f.attribute, text);
      if (!v) continue;
      any += any.empty() ? "" : " OR ";
      any += null_text ? fmt::format("{0} IS NULL OR {0} = ?", column_of(*f.attribute)) : fmt::format("{} = ?", column_of(*f.attribute));
      values.push_back(*v);
    }
    where.add(any.empty() ? "1 = 0" : "(" + any + ")");
    where.values.insert(where.values.end(), values.begin(), values.end());
  }
}

ListQuery parse_list(const Resource& resource, const http::Request& request, const ListRules& rules) {
  ListQuery query;
  SortWords words;
  for (const auto& [name, value] : request.query) {
    if (std::find(rules.ignore.begin(), rules.ignore.end(), name) != rules.ignore.end()) continue;
    if (read_word(resource, name, value, query, words)) continue;
    const Attribute* a = resource.find(name);
    if (auto inexact = rules.inexact ? inexact_filter(resource, name) : std::nullopt) {
      inexact->values = {value};
      query.filters.push_back(std::move(*inexact));
    } else if (a && a->filter) {
      const auto is_same = [&](const auto& f) { return f.attribute == a && f.match == ListQuery::Match::exact; };
      auto same = std::find_if(query.filters.begin(), query.filters.end(), is_same);
      if (same == query.filters.end()) same = query.filters.insert(query.filters.end(), {a, {}});
      same->values.push_back(value);
    } else if (rules.refuse_unknown) {
      throw Fault(FaultKind::bad_request, fmt::format("'{}' is not a filter of {}.", name, resource.plural));
    }
  }
  if (words.directions.size() > words.keys.size() && !words.keys.empty())
    throw Fault(FaultKind::bad_request, "There are more sort_dir than sort_key.");
  for (size_t i = 0; i < words.keys.size(); ++i) {
    const bool descending = i < words.directions.size() && is_descending(words.directions[i]);
    query.sorts.push_back({&sortable(resource, words.keys[i]), descending});
  }
  if (rules.max_limit > 0) {
    if (query.limit && *query.limit > rules.max_limit) query.limit = rules.max_limit;
    if (!query.limit && rules.default_limit) query.limit = rules.max_limit;
  }
  return query;
}

namespace {

struct Key {
  std::string column;
  bool descending;
};

std::vector<Key> keys_of(const ListQuery& query, std::string_view id_column) {
  std::vector<Key> keys;
  for (const auto& s : query.sorts) keys.push_back({std::string(column_of(*s.attribute)), s.descending != query.page_reverse});
  if (keys.empty() || keys.back().column != id_column) keys.push_back({std::string(id_column), query.page_reverse});
  return keys;
}

/// (a > ?) OR (a = ? AND b > ?) …: what comes after the marker row. Null sorts first, as both engines have it.
void add_after_marker(Where& where, const std::vector<Key>& keys, const db::Row& marker) {
  std::string any;
  std::vector<db::Value> values;
  const auto value = [&](size_t i) { return marker.is_null(i) ? db::Value() : db::Value(marker.text(i)); };
  for (size_t i = 0; i < keys.size(); ++i) {
    std::string all;
    for (size_t j = 0; j < i; ++j) {
      all += marker.is_null(j) ? keys[j].column + " IS NULL AND " : keys[j].column + " = ? AND ";
      if (!marker.is_null(j)) values.push_back(value(j));
    }
    if (marker.is_null(i)) all += keys[i].descending ? "1 = 0" : keys[i].column + " IS NOT NULL";
    else {
      all += keys[i].descending ? fmt::format("({0} < ? OR {0} IS NULL)", keys[i].column) : keys[i].column + " > ?";
      values.push_back(value(i));
    }
    any += (any.empty() ? "(" : " OR (") + all + ")";
  }
  where.add("(" + any + ")");
  where.values.insert(where.values.end(), values.begin(), values.end());
}

}  // namespace

db::Rows select_page(db::Tx& tx, std::string_view columns, std::string_view table, const ListQuery& query, Where where,
                     std::string_view id_column) {
  query.apply(where);
  const std::vector<Key> keys = keys_of(query, id_column);
  std::string order, key_columns;
  for (const auto& k : keys) {
    order += (order.empty() ? " ORDER BY " : ", ") + k.column + (k.descending ? " DESC" : "");
    key_columns += (key_columns.empty() ? "" : ", ") + k.column;
  }
  if (!query.marker.empty()) {
    const auto marker = tx.query(fmt::format("SELECT {} FROM {} WHERE {} = ?", key_columns, table, id_column), query.marker);
    if (marker.empty()) throw Fault(FaultKind::bad_request, fmt::format("marker [{}] not found", query.marker), "", "MarkerNotFound");
    add_after_marker(where, keys, marker.front());
  }
  std::string sql = fmt::format("SELECT {} FROM {}{}{}", columns, table, where.sql(), order);
  if (query.limit) {
    sql += " LIMIT ?";
    where.values.emplace_back(*query.limit + 1);
  }
  return tx.query(sql, where.values);
}

bool take_page(db::Rows& rows, const ListQuery& query) {
  const bool more = query.limit && rows.size() > static_cast<size_t>(*query.limit);
  if (more) rows.erase(rows.begin() + *query.limit, rows.end());
  if (query.page_reverse) std::reverse(rows.begin(), rows.end());
  return more;
}

std::string next_url(const Call& call, const std::string& marker) {
  const std::string target = call.request.target.substr(0, call.request.target.find('?'));
  std::string query;
  for (const auto& [name, value] : call.request.query)
    if (name != "marker") query += fmt::format("{}={}&", http::percent_encode(name), http::percent_encode(value));
  return fmt::format("{}{}?{}marker={}", call.cloud_url, target, query, http::percent_encode(marker));
}

json::object only_fields(json::object resource, const std::vector<std::string>& fields) {
  if (fields.empty()) return resource;
  json::object out;
  for (const auto& f : fields)
    if (auto it = resource.find(f); it != resource.end()) out[f] = it->value();
  return out;
}

}  // namespace virga::api
