#include "cloud/engines.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/process.h"
#include "cloud/distribution.h"
#include "cloud/privileges.h"
#include "cloud/serve.h"
#include "cloud/switch_database.h"
#include "host/api.h"

namespace virga::cloud {
namespace {

namespace fs = std::filesystem;
constexpr const char* kQemuUserFolders[] = {"etc", "lib", "cache"};

void create_database(const std::string& file, const std::string& schema) {
  if (!fs::exists(file)) {
    const std::string temporary = file + ".new";
    fs::remove(temporary);
    run_or_throw({{"ovsdb-tool", "create", temporary, schema}});
    fs::rename(temporary, file);
    return;
  }
  if (run({{"ovsdb-tool", "needs-conversion", file, schema}}).out.rfind("yes", 0) == 0)
    run_or_throw({{"ovsdb-tool", "convert", file, schema}});
}

std::vector<std::string> engine_environment(const Config& c, const Engines& e) {
  const std::string state = c.cloud.state_dir, log = c.cloud.log_dir;
  return {"OVS_RUNDIR=" + e.ovs_run, "OVS_LOGDIR=" + log, "OVS_DBDIR=" + state + "/ovs", "OVS_SYSCONFDIR=" + state + "/ovs",
          "OVN_RUNDIR=" + e.ovn_run, "OVN_LOGDIR=" + log, "OVN_DBDIR=" + state + "/ovn"};
}

/// Common parts of a service.
ServiceSpec service(const Config& c, const Engines& e, const std::string& name, std::vector<std::string> aliases) {
  ServiceSpec s;
  s.name = name;
  s.aliases = std::move(aliases);
  s.environment = engine_environment(c, e);
  s.name_space = c.data_namespace();
  s.log_file = c.cloud.log_dir + "/" + name + ".log";
  return s;
}

ServiceSpec database_server(const Config& c, const Engines& e, const std::string& name, const std::string& file,
                            const std::string& socket, std::vector<std::string> aliases) {
  ServiceSpec s = service(c, e, name, std::move(aliases));
  const std::string folder = fs::path(socket).parent_path();
  s.argv = {"ovsdb-server", file, "--remote=punix:" + socket, fmt::format("--pidfile={}/{}.pid", folder, name),
            fmt::format("--unixctl={}/{}.ctl", folder, name), "--no-chdir"};
  s.ready_sockets = {socket};
  return s;
}

/// Whom it listens to besides stands in the database itself (serve_chassis).
void listen_as_told(ServiceSpec& southbound) {
  const std::string of_database = "db:OVN_Southbound,";
  southbound.argv.insert(southbound.argv.end(), {"--remote=" + of_database + "SB_Global,connections", "--private-key=" + of_database + "SSL,private_key",
                                                 "--certificate=" + of_database + "SSL,certificate", "--ca-cert=" + of_database + "SSL,ca_cert"});
}

void add_ovs(std::vector<ServiceSpec>& all, const Config& c, const Engines& e) {
  all.push_back(database_server(c, e, "ovsdb-server", c.cloud.state_dir + "/ovs/conf.db", e.ovs_socket, {"openvswitch", "ovs"}));
  ServiceSpec s = service(c, e, "ovs-vswitchd", {"openvswitch", "ovs"});
  // --monitor brings it back in 0.2 s, with its ports: OVS 3.1.0's userspace datapath aborts now and then.
  s.argv = {"ovs-vswitchd", "unix:" + e.ovs_socket, "--monitor", "--pidfile=" + e.ovs_run + "/ovs-vswitchd.pid",
            "--unixctl=" + e.ovs_run + "/ovs-vswitchd.ctl", "--no-chdir"};
  s.after = {"ovsdb-server"};
  s.ready_sockets = {e.ovs_run + "/ovs-vswitchd.ctl"};
  s.on_ready = [c, e] { set_up_switch(c, e); };
  all.push_back(std::move(s));
}

/// ovn-controller takes no name for its control socket: it puts its pid in.
void wait_controller(const Engines& e) {
  for (int i = 0; i < 500; ++i) {
    pid_t pid = 0;
    std::ifstream(e.ovn_run + "/ovn-controller.pid") >> pid;
    if (pid > 0 && socket_answers(fmt::format("{}/ovn-controller.{}.ctl", e.ovn_run, pid))) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw Fault(FaultKind::timeout, "ovn-controller does not answer.", "See ovn-controller.log.");
}

/// Stands for a database of the distribution, on a socket that `serve` may use.
ServiceSpec relay(const Config& c, const Engines& e, const std::string& name, const char* schema, const std::string& origin,
                  const std::string& socket) {
  ServiceSpec s = database_server(c, e, name, fmt::format("relay:{}:unix:{}", schema, origin), socket, {"ovn", "neutron"});
  return s;
}

void add_ovn(std::vector<ServiceSpec>& all, const Config& c, const Engines& e) {
  const std::string state = c.cloud.state_dir + "/ovn", system = kSystemOvnRun;
  ServiceSpec nb = e.own_ovn ? database_server(c, e, "ovn-nb", state + "/ovnnb_db.db", e.nb_socket, {"ovn", "neutron"})
                             : relay(c, e, "ovn-nb", "OVN_Northbound", system + "/ovnnb_db.sock", e.nb_socket);
  ServiceSpec sb = e.own_ovn ? database_server(c, e, "ovn-sb", state + "/ovnsb_db.db", e.sb_socket, {"ovn", "neutron"})
                             : relay(c, e, "ovn-sb", "OVN_Southbound", system + "/ovnsb_db.sock", e.sb_socket);
  if (e.own_ovn) listen_as_told(sb);
  for (auto& [spec, socket] : {std::pair{&nb, e.nb_socket}, std::pair{&sb, e.sb_socket}}) {
    spec->on_ready = [c, socket = socket, southbound = spec == &sb && e.own_ovn && !e.stand_in] {
      const Account account = control_account(c);
      chown(socket.c_str(), account.uid, account.gid);  // `serve` writes here
      if (southbound) serve_chassis(c, socket, true);
    };
    all.push_back(std::move(*spec));
  }
  if (!e.own_ovn) return;
  ServiceSpec northd = service(c, e, "ovn-northd", {"ovn", "neutron"});
  northd.argv = {"ovn-northd", "--ovnnb-db=unix:" + e.nb_socket, "--ovnsb-db=unix:" + e.sb_socket,
                 "--pidfile=" + e.ovn_run + "/ovn-northd.pid", "--unixctl=" + e.ovn_run + "/ovn-northd.ctl", "--no-chdir"};
  northd.after = {"ovn-nb", "ovn-sb"};
  northd.ready_sockets = {e.ovn_run + "/ovn-northd.ctl"};
  all.push_back(std::move(northd));
}

void add_controller(std::vector<ServiceSpec>& all, const Config& c, const Engines& e) {
  ServiceSpec controller = service(c, e, "ovn-controller", {"ovn", "neutron"});
  controller.argv = {"ovn-controller", "unix:" + e.ovs_socket, "--pidfile=" + e.ovn_run + "/ovn-controller.pid",
                     "--no-chdir"};
  if (e.central) {
    controller.after = {"ovn-sb"};
  } else {  // certificate and key lie in one file, which it reads again when it changes
    const std::string proof = Paths(c).host_identity;
    controller.argv.insert(controller.argv.end(), {"--private-key=" + proof + "/host.pem", "--certificate=" + proof + "/host.pem",
                                                   "--ca-cert=" + proof + "/ca.pem"});
  }
  if (e.own_ovs) controller.after.push_back("ovs-vswitchd");
  controller.on_ready = [e] { wait_controller(e); };
  all.push_back(std::move(controller));
}

std::vector<std::pair<std::string, std::string>> libvirt_mounts(const Config& c, const Engines& e) {
  std::vector<std::pair<std::string, std::string>> mounts = {{e.libvirt_home + "/etc", "/etc/libvirt"},
                                                             {e.libvirt_home + "/lib", "/var/lib/libvirt"},
                                                             {e.libvirt_home + "/cache", "/var/cache/libvirt"},
                                                             {c.cloud.log_dir + "/libvirt", "/var/log/libvirt"},
                                                             {e.libvirt_run, "/run/libvirt"}};
  // A /dev/kvm that cannot run guests makes libvirt probe QEMU again, 4 s each time a domain starts: out of its sight.
  if (!e.kvm && fs::exists("/dev/kvm")) mounts.emplace_back(e.libvirt_home + "/no-kvm", "/dev/kvm");
  // Not used (x86_64 runs 32-bit guests too), and probing it doubles libvirtd's first start.
  if (fs::exists("/usr/bin/qemu-system-i386")) mounts.emplace_back("/dev/null", "/usr/bin/qemu-system-i386");
  return mounts;
}

void add_libvirt(std::vector<ServiceSpec>& all, const Config& c, const Engines& e) {
  ServiceSpec logd = service(c, e, "virtlogd", {"libvirt"});
  logd.argv = {"virtlogd", "-p", e.libvirt_run + "/virtlogd.pid"};
  logd.mounts = libvirt_mounts(c, e);
  logd.ready_sockets = {e.libvirt_run + "/virtlogd-sock"};
  all.push_back(logd);
  ServiceSpec daemon = service(c, e, "libvirtd", {"libvirt", "nova-compute-libvirt"});
  daemon.argv = {"libvirtd", "-p", e.libvirt_run + "/libvirtd.pid"};
  daemon.mounts = logd.mounts;
  daemon.after = {"virtlogd"};
  daemon.ready_sockets = {e.libvirt_socket};
  all.push_back(std::move(daemon));
}

/// By it the controllers of a cloud wake each other. `serve` writes its settings.
void add_nats(std::vector<ServiceSpec>& all, const Config& c) {
  ServiceSpec s;
  s.name = "nats-server";
  s.aliases = {"nats"};
  s.argv = {"nats-server", "-c", Paths(c).nats_settings};
  s.before_start = [settings = Paths(c).nats_settings] {
    for (int i = 0; i < 600 && access(settings.c_str(), F_OK) != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  };
  s.log_file = c.cloud.log_dir + "/nats-server.log";
  all.push_back(std::move(s));
}

void make_dir(const std::string& path, mode_t mode) {
  fs::create_directories(path);
  if (chmod(path.c_str(), mode) != 0)
    throw Fault(FaultKind::internal, fmt::format("The permissions of {} cannot be set.", path));
}

}  // namespace

std::string compute_host_name(const Config& config) {
  if (!config.compute.host_name.empty()) return config.compute.host_name;
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// The same machines that serve the agent link serve OVN's southbound database.
std::string southbound_of(const Config& config) {
  std::string remotes;
  for (const auto& controller : host::known_controllers(config.hosts.controllers, Paths(config).agent_state))
    remotes += fmt::format("{}ssl:{}:{}", remotes.empty() ? "" : ",", controller.substr(0, controller.find(':')), config.hosts.southbound_port);
  return remotes;
}

/// They come as what their certificates say: each may change only what is its own chassis' (ovn-architecture(7),
/// "Role-Based Access Controls for the Southbound DB").
void serve_chassis(const Config& config, const std::string& southbound_socket, bool open) {
  SwitchDatabase database(southbound_socket, "OVN_Southbound");
  const std::string address = config.hosts_address(), dir = Paths(config).southbound_tls;
  json::array operations;
  // There is one row, made by ovn-northd or by us, whoever comes first.
  if (database.transact({select_all("SB_Global", {"nb_cfg"})}).at(0).at("rows").as_array().empty())
    operations.push_back({{"op", "insert"}, {"table", "SB_Global"}, {"row", json::object()}});
  json::object global;
  if (address.empty() || !open) {
    global["connections"] = json::array{"set", json::array()};
    global["ssl"] = json::array{"set", json::array()};
  } else {
    operations.push_back({{"op", "insert"}, {"table", "Connection"}, {"uuid-name", "hosts"},
                          {"row", {{"target", fmt::format("pssl:{}:{}", config.hosts.southbound_port, address)}, {"role", "ovn-controller"}}}});
    operations.push_back({{"op", "insert"}, {"table", "SSL"}, {"uuid-name", "proof"},
                          {"row", {{"private_key", dir + "/server.pem"}, {"certificate", dir + "/server.pem"}, {"ca_cert", dir + "/ca.pem"}}}});
    global["connections"] = json::array{"named-uuid", "hosts"};
    global["ssl"] = json::array{"named-uuid", "proof"};
  }
  operations.push_back({{"op", "update"}, {"table", "SB_Global"}, {"where", json::array()}, {"row", global}});
  database.transact(std::move(operations));
}

void load_kernel_datapath(const Config& config) {
  if (config.trial() || config.network.datapath == "netdev" || fs::exists("/sys/module/openvswitch")) return;
  try {
    run_or_throw({.argv = {"modprobe", "openvswitch"}, .timeout = std::chrono::seconds(20)});
  } catch (const Fault& fault) {
    log::info("the kernel has no openvswitch module: {}", fault.message);
  }
}

Engines find_engines(const Config& config, const std::function<bool()>& kvm_usable) {
  Engines e;
  const std::string& run = config.cloud.run_dir;
  e.ovs_run = run + "/ovs";
  e.ovn_run = run + "/ovn";
  e.libvirt_run = run + "/libvirt";
  e.libvirt_home = config.cloud.state_dir + "/libvirt";
  e.chassis = compute_host_name(config);
  e.none = config.compute.hypervisor == "fake";
  // OVN's databases are the first controller's as long as it lives; those that joined it have theirs for when it does not.
  e.central = !e.none && config.has_control();
  e.stand_in = e.central && !config.hosts.controllers.empty();
  if (e.none) {
    e.own_ovs = e.own_ovn = e.own_controller = e.own_libvirt = false;
  } else if (!config.trial()) {
    const Distribution system = chosen_distribution(config).value_or(look_at_distribution(socket_answers));
    e.own_ovs = !system.openvswitch;
    e.own_ovn = !system.ovn || e.stand_in;
    e.own_controller = !system.controller;
    e.own_libvirt = !system.libvirt;
    if (!e.own_ovs) e.ovs_run = kSystemSwitchRun;
    if (!system.chassis.empty()) e.chassis = system.chassis;
  }
  e.ovs_socket = e.ovs_run + "/db.sock";
  e.nb_socket = e.ovn_run + "/ovnnb_db.sock";
  e.sb_socket = e.ovn_run + "/ovnsb_db.sock";
  e.chassis_remote = "unix:" + (e.own_ovn ? e.sb_socket : std::string(kSystemOvnRun) + "/ovnsb_db.sock");
  if (!config.has_control()) e.chassis_remote = southbound_of(config);
  if (!config.has_compute()) e.own_libvirt = false;
  if (!config.has_compute() && (!e.central || e.stand_in)) e.own_ovs = e.own_controller = false;
  e.libvirt_socket = e.own_libvirt ? e.libvirt_run + "/libvirt-sock" : kSystemLibvirtSocket;
  const std::string& datapath = config.network.datapath;
  e.userspace_datapath = datapath == "netdev" || (datapath == "auto" && !fs::exists("/sys/module/openvswitch"));
  const std::string& type = config.compute.virt_type;
  e.kvm = !e.none && (type == "kvm" || (type == "auto" && kvm_usable && kvm_usable()));
  return e;
}

void prepare_databases(const Config& config, const Engines& engines) {
  if (engines.none) return;
  const std::string& state = config.cloud.state_dir;
  make_dir(state + "/ovs", 0755);
  make_dir(state + "/ovn", 0755);
  if (engines.own_ovs) {
    make_dir(engines.ovs_run, 0755);
    create_database(state + "/ovs/conf.db", "/usr/share/openvswitch/vswitch.ovsschema");
  }
  make_dir(engines.ovn_run, 0755);
  if (engines.central && engines.own_ovn) {
    create_database(state + "/ovn/ovnnb_db.db", "/usr/share/ovn/ovn-nb.ovsschema");
    create_database(state + "/ovn/ovnsb_db.db", "/usr/share/ovn/ovn-sb.ovsschema");
  }
}

void prepare_libvirt(const Config& config, const Engines& engines) {
  if (!engines.own_libvirt) return;
  const std::string& home = engines.libvirt_home;
  make_dir(home, 0711);
  for (const char* folder : kQemuUserFolders) make_dir(home + "/" + folder, 0755);
  make_dir(config.cloud.log_dir + "/libvirt", 0755);
  make_dir(engines.libvirt_run, 0755);
  for (const char* target : {"/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/run/libvirt"})
    fs::create_directories(target);
  // libvirt tells hosts apart by this UUID, and refuses to migrate between equal ones.
  if (!fs::exists(home + "/host-uuid")) write_file(home + "/host-uuid", new_uuid());
  write_file(home + "/etc/libvirtd.conf",
             fmt::format("host_uuid = \"{}\"\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n"
                         "unix_sock_ro_perms = \"0700\"\nunix_sock_rw_perms = \"0700\"\n", read_file(home + "/host-uuid")));
  // libvirt's own mount namespace for each QEMU cannot carry over a hidden /dev/kvm.
  const bool hides_kvm = !engines.kvm && fs::exists("/dev/kvm");
  write_file(home + "/etc/qemu.conf", fmt::format("stdio_handler = \"logd\"\n{}", hides_kvm ? "namespaces = []\n" : ""));
  write_file(home + "/etc/virtlogd.conf", "max_size = 4194304\nmax_backups = 1\n");
  write_file(home + "/no-kvm", "", 0);
}

std::vector<ServiceSpec> engine_services(const Config& config, const Engines& engines) {
  std::vector<ServiceSpec> all;
  if (engines.own_ovs) add_ovs(all, config, engines);
  if (engines.central) add_ovn(all, config, engines);
  if (engines.own_controller) add_controller(all, config, engines);
  if (engines.own_libvirt) add_libvirt(all, config, engines);
  if (config.has_control() && config.ha.nats_server) add_nats(all, config);
  return all;
}

void stop_guests(const Engines& engines, std::chrono::milliseconds deadline) {
  if (!engines.own_libvirt) return;
  std::vector<ProcessName> guests;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(engines.libvirt_run + "/qemu", ignored)) {
    if (entry.path().extension() != ".pid") continue;
    pid_t pid = 0;
    std::ifstream(entry.path()) >> pid;
    const std::string exe = fs::read_symlink(fmt::format("/proc/{}/exe", pid), ignored);
    if (pid > 1 && exe.find("qemu") != std::string::npos) guests.push_back({pid, process_start_ticks(pid)});
  }
  for (const ProcessName& guest : guests) kill(guest.pid, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + deadline;
  for (const ProcessName& guest : guests) {
    while (guest.alive() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (guest.alive()) kill(guest.pid, SIGKILL);
  }
}

}  // namespace virga::cloud
