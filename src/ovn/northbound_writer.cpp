#include "ovn/api.h"
#include "ovn/client.h"
#include "ovn/plan.h"

namespace virga::ovn {
namespace {

std::vector<Monitor> northbound_monitors() {
  return {{"NB_Global", {"nb_cfg", "sb_cfg", "hv_cfg", "external_ids"}},
          {"Logical_Switch", {"name", "ports", "other_config", "external_ids"}},
          {"Logical_Switch_Port",
           {"name", "type", "addresses", "port_security", "enabled", "up", "tag", "options", "dhcpv4_options",
            "dhcpv6_options", "external_ids"}},
          {"Logical_Router", {"name", "ports", "static_routes", "nat", "enabled", "options", "external_ids"}},
          {"Logical_Router_Port",
           {"name", "mac", "networks", "enabled", "options", "ipv6_ra_configs", "gateway_chassis",
            "external_ids"}},
          {"Logical_Router_Static_Route", {"ip_prefix", "nexthop", "output_port", "policy", "external_ids"}},
          {"NAT",
           {"type", "external_ip", "logical_ip", "logical_port", "external_mac", "gateway_port", "options",
            "external_ids"}},
          {"Gateway_Chassis", {"name", "chassis_name", "priority", "external_ids"}},
          {"DHCP_Options", {"cidr", "options", "external_ids"}},
          {"Port_Group", {"name", "ports", "acls", "external_ids"}},
          {"ACL",
           {"name", "direction", "priority", "match", "action", "log", "severity", "meter", "external_ids"}},
          {"Address_Set", {"name", "addresses", "external_ids"}}};
}

bool is_vif(const Row& row) {
  return column(row, "type").as_text().empty();
}

Replica::Listener status_listener(std::function<void(const std::string&, bool)> tell) {
  if (!tell) return {};
  return [tell = std::move(tell)](const RowChange& change) {
    if (change.table != "Logical_Switch_Port") return;
    const Row& row = change.after ? *change.after : *change.before;
    if (!is_vif(row)) return;
    const bool up = change.after && column(*change.after, "up").as_boolean();
    const bool was_up = change.before && column(*change.before, "up").as_boolean();
    if (up != was_up || !change.before) tell(column(row, "name").as_text(), up);
  };
}

constexpr const char* kEpoch = "virga:epoch";

/// NB_Global has one row; whoever comes first makes it.
void ensure_global(const Replica& replica, json::array& operations) {
  if (replica.table("NB_Global").empty())
    operations.push_back(json::object{{"op", "insert"}, {"table", "NB_Global"}, {"row", json::object()}});
}

/// Operations that bump nb_cfg; the last selects the number.
void add_mark(const Replica& replica, json::array& operations) {
  ensure_global(replica, operations);
  operations.push_back(json::object{{"op", "mutate"},
                                    {"table", "NB_Global"},
                                    {"where", json::array()},
                                    {"mutations", {json::array{"nb_cfg", "+=", 1}}}});
  operations.push_back(json::object{
      {"op", "select"}, {"table", "NB_Global"}, {"where", json::array()}, {"columns", {"nb_cfg"}}});
}

int64_t selected_number(const json::array& results) {
  const auto* result = results.empty() ? nullptr : results.back().if_object();
  const auto* rows = result ? find_array(*result, "rows") : nullptr;
  const auto* row = rows && !rows->empty() ? (*rows)[0].if_object() : nullptr;
  return row ? find_int(*row, "nb_cfg") : 0;
}

}  // namespace

NorthboundWriter::NorthboundWriter(Options options) : options_(std::move(options)) {
  client_ = std::make_unique<Client>(ClientOptions{.remote = options_.remote,
                                                   .database = "OVN_Northbound",
                                                   .monitors = northbound_monitors(),
                                                   .on_change = status_listener(options_.on_port_status),
                                                   .on_state = options_.on_state});
}
NorthboundWriter::~NorthboundWriter() = default;

bool NorthboundWriter::wait_connected(std::chrono::milliseconds timeout) const {
  return client_->wait_ready(timeout);
}

SyncResult NorthboundWriter::apply(const std::function<std::vector<Unit>()>& plan, bool mark) {
  SyncResult result;
  std::vector<Unit> units = plan();
  for (size_t at = 0; at < units.size();) {
    size_t end = at, count = 0;
    while (end < units.size() &&
           (end == at || count + units[end].operations.size() <= options_.max_operations))
      count += units[end++].operations.size();
    json::array operations = merge(&units[at], &units[at] + (end - at));
    result.operations += operations.size();
    client_->transact(std::move(operations), std::chrono::seconds(30));
    at = end;
  }
  if (!mark) return result;
  json::array operations;
  client_->read([&](const Replica& replica) { add_mark(replica, operations); });
  result.nb_cfg = selected_number(client_->transact(std::move(operations)));
  return result;
}

/// A lost race with another controller: the replica has its change by now, so the same plan finds less to do.
template <class F>
static auto with_retries(F f) {
  for (int attempt = 1;; ++attempt) {
    try {
      return f();
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::conflict || attempt == 3) throw;
    }
  }
}

