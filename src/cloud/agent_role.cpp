#include "cloud/agent_role.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>

#include "base/allocator.h"
#include "base/log.h"
#include "cloud/engines.h"
#include "cloud/serve.h"
#include "host/api.h"
#include "libvirt/api.h"
#include "ovn/api.h"

namespace virga::cloud {
namespace {

host::AgentOptions agent_options(const Config& config, const Paths& paths, const Engines& engines) {
  host::AgentOptions o;
  o.state_dir = paths.agent_state;
  o.status_file = paths.agent_status;
  // Under libvirt's own folder, as libvirtd sees it: its AppArmor profiles let QEMU use sockets there and nowhere else.
  o.migrate_dir = engines.none ? config.cloud.run_dir + "/migrate" : engines.own_libvirt ? engines.libvirt_run + "/virga" : "/run/libvirt/virga";
  if (config.has_control()) {
    o.link_targets = {"unix:" + paths.link_socket};
  } else {
    o.link_targets = config.hosts.controllers;
    o.identity_dir = paths.host_identity;
  }
  o.hostname = compute_host_name(config);
  o.address = config.network.encap_ip;
  o.chassis = engines.chassis;
  return o;
}

void make_dirs(const Paths& paths) {
  mkdir(paths.agent_state.c_str(), 0700);
  // QEMU runs as a user of its own and must reach its disks.
  for (const auto& dir : {paths.instances, paths.image_cache}) {
    mkdir(dir.c_str(), 0711);
    chmod(dir.c_str(), 0711);
  }
}

/// Another controller may hold OVN's databases one day: ovn-controller tries all.
void point_chassis(const Config& config, const std::string& ovsdb) try {
  ovn::LocalSwitch local({.remote = ovsdb, .apply_timeout = std::chrono::milliseconds(0)});
  if (local.wait_connected(std::chrono::seconds(2))) local.configure({{"ovn-remote", southbound_of(config)}});
} catch (const std::exception& e) {  // the supervisor says it again at the switch's next start
  log::warn("Open vSwitch is not told of the controllers: {}", e.what());
}

bool supervisor_found_kvm() {
  const char* found = std::getenv("VIRGA_VIRT_TYPE");
  return found && std::string_view(found) == "kvm";
}

}  // namespace

int run_agent_role(const Config& config) {
  tune_allocator();
  const Paths paths(config);
  const Engines engines = find_engines(config, [] { return supervisor_found_kvm(); });
  make_dirs(paths);
  host::AgentOptions options = agent_options(config, paths, engines);
  if (config.compute.hypervisor == "fake") {
    host::FakeHost fake = host::make_fake_host(paths.agent_state + "/fake-domains.json");
    // Crash tests want real disks under fake domains: what could be left over must exist.
    if (std::getenv("VIRGA_FAKE_FILES")) fake.storage = host::make_local_storage(paths.instances, paths.image_cache);
    return host::run_agent(options, *fake.hypervisor, *fake.storage);
  }
  options.ovsdb = "unix:" + engines.ovs_socket;
  if (!config.has_control()) options.on_controllers = [config, ovsdb = options.ovsdb] { point_chassis(config, ovsdb); };
  libvirt::Options driver;
  driver.uri = "qemu+unix:///system?socket=" + engines.libvirt_socket;
  driver.virt_type = engines.kvm ? "kvm" : "qemu";
  driver.userspace_datapath = engines.userspace_datapath;
  if (engines.own_libvirt) driver.path_map = {{"/var/lib/libvirt/", engines.libvirt_home + "/lib/"}, {"/run/libvirt/", engines.libvirt_run + "/"}};
  const auto hypervisor = libvirt::connect(driver);
  const auto storage = host::make_local_storage(paths.instances, paths.image_cache);
  return host::run_agent(options, *hypervisor, *storage);
}

}  // namespace virga::cloud
