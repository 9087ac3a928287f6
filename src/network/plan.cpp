#include "network/plan.h"

#include <fmt/format.h>

#include "network/address.h"

namespace virga::network {
namespace {

using ovn::TextMap;

constexpr std::string_view kMetadataAddress = "169.254.169.254/32";

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

/// fa:16:3e and the last half of the subnet's id: the same each time, without storing it.
std::string server_mac(const std::string& subnet_id) {
  std::string hex;
  for (auto it = subnet_id.rbegin(); it != subnet_id.rend() && hex.size() < 6; ++it)
    if (std::isxdigit(static_cast<unsigned char>(*it)))
      hex.insert(hex.begin(), static_cast<char>(std::tolower(*it)));
  hex.insert(0, 6 - hex.size(), '0');
  return fmt::format("fa:16:3e:{}:{}:{}", hex.substr(0, 2), hex.substr(2, 2), hex.substr(4, 2));
}

/// FNV-1a: stable over versions and machines, unlike std::hash.
uint64_t hash_of(std::string_view text) {
  uint64_t h = 14695981039346656037ULL;
  for (unsigned char c : text) h = (h ^ c) * 1099511628211ULL;
  return h;
}

/// neutron's names of DHCP options to OVN's; options that OVN does not serve are left out.
const std::map<std::string, std::string, std::less<>>& dhcp_option_names(int version) {
  static const std::map<std::string, std::string, std::less<>> v4{
      {"arp-timeout", "arp_cache_timeout"},
      {"bootfile-name", "bootfile_name"},
      {"classless-static-route", "classless_static_route"},
      {"default-ttl", "default_ttl"},
      {"dns-server", "dns_server"},
      {"domain-name", "domain_name"},
      {"domain-search", "domain_search_list"},
      {"ethernet-encap", "ethernet_encap"},
      {"ip-forward-enable", "ip_forward_enable"},
      {"lease-time", "lease_time"},
      {"log-server", "log_server"},
      {"lpr-server", "lpr_server"},
      {"mtu", "mtu"},
      {"netmask", "netmask"},
      {"nis-server", "nis_server"},
      {"ntp-server", "ntp_server"},
      {"path-prefix", "path_prefix"},
      {"policy-filter", "policy_filter"},
      {"router", "router"},
      {"router-discovery", "router_discovery"},
      {"router-solicitation", "router_solicitation"},
      {"server-ip-address", "tftp_server_address"},
      {"swap-server", "swap_server"},
      {"T1", "T1"},
      {"T2", "T2"},
      {"tcp-keepalive", "tcp_keepalive_interval"},
      {"tcp-ttl", "tcp_ttl"},
      {"tftp-server", "tftp_server"},
      {"tftp-server-address", "tftp_server_address"},
      {"wpad", "wpad"},
      {"1", "netmask"},
      {"3", "router"},
      {"6", "dns_server"},
      {"15", "domain_name"},
      {"26", "mtu"},
      {"42", "ntp_server"},
      {"51", "lease_time"},
      {"66", "tftp_server"},
      {"67", "bootfile_name"},
      {"121", "classless_static_route"},
      {"150", "tftp_server_address"}};
  static const std::map<std::string, std::string, std::less<>> v6{
      {"dns-server", "dns_server"}, {"domain-search", "domain_search"},
      {"ia-addr", "ia_addr"},       {"server-id", "server_id"},
      {"2", "server_id"},           {"5", "ia_addr"},
      {"23", "dns_server"},         {"24", "domain_search"}};
  return version == 4 ? v4 : v6;
}

bool is_text_option(std::string_view name) {
  for (const char* text : {"domain_name", "domain_search_list", "bootfile_name", "path_prefix", "wpad",
                           "tftp_server", "domain_search"})
    if (name == text) return true;
  return false;
}

class Planner {
 public:
  Planner(const Snapshot& s, const PlanOptions& o) : s_(s), options_(o) {
    for (const auto& [id, port] : s.ports)
      if (port.owner == kOwnerMetadata)
        for (const auto& a : port.addresses) metadata_[a.subnet_id] = a.address;
  }

