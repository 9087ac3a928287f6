#include "cloud/provision.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "base/fault.h"
#include "base/process.h"
#include "http/api.h"

namespace virga::cloud {
namespace {

struct FlavorRow {
  const char *id, *name;
  int ram_mb, disk_gb, vcpus;
};
/// packstack's flavors; one that the tiny guest boots in (a Debian kernel needs 80 MB), and a 64 MB one for tests.
constexpr FlavorRow kFlavors[] = {
    {"1", "m1.tiny", 512, 1, 1},    {"2", "m1.small", 2048, 20, 1},   {"3", "m1.medium", 4096, 40, 2},
    {"4", "m1.large", 8192, 80, 4}, {"5", "m1.xlarge", 16384, 160, 8}, {"42", "m1.nano", 128, 1, 1}, {"43", "m1.pico", 64, 1, 1},
};

std::string id_of(const json::value& resource) { return str(resource.at("id")); }

class Provisioner {
 public:
  Provisioner(const Config& config, const Provisioning& what, const Progress& progress)
      : config_(config), what_(what), progress_(progress), admin_(what.admin), demo_(what.demo) {}

  void users() {
    Credentials credentials = what_.admin;
    credentials.system = true;  // keystone's secure-RBAC defaults ask for it, the older ones take it
    RestClient as(std::move(credentials));
    const std::string domain = "default";
    const std::string project = ensure(as, "/identity/v3/projects", "projects", "project", what_.demo.project, {{"domain_id", domain}});
    const std::string user = ensure(as, "/identity/v3/users", "users", "user", what_.demo.user,
                                    {{"domain_id", domain}, {"password", what_.demo.password}, {"default_project_id", project}});
    const json::value member = as.find("/identity/v3/roles", "roles", "member");
    if (member.is_null()) throw Fault(FaultKind::internal, "The role member is missing.", "It comes with the identity service's bootstrap.");
    as.put(fmt::format("/identity/v3/projects/{}/users/{}/roles/{}", project, user, id_of(member)), nullptr);
  }

  void flavors() {
    for (const FlavorRow& f : kFlavors) {
      if (!admin_.find("/compute/v2.1/flavors", "flavors", f.name).is_null()) continue;
      admin_.post("/compute/v2.1/flavors", {{"flavor", {{"id", f.id}, {"name", f.name}, {"ram", f.ram_mb}, {"disk", f.disk_gb}, {"vcpus", f.vcpus}}}});
      progress_(fmt::format("flavor {}", f.name));
    }
  }

  void images() {
    const std::string kernel = image("tiny-kernel", "aki", what_.guest.kernel, {});
    const std::string ramdisk = image("tiny-ramdisk", "ari", what_.guest.initrd, {});
    image(config_.demo.image_name, "qcow2", what_.guest.disk, {{"kernel_id", kernel}, {"ramdisk_id", ramdisk}, {"hw_rng_model", "virtio"}});
  }

  void networks() {
    const auto& net = config_.network;
    const std::string external = ensure(admin_, "/network/v2.0/networks", "networks", "network", "public",
                                        {{"router:external", true},
                                         {"provider:network_type", "flat"},
                                         {"provider:physical_network", net.physical_network}});
    json::object pool{{"network_id", external}, {"ip_version", 4}, {"cidr", net.external_cidr}, {"enable_dhcp", false}, {"gateway_ip", net.external_gateway}};
    if (!net.external_pool_start.empty())
      pool["allocation_pools"] = json::array{json::object{{"start", net.external_pool_start}, {"end", net.external_pool_end}}};
    ensure(admin_, "/network/v2.0/subnets", "subnets", "subnet", "public_subnet", std::move(pool));
    const std::string tenant = ensure(demo_, "/network/v2.0/networks", "networks", "network", "private", {});
    const std::string subnet = ensure(demo_, "/network/v2.0/subnets", "subnets", "subnet", "private_subnet",
                                      {{"network_id", tenant}, {"ip_version", 4}, {"cidr", net.private_cidr}});
    const std::string router = ensure(demo_, "/network/v2.0/routers", "routers", "router", "router1",
                                      {{"external_gateway_info", {{"network_id", external}}}});
    const json::value ports = demo_.get("/network/v2.0/ports?device_id=" + router);
    bool attached = false;
    for (const auto& port : ports.at("ports").as_array())
      for (const auto& ip : port.at("fixed_ips").as_array()) attached |= str(ip.at("subnet_id")) == subnet;
    if (!attached) demo_.put(fmt::format("/network/v2.0/routers/{}/add_router_interface", router), {{"subnet_id", subnet}});
  }

