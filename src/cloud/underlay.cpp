#include "cloud/underlay.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include "base/fault.h"
#include "base/netns.h"
#include "base/process.h"

namespace virga::cloud {
namespace {

using Texts = std::vector<std::string>;

/// What an interface had before br-phy took it over.
struct Taken {
  std::string interface;
  Texts addresses;                     ///< CIDRs
  std::vector<netns::Route> gateways;  ///< routes over a gateway; the others come with the addresses
  std::string rp_filter, arp_ignore;
  bool up = true, promiscuous = false;
};

std::string file_of(const Config& c) {
  return c.cloud.state_dir + "/underlay.json";
}

std::optional<Taken> load(const Config& c) {
  if (access(file_of(c).c_str(), R_OK) != 0) return std::nullopt;
  const json::value text = parse_json(read_file(file_of(c)));
  const json::object& o = text.as_object();
  Taken t{find_string(o, "interface"),
          json::value_to<Texts>(o.at("addresses")),
          {},
          find_string(o, "rp_filter"),
          find_string(o, "arp_ignore"),
          find_bool(o, "up", true),
          find_bool(o, "promiscuous")};
  for (const json::value& route : o.at("gateways").as_array())
    t.gateways.push_back({str(route.at("destination")), str(route.at("gateway")), t.interface});
  return t;
}

void keep(const Config& c, const Taken& t) {
  json::array gateways;
  for (const netns::Route& route : t.gateways)
    gateways.push_back(json::object{{"destination", route.destination}, {"gateway", route.gateway}});
  write_file(file_of(c), json::serialize(json::object{{"interface", t.interface},
                                                      {"addresses", json::value_from(t.addresses)},
                                                      {"gateways", gateways},
                                                      {"rp_filter", t.rp_filter},
                                                      {"arp_ignore", t.arp_ignore},
                                                      {"up", t.up},
                                                      {"promiscuous", t.promiscuous}}) +
                             "\n");
}

/// A setting of one interface, in the namespace of this process.
std::string setting_file(const std::string& interface, const char* name) {
  return fmt::format("/proc/sys/net/ipv4/conf/{}/{}", interface, name);
}
std::string setting(const std::string& interface, const char* name) {
  std::string value;
  std::ifstream(setting_file(interface, name)) >> value;
  return value;
}
void set_setting(const std::string& interface, const char* name, const std::string& value) {
  std::ofstream out(setting_file(interface, name));
  if (!(out << value << std::flush))
    throw Fault(FaultKind::internal, fmt::format("{} of {} cannot be set to {}.", name, interface, value));
}

std::vector<netns::Route> gateways_over(const std::string& interface) {
  std::vector<netns::Route> found;
  for (netns::Route& route : netns::routes(""))
    if (route.device == interface && !route.gateway.empty()) found.push_back(std::move(route));
  return found;
}

bool holds(const Texts& cidrs, const std::string& address) {
  return std::any_of(cidrs.begin(), cidrs.end(),
                     [&](const std::string& cidr) { return cidr.substr(0, cidr.find('/')) == address; });
}

/// What is to move: what the interface has now, and what it had if br-phy, or the daemon that carried it,
/// went without giving it back. After a boot the interface is configured anew, so what was remembered is old.
Taken to_move(const Config& c) {
  const std::string& interface = c.network.underlay_interface;
  const Texts now = netns::addresses("", interface);
  std::optional<Taken> before = load(c);
  if (before && before->interface != interface) before.reset();
  const bool fresh = !now.empty() && netns::addresses("", kUnderlayBridge).empty();
  Taken t;
  if (before) t = *before;
  if (before && fresh) t.addresses.clear(), t.gateways.clear();
  for (const std::string& cidr : now)
    if (std::find(t.addresses.begin(), t.addresses.end(), cidr) == t.addresses.end())
      t.addresses.push_back(cidr);
  for (netns::Route& route : gateways_over(interface)) {
    std::erase_if(t.gateways, [&](const netns::Route& r) { return r.destination == route.destination; });
    t.gateways.push_back(std::move(route));
  }
  if (!before) {
    const auto link = netns::find_link("", interface);
    t.interface = interface;
    t.up = link && link->up;
    t.rp_filter = setting(interface, "rp_filter");
    t.arp_ignore = setting(interface, "arp_ignore");
  }
  return t;
}

}  // namespace

std::string taken_underlay(const Config& config) {
  const std::optional<Taken> taken = load(config);
  return taken ? taken->interface : "";
}

void check_underlay(const Config& c) {
  const std::string& interface = c.network.underlay_interface;
  if (interface.empty()) return;
  if (!find_engines(c, {}).userspace_datapath)
    throw Fault(
        FaultKind::bad_request,
        "network.underlay_interface is for Open vSwitch's userspace datapath; this host uses the kernel's.",
        "Leave it empty: the kernel's tunnels leave from whichever interface has network.encap_ip.");
  if (!netns::find_link("", interface))
    throw Fault(FaultKind::not_found,
                fmt::format("network.underlay_interface {} is not an interface of this host.", interface),
                "`ip link` lists them.");
  const std::optional<Taken> taken = load(c);
  const Texts there = netns::addresses("", interface), moved = netns::addresses("", kUnderlayBridge);
  const std::string& encap = c.network.encap_ip;
  if (holds(there, encap) || holds(moved, encap) ||
      (taken && taken->interface == interface && holds(taken->addresses, encap)))
    return;
  throw Fault(FaultKind::conflict,
              fmt::format("network.encap_ip {} is not an address of network.underlay_interface {}.", encap,
                          interface),
              "Tunnels of the userspace datapath leave by that interface, from that address.");
}

void take_underlay(const Config& c) {
  const std::string& interface = c.network.underlay_interface;
  const Taken taken = to_move(c);
  keep(c, taken);  // before the first change
  netns::set_up("", interface);
  netns::set_up("", kUnderlayBridge);
  set_setting(interface, "rp_filter", "1");   // what comes in there has no way back by it
  set_setting(interface, "arp_ignore", "8");  // br-phy answers for all addresses
  for (const std::string& cidr : taken.addresses) netns::add_address("", kUnderlayBridge, cidr);
  for (const std::string& cidr : netns::addresses("", interface)) netns::remove_address("", interface, cidr);
  for (const netns::Route& route : taken.gateways)
    netns::add_route("", route.destination, route.gateway, kUnderlayBridge);
}

void give_underlay_back(const Config& c) {
  const std::optional<Taken> taken = load(c);
  if (!taken) return;
  netns::remove_link("", kUnderlayBridge);  // a daemon that was killed leaves it
  if (netns::find_link("", taken->interface)) {
    set_setting(taken->interface, "rp_filter", taken->rp_filter);
    set_setting(taken->interface, "arp_ignore", taken->arp_ignore);
    netns::set_promiscuous("", taken->interface, taken->promiscuous);
    for (const std::string& cidr : taken->addresses) netns::add_address("", taken->interface, cidr);
    netns::set_up("", taken->interface, taken->up);
    for (const netns::Route& route : taken->gateways)
      netns::add_route("", route.destination, route.gateway, taken->interface);
  }
  unlink(file_of(c).c_str());
}

}  // namespace virga::cloud