  ovn::Northbound plan() {
    for (const auto& [id, n] : s_.networks) add_network(n);
    for (const auto& [id, subnet] : s_.subnets) add_subnet(subnet);
    out_.port_groups.push_back(ovn::drop_group());
    for (const auto& [id, g] : s_.groups) add_group(g);
    for (const auto& [id, r] : s_.routers) add_router(r);
    for (const auto& [id, p] : s_.ports) add_port(p);
    return std::move(out_);
  }

 private:
  const Snapshot::Subnet* subnet(const std::string& id) const {
    const auto it = s_.subnets.find(id);
    return it == s_.subnets.end() ? nullptr : &it->second;
  }
  const Snapshot::Network* network(const std::string& id) const {
    const auto it = s_.networks.find(id);
    return it == s_.networks.end() ? nullptr : &it->second;
  }
  const Snapshot::Port* port(const std::string& id) const {
    const auto it = s_.ports.find(id);
    return it == s_.ports.end() ? nullptr : &it->second;
  }

  void add_network(const Snapshot::Network& n) {
    ovn::LogicalSwitch ls{.id = n.id, .name = "neutron-" + n.id};
    ls.external_ids = {{"neutron:network_name", n.name}, {"neutron:mtu", std::to_string(n.mtu)}};
    out_.switches.push_back(std::move(ls));
    if (n.type != "flat" && n.type != "vlan") return;
    const auto vlan = n.type == "vlan" ? n.segment : std::nullopt;
    out_.ports.push_back(ovn::localnet_port(localnet_port_name(n.id), n.id, n.physical_network, vlan));
  }

  // ---- DHCP
  // ---------------------------------------------------------------------------------------------------------

  const std::vector<std::string>& dns_of(const Snapshot::Subnet& subnet) const {
    return subnet.dns_servers.empty() ? options_.dns_servers : subnet.dns_servers;
  }

  std::vector<std::string> dns_of_family(const Snapshot::Subnet& subnet) const {
    std::vector<std::string> out;
    for (const auto& server : dns_of(subnet))
      if (const auto ip = parse_ip(server); ip && ip->family == subnet.version) out.push_back(server);
    return out;
  }

  std::string domain() const {
    std::string name = options_.dns_domain;
    while (!name.empty() && name.back() == '.') name.pop_back();
    return name;
  }

  TextMap dhcp4(const Snapshot::Subnet& subnet) const {
    const auto metadata = metadata_.find(subnet.id);
    const Snapshot::Network* net = network(subnet.network_id);
    TextMap o{{"server_mac", server_mac(subnet.id)},
              {"lease_time", "43200"},
              {"mtu", std::to_string(net ? net->mtu : 1442)}};
    if (!subnet.gateway.empty()) {
      o["server_id"] = o["router"] = subnet.gateway;
    } else if (metadata != metadata_.end()) {
      o["server_id"] = metadata->second;  // an address that no guest has
    } else if (const auto cidr = parse_cidr(subnet.cidr)) {
      o["server_id"] = Ip{4, cidr->network.value + 1}.str();
    }
    if (const auto dns = dns_of_family(subnet); !dns.empty()) o["dns_server"] = "{" + joined(dns, ", ") + "}";
    if (!domain().empty()) o["domain_name"] = quoted(domain());
    std::vector<std::string> routes;
    if (metadata != metadata_.end())
      routes.push_back(fmt::format("{},{}", kMetadataAddress, metadata->second));
    for (const auto& r : subnet.host_routes) routes.push_back(r.destination + "," + r.nexthop);
    // A client that gets option 121 ignores the router option (RFC 3442).
    if (!routes.empty() && !subnet.gateway.empty()) routes.push_back("0.0.0.0/0," + subnet.gateway);
    if (!routes.empty()) o["classless_static_route"] = "{" + joined(routes, ", ") + "}";
    return o;
  }

  TextMap dhcp6(const Snapshot::Subnet& subnet) const {
    TextMap o{{"server_id", server_mac(subnet.id)}};
    if (const auto dns = dns_of_family(subnet); !dns.empty()) o["dns_server"] = "{" + joined(dns, ", ") + "}";
    if (!domain().empty()) o["domain_search"] = quoted(domain());
    if (subnet.address_mode == "dhcpv6-stateless") o["dhcpv6_stateless"] = "true";
    return o;
  }