  void security_group() {
    const json::value group = demo_.find("/network/v2.0/security-groups", "security_groups", "default");
    if (group.is_null()) throw Fault(FaultKind::internal, "The demo project has no default security group.");
    const std::string id = id_of(group);
    rule(id, {{"protocol", "icmp"}});
    rule(id, {{"protocol", "tcp"}, {"port_range_min", 22}, {"port_range_max", 22}});
  }

  void keypair() {
    const bool known = has_keypair("demo");
    if (known && access(what_.key_file.c_str(), R_OK) == 0) return;
    if (known) demo_.remove("/compute/v2.1/os-keypairs/demo");
    const json::value made = demo_.post("/compute/v2.1/os-keypairs", {{"keypair", {{"name", "demo"}}}});
    write_file(what_.key_file, std::string_view(made.at("keypair").at("private_key").as_string()), 0600);
    progress_("key pair demo");
  }

  DemoServer server() {
    keypair();
    json::value found = demo_.find("/compute/v2.1/servers/detail", "servers", "demo");
    if (!found.is_null() && str(found.at("status")) == "ERROR") {  // of an earlier try
      demo_.remove("/compute/v2.1/servers/" + id_of(found));
      found = nullptr;
    }
    std::string id;
    if (found.is_null()) {
      const std::string image = id_of(require(demo_, "/image/v2/images?name=" + config_.demo.image_name, "images", config_.demo.image_name));
      const std::string flavor = id_of(require(demo_, "/compute/v2.1/flavors", "flavors", config_.demo.flavor));
      const std::string net = id_of(require(demo_, "/network/v2.0/networks", "networks", "private"));
      const json::value made = demo_.post("/compute/v2.1/servers", {{"server", {{"name", "demo"}, {"imageRef", image}, {"flavorRef", flavor}, {"key_name", "demo"}, {"networks", json::array{json::object{{"uuid", net}}}}}}});
      id = str(made.at("server").at("id"));
      progress_("server demo");
    } else {
      id = id_of(found);
    }
    DemoServer server = wait_active(id);
    server.floating_ip = floating_ip(id);
    server.key_file = what_.key_file;
    return server;
  }