SyncResult NorthboundWriter::reconcile(const Northbound& desired, bool mark) {
  return with_retries([&] {
    return apply(
        [&] {
          std::vector<Unit> units;
          client_->read([&](const Replica& replica) { units = plan_reconcile(replica, desired); });
          return units;
        },
        mark);
  });
}

SyncResult NorthboundWriter::sync(const NorthboundChange& change, bool mark) {
  return with_retries([&] {
    return apply(
        [&] {
          std::vector<Unit> units;
          client_->read([&](const Replica& replica) { units = plan_change(replica, change); });
          return units;
        },
        mark);
  });
}

namespace {

auto reaches(const char* reached, int64_t nb_cfg) {
  return [reached, nb_cfg](const Replica& replica) {
    const auto& table = replica.table("NB_Global");
    return !table.empty() && column(table.begin()->second, reached).as_integer() >= nb_cfg;
  };
}

}  // namespace

bool NorthboundWriter::wait_hypervisors(int64_t nb_cfg, std::chrono::milliseconds timeout) const {
  return client_->wait_for(timeout, reaches("hv_cfg", nb_cfg));
}

bool NorthboundWriter::wait_southbound(int64_t nb_cfg, std::chrono::milliseconds timeout) const {
  return client_->wait_for(timeout, reaches("sb_cfg", nb_cfg));
}

int64_t NorthboundWriter::seen_epoch() const {
  int64_t seen = 0;
  client_->read([&](const Replica& replica) {
    for (const auto& [uuid, row] : replica.table("NB_Global")) {
      const auto ids = column(row, "external_ids").as_text_map();
      if (const auto it = ids.find(kEpoch); it != ids.end()) seen = std::strtoll(it->second.c_str(), nullptr, 10);
    }
  });
  return seen;
}

void NorthboundWriter::see_epoch(int64_t epoch) {
  json::array operations;
  client_->read([&](const Replica& replica) { ensure_global(replica, operations); });
  // A map's insert leaves a key that is there as it is.
  operations.push_back(
      json::object{{"op", "mutate"},
                   {"table", "NB_Global"},
                   {"where", json::array()},
                   {"mutations", {json::array{"external_ids", "delete", json::array{"set", json::array{kEpoch}}},
                                  json::array{"external_ids", "insert",
                                              json::array{"map", json::array{json::array{kEpoch, std::to_string(epoch)}}}}}}});
  client_->transact(std::move(operations));
}

std::map<std::string, bool> NorthboundWriter::port_status() const {
  std::map<std::string, bool> out;
  client_->read([&](const Replica& replica) {
    for (const auto& [uuid, row] : replica.table("Logical_Switch_Port"))
      if (is_vif(row)) out[column(row, "name").as_text()] = column(row, "up").as_boolean();
  });
  return out;
}

}  // namespace virga::ovn