  static bool has_dhcp(const Snapshot::Subnet& subnet) {
    return subnet.dhcp && (subnet.version == 4 || subnet.address_mode == "dhcpv6-stateful" ||
                           subnet.address_mode == "dhcpv6-stateless");
  }

  TextMap dhcp_of(const Snapshot::Subnet& subnet) const {
    return subnet.version == 4 ? dhcp4(subnet) : dhcp6(subnet);
  }

  void add_subnet(const Snapshot::Subnet& subnet) {
    if (!has_dhcp(subnet)) return;
    out_.dhcp_options.push_back({.id = subnet.id,
                                 .cidr = subnet.cidr,
                                 .options = dhcp_of(subnet),
                                 .external_ids = {{"subnet_id", subnet.id}}});
  }

  /// The DHCP options of the port's first subnet of that family, or of its own if it has extra options.
  std::string choose_dhcp(const Snapshot::Port& p, int version) {
    if (starts_with(p.owner, "network:")) return {};
    for (const auto& o : p.dhcp_options)
      if (o.name == "dhcp_disabled" && o.version == version && o.value == "true") return {};
    for (const auto& a : p.addresses) {
      const Snapshot::Subnet* sub = subnet(a.subnet_id);
      if (!sub || sub->version != version || !has_dhcp(*sub)) continue;
      return own_dhcp(p, *sub);
    }
    return {};
  }

  std::string own_dhcp(const Snapshot::Port& p, const Snapshot::Subnet& sub) {
    TextMap extra;
    const auto& names = dhcp_option_names(sub.version);
    for (const auto& o : p.dhcp_options) {
      const auto known = o.version == sub.version ? names.find(o.name) : names.end();
      if (known == names.end() || o.value.empty()) continue;
      const bool bare = is_text_option(known->second) && o.value.front() != '"';
      extra[known->second] = bare ? quoted(o.value) : o.value;
    }
    if (extra.empty()) return sub.id;
    TextMap all = dhcp_of(sub);
    for (const auto& [name, value] : extra) all[name] = value;
    const std::string id = port_dhcp_name(p.id, sub.version);
    out_.dhcp_options.push_back({.id = id,
                                 .cidr = sub.cidr,
                                 .options = std::move(all),
                                 .external_ids = {{"subnet_id", sub.id}, {"port_id", p.id}}});
    return id;
  }

  // ---- ports
  // --------------------------------------------------------------------------------------------------------

  void add_port(const Snapshot::Port& p) {
    if (p.owner == kOwnerFloating || !network(p.network_id)) return;
    if (p.owner == kOwnerInterface || p.owner == kOwnerGateway) {
      if (s_.routers.contains(p.device_id))
        out_.ports.push_back(
            ovn::router_peer_port(p.id, p.network_id, router_port_name(p.id), p.owner == kOwnerGateway));
      return;
    }
    if (p.owner == kOwnerMetadata) {
      std::vector<std::string> addresses;
      for (const auto& a : p.addresses) addresses.push_back(a.address);
      ovn::LogicalSwitchPort lsp = ovn::metadata_port(p.id, p.network_id, p.mac, addresses);
      lsp.external_ids = labels(p);
      out_.ports.push_back(std::move(lsp));
      return;
    }
    out_.ports.push_back(vif(p));
  }

  ovn::LogicalSwitchPort vif(const Snapshot::Port& p) {
    ovn::LogicalSwitchPort lsp{
        .id = p.id, .logical_switch = p.network_id, .enabled = p.up, .external_ids = labels(p)};
    std::string own = p.mac;
    for (const auto& a : p.addresses) own += " " + a.address;
    lsp.addresses.push_back(own);
    if (p.secure) {
      add_pairs(p, own, lsp);
      for (const auto& g : p.groups) lsp.port_groups.push_back(ovn::port_group_name(g));
      if (!starts_with(p.owner, "network:")) lsp.port_groups.push_back(ovn::kDropGroup);
    } else {
      lsp.addresses.push_back("unknown");
    }
    if (!p.host.empty()) lsp.options["requested-chassis"] = p.also_host.empty() ? p.host : p.host + "," + p.also_host;
    if (!p.also_host.empty()) lsp.options["activation-strategy"] = "rarp";
    lsp.dhcpv4_options = choose_dhcp(p, 4);
    lsp.dhcpv6_options = choose_dhcp(p, 6);
    return lsp;
  }

