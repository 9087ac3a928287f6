#include "network/resources.h"

#include "api/record.h"

namespace virga::network {
namespace {

using api::Attribute;
using api::kNotStored;
using api::Resource;
using api::Set;
using api::Type;
using api::Wording;

constexpr Set kNo = Set::no, kMay = Set::optional, kMust = Set::required;
const json::value kEmpty = "";

json::value empty_list() { return json::array(); }
json::value empty_object() { return json::object(); }

/// Rows that every resource has: identity first, then what it is, then the standard attributes.
std::vector<Attribute> with_standard(std::vector<Attribute> own, bool named = true, bool tagged = true) {
  std::vector<Attribute> rows{{.name = "id", .filter = true, .sort = true},
                              {.name = "project_id", .create = kMay, .filter = true, .sort = true}};
  if (named) rows.push_back({.name = "name", .create = kMay, .update = kMay, .fallback = kEmpty, .filter = true, .sort = true});
  rows.insert(rows.end(), own.begin(), own.end());
  rows.push_back({.name = "description", .create = kMay, .update = kMay, .fallback = kEmpty, .filter = true, .sort = true});
  rows.push_back({.name = "revision_number", .type = Type::integer, .max = 0, .filter = true});
  rows.push_back({.name = "created_at", .filter = true, .sort = true});
  rows.push_back({.name = "updated_at", .filter = true, .sort = true});
  rows.push_back({.name = "tenant_id", .column = kNotStored});
  if (tagged) rows.push_back({.name = "tags", .type = Type::array, .column = kNotStored});
  return rows;
}

}  // namespace

const Resource& network_resource() {
  static const Resource r{
      "network", "networks",
      with_standard({
          {.name = "admin_state_up", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = true, .filter = true, .sort = true},
          {.name = "status", .filter = true, .sort = true},
          {.name = "shared", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = false, .filter = true},
          {.name = "router:external", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = false, .filter = true, .column = "external"},
          {.name = "is_default", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = false, .filter = true},
          {.name = "mtu", .type = Type::integer, .create = kMay, .update = kMay, .min = 0, .max = 9216, .filter = true},
          {.name = "port_security_enabled", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = true, .filter = true},
          {.name = "dns_domain", .create = kMay, .update = kMay, .fallback = kEmpty, .filter = true},
          {.name = "provider:network_type", .create = kMay, .one_of = {"flat", "vlan", "geneve", "local"}, .filter = true, .column = "network_type"},
          {.name = "provider:physical_network", .create = kMay, .nullable = true, .max = 64, .filter = true, .column = "physical_network"},
          {.name = "provider:segmentation_id", .type = Type::integer, .create = kMay, .nullable = true, .min = 1, .max = 16777215, .filter = true, .column = "segmentation_id"},
          {.name = "availability_zone_hints", .type = Type::array, .create = kMay, .column = kNotStored},
      }),
      Wording::neutron};
  return r;
}

const Resource& subnet_resource() {
  static const Resource r{
      "subnet", "subnets",
      with_standard({
          {.name = "network_id", .type = Type::uuid, .create = kMust, .filter = true, .sort = true},
          {.name = "ip_version", .type = Type::integer, .create = kMust, .min = 4, .max = 6, .filter = true, .sort = true},
          {.name = "cidr", .type = Type::string, .create = kMay, .nullable = true, .max = 64, .filter = true, .sort = true},
          {.name = "gateway_ip", .type = Type::ip, .create = kMay, .update = kMay, .nullable = true, .filter = true, .sort = true},
          {.name = "enable_dhcp", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = true, .filter = true, .sort = true},
          {.name = "ipv6_address_mode", .create = kMay, .nullable = true, .one_of = {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"}, .filter = true},
          {.name = "ipv6_ra_mode", .create = kMay, .nullable = true, .one_of = {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"}, .filter = true},
          {.name = "subnetpool_id", .create = kMay, .nullable = true, .filter = true},
          {.name = "allocation_pools", .type = Type::array, .create = kMay, .update = kMay, .max = 32},
          {.name = "dns_nameservers", .type = Type::array, .create = kMay, .update = kMay, .fallback = empty_list(), .max = 5},
          {.name = "host_routes", .type = Type::array, .create = kMay, .update = kMay, .fallback = empty_list(), .max = 20},
          {.name = "service_types", .type = Type::array, .create = kMay, .update = kMay, .fallback = empty_list(), .max = 32},
          {.name = "dns_publish_fixed_ip", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = false},
          {.name = "prefixlen", .type = Type::integer, .create = kMay, .min = 1, .max = 128, .column = kNotStored},
          {.name = "use_default_subnetpool", .type = Type::boolean, .create = kMay, .fallback = false, .column = kNotStored},
      }),
      Wording::neutron};
  return r;
}

const Resource& subnet_pool_resource() {
  static const Resource r{
      "subnetpool", "subnetpools",
      with_standard({
          {.name = "prefixes", .type = Type::array, .create = kMust, .update = kMay, .min = 1, .max = 64},
          {.name = "default_prefixlen", .type = Type::integer, .create = kMay, .update = kMay, .min = 0, .max = 128, .filter = true},
          {.name = "min_prefixlen", .type = Type::integer, .create = kMay, .update = kMay, .min = 0, .max = 128, .filter = true},
          {.name = "max_prefixlen", .type = Type::integer, .create = kMay, .update = kMay, .min = 0, .max = 128, .filter = true},
          {.name = "ip_version", .type = Type::integer, .max = 0, .filter = true},
          {.name = "default_quota", .type = Type::integer, .create = kMay, .update = kMay, .nullable = true, .max = 0},
          {.name = "shared", .type = Type::boolean, .create = kMay, .fallback = false, .filter = true},
          {.name = "is_default", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = false, .filter = true},
          {.name = "address_scope_id", .create = kMay, .update = kMay, .nullable = true, .filter = true},
      }),
      Wording::neutron};
  return r;
}

const Resource& port_resource() {
  static const Resource r{
      "port", "ports",
      with_standard({
          {.name = "network_id", .type = Type::uuid, .create = kMust, .filter = true, .sort = true},
          {.name = "mac_address", .type = Type::mac, .create = kMay, .update = kMay, .filter = true, .sort = true},
          {.name = "admin_state_up", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = true, .filter = true, .sort = true},
          {.name = "status", .filter = true, .sort = true},
          {.name = "device_id", .create = kMay, .update = kMay, .fallback = kEmpty, .filter = true, .sort = true},
          {.name = "device_owner", .create = kMay, .update = kMay, .fallback = kEmpty, .filter = true, .sort = true},
          {.name = "binding:host_id", .create = kMay, .update = kMay, .fallback = kEmpty, .nullable = true, .filter = true, .column = "host_id"},
          {.name = "binding:vnic_type", .create = kMay, .update = kMay, .fallback = json::value("normal"),
           .one_of = {"normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct", "remote-managed"},
           .filter = true, .column = "vnic_type"},
          {.name = "binding:profile", .type = Type::object, .create = kMay, .update = kMay, .fallback = empty_object(), .nullable = true, .column = "profile"},
          {.name = "port_security_enabled", .type = Type::boolean, .create = kMay, .update = kMay, .filter = true},
          {.name = "allowed_address_pairs", .type = Type::array, .create = kMay, .update = kMay, .fallback = empty_list(), .nullable = true, .max = 10},
          {.name = "extra_dhcp_opts", .type = Type::array, .create = kMay, .update = kMay, .fallback = empty_list(), .nullable = true, .max = 32},
          {.name = "dns_name", .create = kMay, .update = kMay, .fallback = kEmpty, .filter = true},
          {.name = "made_by_compute", .type = Type::boolean, .fallback = false},
          {.name = "fixed_ips", .type = Type::array, .create = kMay, .update = kMay, .max = 5, .column = kNotStored},
          {.name = "security_groups", .type = Type::array, .create = kMay, .update = kMay, .nullable = true, .max = 64, .column = kNotStored},
      }),
      Wording::neutron};
  return r;
}

const Resource& router_resource() {
  static const Resource r{
      "router", "routers",
      with_standard({
          {.name = "admin_state_up", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = true, .filter = true, .sort = true},
          {.name = "status", .filter = true, .sort = true},
          {.name = "gateway_network_id"},
          {.name = "gateway_port_id"},
          {.name = "enable_snat", .type = Type::boolean, .fallback = true},
          {.name = "routes", .type = Type::array, .update = kMay, .fallback = empty_list(), .nullable = true, .max = 30},
          {.name = "external_gateway_info", .type = Type::object, .create = kMay, .update = kMay, .nullable = true, .column = kNotStored},
          {.name = "ha", .type = Type::boolean, .create = kMay, .update = kMay, .column = kNotStored},
          {.name = "distributed", .type = Type::boolean, .create = kMay, .update = kMay, .column = kNotStored},
          {.name = "availability_zone_hints", .type = Type::array, .create = kMay, .column = kNotStored},
      }),
      Wording::neutron};
  return r;
}

const Resource& floating_ip_resource() {
  static const Resource r{
      "floatingip", "floatingips",
      with_standard(
          {
              {.name = "floating_network_id", .type = Type::uuid, .create = kMust, .filter = true, .sort = true},
              {.name = "floating_ip_address", .type = Type::ip, .create = kMay, .filter = true, .sort = true},
              {.name = "floating_port_id"},
              {.name = "port_id", .create = kMay, .update = kMay, .nullable = true, .filter = true, .sort = true},
              {.name = "fixed_ip_address", .type = Type::ip, .create = kMay, .update = kMay, .nullable = true, .filter = true, .sort = true},
              {.name = "router_id", .filter = true, .sort = true},
              {.name = "status", .filter = true, .sort = true},
              {.name = "dns_name", .create = kMay, .fallback = kEmpty},
              {.name = "dns_domain", .create = kMay, .fallback = kEmpty},
              {.name = "subnet_id", .create = kMay, .nullable = true, .column = kNotStored},
          },
          false),
      Wording::neutron};
  return r;
}

const Resource& security_group_resource() {
  static const Resource r{"security_group", "security_groups",
                          with_standard({{.name = "stateful", .type = Type::boolean, .create = kMay, .update = kMay, .fallback = true, .filter = true},
                                         {.name = "default_of"}}),
                          Wording::neutron};
  return r;
}

const Resource& security_group_rule_resource() {
  static const Resource r{
      "security_group_rule", "security_group_rules",
      with_standard(
          {
              {.name = "security_group_id", .type = Type::uuid, .create = kMust, .filter = true, .sort = true},
              {.name = "direction", .create = kMust, .one_of = {"ingress", "egress"}, .filter = true, .sort = true},
              {.name = "ethertype", .create = kMay, .fallback = json::value("IPv4"), .nullable = true, .filter = true, .sort = true},
              {.name = "protocol", .type = Type::word, .create = kMay, .nullable = true, .max = 40, .filter = true, .sort = true},
              {.name = "port_range_min", .type = Type::integer, .create = kMay, .nullable = true, .max = 0, .filter = true, .sort = true},
              {.name = "port_range_max", .type = Type::integer, .create = kMay, .nullable = true, .max = 0, .filter = true, .sort = true},
              {.name = "remote_ip_prefix", .create = kMay, .nullable = true, .filter = true, .sort = true},
              {.name = "remote_group_id", .create = kMay, .nullable = true, .filter = true, .sort = true},
              {.name = "fingerprint"},
          },
          false, false),
      Wording::neutron};
  return r;
}

}  // namespace virga::network
