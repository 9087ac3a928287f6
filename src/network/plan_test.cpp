#include "network/plan.h"

#include <gtest/gtest.h>

namespace virga::network {
namespace {

using Rule = Snapshot::Rule;

struct AclCase {
  const char* name;
  Rule rule;
  const char* direction;
  const char* match;
};

class Acls : public ::testing::TestWithParam<AclCase> {};

TEST_P(Acls, AreWhatNeutronWrites) {
  const ovn::Acl acl = acl_of({.id = "a-1", .name = "web", .rules = {}}, GetParam().rule);
  EXPECT_EQ(acl.direction, GetParam().direction);
  EXPECT_EQ(acl.match, GetParam().match);
  EXPECT_EQ(acl.priority, 1002);
  EXPECT_EQ(acl.action, "allow-related");
}

Rule rule(std::string direction, std::string ethertype, std::string protocol = "",
          std::optional<int64_t> from = {}, std::optional<int64_t> to = {}, std::string prefix = "",
          std::string group = "") {
  return {"r",
          std::move(direction),
          std::move(ethertype),
          std::move(protocol),
          std::move(prefix),
          std::move(group),
          from,
          to};
}

const AclCase kAcls[] = {
    {"everything_out", rule("egress", "IPv4"), "from-lport", "inport == @pg_a_1 && ip4"},
    {"everything_out_6", rule("egress", "IPv6"), "from-lport", "inport == @pg_a_1 && ip6"},
    {"ssh", rule("ingress", "IPv4", "tcp", 22, 22), "to-lport",
     "outport == @pg_a_1 && ip4 && tcp && tcp.dst == 22"},
    {"range_by_number", rule("ingress", "IPv4", "17", 1000, 2000), "to-lport",
     "outport == @pg_a_1 && ip4 && udp && udp.dst >= 1000 && udp.dst <= 2000"},
    {"sctp", rule("ingress", "IPv4", "sctp"), "to-lport", "outport == @pg_a_1 && ip4 && sctp"},
    {"ping", rule("ingress", "IPv4", "icmp"), "to-lport", "outport == @pg_a_1 && ip4 && icmp4"},
    {"ping_type_code", rule("ingress", "IPv4", "icmp", 8, 0), "to-lport",
     "outport == @pg_a_1 && ip4 && icmp4 && icmp4.type == 8 && icmp4.code == 0"},
    {"ping6_named_icmp", rule("ingress", "IPv6", "icmp"), "to-lport", "outport == @pg_a_1 && ip6 && icmp6"},
    {"ping6", rule("ingress", "IPv6", "ipv6-icmp", 128), "to-lport",
     "outport == @pg_a_1 && ip6 && icmp6 && icmp6.type == 128"},
    {"vrrp", rule("egress", "IPv4", "vrrp"), "from-lport", "inport == @pg_a_1 && ip4 && ip.proto == 112"},
    {"number", rule("egress", "IPv4", "47"), "from-lport", "inport == @pg_a_1 && ip4 && ip.proto == 47"},
    {"any", rule("egress", "IPv4", "any"), "from-lport", "inport == @pg_a_1 && ip4"},
    {"unreadable_lets_nothing_through", rule("ingress", "IPv4", "no-such"), "to-lport",
     "outport == @pg_a_1 && ip4 && 0"},
    {"prefix_in", rule("ingress", "IPv4", "", {}, {}, "10.0.0.0/24"), "to-lport",
     "outport == @pg_a_1 && ip4 && ip4.src == 10.0.0.0/24"},
    {"prefix_out", rule("egress", "IPv6", "tcp", 80, 80, "fd00::/8"), "from-lport",
     "inport == @pg_a_1 && ip6 && ip6.dst == fd00::/8 && tcp && tcp.dst == 80"},
    {"group", rule("ingress", "IPv4", "", {}, {}, "", "b-2"), "to-lport",
     "outport == @pg_a_1 && ip4 && ip4.src == $pg_b_2_ip4"},
    {"group6", rule("ingress", "IPv6", "", {}, {}, "", "b-2"), "to-lport",
     "outport == @pg_a_1 && ip6 && ip6.src == $pg_b_2_ip6"},
};
INSTANTIATE_TEST_SUITE_P(Rules, Acls, ::testing::ValuesIn(kAcls),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Acl, OfStatelessGroup) {
  EXPECT_EQ(acl_of({.id = "a", .name = "", .stateful = false, .rules = {}}, rule("egress", "IPv4")).action,
            "allow-stateless");
}

/// A tenant network with a server and metadata, behind a router to a flat external network, with one floating
/// IP.
Snapshot cloud() {
  Snapshot s;
  s.networks["net"] = {
      .id = "net", .name = "private", .type = "geneve", .physical_network = "", .segment = 7, .mtu = 1442};
  s.networks["ext"] = {.id = "ext",
                       .name = "public",
                       .type = "flat",
                       .physical_network = "physnet1",
                       .segment = 0,
                       .mtu = 1500,
                       .external = true};
  s.subnets["abcd-000102"] = {.id = "abcd-000102",
                              .network_id = "net",
                              .cidr = "10.0.0.0/24",
                              .gateway = "10.0.0.1",
                              .dhcp = true,
                              .dns_servers = {},
                              .host_routes = {}};
  s.subnets["exts"] = {.id = "exts",
                       .network_id = "ext",
                       .cidr = "172.24.4.0/24",
                       .gateway = "172.24.4.1",
                       .dns_servers = {},
                       .host_routes = {}};
  const auto port = [&](std::string id, std::string net, std::string owner, std::string device,
                        std::string subnet, std::string address) -> Snapshot::Port& {
    Snapshot::Port& p = s.ports[id];
    p.id = id;
    p.network_id = net;
    p.owner = owner;
    p.device_id = device;
    p.mac = "fa:16:3e:00:00:" + std::to_string(10 + s.ports.size());
    p.secure = false;
    p.addresses = {{subnet, address}};
    return p;
  };
  port("md", "net", "network:distributed", "ovnmeta-net", "abcd-000102", "10.0.0.2");
  port("ri", "net", "network:router_interface", "r1", "abcd-000102", "10.0.0.1");
  port("gw", "ext", "network:router_gateway", "r1", "exts", "172.24.4.10");
  port("fp", "ext", "network:floatingip", "f1", "exts", "172.24.4.20");
  Snapshot::Port& vm = port("vm", "net", "compute:nova", "server1", "abcd-000102", "10.0.0.5");
  vm.mac = "fa:16:3e:11:11:11";
  vm.secure = true;
  vm.host = "host1";
  vm.groups = {"sg-1"};
  s.groups["sg-1"] = {.id = "sg-1", .name = "default", .rules = {rule("egress", "IPv4")}};
  Snapshot::Router& r = s.routers["r1"];
  r.id = "r1";
  r.gateway_port = "gw";
  r.ports = {"gw", "ri"};
  r.floating_ips = {{"f1", "172.24.4.20", "10.0.0.5", "vm", "fa:16:3e:22:22:22"}};
  return s;
}

template <class T>
const T* find(const std::vector<T>& list, const std::string& id) {
  for (const auto& item : list)
    if (item.id == id) return &item;
  return nullptr;
}

PlanOptions options() {
  return {.dns_servers = {"9.9.9.9"}, .dns_domain = "openstacklocal.", .chassis = {"ch1"}};
}

TEST(Plan, NetworksAreSwitchesAndFlatOnesHaveALocalnetPort) {
  const auto n = plan(cloud(), options());
  ASSERT_NE(find(n.switches, "net"), nullptr);
  EXPECT_EQ(find(n.switches, "net")->name, "neutron-net");
  EXPECT_EQ(find(n.ports, "provnet-net"), nullptr);
  const auto* localnet = find(n.ports, "provnet-ext");
  ASSERT_NE(localnet, nullptr);
  EXPECT_EQ(localnet->type, "localnet");
  EXPECT_EQ(localnet->options.at("network_name"), "physnet1");
  EXPECT_FALSE(localnet->tag.has_value());
}

TEST(Plan, VlanNetworksAreTagged) {
  Snapshot s = cloud();
  s.networks["ext"].type = "vlan";
  s.networks["ext"].segment = 42;
  EXPECT_EQ(find(plan(s, options()).ports, "provnet-ext")->tag, 42);
}

TEST(Plan, DhcpOfASubnet) {
  const auto n = plan(cloud(), options());
  ASSERT_EQ(n.dhcp_options.size(), 1u);  // the external subnet has none
  const auto& o = n.dhcp_options.front().options;
  EXPECT_EQ(n.dhcp_options.front().cidr, "10.0.0.0/24");
  EXPECT_EQ(o.at("server_id"), "10.0.0.1");
  EXPECT_EQ(o.at("server_mac"), "fa:16:3e:00:01:02");
  EXPECT_EQ(o.at("router"), "10.0.0.1");
  EXPECT_EQ(o.at("mtu"), "1442");
  EXPECT_EQ(o.at("lease_time"), "43200");
  EXPECT_EQ(o.at("dns_server"), "{9.9.9.9}");
  EXPECT_EQ(o.at("domain_name"), "\"openstacklocal\"");
  EXPECT_EQ(o.at("classless_static_route"), "{169.254.169.254/32,10.0.0.2, 0.0.0.0/0,10.0.0.1}");
}

TEST(Plan, DhcpWithoutGatewayAnswersFromTheMetadataPort) {
  Snapshot s = cloud();
  s.subnets["abcd-000102"].gateway = "";
  s.subnets["abcd-000102"].host_routes = {{"10.9.0.0/16", "10.0.0.7"}};
  const auto n = plan(s, {});
  const auto& o = n.dhcp_options.front().options;
  EXPECT_EQ(o.at("server_id"), "10.0.0.2");
  EXPECT_FALSE(o.contains("router"));
  EXPECT_FALSE(o.contains("dns_server"));
  EXPECT_EQ(o.at("classless_static_route"), "{169.254.169.254/32,10.0.0.2, 10.9.0.0/16,10.0.0.7}");
}

TEST(Plan, ServerPort) {
  const auto n = plan(cloud(), options());
  const auto* p = find(n.ports, "vm");
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(p->logical_switch, "net");
  EXPECT_EQ(p->type, "");
  EXPECT_EQ(p->addresses, std::vector<std::string>{"fa:16:3e:11:11:11 10.0.0.5"});
  EXPECT_EQ(p->port_security, std::vector<std::string>{"fa:16:3e:11:11:11 10.0.0.5"});
  EXPECT_EQ(p->options.at("requested-chassis"), "host1");
  EXPECT_EQ(p->dhcpv4_options, "abcd-000102");
  EXPECT_EQ(p->dhcpv6_options, "");
  EXPECT_EQ(p->port_groups, (std::vector<std::string>{"pg_sg_1", "pg_drop"}));
  EXPECT_EQ(p->enabled, true);
}

TEST(Plan, APortOfAServerThatMovesIsOpenThereOnceTheGuestSpeaksThere) {
  Snapshot s = cloud();
  EXPECT_FALSE(find(plan(s, options()).ports, "vm")->options.contains("activation-strategy"));
  s.ports.at("vm").also_host = "host2";
  const auto n = plan(s, options());
  EXPECT_EQ(find(n.ports, "vm")->options.at("requested-chassis"), "host1,host2");
  EXPECT_EQ(find(n.ports, "vm")->options.at("activation-strategy"), "rarp");
}

TEST(Plan, PortWithoutPortSecurity) {
  Snapshot s = cloud();
  s.ports["vm"].secure = false;
  s.ports["vm"].groups = {};
  s.ports["vm"].up = false;
  const auto n = plan(s, options());
  const auto* p = find(n.ports, "vm");
  EXPECT_EQ(p->addresses, (std::vector<std::string>{"fa:16:3e:11:11:11 10.0.0.5", "unknown"}));
  EXPECT_TRUE(p->port_security.empty());
  EXPECT_TRUE(p->port_groups.empty());
  EXPECT_EQ(p->enabled, false);
}

TEST(Plan, AllowedAddressPairs) {
  Snapshot s = cloud();
  s.ports["vm"].pairs = {{"fa:16:3e:11:11:11", "10.0.0.100"}, {"00:00:5E:00:01:01", "10.0.0.200"}};
  const auto n = plan(s, options());
  const auto* p = find(n.ports, "vm");
  EXPECT_EQ(p->port_security, (std::vector<std::string>{"fa:16:3e:11:11:11 10.0.0.5 10.0.0.100",
                                                        "00:00:5e:00:01:01 10.0.0.200"}));
  EXPECT_EQ(p->addresses, (std::vector<std::string>{"fa:16:3e:11:11:11 10.0.0.5", "00:00:5e:00:01:01"}));
}

TEST(Plan, ExtraDhcpOptionsGiveAPortItsOwn) {
  Snapshot s = cloud();
  s.ports["vm"].dhcp_options = {
      {"bootfile-name", "pxelinux.0"}, {"mtu", "1400"}, {"no-such-option", "x"}, {"dns-server", "::1", 6}};
  const auto n = plan(s, options());
  EXPECT_EQ(find(n.ports, "vm")->dhcpv4_options, "vm-dhcpv4");
  const auto* own = find(n.dhcp_options, "vm-dhcpv4");
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->options.at("bootfile_name"), "\"pxelinux.0\"");
  EXPECT_EQ(own->options.at("mtu"), "1400");
  EXPECT_EQ(own->options.at("router"), "10.0.0.1");
}

TEST(Plan, OwnPorts) {
  const auto n = plan(cloud(), options());
  EXPECT_EQ(find(n.ports, "fp"), nullptr);  // a floating IP is NAT, not a port
  const auto* md = find(n.ports, "md");
  ASSERT_NE(md, nullptr);
  EXPECT_EQ(md->type, "localport");
  EXPECT_TRUE(md->addresses.front().ends_with(" 10.0.0.2"));
  EXPECT_TRUE(md->dhcpv4_options.empty());
  const auto* peer = find(n.ports, "gw");
  ASSERT_NE(peer, nullptr);
  EXPECT_EQ(peer->type, "router");
  EXPECT_EQ(peer->options.at("router-port"), "lrp-gw");
  EXPECT_EQ(peer->options.at("nat-addresses"), "router");
  EXPECT_FALSE(find(n.ports, "ri")->options.contains("nat-addresses"));
}

TEST(Plan, Router) {
  const auto n = plan(cloud(), options());
  ASSERT_EQ(n.routers.size(), 1u);
  const auto& r = n.routers.front();
  ASSERT_EQ(r.ports.size(), 2u);
  EXPECT_EQ(find(r.ports, "lrp-ri")->networks, std::vector<std::string>{"10.0.0.1/24"});
  EXPECT_TRUE(find(r.ports, "lrp-ri")->gateway_chassis.empty());
  ASSERT_EQ(find(r.ports, "lrp-gw")->gateway_chassis.size(), 1u);
  EXPECT_EQ(find(r.ports, "lrp-gw")->gateway_chassis.front().chassis, "ch1");
  ASSERT_EQ(r.static_routes.size(), 1u);
  EXPECT_EQ(r.static_routes.front().ip_prefix, "0.0.0.0/0");
  EXPECT_EQ(r.static_routes.front().nexthop, "172.24.4.1");
  EXPECT_EQ(r.static_routes.front().output_port, "lrp-gw");
  ASSERT_EQ(r.nats.size(), 2u);
  EXPECT_EQ(r.nats[0].type, "snat");
  EXPECT_EQ(r.nats[0].external_ip, "172.24.4.10");
  EXPECT_EQ(r.nats[0].logical_ip, "10.0.0.0/24");
  EXPECT_EQ(r.nats[1].type, "dnat_and_snat");
  EXPECT_EQ(r.nats[1].external_ip, "172.24.4.20");
  EXPECT_EQ(r.nats[1].logical_ip, "10.0.0.5");
  EXPECT_EQ(r.nats[1].logical_port, "");
}

TEST(Plan, RouterWithoutSnatKeepsFloatingIps) {
  Snapshot s = cloud();
  s.routers["r1"].snat = false;
  s.routers["r1"].up = false;
  s.routers["r1"].routes = {{"10.8.0.0/16", "10.0.0.9"}};
  PlanOptions o = options();
  o.distributed_floating_ips = true;
  const auto n = plan(s, o);
  const auto& r = n.routers.front();
  ASSERT_EQ(r.nats.size(), 1u);
  EXPECT_EQ(r.nats[0].logical_port, "vm");
  EXPECT_EQ(r.nats[0].external_mac, "fa:16:3e:22:22:22");
  EXPECT_EQ(r.enabled, false);
  EXPECT_EQ(r.static_routes.back().ip_prefix, "10.8.0.0/16");
}

TEST(Plan, RouterWithoutGatewayTranslatesNothing) {
  Snapshot s = cloud();
  s.ports.erase("gw");
  s.routers["r1"].gateway_port = "";
  s.routers["r1"].ports = {"ri"};
  s.routers["r1"].floating_ips = {};
  const auto n = plan(s, options());
  EXPECT_TRUE(n.routers.front().nats.empty());
  EXPECT_TRUE(n.routers.front().static_routes.empty());
}

TEST(Plan, GatewaysSpreadAndStayWhenAHostComes) {
  Snapshot s = cloud();
  PlanOptions three = options(), four = options();
  three.chassis = {"a", "b", "c"};
  four.chassis = {"a", "b", "c", "d"};
  const auto first = [](const ovn::Northbound& n) {
    return find(n.routers.front().ports, "lrp-gw")->gateway_chassis.front();
  };
  EXPECT_EQ(first(plan(s, three)).priority, 3);
  const std::string before = first(plan(s, three)).chassis, after = first(plan(s, four)).chassis;
  EXPECT_TRUE(after == before || after == "d");
}

TEST(Plan, Ipv6AddressingComesFromTheRouter) {
  Snapshot s = cloud();
  s.subnets["six"] = {.id = "six",
                      .network_id = "net",
                      .cidr = "fd00::/64",
                      .gateway = "fd00::1",
                      .version = 6,
                      .dhcp = true,
                      .address_mode = "slaac",
                      .ra_mode = "slaac",
                      .dns_servers = {},
                      .host_routes = {}};
  s.ports["ri"].addresses.push_back({"six", "fd00::1"});
  s.ports["vm"].addresses.push_back({"six", "fd00::5"});
  const auto slaac = plan(s, options());
  const auto* lrp = find(slaac.routers.front().ports, "lrp-ri");
  EXPECT_EQ(lrp->networks, (std::vector<std::string>{"10.0.0.1/24", "fd00::1/64"}));
  EXPECT_EQ(lrp->ipv6_ra_configs.at("address_mode"), "slaac");
  EXPECT_EQ(lrp->ipv6_ra_configs.at("send_periodic"), "true");
  EXPECT_EQ(find(slaac.ports, "vm")->dhcpv6_options, "");
  s.subnets["six"].address_mode = s.subnets["six"].ra_mode = "dhcpv6-stateful";
  const auto stateful = plan(s, options());
  EXPECT_EQ(find(stateful.routers.front().ports, "lrp-ri")->ipv6_ra_configs.at("address_mode"),
            "dhcpv6_stateful");
  EXPECT_EQ(find(stateful.ports, "vm")->dhcpv6_options, "six");
}

TEST(PlanChange, RemovesWhatTheDatabaseNoLongerHas) {
  DirtySet dirty;
  dirty.add({Dirty::Kind::network, "gone-net"});
  dirty.add({Dirty::Kind::port, "gone-port"});
  dirty.add({Dirty::Kind::port, "vm"});
  dirty.add({Dirty::Kind::port, "fp"});
  dirty.add({Dirty::Kind::router, "gone-router"});
  dirty.add({Dirty::Kind::security_group, "gone-group"});
  const auto change = plan_change(cloud(), dirty, options());
  EXPECT_EQ(change.remove.switches, std::vector<std::string>{"gone-net"});
  EXPECT_EQ(change.remove.ports, (std::vector<std::string>{"provnet-gone-net", "fp", "gone-port"}));
  EXPECT_EQ(change.remove.routers, std::vector<std::string>{"gone-router"});
  EXPECT_EQ(change.remove.port_groups, std::vector<std::string>{"pg_gone_group"});
  EXPECT_NE(find(change.upsert.ports, "vm"), nullptr);
  EXPECT_EQ(std::count(change.remove.dhcp_options.begin(), change.remove.dhcp_options.end(), "abcd-000102"),
            0);
  EXPECT_EQ(std::count(change.remove.dhcp_options.begin(), change.remove.dhcp_options.end(), "exts"), 1);
}

}  // namespace
}  // namespace virga::network
