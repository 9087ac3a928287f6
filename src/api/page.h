#pragma once
// Lists: filters, sorting, marker paging and `fields`, from a resource's attribute rows to SQL.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/schema.h"
#include "api/service.h"
#include "db/api.h"

namespace virga::api {

/// An SQL condition with its parameters, built up by `add`; empty text = no condition.
struct Where {
  std::string text;
  std::vector<db::Value> values;
  void add(std::string_view condition) { text += (text.empty() ? "" : " AND ") + std::string(condition); }
  template <class... Args>
  void add(std::string_view condition, const Args&... args) {
    add(condition);
    (values.push_back(db::Value(args)), ...);
  }
  void add_in(std::string_view column, const std::vector<std::string>& any_of);
  /// " WHERE …" or "".
  std::string sql() const { return text.empty() ? "" : " WHERE " + text; }
};

struct ListQuery {
  enum class Match { exact, contains, starts_with, ends_with };
  struct Filter {
    const Attribute* attribute;
    std::vector<std::string> values;  ///< any of
    Match match = Match::exact;
    bool fold_case = false;
  };
  struct Sort {
    const Attribute* attribute;
    bool descending = false;
  };
  std::vector<Filter> filters;
  std::vector<Sort> sorts;
  std::optional<int64_t> limit;
  std::string marker;
  bool page_reverse = false;           ///< neutron
  std::vector<std::string> fields;     ///< neutron: only these attributes

  /// True if the filters let a list's item through that is not in the database.
  bool matches(const json::object& item) const;
  /// Adds the filters as conditions (booleans and integers are read as such; a value that is none matches nothing).
  void apply(Where& where) const;
};

struct ListRules {
  int64_t max_limit = 1000;     ///< larger limits are cut to it; 0 = none
  bool default_limit = false;   ///< max_limit also when no limit is given (nova, glance)
  bool inexact = false;         ///< keystone's filters of text: NAME__contains, __startswith, __endswith; __i… without case
  bool refuse_unknown = false;  ///< 400 on a query parameter that is no attribute and not in `ignore`
  std::vector<std::string_view> ignore{};  ///< parameters that the handler reads itself
};

/// Reads sort_key/sort_dir (and glance's and cinder's `sort=key:dir,…`), limit, marker, page_reverse, fields and
/// filters. Throws Fault(bad_request) on a bad limit, direction or unknown sort key.
ListQuery parse_list(const Resource& resource, const http::Request& request, const ListRules& rules = {});

/// SELECT `columns` FROM `table` with the query's filters, sorting, marker and limit; `id_column` breaks ties.
/// Throws Fault(bad_request) if the marker is not there. Fetches one row more than the limit so that the caller knows
/// whether there is a next page (`take_page` cuts it off).
db::Rows select_page(db::Tx& tx, std::string_view columns, std::string_view table, const ListQuery& query, Where where,
                     std::string_view id_column = "id");
/// Cuts rows to the limit; true if there were more.
bool take_page(db::Rows& rows, const ListQuery& query);

/// URL of the next page: this request's URL with marker replaced.
std::string next_url(const Call& call, const std::string& marker);
/// Keeps only the named members, if any are named.
json::object only_fields(json::object resource, const std::vector<std::string>& fields);

}  // namespace virga::api
