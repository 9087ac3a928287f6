#include "compute/guest_metadata.h"

#include <arpa/inet.h>

#include "base/crypto.h"
#include "base/json.h"

namespace virga::compute {
namespace {

constexpr std::string_view kOpenstackVersions[] = {"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15",
                                                   "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
                                                   "2020-10-14", "latest"};
constexpr std::string_view kEc2Versions[] = {"1.0",        "2007-01-19", "2007-03-01", "2007-08-29",
                                             "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
                                             "2009-04-04", "latest"};

template <size_t N>
bool is_one_of(const std::string_view (&all)[N], std::string_view one) {
  return std::find(std::begin(all), std::end(all), one) != std::end(all);
}

std::string ec2_id(std::string_view prefix, int64_t number) {
  return fmt::format("{}-{:08x}", prefix, number);
}

std::string user_data(const Guest& guest) {
  std::string bytes;
  if (guest.server.user_data) base64_decode(*guest.server.user_data, bytes);
  return bytes;
}

json::object meta_data(const Guest& guest) {
  const auto& s = guest.server;
  json::object meta;
  for (const auto& [name, value] : guest.metadata) meta[name] = value;
  json::object out{{"uuid", s.id},
                   {"name", s.name},
                   {"hostname", s.hostname},
                   {"launch_index", s.launch_index},
                   {"availability_zone", s.zone},
                   {"project_id", s.project_id},
                   {"random_seed", base64_encode(random_bytes(512))},
                   {"devices", json::array()},
                   {"dedicated_cpus", json::array()}};
  if (!meta.empty()) out["meta"] = std::move(meta);
  if (s.key_name && !s.public_key.empty()) {
    out["public_keys"] = json::object{{*s.key_name, s.public_key}};
    out["keys"] =
        json::array{json::object{{"name", *s.key_name}, {"type", s.key_type}, {"data", s.public_key}}};
  }
  return out;
}

/// "10.0.0.0/24" -> ("10.0.0.0", "255.255.255.0"), for both families.
std::pair<std::string, std::string> split_cidr(const std::string& cidr, int version) {
  const size_t slash = cidr.find('/');
  const int length =
      slash == std::string::npos ? (version == 4 ? 32 : 128) : std::atoi(cidr.c_str() + slash + 1);
  unsigned char mask[16] = {};
  for (int i = 0; i < length && i < 128; ++i) mask[i / 8] |= static_cast<unsigned char>(0x80 >> (i % 8));
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(version == 4 ? AF_INET : AF_INET6, mask, text, sizeof text);
  return {cidr.substr(0, slash), text};
}

json::array routes_of(const network::FixedIp& ip) {
  json::array routes;
  if (!ip.gateway.empty())
    routes.push_back(json::object{{"network", ip.version == 4 ? "0.0.0.0" : "::"},
                                  {"netmask", ip.version == 4 ? "0.0.0.0" : "::"},
                                  {"gateway", ip.gateway}});
  for (const auto& route : ip.host_routes) {
    const auto [network, mask] = split_cidr(route.destination, ip.version);
    routes.push_back(json::object{{"network", network}, {"netmask", mask}, {"gateway", route.nexthop}});
  }
  return routes;
}

json::object network_of(const network::PortInfo& port, const network::FixedIp& ip, size_t number,
                        const std::string& link) {
  json::object out{
      {"id", fmt::format("network{}", number)}, {"link", link}, {"network_id", port.network_id.str()}};
  if (port.dhcp) {
    out["type"] = fmt::format("ipv{}_dhcp", ip.version);
    return out;
  }
  out["type"] = fmt::format("ipv{}", ip.version);
  out["ip_address"] = ip.address;
  out["netmask"] = split_cidr(ip.cidr, ip.version).second;
  out["routes"] = routes_of(ip);
  json::array services;
  for (const auto& dns : ip.dns_servers) services.push_back(json::object{{"type", "dns"}, {"address", dns}});
  out["services"] = std::move(services);
  return out;
}

json::object network_data(const Guest& guest) {
  json::array links, networks, services;
  for (const auto& port : guest.ports) {
    const std::string link = "tap" + port.id.str().substr(0, 11);
    links.push_back(json::object{{"id", link},
                                 {"vif_id", port.id.str()},
                                 {"type", "ovs"},
                                 {"mtu", port.mtu},
                                 {"ethernet_mac_address", port.mac}});
    for (const auto& ip : port.fixed_ips) {
      networks.push_back(network_of(port, ip, networks.size(), link));
      for (const auto& dns : ip.dns_servers) {
        json::object service{{"type", "dns"}, {"address", dns}};
        if (std::find(services.begin(), services.end(), json::value(service)) == services.end())
          services.push_back(service);
      }
    }
  }
  return {{"links", std::move(links)}, {"networks", std::move(networks)}, {"services", std::move(services)}};
}

/// A document of openstack/VERSION/; nullopt if there is none of that name.
std::optional<std::string> openstack_file(const Guest& guest, std::string_view version,
                                          std::string_view name) {
  if (name == "meta_data.json") return json::serialize(meta_data(guest));
  if (name == "network_data.json" && version >= "2015-10-15") return json::serialize(network_data(guest));
  if (name == "vendor_data.json" && version >= "2013-10-17") return "{}";
  if (name == "vendor_data2.json" && version >= "2016-10-06") return "{\"static\":{}}";
  if (name == "user_data" && guest.server.user_data) return user_data(guest);
  if (name == "password" && version >= "2013-04-04") return guest.server.guest_password;
  return std::nullopt;
}

std::string fixed_address(const Guest& guest) {
  for (const auto& port : guest.ports)
    for (const auto& ip : port.fixed_ips)
      if (ip.version == 4) return ip.address;
  return {};
}

std::string floating_address(const Guest& guest) {
  for (const auto& port : guest.ports)
    if (!port.floating_ips.empty()) return port.floating_ips.front().address;
  return {};
}

std::string group_names(const Guest& guest) {
  std::vector<std::string> names;
  for (const auto& port : guest.ports)
    for (const auto& name : port.security_group_names)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return fmt::format("{}", fmt::join(names, "\n"));
}

/// The EC2 tree below meta-data/, as path -> content.
std::map<std::string, std::string> ec2_tree(const Guest& guest) {
  const auto& s = guest.server;
  std::map<std::string, std::string> tree{{"ami-id", ec2_id("ami", s.number)},
                                          {"ami-launch-index", std::to_string(s.launch_index)},
                                          {"ami-manifest-path", "none"},
                                          {"block-device-mapping/ami", "vda"},
                                          {"block-device-mapping/root", "/dev/vda"},
                                          {"hostname", s.hostname},
                                          {"instance-action", "none"},
                                          {"instance-id", ec2_id("i", s.number)},
                                          {"instance-type", s.flavor_name},
                                          {"local-hostname", s.hostname},
                                          {"local-ipv4", fixed_address(guest)},
                                          {"placement/availability-zone", s.zone},
                                          {"public-hostname", s.hostname},
                                          {"public-ipv4", floating_address(guest)},
                                          {"reservation-id", s.reservation_id},
                                          {"security-groups", group_names(guest)}};
  if (s.key_name && !s.public_key.empty()) tree["public-keys/0/openssh-key"] = s.public_key;
  return tree;
}

/// A folder's listing, or a leaf's content.
std::optional<std::string> ec2_entry(const Guest& guest, std::string path) {
  while (!path.empty() && path.back() == '/') path.pop_back();
  const auto tree = ec2_tree(guest);
  if (const auto leaf = tree.find(path); leaf != tree.end()) return leaf->second;
  if (path == "public-keys" && guest.server.key_name) return "0=" + *guest.server.key_name;
  std::vector<std::string> names;
  const std::string prefix = path.empty() ? "" : path + "/";
  for (const auto& [name, content] : tree) {
    if (name.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string rest = name.substr(prefix.size());
    const size_t slash = rest.find('/');
    const std::string entry = slash == std::string::npos ? rest : rest.substr(0, slash + 1);
    if (names.empty() || names.back() != entry) names.push_back(entry);
  }
  if (names.empty()) return std::nullopt;
  return fmt::format("{}", fmt::join(names, "\n"));
}

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const auto part = path.substr(0, slash);
    if (!part.empty()) parts.emplace_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return parts;
}

std::optional<std::string> openstack_entry(const Guest& guest, const std::vector<std::string>& parts) {
  if (parts.size() == 1) return fmt::format("{}", fmt::join(kOpenstackVersions, "\n"));
  if (!is_one_of(kOpenstackVersions, parts[1])) return std::nullopt;
  if (parts.size() == 3) return openstack_file(guest, parts[1], parts[2]);
  if (parts.size() != 2) return std::nullopt;
  std::vector<std::string_view> names;
  for (const char* name : {"meta_data.json", "password", "user_data", "vendor_data.json", "network_data.json",
                           "vendor_data2.json"})
    if (openstack_file(guest, parts[1], name)) names.push_back(name);
  return fmt::format("{}", fmt::join(names, "\n"));
}

std::optional<std::string> entry(const Guest& guest, const std::vector<std::string>& parts) {
  if (parts.empty()) return fmt::format("{}", fmt::join(kEc2Versions, "\n"));
  if (parts[0] == "openstack") return openstack_entry(guest, parts);
  if (!is_one_of(kEc2Versions, parts[0])) return std::nullopt;
  if (parts.size() == 1) return guest.server.user_data ? "meta-data/\nuser-data" : "meta-data/";
  if (parts[1] == "user-data" && parts.size() == 2 && guest.server.user_data) return user_data(guest);
  if (parts[1] != "meta-data") return std::nullopt;
  return ec2_entry(guest, fmt::format("{}", fmt::join(parts.begin() + 2, parts.end(), "/")));
}

}  // namespace

std::vector<link::ConfigDriveFile> config_drive_files(const Guest& guest) {
  std::vector<link::ConfigDriveFile> files;
  for (const std::string version : {"2018-08-27", "latest"})
    for (const char* name :
         {"meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json", "user_data"})
      if (auto content = openstack_file(guest, version, name))
        files.push_back({"openstack/" + version + "/" + name, std::move(*content)});
  json::object ec2;
  for (const auto& [name, content] : ec2_tree(guest))
    if (name.find('/') == std::string::npos) ec2[name] = content;
  files.push_back({"ec2/latest/meta-data.json", json::serialize(ec2)});
  if (guest.server.user_data) files.push_back({"ec2/latest/user-data", user_data(guest)});
  return files;
}

link::MetadataReply guest_metadata(const Guest& guest, const std::string& path) {
  const auto parts = parts_of(path.substr(0, path.find('?')));
  auto content = entry(guest, parts);
  if (!content) return {404, "text/plain", "404 Not Found\n"};
  const bool is_json =
      !parts.empty() && parts.back().size() > 5 && parts.back().substr(parts.back().size() - 5) == ".json";
  return {200, is_json ? "application/json" : "text/plain; charset=UTF-8", std::move(*content)};
}

bool is_password_path(const std::string& path) {
  const auto parts = parts_of(path);
  return parts.size() == 3 && parts[0] == "openstack" && parts[2] == "password";
}

}  // namespace virga::compute
