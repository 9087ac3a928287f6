#pragma once
// From the cloud's networks to OVN's northbound rows: a pure function, which writes what neutron's OVN driver
// writes.
//
//   network              logical switch (and a localnet port if it is flat or vlan)
//   subnet with DHCP     DHCP options
//   port                 logical switch port; router ports are peers of a logical router port, floating IPs
//   have none router               logical router with ports, routes and NAT security group       port group
//   with ACLs; ports with port security are also in the group that drops

#include <string>
#include <vector>

#include "network/snapshot.h"
#include "ovn/api.h"

namespace virga::network {

struct PlanOptions {
  std::vector<std::string> dns_servers;  ///< for subnets that name none
  std::string dns_domain;
  std::vector<std::string> chassis;  ///< that may carry router gateways
  bool distributed_floating_ips =
      false;  ///< each host does NAT for its own guests; needs the external network there
};

ovn::Northbound plan(const Snapshot& snapshot, const PlanOptions& options);
/// The plan of a part, and the removal of what `dirty` names and the database no longer has.
ovn::NorthboundChange plan_change(const Snapshot& part, const DirtySet& dirty, const PlanOptions& options);

std::string router_port_name(const std::string& port_id);
std::string localnet_port_name(const std::string& network_id);
/// DHCP options of one port alone (its extra_dhcp_opts).
std::string port_dhcp_name(const std::string& port_id, int version);

/// A rule's match; exposed for the tests.
ovn::Acl acl_of(const Snapshot::Group& group, const Snapshot::Rule& rule);

}  // namespace virga::network
