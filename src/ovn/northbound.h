#pragma once
// What OVN's northbound database should hold, as plain data in OVN's terms. The network service computes it
// as a pure function of the cloud's database; NorthboundWriter (api.h) makes it so.
//
// Each struct has an `id`: our key, kept in external_ids as "virga:id", from which the row's UUID derives, so
// that two controllers can never insert the same thing twice. Rows without that mark are not ours and are
// never touched. `revision` (0 = none) is kept as "virga:revision": a row is never overwritten by an older
// revision.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ovn/datum.h"

namespace virga::ovn {

struct LogicalSwitch {
  std::string id;
  int64_t revision = 0;
  std::string name;  ///< empty = id
  TextMap other_config{{"mcast_snoop", "false"}};
  TextMap external_ids;
};

struct LogicalSwitchPort {
  std::string id;  ///< also the port's name in OVN, hence the VIF's iface-id
  int64_t revision = 0;
  std::string logical_switch;              ///< LogicalSwitch::id
  std::string type;                        ///< "" (VIF), "router", "localnet", "localport"
  std::vector<std::string> addresses;      ///< "fa:16:3e:… 10.0.0.5", "unknown", "router"
  std::vector<std::string> port_security;  ///< empty = off
  std::optional<bool> enabled;
  std::optional<int64_t> tag;  ///< VLAN of a localnet port
  TextMap options;  ///< requested-chassis, router-port, nat-addresses, network_name, mcast_flood, …
  std::string dhcpv4_options, dhcpv6_options;  ///< DhcpOptions::id, or ""
  std::vector<std::string> port_groups;        ///< PortGroup::id of each group the port is in
  TextMap external_ids;
};

struct GatewayChassis {
  std::string chassis;  ///< the chassis' system-id
  int64_t priority = 0;
};

struct LogicalRouterPort {
  std::string id;  ///< unique over all routers and switch ports; also the port's name in OVN
  std::string mac;
  std::vector<std::string> networks;  ///< "10.0.0.1/24"; at least one
  std::optional<bool> enabled;
  TextMap options;  ///< gateway_mtu, reside-on-redirect-chassis
  TextMap ipv6_ra_configs;
  std::vector<GatewayChassis> gateway_chassis;
  TextMap external_ids;
};

struct StaticRoute {
  std::string ip_prefix, nexthop;
  std::string output_port;  ///< LogicalRouterPort::id, or ""
  std::string policy;       ///< "", "dst-ip", "src-ip"
  TextMap external_ids;
};

struct Nat {
  std::string type;  ///< "snat", "dnat_and_snat"
  std::string external_ip, logical_ip;
  std::string logical_port, external_mac;  ///< both set = distributed; LogicalSwitchPort::id
  std::string gateway_port;                ///< LogicalRouterPort::id, or ""
  TextMap options, external_ids;
};

/// A router with everything on it: what is not listed here goes.
struct LogicalRouter {
  std::string id;
  int64_t revision = 0;
  std::string name;  ///< empty = id
  std::optional<bool> enabled;
  TextMap options;
  std::vector<LogicalRouterPort> ports;
  std::vector<StaticRoute> static_routes;
  std::vector<Nat> nats;
  TextMap external_ids;
};

/// A subnet's options in OVN's syntax (ovn-nb(5)); strings such as domain_name carry quotes of their own.
struct DhcpOptions {
  std::string id;
  int64_t revision = 0;
  std::string cidr;
  TextMap options;
  TextMap external_ids;
};

struct Acl {
  std::string id;         ///< unique within its group: the security group rule's id
  std::string direction;  ///< "from-lport" (out of the guest), "to-lport" (into the guest)
  int64_t priority = 0;
  std::string match;
  std::string action;  ///< "allow-related", "allow-stateless", "drop", "reject"
  std::string name;
  bool log = false;
  std::string severity, meter;
  TextMap external_ids;
};

/// A security group with all its ACLs. Its members are named on the port's side.
struct PortGroup {
  std::string id;  ///< also its name, as matches write it (@NAME, $NAME_ip4): letters, digits, _ and .
  int64_t revision = 0;
  std::vector<Acl> acls;
  TextMap external_ids;
};

struct AddressSet {
  std::string id;  ///< also its name, as matches write it ($NAME)
  int64_t revision = 0;
  std::vector<std::string> addresses;
  TextMap external_ids;
};

struct Northbound {
  std::vector<LogicalSwitch> switches;
  std::vector<LogicalSwitchPort> ports;
  std::vector<LogicalRouter> routers;
  std::vector<DhcpOptions> dhcp_options;
  std::vector<PortGroup> port_groups;
  std::vector<AddressSet> address_sets;
};

/// A part of the whole: what is listed becomes so, what is in `remove` goes, the rest stays as it is.
/// A LogicalRouter and a PortGroup are complete with their children; a LogicalSwitch says nothing of its
/// ports.
struct NorthboundChange {
  Northbound upsert;
  struct {
    std::vector<std::string> switches, ports, routers, dhcp_options, port_groups, address_sets;
  } remove;
};

// The usual rows, as neutron's OVN driver writes them.

/// "pg_" + the security group's id, in characters that a match accepts.
std::string port_group_name(const std::string& security_group_id);
/// The group whose members drop what no security group lets through; every port with port security is in it.
PortGroup drop_group();
inline const std::string kDropGroup = "pg_drop";
/// A switch's way to a physical network: bridge-mappings of the chassis say which bridge that is.
LogicalSwitchPort localnet_port(std::string id, std::string logical_switch,
                                const std::string& physical_network, std::optional<int64_t> vlan = {});
/// The switch's side of a router port. `external`: on the external network, announces NAT addresses.
LogicalSwitchPort router_peer_port(std::string id, std::string logical_switch, const std::string& router_port,
                                   bool external);
/// The metadata port that exists on each chassis.
LogicalSwitchPort metadata_port(std::string id, std::string logical_switch, const std::string& mac,
                                const std::vector<std::string>& addresses);

}  // namespace virga::ovn