  /// The agent reports its host once it has reached libvirt. Before, the first server would find no valid host.
  void wait_for_host() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!host_is_up()) {
      if (std::chrono::steady_clock::now() > deadline) throw Fault(FaultKind::timeout, "No compute host came up within a minute.", "The agent's log says why; `virga service status` shows what does not run.");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

 private:
  bool host_is_up() {
    const json::value answer = admin_.get("/compute/v2.1/os-hypervisors");
    for (const auto& host : answer.at("hypervisors").as_array())
      if (str(host.at("state")) == "up") return true;
    return false;
  }

  bool has_keypair(const std::string& name) {
    const json::value answer = demo_.get("/compute/v2.1/os-keypairs");
    for (const auto& entry : answer.at("keypairs").as_array())
      if (str(entry.at("keypair").at("name")) == name) return true;
    return false;
  }

  /// Finds by name or makes; returns the id.
  std::string ensure(RestClient& as, const std::string& path, const std::string& plural, const std::string& singular, const std::string& name,
                     json::object attributes) {
    const json::value found = as.find(path + "?name=" + name, plural, name);
    if (!found.is_null()) return id_of(found);
    attributes["name"] = name;
    const json::value made = as.post(path, json::object{{singular, std::move(attributes)}});
    progress_(fmt::format("{} {}", singular, name));
    return id_of(made.at(singular));
  }

  json::value require(RestClient& as, const std::string& path, const std::string& plural, const std::string& name) {
    json::value found = as.find(path, plural, name);
    if (found.is_null()) throw Fault(FaultKind::not_found, fmt::format("The {} {} is missing.", name, plural), "`virga up` makes it again.");
    return found;
  }

  std::string image(const std::string& name, const std::string& format, const std::string& file, json::object properties) {
    const json::value found = admin_.find("/image/v2/images?name=" + name, "images", name);
    std::string id;
    if (!found.is_null() && str(found.at("status")) == "active") return id_of(found);
    if (!found.is_null()) {
      id = id_of(found);
    } else {
      properties["name"] = name;
      properties["visibility"] = "public";
      properties["disk_format"] = format;
      properties["container_format"] = format == "qcow2" ? "bare" : format;
      id = id_of(admin_.post("/image/v2/images", properties));
    }
    admin_.put_file(fmt::format("/image/v2/images/{}/file", id), file);
    progress_(fmt::format("image {}", name));
    return id;
  }

  void rule(const std::string& group, json::object what) {
    what["security_group_id"] = group;
    what["direction"] = "ingress";
    what["ethertype"] = "IPv4";
    try {
      demo_.post("/network/v2.0/security-group-rules", json::object{{"security_group_rule", std::move(what)}});
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::conflict) throw;  // it stands already
    }
  }

