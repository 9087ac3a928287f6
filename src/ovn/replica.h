#pragma once
// The in-memory copy of the tables and columns that a client monitors.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "ovn/datum.h"

namespace virga::ovn {

/// What to copy. Columns that the server's schema does not have are left out (an older OVN).
struct Monitor {
  std::string table;
  std::vector<std::string> columns;
};

/// A row appeared (no before), changed, or went (no after). Pointers are good during the callback only.
struct RowChange {
  const std::string& table;
  const std::string& uuid;
  const Row* before;
  const Row* after;
};

class Replica {
 public:
  using Table = std::unordered_map<std::string, Row>;
  using Listener = std::function<void(const RowChange&)>;

  /// Empty if the table is not monitored.
  const Table& table(std::string_view name) const;
  const Row* find(std::string_view table, const std::string& uuid) const;
  /// The first row whose column `name` is `value`: a scan, for small tables.
  std::pair<std::string, const Row*> find_by_name(std::string_view table, std::string_view value) const;

  /// Takes the answer to "get_schema", of which it keeps the monitored columns.
  void set_schema(const json::object& schema, const std::vector<Monitor>& monitors);
  bool has_column(std::string_view table, std::string_view column) const;

  /// Replaces everything by the first answer of a monitor, reporting only real differences: after a
  /// reconnection a listener hears what changed meanwhile, rows that went included.
  void reset(const json::value& initial, const Listener& listener);
  /// Applies an "update2".
  void apply(const json::value& updates, const Listener& listener);

  /// For tests and planning without a server.
  void put(const std::string& table, const std::string& uuid, Row row) {
    tables_[table][uuid] = std::move(row);
  }
  void erase(const std::string& table, const std::string& uuid) { tables_[table].erase(uuid); }

 private:
  void apply_row(const std::string& table, const std::string& uuid, const json::object& change,
                 const Listener& listener);
  bool is_composite(std::string_view table, std::string_view column) const;
  Row default_row(const std::string& table) const;

  struct Column {
    bool composite = false;
    Datum initial;  ///< what OVSDB leaves out of an insert: "", 0, false, or nothing
  };
  std::map<std::string, std::map<std::string, Column, std::less<>>, std::less<>> schema_;
  std::map<std::string, Table, std::less<>> tables_;
};

}  // namespace virga::ovn
