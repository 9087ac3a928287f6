// Security groups as compute's proxies need them, over the same collections that serve the Networking API.

#include <fmt/format.h>

#include "network/service.h"

namespace virga::network {
namespace {

class GroupFacade final : public SecurityGroups {
 public:
  explicit GroupFacade(NetworkService& service) : s_(service) {}

  std::vector<json::object> list(db::Tx& tx, const api::Caller& caller, bool all_projects) override {
    s_.ensure_default_group(tx, caller.project_id);
    const bool all = all_projects && caller.is_admin();
    return decorated(tx, all ? select_records(tx, s_.groups(), "1 = 1 ORDER BY created_at, id")
                             : select_records(tx, s_.groups(), "project_id = ? ORDER BY created_at, id",
                                              caller.project_id));
  }

  json::object find(db::Tx& tx, const api::Caller& caller, const std::string& id) override {
    return find_visible(tx, s_.groups(), caller, id);
  }
  json::object create(db::Tx& tx, api::Call& call, const json::object& group) override {
    return create_in(tx, s_.environment(), s_.groups(), call, group);
  }
  json::object update(db::Tx& tx, api::Call& call, const std::string& id,
                      const json::object& changes) override {
    return update_in(tx, s_.groups(), call, id, changes);
  }
  void remove(db::Tx& tx, api::Call& call, const std::string& id) override {
    remove_in(tx, s_.environment(), s_.groups(), call, id);
  }

  json::object find_rule(db::Tx& tx, const api::Caller& caller, const std::string& id) override {
    return find_visible(tx, s_.rules(), caller, id);
  }
  json::object create_rule(db::Tx& tx, api::Call& call, const json::object& rule) override {
    return create_in(tx, s_.environment(), s_.rules(), call, rule);
  }
  void remove_rule(db::Tx& tx, api::Call& call, const std::string& id) override {
    remove_in(tx, s_.environment(), s_.rules(), call, id);
  }

  std::vector<json::object> of_server(db::Tx& tx, const ServerId& server) override {
    return decorated(
        tx, select_records(tx, s_.groups(),
                           "id IN (SELECT g.security_group_id FROM network_port_groups g JOIN network_ports p ON "
                           "p.id = g.port_id WHERE p.device_id = ? AND p.device_owner LIKE 'compute:%') "
                           "ORDER BY created_at, id",
                           server));
  }

  void add_to_server(db::Tx& tx, const api::Caller& caller, const ServerId& server,
                     const std::string& group) override {
    const json::value id = need_group(tx, caller, group);
    for (const auto& port : ports(tx, server)) {
      json::array groups = port.at("security_groups").as_array();
      if (!find_bool(port, "port_security_enabled", true))
        throw Fault(FaultKind::bad_request,
                    "Network requires port_security_enabled and subnet associated in order to apply "
                    "security groups.");
      if (std::find(groups.begin(), groups.end(), id) != groups.end()) continue;
      groups.push_back(id);
      s_.write_port_groups(tx, port, groups);
    }
  }

  void remove_from_server(db::Tx& tx, const api::Caller& caller, const ServerId& server,
                          const std::string& group) override {
    const json::value id = need_group(tx, caller, group);
    bool found = false;
    for (const auto& port : ports(tx, server)) {
      json::array groups = port.at("security_groups").as_array();
      const auto at = std::find(groups.begin(), groups.end(), id);
      if (at == groups.end()) continue;
      groups.erase(at);
      s_.write_port_groups(tx, port, groups);
      found = true;
    }
    if (!found)
      throw Fault(FaultKind::not_found,
                  fmt::format("Security group {} not associated with the instance {}", group, server.str()));
  }

 private:
  Objects decorated(db::Tx& tx, Objects rows) const {
    for (auto& row : rows) row["tenant_id"] = row["project_id"];
    s_.groups().decorate(tx, rows);
    return rows;
  }

  Objects ports(db::Tx& tx, const ServerId& server) const {
    Objects rows = select_records(
        tx, s_.ports(), "device_id = ? AND device_owner LIKE 'compute:%' ORDER BY created_at, id", server);
    s_.ports().decorate(tx, rows);
    return rows;
  }

  static json::value need_group(db::Tx& tx, const api::Caller& caller, const std::string& group) {
    try {
      return group_ids(tx, caller.project_id, {group}).front();
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::bad_request) throw;
      throw Fault(FaultKind::not_found, fmt::format("Security group {} not found.", group));
    }
  }

  NetworkService& s_;
};

}  // namespace

std::unique_ptr<SecurityGroups> make_group_facade(NetworkService& service) {
  return std::make_unique<GroupFacade>(service);
}

}  // namespace virga::network
