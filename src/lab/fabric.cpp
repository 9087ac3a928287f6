#include "lab/fabric.h"

#include "base/netns.h"

namespace virga::lab {
namespace {

void ensure_wire(int a, int b, bool up) {
  const std::string from = wire_name(a, b), to = wire_name(b, a);
  netns::ensure_veth(kFabric, from, kFabric, to);
  netns::set_master(kFabric, from, bridge_name(a));
  netns::set_master(kFabric, to, bridge_name(b));
  for (const std::string& end : {from, to}) {
    netns::set_isolated(kFabric, end);  // before it is up, or it would close a circle
    netns::set_up(kFabric, end, up);
  }
}

}  // namespace

void ensure_fabric(int hosts, const Cuts& cuts) {
  netns::ensure(kFabric);
  for (int a = 1; a <= hosts; ++a) {
    netns::ensure_bridge(kFabric, bridge_name(a));
    netns::set_up(kFabric, bridge_name(a));
    for (int b = 1; b < a; ++b) ensure_wire(a, b, !cuts.has(a, b));
  }
}

void remove_fabric() {
  if (netns::exists(kFabric))  // the namespace may live a little longer than its name
    for (const netns::Link& link : netns::links(kFabric))
      if (link.kind == "veth" || link.kind == "bridge") netns::remove_link(kFabric, link.name);
  netns::remove(kFabric);
}

void plug_in(int number) {
  const std::string space = node_namespace(number), port = port_name(number);
  netns::ensure(space);
  netns::ensure_veth(kFabric, port, space, kUnderlay);
  netns::set_mac(space, kUnderlay, node_mac(number));
  netns::set_master(kFabric, port, bridge_name(number));
  netns::set_up(kFabric, port);
  netns::set_up(space, kUnderlay);
  netns::add_address(space, kUnderlay, node_address(number) + "/24");
}

void unplug(int number) {
  if (netns::exists(kFabric)) netns::remove_link(kFabric, port_name(number));
  netns::remove(node_namespace(number));
}

}  // namespace virga::lab
