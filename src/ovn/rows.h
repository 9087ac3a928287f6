#pragma once
// A Northbound as rows of OVSDB tables: the pure translation from OVN's terms to columns.

#include <string>
#include <string_view>
#include <vector>

#include "ovn/northbound.h"

namespace virga::ovn {

inline constexpr std::string_view kIdMark = "virga:id";
inline constexpr std::string_view kRevisionMark = "virga:revision";
inline constexpr std::string_view kParentMark = "virga:parent";

/// Where rows of a table hang: OVSDB deletes a row that its parent no longer names.
struct TableInfo {
  std::string_view table, parent_table, parent_column;  ///< the parent's are empty for a root table
};
const TableInfo& table_info(std::string_view table);
/// The columns of `table` whose children we own as a whole.
std::vector<std::pair<std::string, std::string>> owned_children(std::string_view table);

/// The UUID of our row with that key.
std::string row_uuid(std::string_view table, std::string_view key);

struct DesiredRow {
  std::string table, key;
  std::string parent_key;  ///< "" for a root table
  int64_t revision = 0;    ///< of objects; children go with their parent
  Row columns;
  std::vector<std::string> port_groups;  ///< of a logical switch port: keys
  std::string uuid() const { return row_uuid(table, key); }
};

/// One list for each object, parents before children, in an order in which references resolve.
std::vector<std::vector<DesiredRow>> rows_of(const Northbound& desired);

}  // namespace virga::ovn
