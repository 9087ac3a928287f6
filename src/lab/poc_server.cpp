#include "lab/poc_server.h"

#include <fmt/format.h>

#include <thread>

#include "base/fault.h"
#include "lab/step.h"

namespace virga::lab {
namespace {

using cloud::RestClient;
using std::chrono::steady_clock;

constexpr const char* kName = "first";

std::string id_of(const json::value& resource) { return str(resource.at("id")); }

std::string id_by_name(RestClient& client, const std::string& path, const std::string& plural, const std::string& name) {
  const json::value found = client.find(path, plural, name);
  if (found.is_null()) throw Fault(FaultKind::not_found, fmt::format("{} is not among the cloud's {}.", name, plural));
  return id_of(found);
}

/// The administrator, at work in project demo, where the network and the open security group are.
RestClient in_demo(const cloud::Credentials& admin) {
  RestClient client(admin);
  const std::string role = id_by_name(client, "/identity/v3/roles", "roles", "admin"),
                    project = id_by_name(client, "/identity/v3/projects?name=demo", "projects", "demo");
  client.put(fmt::format("/identity/v3/projects/{}/users/{}/roles/{}", project, client.user_id(), role), nullptr);
  cloud::Credentials there = admin;
  there.project = "demo";
  return RestClient(there);
}

/// A host that has just joined is found a little later.
void wait_for_host(RestClient& client, const std::string& host) {
  const auto end = steady_clock::now() + std::chrono::minutes(3);
  for (;;) {
    const json::value answer = client.get("/compute/v2.1/os-hypervisors");
    for (const auto& h : answer.at("hypervisors").as_array())
      if (str(h.at("hypervisor_hostname")) == host && str(h.at("state")) == "up") return;
    if (steady_clock::now() > end) throw Fault(FaultKind::timeout, fmt::format("The cloud does not see the host {}.", host));
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

std::string ensure_server(RestClient& client, const std::string& host) {
  json::value found = client.find("/compute/v2.1/servers/detail", "servers", kName);
  if (!found.is_null() && str(found.at("status")) == "ERROR") {  // of an earlier try
    client.remove("/compute/v2.1/servers/" + id_of(found));
    found = nullptr;
  }
  if (!found.is_null()) return id_of(found);
  const json::object server = {
      {"name", kName},
      {"imageRef", id_by_name(client, "/image/v2/images?name=tiny", "images", "tiny")},
      {"flavorRef", id_by_name(client, "/compute/v2.1/flavors", "flavors", "m1.nano")},
      {"availability_zone", "nova:" + host},
      {"networks", json::array{json::object{{"uuid", id_by_name(client, "/network/v2.0/networks", "networks", "private")}}}}};
  const json::value made = client.post("/compute/v2.1/servers", {{"server", server}});
  return str(made.at("server").at("id"));
}

void wait_active(RestClient& client, const std::string& id, steady_clock::time_point end) {
  for (;;) {
    const json::value answer = client.get("/compute/v2.1/servers/" + id);
    const json::object& server = answer.at("server").as_object();
    const std::string status = find_string(server, "status");
    if (status == "ACTIVE") return;
    if (status == "ERROR") {
      const json::object* fault = find_object(server, "fault");
      throw Fault(FaultKind::internal, fmt::format("The first server failed: {}", fault ? find_string(*fault, "message") : "no cause given"),
                  fmt::format("`virga lab poc ssh CONTROLLER -- virga explain server {}` tells the steps.", id));
    }
    if (status == "SHUTOFF" && find_string(server, "OS-EXT-STS:task_state").empty())  // its host was off in between
      client.post(fmt::format("/compute/v2.1/servers/{}/action", id), {{"os-start", nullptr}});
    if (steady_clock::now() > end) throw Fault(FaultKind::timeout, fmt::format("The first server is still {}.", status));
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

std::string console_of(RestClient& client, const std::string& id, int lines) {
  try {
    return str(client.post(fmt::format("/compute/v2.1/servers/{}/action", id), {{"os-getConsoleOutput", {{"length", lines}}}}).at("output"));
  } catch (const Fault&) {
    return "";  // there is none yet, or its host is slow to send it; the deadline is the caller's
  }
}

std::string wait_for_prompt(RestClient& client, const std::string& id, steady_clock::time_point end) {
  for (;;) {
    const std::string console = console_of(client, id, 8);
    if (console.find("login:") != std::string::npos) return console;
    if (steady_clock::now() > end)
      throw Fault(FaultKind::timeout, fmt::format("The first server is ACTIVE, but its console has no login prompt:\n{}", console), "`virga lab poc up` waits again.");
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
}

std::string ensure_floating_ip(RestClient& client, const std::string& server) {
  const json::value ports = client.get("/network/v2.0/ports?device_id=" + server);
  const std::string port = id_of(ports.at("ports").as_array().at(0));
  const json::value have = client.get("/network/v2.0/floatingips?port_id=" + port);
  if (!have.at("floatingips").as_array().empty()) return str(have.at("floatingips").as_array().front().at("floating_ip_address"));
  const json::value made = client.post("/network/v2.0/floatingips",
                                       {{"floatingip", {{"floating_network_id", id_by_name(client, "/network/v2.0/networks", "networks", "public")}, {"port_id", port}}}});
  return str(made.at("floatingip").at("floating_ip_address"));
}

}  // namespace

FirstServer boot_first_server(const cloud::Credentials& admin, const std::string& host, std::chrono::seconds deadline, const cloud::StepDone& done) {
  RestClient client = in_demo(admin);
  FirstServer server;
  timed("first server ACTIVE on " + host, done, [&] {
    wait_for_host(client, host);
    server.id = ensure_server(client, host);
    wait_active(client, server.id, steady_clock::now() + deadline);
    server.floating_ip = ensure_floating_ip(client, server.id);
  });
  timed("its console has a login prompt", done, [&] { server.console = wait_for_prompt(client, server.id, steady_clock::now() + deadline); });
  return server;
}

}  // namespace virga::lab
