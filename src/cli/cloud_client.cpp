#include "cli/cloud_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "base/fault.h"
#include "cloud/serve.h"
#include "cloud/tls.h"

namespace virga::cli {

std::string own_program() {
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "virga";
}

cloud::RestClient admin_client(const Config& config) {
  if (!config.has_control())
    throw Fault(FaultKind::conflict, "This machine is a host of a cloud whose API is elsewhere.",
                fmt::format("Run this on a controller ({}), or with credentials from there (keystonerc_admin).", fmt::join(config.hosts.controllers, ", ")));
  cloud::Credentials c;
  c.auth_url = cloud::api_url(config);
  c.ca_file = cloud::trusted_file(config);
  c.user = "admin";
  c.project = "admin";
  c.password = cloud::passwords(config).admin;
  return cloud::RestClient(c);
}

cloud::RestClient cloud_client(const Config& config) {
  if (const auto from_environment = cloud::credentials_from_environment()) return cloud::RestClient(*from_environment);
  return admin_client(config);
}

std::string server_id(cloud::RestClient& client, const std::string& name_or_id) {
  const std::string named = "name=" + http::percent_encode("^" + name_or_id + "$");
  json::value answer = client.get("/compute/v2.1/servers?" + named);
  if (answer.at("servers").as_array().empty()) {
    try {
      answer = client.get("/compute/v2.1/servers?all_tenants=1&" + named);
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::forbidden) throw;  // only an administrator sees other projects
    }
  }
  const json::array& servers = answer.at("servers").as_array();
  if (servers.size() > 1) throw Fault(FaultKind::conflict, fmt::format("{} servers are called {}.", servers.size(), name_or_id), "Give the id.");
  if (servers.size() == 1) return str(servers.front().at("id"));
  return str(client.get("/compute/v2.1/servers/" + name_or_id).at("server").at("id"));
}

std::string server_address(cloud::RestClient& client, const std::string& server) {
  const json::value answer = client.get("/compute/v2.1/servers/" + server);
  std::string fixed;
  for (const auto& network : answer.at("server").at("addresses").as_object())
    for (const auto& entry : network.value().as_array()) {
      const json::object& address = entry.as_object();
      if (find_string(address, "OS-EXT-IPS:type") == "floating") return find_string(address, "addr");
      fixed = find_string(address, "addr");
    }
  const std::string status = find_string(answer.at("server").as_object(), "status");
  if (status == "ERROR")
    throw Fault(FaultKind::conflict, "The server is in ERROR and has no floating IP.", fmt::format("`virga explain server {}` says why.", server));
  throw Fault(FaultKind::conflict, fmt::format("The server has no floating IP{}.", fixed.empty() ? "" : ", only " + fixed),
              "openstack floating ip create public; openstack server add floating ip SERVER ADDRESS");
}

cloud::RestClient compute_client(const Config& config) {
  cloud::RestClient client = admin_client(config);
  client.compute_version = "2.53";  // ids instead of numbers
  return client;
}

json::object service_of(cloud::RestClient& client, const std::string& name) {
  const json::value answer = client.get("/compute/v2.1/os-services?binary=nova-compute&host=" + http::percent_encode(name));
  if (answer.at("services").as_array().empty())
    throw Fault(FaultKind::not_found, fmt::format("There is no host {}.", name), "`virga host list` shows those there are.");
  return answer.at("services").as_array().front().as_object();
}

}  // namespace virga::cli
