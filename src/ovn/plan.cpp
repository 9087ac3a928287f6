#include "ovn/plan.h"

#include <set>
#include <tuple>
#include <unordered_set>

namespace virga::ovn {
namespace {

json::array where_uuid(const std::string& uuid) {
  return json::array{json::array{"_uuid", "==", json::array{"uuid", uuid}}};
}

bool is_ours(const Row& row) {
  return !column(row, "external_ids").at(kIdMark).empty();
}

int64_t revision_of(const Row& row) {
  const std::string text = column(row, "external_ids").at(kRevisionMark);
  return text.empty() ? 0 : std::strtoll(text.c_str(), nullptr, 10);
}

/// Refuses the transaction if another controller changed the row since we looked.
json::object guard(const DesiredRow& row, const Row& existing) {
  return {{"op", "wait"},
          {"timeout", 0},
          {"table", row.table},
          {"where", where_uuid(row.uuid())},
          {"columns", {"external_ids"}},
          {"until", "=="},
          {"rows", {json::object{{"external_ids", column(existing, "external_ids").to_json()}}}}};
}

void link_parent(const DesiredRow& row, const Row* existing, const Replica& replica, Unit& unit) {
  const TableInfo& info = table_info(row.table);
  if (info.parent_table.empty()) return;
  const std::string child = row.uuid(), parent = row_uuid(info.parent_table, row.parent_key);
  const Row* parent_row = replica.find(info.parent_table, parent);
  const std::string name(info.parent_column), table(info.parent_table);
  if (!parent_row || !column(*parent_row, name).has_uuid(child))
    unit.links.push_back({table, parent, name, child, true});
  const std::string old = existing ? column(*existing, "external_ids").at(kParentMark) : "";
  if (!old.empty() && old != row.parent_key)
    unit.links.push_back({table, row_uuid(table, old), name, child, false});
}

void link_groups(const DesiredRow& row, const Replica& replica, Unit& unit) {
  if (row.table != "Logical_Switch_Port") return;
  const std::string child = row.uuid();
  std::set<std::string> wanted;
  for (const auto& group : row.port_groups) wanted.insert(row_uuid("Port_Group", group));
  for (const auto& uuid : wanted) {
    const Row* group = replica.find("Port_Group", uuid);
    if (!group || !column(*group, "ports").has_uuid(child))
      unit.links.push_back({"Port_Group", uuid, "ports", child, true});
  }
  for (const auto& [uuid, group] : replica.table("Port_Group"))
    if (!wanted.count(uuid) && is_ours(group) && column(group, "ports").has_uuid(child))
      unit.links.push_back({"Port_Group", uuid, "ports", child, false});
}

void plan_row(const DesiredRow& row, const Row* existing, const Replica& replica, Unit& unit) {
  json::object columns;
  for (const auto& [name, value] : row.columns) {
    if (existing ? !(column(*existing, name) == value) : !value.empty()) columns[name] = value.to_json();
  }
  if (!existing) {
    unit.operations.push_back(json::object{
        {"op", "insert"}, {"table", row.table}, {"uuid", row.uuid()}, {"row", std::move(columns)}});
  } else if (!columns.empty()) {
    if (row.revision > 0) unit.operations.push_back(guard(row, *existing));
    unit.operations.push_back(json::object{{"op", "update"},
                                           {"table", row.table},
                                           {"where", where_uuid(row.uuid())},
                                           {"row", std::move(columns)}});
  }
  link_parent(row, existing, replica, unit);
  link_groups(row, replica, unit);
}

/// One object with its children; children that are ours and no longer wanted are unlinked, which deletes
/// them.
Unit plan_object(const std::vector<DesiredRow>& rows, const Replica& replica) {
  Unit unit;
  const Row* root = replica.find(rows[0].table, rows[0].uuid());
  if (root && rows[0].revision > 0 && revision_of(*root) > rows[0].revision) return unit;
  std::unordered_set<std::string> wanted;
  for (const auto& row : rows) wanted.insert(row.uuid());
  for (const auto& row : rows) {
    const Row* existing = replica.find(row.table, row.uuid());
    plan_row(row, existing, replica, unit);
    if (!existing) continue;
    for (const auto& [name, table] : owned_children(row.table))
      for (const auto& child : column(*existing, name).as_texts()) {
        const Row* child_row = replica.find(table, child);
        if (child_row && is_ours(*child_row) && !wanted.count(child))
          unit.links.push_back({row.table, row.uuid(), name, child, false});
      }
  }
  return unit;
}

/// Where a child hangs: under the parent it names, or, if someone moved it, wherever it is.
std::string parent_of(const Replica& replica, const TableInfo& info, const std::string& child,
                      const Row& row) {
  const std::string uuid = row_uuid(info.parent_table, column(row, "external_ids").at(kParentMark));
  const Row* parent = replica.find(info.parent_table, uuid);
  if (parent && column(*parent, info.parent_column).has_uuid(child)) return uuid;
  for (const auto& [other, candidate] : replica.table(info.parent_table))
    if (column(candidate, info.parent_column).has_uuid(child)) return other;
  return {};
}

void plan_removal(const Replica& replica, std::string_view table, const std::string& uuid,
                  std::vector<Unit>& out) {
  const Row* row = replica.find(table, uuid);
  if (!row || !is_ours(*row)) return;
  const TableInfo& info = table_info(table);
  Unit unit;
  if (info.parent_table.empty()) {
    unit.operations.push_back(json::object{{"op", "delete"}, {"table", table}, {"where", where_uuid(uuid)}});
  } else {
    const std::string parent = parent_of(replica, info, uuid, *row);
    if (parent.empty()) return;
    unit.links.push_back(
        {std::string(info.parent_table), parent, std::string(info.parent_column), uuid, false});
  }
  out.push_back(std::move(unit));
}

void plan_upserts(const Replica& replica, const std::vector<std::vector<DesiredRow>>& objects,
                  std::vector<Unit>& out) {
  for (const auto& rows : objects) {
    Unit unit = plan_object(rows, replica);
    if (!unit.empty()) out.push_back(std::move(unit));
  }
}

}  // namespace

std::vector<Unit> plan_change(const Replica& replica, const NorthboundChange& change) {
  std::vector<Unit> out;
  const auto remove = [&](std::string_view table, const std::vector<std::string>& keys) {
    for (const auto& key : keys) plan_removal(replica, table, row_uuid(table, key), out);
  };
  remove("Logical_Switch_Port", change.remove.ports);
  remove("Logical_Router", change.remove.routers);
  remove("Logical_Switch", change.remove.switches);
  remove("Port_Group", change.remove.port_groups);
  remove("DHCP_Options", change.remove.dhcp_options);
  remove("Address_Set", change.remove.address_sets);
  plan_upserts(replica, rows_of(change.upsert), out);
  return out;
}

std::vector<Unit> plan_reconcile(const Replica& replica, const Northbound& desired) {
  const auto objects = rows_of(desired);
  std::unordered_set<std::string> wanted;
  for (const auto& rows : objects)
    for (const auto& row : rows) wanted.insert(row.uuid());
  std::vector<Unit> out;
  for (const char* table : {"Logical_Switch_Port", "Logical_Router", "Logical_Switch", "Port_Group",
                            "DHCP_Options", "Address_Set"})
    for (const auto& [uuid, row] : replica.table(table))
      if (!wanted.count(uuid)) plan_removal(replica, table, uuid, out);
  plan_upserts(replica, objects, out);
  return out;
}

json::array merge(const Unit* begin, const Unit* end) {
  json::array operations;
  std::map<std::tuple<std::string, std::string, std::string, bool>, std::vector<std::string>> merged;
  for (const Unit* unit = begin; unit != end; ++unit) {
    for (const auto& op : unit->operations) operations.push_back(op);
    for (const auto& l : unit->links) merged[{l.table, l.uuid, l.column, l.add}].push_back(l.child);
  }
  for (const auto& [to, children] : merged) {
    const auto& [table, uuid, name, add] = to;
    json::array set;
    for (const auto& child : children) set.push_back(json::array{"uuid", child});
    operations.push_back(json::object{
        {"op", "mutate"},
        {"table", table},
        {"where", where_uuid(uuid)},
        {"mutations", {json::array{name, add ? "insert" : "delete", json::array{"set", std::move(set)}}}}});
  }
  return operations;
}

}  // namespace virga::ovn
