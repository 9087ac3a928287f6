// Open vSwitch's own database: bridges and what OVN must know about this host. One short OVSDB transaction at a time.

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <thread>

#include "base/fault.h"
#include "base/json.h"
#include "base/netns.h"
#include "cloud/engines.h"

namespace virga::cloud {
namespace {

/// A blocking connection to Open vSwitch's database, for the few transactions of a start.
class SwitchDatabase {
 public:
  explicit SwitchDatabase(const std::string& socket_path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
    close(fd_);
    throw Fault(FaultKind::unavailable, fmt::format("{}: {}.", socket_path, strerror(errno)));
  }
  ~SwitchDatabase() { close(fd_); }
  SwitchDatabase(const SwitchDatabase&) = delete;
  SwitchDatabase& operator=(const SwitchDatabase&) = delete;

  json::array transact(json::array operations) {
    operations.insert(operations.begin(), json::value("Open_vSwitch"));
    const json::object request = {{"method", "transact"}, {"params", std::move(operations)}, {"id", 1}};
    const std::string text = json::serialize(request);
    if (send(fd_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) lost();
    json::object answer = receive();
    if (!answer["error"].is_null()) refuse(answer["error"]);
    json::array results = answer["result"].as_array();
    for (const json::value& r : results)
      if (r.is_object() && r.as_object().contains("error")) refuse(r);
    return results;
  }

 private:
  [[noreturn]] static void lost() { throw Fault(FaultKind::unavailable, "Open vSwitch's database does not answer."); }
  [[noreturn]] static void refuse(const json::value& error) {
    throw Fault(FaultKind::internal, "Open vSwitch's database refused: " + json::serialize(error));
  }

  json::object receive() {
    json::stream_parser parser;
    while (!parser.done()) {
      char buffer[4096];
      pollfd p{fd_, POLLIN, 0};
      if (poll(&p, 1, 10'000) <= 0) lost();
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) lost();
      parser.write_some(buffer, static_cast<size_t>(n));
    }
    return parser.release().as_object();
  }

  int fd_;
};

json::object select(const char* table, std::vector<std::string> columns) {
  return {{"op", "select"}, {"table", table}, {"where", json::array()}, {"columns", json::value_from(columns)}};
}

/// A row that refers to others must be inserted in the transaction that refers to it.
void insert_bridge(json::array& operations, const std::string& name, const std::string& datapath, bool secure) {
  const std::string tag = std::to_string(operations.size());
  json::object bridge = {{"name", name},
                         {"datapath_type", datapath},
                         {"ports", json::array{"set", json::array{json::array{"named-uuid", "port" + tag}}}}};
  if (secure) bridge["fail_mode"] = "secure";
  operations.push_back({{"op", "insert"}, {"table", "Interface"}, {"uuid-name", "interface" + tag},
                        {"row", {{"name", name}, {"type", "internal"}}}});
  operations.push_back({{"op", "insert"}, {"table", "Port"}, {"uuid-name", "port" + tag},
                        {"row", {{"name", name}, {"interfaces", json::array{"named-uuid", "interface" + tag}}}}});
  operations.push_back({{"op", "insert"}, {"table", "Bridge"}, {"uuid-name", "bridge" + tag}, {"row", bridge}});
  json::object add = {{"op", "mutate"}, {"table", "Open_vSwitch"}, {"where", json::array()}};
  add["mutations"] = json::array{json::array{"bridges", "insert", json::array{"set", json::array{json::array{"named-uuid", "bridge" + tag}}}}};
  operations.push_back(std::move(add));
}

void insert_port(json::array& operations, const std::string& bridge, const std::string& device) {
  operations.push_back({{"op", "insert"}, {"table", "Interface"}, {"uuid-name", "uplink_if"}, {"row", {{"name", device}}}});
  operations.push_back({{"op", "insert"}, {"table", "Port"}, {"uuid-name", "uplink"},
                        {"row", {{"name", device}, {"interfaces", json::array{"named-uuid", "uplink_if"}}}}});
  json::object add = {{"op", "mutate"}, {"table", "Bridge"}, {"where", json::array{json::array{"name", "==", bridge}}}};
  add["mutations"] = json::array{json::array{"ports", "insert", json::array{"set", json::array{json::array{"named-uuid", "uplink"}}}}};
  operations.push_back(std::move(add));
}

std::string bridge_of(const std::string& mapping) { return mapping.substr(mapping.find(':') + 1); }

std::string external_bridge(const Config& c) {
  for (const std::string& m : c.network.bridge_mappings)
    if (m.rfind(c.network.physical_network + ":", 0) == 0) return bridge_of(m);
  return "br-ex";
}

json::object chassis_settings(const Config& c, const Engines& e) {
  std::string mappings;
  for (const std::string& m : c.network.bridge_mappings) mappings += (mappings.empty() ? "" : ",") + m;
  const std::vector<std::pair<std::string, std::string>> settings = {
      {"system-id", e.chassis},
      {"hostname", e.chassis},
      {"ovn-remote", "unix:" + e.sb_socket},
      {"ovn-encap-type", "geneve"},
      {"ovn-encap-ip", c.network.encap_ip},
      {"ovn-bridge-mappings", mappings},
      {"ovn-bridge-datapath-type", e.userspace_datapath ? "netdev" : "system"}};
  json::array keys, pairs;
  for (const auto& [key, value] : settings) {
    keys.push_back(json::value(key));
    pairs.push_back(json::array{key, value});
  }
  json::object operation = {{"op", "mutate"}, {"table", "Open_vSwitch"}, {"where", json::array()}};
  operation["mutations"] =
      json::array{json::array{"external_ids", "delete", json::array{"set", keys}},
                  json::array{"external_ids", "insert", json::array{"map", pairs}}, json::array{"next_cfg", "+=", 1}};
  return operation;
}

std::set<std::string> names_in(const json::value& result) {
  std::set<std::string> names;
  for (const json::value& row : result.at("rows").as_array()) names.insert(str(row.at("name")));
  return names;
}

/// ovs-vswitchd tells through cur_cfg that it has carried out what stands in the database.
void wait_applied(SwitchDatabase& database) {
  for (int i = 0; i < 500; ++i) {
    const json::array result = database.transact({select("Open_vSwitch", {"cur_cfg", "next_cfg"})});
    const json::value& row = result.at(0).at("rows").at(0);
    if (row.at("cur_cfg").as_int64() >= row.at("next_cfg").as_int64()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw Fault(FaultKind::timeout, "ovs-vswitchd does not carry out its configuration.", "See ovs-vswitchd.log.");
}

}  // namespace

void set_up_switch(const Config& c, const Engines& e) {
  SwitchDatabase database(e.ovs_socket);
  const json::array now = database.transact({select("Open_vSwitch", {"cur_cfg"}), select("Bridge", {"name"}), select("Port", {"name"})});
  if (now.at(0).at("rows").as_array().empty())
    database.transact({json::object{{"op", "insert"}, {"table", "Open_vSwitch"}, {"row", json::object()}}});
  const std::set<std::string> have = names_in(now.at(1));
  const std::string datapath = e.userspace_datapath ? "netdev" : "system";
  json::array operations;
  if (!have.count("br-int")) insert_bridge(operations, "br-int", datapath, true);
  std::set<std::string> bridges;
  for (const std::string& mapping : c.network.bridge_mappings)
    if (const std::string bridge = bridge_of(mapping); bridges.insert(bridge).second && !have.count(bridge))
      insert_bridge(operations, bridge, datapath, false);
  operations.push_back(chassis_settings(c, e));
  database.transact(std::move(operations));
  const std::string& uplink = c.network.external_interface;
  if (!uplink.empty() && !names_in(now.at(2)).count(uplink)) {
    json::array port;
    insert_port(port, external_bridge(c), uplink);
    database.transact(std::move(port));
  }
  wait_applied(database);

  const std::string space = c.data_namespace();
  for (const std::string& bridge : bridges) netns::set_up(space, bridge);
  if (!c.trial()) return;
  const std::string prefix = c.network.external_cidr.substr(c.network.external_cidr.find('/'));
  netns::add_address(space, external_bridge(c), c.network.external_gateway + prefix);
  netns::add_address(space, "lo", c.network.encap_ip + "/32");
}

}  // namespace virga::cloud