  /// Allowed address pairs widen what the guest may send; other MACs are also addresses that reach it.
  static void add_pairs(const Snapshot::Port& p, std::string own, ovn::LogicalSwitchPort& lsp) {
    std::map<std::string, std::string> others;
    for (const auto& pair : p.pairs) {
      std::string mac = pair.mac;
      std::transform(mac.begin(), mac.end(), mac.begin(), ::tolower);
      if (mac.empty() || mac == p.mac)
        own += " " + pair.address;
      else
        others[mac] += " " + pair.address;
    }
    lsp.port_security.push_back(own);
    for (const auto& [mac, addresses] : others) {
      lsp.port_security.push_back(mac + addresses);
      lsp.addresses.push_back(mac);
    }
  }

  static TextMap labels(const Snapshot::Port& p) {
    TextMap out;
    if (!p.name.empty()) out["neutron:port_name"] = p.name;
    if (!p.device_id.empty()) out["neutron:device_id"] = p.device_id;
    if (!p.owner.empty()) out["neutron:device_owner"] = p.owner;
    return out;
  }

  // ---- routers
  // ------------------------------------------------------------------------------------------------------

  void add_router(const Snapshot::Router& r) {
    ovn::LogicalRouter lr{.id = r.id, .name = "neutron-" + r.id, .enabled = r.up};
    lr.options = {{"always_learn_from_arp_request", "false"}, {"dynamic_neigh_routers", "true"}};
    lr.external_ids = {{"neutron:router_name", r.name}};
    const Snapshot::Port* gateway = r.gateway_port.empty() ? nullptr : port(r.gateway_port);
    for (const auto& id : r.ports) {
      const Snapshot::Port* p = port(id);
      if (!p || p->addresses.empty()) continue;  // a router port needs an address
      lr.ports.push_back(router_port(*p, gateway != nullptr));
    }
    if (gateway) add_default_routes(*gateway, lr);
    for (const auto& route : r.routes)
      lr.static_routes.push_back({.ip_prefix = route.destination, .nexthop = route.nexthop});
    if (gateway) add_nat(r, *gateway, lr);
    out_.routers.push_back(std::move(lr));
  }

  ovn::LogicalRouterPort router_port(const Snapshot::Port& p, bool has_gateway) const {
    ovn::LogicalRouterPort lrp{.id = router_port_name(p.id), .mac = p.mac, .enabled = p.up};
    const Snapshot::Network* net = network(p.network_id);
    for (const auto& a : p.addresses) {
      const Snapshot::Subnet* sub = subnet(a.subnet_id);
      const auto cidr = sub ? parse_cidr(sub->cidr) : std::nullopt;
      if (!cidr) continue;
      lrp.networks.push_back(fmt::format("{}/{}", a.address, cidr->prefix));
      if (sub->version == 6 && p.owner == kOwnerInterface) add_advertisement(*sub, net, lrp);
    }
    if (p.owner == kOwnerGateway) {
      lrp.gateway_chassis = gateway_chassis(p.id);
    } else if (has_gateway && net && (net->type == "vlan" || net->type == "flat")) {
      lrp.options["reside-on-redirect-chassis"] =
          "true";  // else each host would answer for the router on the wire
    }
    return lrp;
  }

  void add_advertisement(const Snapshot::Subnet& sub, const Snapshot::Network* net,
                         ovn::LogicalRouterPort& lrp) const {
    std::string mode = sub.ra_mode.empty() ? sub.address_mode : sub.ra_mode;
    if (mode.empty() || lrp.ipv6_ra_configs.contains("address_mode")) return;
    std::replace(mode.begin(), mode.end(), '-', '_');
    lrp.ipv6_ra_configs = {
        {"address_mode", mode}, {"send_periodic", "true"}, {"mtu", std::to_string(net ? net->mtu : 1442)}};
    if (const auto dns = dns_of_family(sub); !dns.empty()) lrp.ipv6_ra_configs["rdnss"] = dns.front();
  }

