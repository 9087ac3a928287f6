#pragma once
// Open vSwitch's own database, for the few transactions of a start and of a purge: one blocking connection. (The agent's
// lasting hold on it is ovn::LocalSwitch.)

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"

namespace virga::cloud {

class SwitchDatabase {
 public:
  /// Throws Fault(unavailable) if nobody answers there.
  explicit SwitchDatabase(const std::string& socket_path, std::string database = "Open_vSwitch");
  ~SwitchDatabase();
  SwitchDatabase(const SwitchDatabase&) = delete;
  SwitchDatabase& operator=(const SwitchDatabase&) = delete;

  /// The result of each operation. Throws Fault(internal) with the database's words if it refuses.
  json::array transact(json::array operations);
  /// external_ids of the one row of Open_vSwitch.
  std::map<std::string, std::string> external_ids();
  /// The names in a table (Bridge, Port).
  std::set<std::string> names(const char* table);
  /// What went wrong with an interface, or "".
  std::string interface_error(const std::string& device);
  /// ovs-vswitchd tells through cur_cfg that it has carried out what stands in the database.
  void wait_applied();

 private:
  json::object receive();
  int fd_;
  const std::string database_;
};

/// {"op": "select", …} of all rows.
json::object select_all(const char* table, const std::vector<std::string>& columns);
/// OVSDB's ["map", [[key, value], …]], and back.
std::map<std::string, std::string> text_map(const json::value& map);
json::array map_value(const std::map<std::string, std::string>& map);
/// Members of OVSDB's ["set", […]], or the one atom that stands for a set of one.
json::array set_members(const json::value& set);

}  // namespace virga::cloud