  DemoServer wait_active(const std::string& id) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    for (;;) {
      const json::value answer = demo_.get("/compute/v2.1/servers/" + id);
      const json::object& s = answer.at("server").as_object();
      DemoServer server{id, find_string(s, "name"), find_string(s, "status"), "", "", ""};
      if (server.status == "ERROR") {
        const json::object* fault = find_object(s, "fault");
        throw Fault(FaultKind::internal, fmt::format("The demo server failed: {}", fault ? find_string(*fault, "message") : "no cause given"),
                    fmt::format("`virga explain server {}` tells the steps.", id));
      }
      // Off after `virga down`; while it is being started its status is SHUTOFF still, and a second start is refused.
      if (server.status == "SHUTOFF" && find_string(s, "OS-EXT-STS:task_state").empty()) demo_.post(fmt::format("/compute/v2.1/servers/{}/action", id), {{"os-start", nullptr}});
      if (server.status == "ACTIVE") {
        for (const auto& network : *find_object(s, "addresses"))
          for (const auto& address : network.value().as_array())
            if (str(address.at("OS-EXT-IPS:type")) == "fixed") server.fixed_ip = str(address.at("addr"));
        return server;
      }
      if (std::chrono::steady_clock::now() > deadline)
        throw Fault(FaultKind::timeout, fmt::format("The demo server is still {} after 5 minutes.", server.status), fmt::format("`virga explain server {}` tells the steps.", id));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  std::string floating_ip(const std::string& server) {
    const json::value ports = demo_.get("/network/v2.0/ports?device_id=" + server);
    if (ports.at("ports").as_array().empty()) throw Fault(FaultKind::internal, "The demo server has no port.");
    const std::string port = id_of(ports.at("ports").as_array().front());
    const json::value have = demo_.get("/network/v2.0/floatingips?port_id=" + port);
    if (!have.at("floatingips").as_array().empty()) return str(have.at("floatingips").as_array().front().at("floating_ip_address"));
    const std::string external = id_of(require(demo_, "/network/v2.0/networks", "networks", "public"));
    constexpr const char* kPurpose = "of the demo server";  // so that one which was deleted leaves it to the next
    const json::value left = demo_.get(fmt::format("/network/v2.0/floatingips?status=DOWN&description={}", http::percent_encode(kPurpose)));
    for (const auto& ip : left.at("floatingips").as_array())
      if (ip.at("port_id").is_null()) {
        demo_.put("/network/v2.0/floatingips/" + id_of(ip), {{"floatingip", {{"port_id", port}}}});
        return str(ip.at("floating_ip_address"));
      }
    const json::value made = demo_.post("/network/v2.0/floatingips", {{"floatingip", {{"floating_network_id", external}, {"port_id", port}, {"description", kPurpose}}}});
    const std::string address = str(made.at("floatingip").at("floating_ip_address"));
    progress_("floating IP " + address);
    return address;
  }

  const Config& config_;
  const Provisioning& what_;
  const Progress& progress_;
  RestClient admin_, demo_;
};

std::string keystonerc(const Credentials& c, const std::string& region, const std::string& cacert) {
  std::string text = fmt::format(
      "unset OS_SERVICE_TOKEN\n"
      "    export OS_USERNAME={0}\n"
      "    export OS_PASSWORD='{1}'\n"
      "    export OS_REGION_NAME={2}\n"
      "    export OS_AUTH_URL={3}/v3\n"
      "    export PS1='[\\u@\\h \\W(keystone_{0})]\\$ '\n"
      "\n"
      "export OS_PROJECT_NAME={4}\n"
      "export OS_USER_DOMAIN_NAME={5}\n"
      "export OS_PROJECT_DOMAIN_NAME={6}\n"
      "export OS_IDENTITY_API_VERSION=3\n",
      c.user, c.password, region, c.auth_url, c.project, c.user_domain, c.project_domain);
  if (!cacert.empty()) text += fmt::format("export OS_CACERT='{}'\n", cacert);
  return text;
}

constexpr char kCloudsMark[] = "# Written by virga; `virga down --purge` removes it.\n";

std::string clouds_yaml(const Provisioning& what, const std::string& region) {
  std::string out = std::string(kCloudsMark) + "clouds:\n";
  const std::pair<const char*, const Credentials*> clouds[] = {{"virga-admin", &what.admin}, {"virga", &what.demo}};
  for (const auto& [name, c] : clouds) {
    out += fmt::format(
        "  {}:\n    region_name: {}\n    identity_api_version: 3\n    auth:\n      auth_url: {}/v3\n      username: {}\n"
        "      password: '{}'\n      project_name: {}\n      user_domain_name: {}\n      project_domain_name: {}\n",
        name, region, c->auth_url, c->user, c->password, c->project, c->user_domain, c->project_domain);
    if (!what.cacert.empty()) out += fmt::format("    cacert: '{}'\n", what.cacert);
  }
  return out;
}

}  // namespace

void provision_cloud(const Config& config, const Provisioning& what, const Progress& progress) {
  Provisioner p(config, what, progress);
  p.users();
  p.flavors();
  p.images();
  p.networks();
  p.security_group();
  p.wait_for_host();
}

DemoServer provision_demo_server(const Config& config, const Provisioning& what, const Progress& progress) {
  return Provisioner(config, what, progress).server();
}

std::vector<std::string> write_credentials(const Config& config, const Provisioning& what, const std::string& home) {
  std::vector<std::string> written;
  const auto put = [&](const std::string& path, const std::string& content) {
    write_file(path, content, 0600);
    written.push_back(path);
  };
  put(home + "/keystonerc_admin", keystonerc(what.admin, config.cloud.region, what.cacert));
  put(home + "/keystonerc_demo", keystonerc(what.demo, config.cloud.region, what.cacert));
  const std::string dir = home + "/.config/openstack", file = dir + "/clouds.yaml";
  const bool foreign = access(file.c_str(), F_OK) == 0 && read_file(file).rfind(kCloudsMark, 0) != 0;
  if (!foreign) {
    mkdir((home + "/.config").c_str(), 0755);
    mkdir(dir.c_str(), 0700);
    put(file, clouds_yaml(what, config.cloud.region));
  }
  return written;
}

void remove_credentials(const std::string& home) {
  unlink((home + "/keystonerc_admin").c_str());
  unlink((home + "/keystonerc_demo").c_str());
  const std::string dir = home + "/.config/openstack", file = dir + "/clouds.yaml";
  if (access(file.c_str(), F_OK) != 0 || read_file(file).rfind(kCloudsMark, 0) != 0) return;
  unlink(file.c_str());
  rmdir(dir.c_str());  // only if it is empty now
}

}  // namespace virga::cloud