  /// Rendezvous hashing: gateways spread over the hosts, and a host that comes or goes moves only its own.
  std::vector<ovn::GatewayChassis> gateway_chassis(const std::string& port_id) const {
    std::vector<std::string> order = options_.chassis;
    std::sort(order.begin(), order.end(), [&](const std::string& a, const std::string& b) {
      return std::pair(hash_of(port_id + a), a) < std::pair(hash_of(port_id + b), b);
    });
    std::vector<ovn::GatewayChassis> out;
    for (const auto& name : order) {
      if (out.size() == 5) break;  // BFD between more would cost more than it saves
      out.push_back({name, static_cast<int64_t>(std::min<size_t>(order.size(), 5) - out.size())});
    }
    return out;
  }

  void add_default_routes(const Snapshot::Port& gateway, ovn::LogicalRouter& lr) const {
    bool done4 = false, done6 = false;
    for (const auto& a : gateway.addresses) {
      const Snapshot::Subnet* sub = subnet(a.subnet_id);
      if (!sub || sub->gateway.empty()) continue;
      bool& done = sub->version == 4 ? done4 : done6;
      if (done) continue;
      done = true;
      lr.static_routes.push_back({.ip_prefix = sub->version == 4 ? "0.0.0.0/0" : "::/0",
                                  .nexthop = sub->gateway,
                                  .output_port = router_port_name(gateway.id)});
    }
  }

  void add_nat(const Snapshot::Router& r, const Snapshot::Port& gateway, ovn::LogicalRouter& lr) const {
    std::string external;
    for (const auto& a : gateway.addresses)
      if (const Snapshot::Subnet* sub = subnet(a.subnet_id); sub && sub->version == 4 && external.empty())
        external = a.address;
    std::set<std::string> inside;
    for (const auto& id : r.ports)
      if (const Snapshot::Port* p = port(id); p && p->owner == kOwnerInterface)
        for (const auto& a : p->addresses)
          if (const Snapshot::Subnet* sub = subnet(a.subnet_id); sub && sub->version == 4)
            inside.insert(sub->cidr);
    if (r.snat && !external.empty())
      for (const auto& cidr : inside)
        lr.nats.push_back({.type = "snat", .external_ip = external, .logical_ip = cidr});
    for (const auto& f : r.floating_ips) {
      ovn::Nat nat{.type = "dnat_and_snat",
                   .external_ip = f.address,
                   .logical_ip = f.fixed,
                   .external_ids = {{"neutron:fip_id", f.id}}};
      if (options_.distributed_floating_ips) {
        nat.logical_port = f.port_id;
        nat.external_mac = f.mac;
      }
      lr.nats.push_back(std::move(nat));
    }
  }

  void add_group(const Snapshot::Group& g) {
    ovn::PortGroup group{.id = ovn::port_group_name(g.id),
                         .external_ids = {{"neutron:security_group_id", g.id}}};
    for (const auto& rule : g.rules) group.acls.push_back(acl_of(g, rule));
    out_.port_groups.push_back(std::move(group));
  }

