#pragma once
// What the database says of networks, as plain structs: all that plan.h needs, and nothing else. Read in a
// few SQL statements, whole or in part. A part is closed: each thing in it comes with everything its
// northbound rows depend on, so a plan of a part equals that part of a plan of the whole.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "db/api.h"
#include "network/service.h"

namespace virga::network {

struct Snapshot {
  struct Route {
    std::string destination, nexthop;
  };
  struct Network {
    std::string id, name, type, physical_network;
    std::optional<int64_t> segment;
    int64_t mtu = 0;
    bool external = false;
  };
  struct Subnet {
    std::string id, network_id, cidr, gateway;
    int version = 4;
    bool dhcp = false;
    std::string address_mode, ra_mode;
    std::vector<std::string> dns_servers;
    std::vector<Route> host_routes;
  };
  struct Address {
    std::string subnet_id, address;
  };
  struct Pair {
    std::string mac, address;
  };
  struct Option {
    std::string name, value;
    int version = 4;
  };
  struct Port {
    std::string id, network_id, name, mac, device_id, owner, host, also_host;
    bool up = true, secure = true;
    std::vector<Pair> pairs;
    std::vector<Option> dhcp_options;
    std::vector<Address> addresses;  ///< in order
    std::vector<std::string> groups;
  };
  struct FloatingIp {
    std::string id, address, fixed, port_id, mac;  ///< mac: of its port on the external network
  };
  struct Router {
    std::string id, name, gateway_port;
    bool up = true, snat = true;
    std::vector<Route> routes;
    std::vector<std::string> ports;  ///< interfaces and gateway
    std::vector<FloatingIp> floating_ips;
  };
  struct Rule {
    std::string id, direction, ethertype, protocol, remote_prefix, remote_group;
    std::optional<int64_t> from, to;
  };
  struct Group {
    std::string id, name;
    bool stateful = true;
    std::vector<Rule> rules;
  };

  std::map<std::string, Network> networks;
  std::map<std::string, Subnet> subnets;
  std::map<std::string, Port> ports;
  std::map<std::string, Router> routers;
  std::map<std::string, Group> groups;
};

/// Things to look at again, by kind.
struct DirtySet {
  std::set<std::string> networks, ports, routers, groups;
  void add(const Dirty& dirty);
  void add(const DirtySet& other);
  bool empty() const { return size() == 0; }
  size_t size() const { return networks.size() + ports.size() + routers.size() + groups.size(); }
};

Snapshot read_everything(db::Tx& tx);
/// What `dirty` touches; what it names and the database no longer has is missing.
Snapshot read_part(db::Tx& tx, const DirtySet& dirty);

}  // namespace virga::network