  const Snapshot& s_;
  const PlanOptions& options_;
  std::map<std::string, std::string> metadata_;  ///< subnet to the metadata port's address on it
  ovn::Northbound out_;
};

// ---- security group rules
// ---------------------------------------------------------------------------------------------

int protocol_number(const std::string& name) {
  static const std::map<std::string, int, std::less<>> numbers{
      {"ah", 51},         {"dccp", 33},       {"egp", 8},        {"esp", 50},        {"gre", 47},
      {"icmp", 1},        {"icmpv6", 58},     {"icmp6", 58},     {"ipv6-icmp", 58},  {"igmp", 2},
      {"ipip", 4},        {"ipv6-encap", 41}, {"ipv6-frag", 44}, {"ipv6-nonxt", 59}, {"ipv6-opts", 60},
      {"ipv6-route", 43}, {"ospf", 89},       {"pgm", 113},      {"rsvp", 46},       {"sctp", 132},
      {"tcp", 6},         {"udp", 17},        {"udplite", 136},  {"vrrp", 112}};
  if (const auto it = numbers.find(name); it != numbers.end()) return it->second;
  const bool digits =
      !name.empty() && name.size() <= 3 && name.find_first_not_of("0123456789") == std::string::npos;
  return digits ? std::stoi(name) : -1;
}

std::string icmp_match(const Snapshot::Rule& rule, bool v6) {
  const std::string icmp = v6 ? "icmp6" : "icmp4";
  std::string out = " && " + icmp;
  if (rule.from) out += fmt::format(" && {}.type == {}", icmp, *rule.from);
  if (rule.from && rule.to) out += fmt::format(" && {}.code == {}", icmp, *rule.to);
  return out;
}

std::string protocol_match(const Snapshot::Rule& rule, bool v6) {
  if (rule.protocol.empty() || rule.protocol == "any") return {};
  const int number = protocol_number(rule.protocol);
  if (number == 1 || number == 58) return icmp_match(rule, v6);
  const char* name = number == 6 ? "tcp" : number == 17 ? "udp" : number == 132 ? "sctp" : nullptr;
  if (!name)
    return number < 0
               ? " && 0"
               : fmt::format(" && ip.proto == {}", number);  // what we cannot read lets nothing through
  std::string out = fmt::format(" && {}", name);
  const std::optional<int64_t> from = rule.from, to = rule.to ? rule.to : rule.from;
  if (from && to && *from == *to)
    out += fmt::format(" && {}.dst == {}", name, *from);
  else if (from && to)
    out += fmt::format(" && {0}.dst >= {1} && {0}.dst <= {2}", name, *from, *to);
  return out;
}

}  // namespace

std::string router_port_name(const std::string& port_id) {
  return "lrp-" + port_id;
}
std::string localnet_port_name(const std::string& network_id) {
  return "provnet-" + network_id;
}
std::string port_dhcp_name(const std::string& port_id, int version) {
  return fmt::format("{}-dhcpv{}", port_id, version);
}

ovn::Acl acl_of(const Snapshot::Group& group, const Snapshot::Rule& rule) {
  const bool ingress = rule.direction == "ingress", v6 = rule.ethertype == "IPv6";
  const std::string ip = v6 ? "ip6" : "ip4", side = fmt::format("{}.{}", ip, ingress ? "src" : "dst");
  std::string match =
      fmt::format("{} == @{} && {}", ingress ? "outport" : "inport", ovn::port_group_name(group.id), ip);
  if (!rule.remote_prefix.empty()) match += fmt::format(" && {} == {}", side, rule.remote_prefix);
  if (!rule.remote_group.empty())
    match += fmt::format(" && {} == ${}_{}", side, ovn::port_group_name(rule.remote_group), ip);
  match += protocol_match(rule, v6);
  return {.id = rule.id,
          .direction = ingress ? "to-lport" : "from-lport",
          .priority = 1002,
          .match = std::move(match),
          .action = group.stateful ? "allow-related" : "allow-stateless",
          .external_ids = {{"neutron:security_group_rule_id", rule.id}}};
}

ovn::Northbound plan(const Snapshot& snapshot, const PlanOptions& options) {
  return Planner(snapshot, options).plan();
}

ovn::NorthboundChange plan_change(const Snapshot& part, const DirtySet& dirty, const PlanOptions& options) {
  ovn::NorthboundChange change{.upsert = plan(part, options), .remove = {}};
  std::set<std::string> ports, dhcp;
  for (const auto& p : change.upsert.ports) ports.insert(p.id);
  for (const auto& d : change.upsert.dhcp_options) dhcp.insert(d.id);
  for (const auto& id : dirty.networks)
    if (!part.networks.contains(id)) change.remove.switches.push_back(id);
  for (const auto& id : dirty.networks)
    if (!ports.contains(localnet_port_name(id))) change.remove.ports.push_back(localnet_port_name(id));
  for (const auto& id : dirty.ports) {
    if (!ports.contains(id)) change.remove.ports.push_back(id);
    for (const int version : {4, 6})
      if (const std::string name = port_dhcp_name(id, version); !dhcp.contains(name))
        change.remove.dhcp_options.push_back(name);
  }
  for (const auto& [id, subnet] : part.subnets)
    if (!dhcp.contains(id)) change.remove.dhcp_options.push_back(id);  // its DHCP was switched off
  for (const auto& id : dirty.routers)
    if (!part.routers.contains(id)) change.remove.routers.push_back(id);
  for (const auto& id : dirty.groups)
    if (!part.groups.contains(id)) change.remove.port_groups.push_back(ovn::port_group_name(id));
  return change;
}

}  // namespace virga::network
