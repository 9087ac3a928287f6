// up, down, status, and the roles that the supervisor starts.

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/allocator.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/process.h"
#include "cli/api.h"
#include "cli/cloud_client.h"
#include "cli/lifecycle.h"
#include "cli/service_table.h"
#include "cloud/agent_role.h"
#include "cloud/answer_file.h"
#include "cloud/bring_up.h"
#include "cloud/join.h"
#include "cloud/kvm_verdict.h"
#include "cloud/novnc.h"
#include "cloud/provision.h"
#include "cloud/purge.h"
#include "cloud/serve.h"
#include "cloud/tls.h"
#include "db/api.h"
#include "qemu/api.h"

namespace virga::cli {

void require_root() {
  if (geteuid() != 0) throw Fault(FaultKind::forbidden, "This needs root: it makes network namespaces and runs libvirt.", "Run it with sudo.");
}

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string home_of_caller() {
  if (const char* sudo_user = std::getenv("SUDO_USER"))
    if (const passwd* entry = getpwnam(sudo_user)) return entry->pw_dir;
  const char* home = std::getenv("HOME");
  return home && *home ? home : "/root";
}

void print_step(const std::string& step, milliseconds took) {
  std::printf("  %-34s %7.2f s\n", step.c_str(), static_cast<double>(took.count()) / 1000);
  std::fflush(stdout);
}

/// Runs a step and prints how long it took.
template <class F>
void timed(const std::string& step, F&& f) {
  const auto start = steady_clock::now();
  f();
  print_step(step, std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
}

cloud::LaunchOptions launch_options(const Shared& shared, const Config& config) {
  cloud::LaunchOptions options;
  options.program = own_program();
  options.config_path = shared.config_path;
  options.watched_config = shared.path().empty() ? kDefaultConfig : shared.path();
  options.kvm_usable = [config] { return cloud::kvm_verdict(config).usable; };
  return options;
}

cloud::Provisioning provisioning(const Config& config) {
  const cloud::Paths paths(config);
  const cloud::Passwords passwords = cloud::passwords(config);
  cloud::Provisioning p;
  p.admin.auth_url = p.demo.auth_url = cloud::api_url(config);
  p.admin.ca_file = p.demo.ca_file = cloud::trusted_file(config);
  p.admin.user = p.admin.project = "admin";
  p.admin.password = passwords.admin;
  p.demo.user = p.demo.project = "demo";
  p.demo.password = passwords.demo;
  p.key_file = paths.secrets + "/demo_key";
  p.guest.ssh_user = "virga";
  return p;
}

void build_guest(const Config& config, cloud::Provisioning& p) {
  qemu::TinyGuestOptions options;
  options.out_dir = cloud::Paths(config).guest;
  options.package_dir = config.cloud.package_cache.empty() ? options.out_dir + "/packages" : config.cloud.package_cache;
  options.user = p.guest.ssh_user;
  const qemu::TinyGuest guest = qemu::build_tiny_guest(options, [](std::string_view) {});
  p.guest.kernel = guest.kernel;
  p.guest.initrd = guest.initrd;
  p.guest.disk = guest.disk;
}

std::string console_of(const Config& config, const std::string& server, int lines) {
  const json::value answer = admin_client(config).post(fmt::format("/compute/v2.1/servers/{}/action", server), {{"os-getConsoleOutput", {{"length", lines}}}});
  return str(answer.at("output"));
}

/// In host mode the external network is the world's, and this host may have no way into it; then the guest's own console
/// must do as proof. Where the host is connected to that network itself, it must reach it.
class Unreached {
 public:
  Unreached(const Config& config, const cloud::DemoServer& server) : config_(config), server_(server) {}

  /// True, having said so, once the guest is up and its address lies where this host does not reach.
  bool is_beyond() {
    if (config_.trial() || is_connected()) return false;
    if (up_since_ == kNever && has_prompt()) up_since_ = steady_clock::now();
    if (up_since_ == kNever || steady_clock::now() - up_since_ < std::chrono::seconds(5)) return false;
    std::printf("  %s does not answer from this host, which is not connected to %s. Its console has a login prompt.\n"
                "  Try it from the network behind %s.\n",
                server_.floating_ip.c_str(), config_.network.external_cidr.c_str(),
                config_.network.external_interface.empty() ? "the external bridge" : config_.network.external_interface.c_str());
    return true;
  }

 private:
  bool has_prompt() const {
    try {
      return console_of(config_, server_.id, 2).find("login:") != std::string::npos;
    } catch (const Fault&) {
      return false;  // its host is not connected yet
    }
  }
  bool is_connected() const {
    for (const netns::Route& route : netns::routes(""))
      if (route.gateway.empty() && route.destination != "default" && ranges_overlap(route.destination, server_.floating_ip + "/32")) return true;
    return false;
  }

  const Config& config_;
  const cloud::DemoServer& server_;
  static constexpr steady_clock::time_point kNever{};
  steady_clock::time_point up_since_ = kNever;
};

/// ping and SSH to the demo server's floating IP, from inside the data plane's namespace, or in host mode from this host.
/// `provide` starts the server again if it is off after all: right after `virga down` it counts as ACTIVE until its host has
/// told what it sees.
void prove_reachable(const Config& config, const cloud::DemoServer& server, const std::string& user, const std::function<void()>& provide) {
  Unreached unreached(config, server);
  const std::string ns = config.data_namespace();
  const auto deadline = steady_clock::now() + std::chrono::minutes(3);
  std::string ssh_said;
  for (bool pinged = false;;) {
    if (!pinged && netns::ping(ns, server.floating_ip, 1000)) pinged = true, std::printf("  ping %s: answers\n", server.floating_ip.c_str());
    if (!pinged) {
      if (unreached.is_beyond()) return;
      provide();
    }
    if (pinged) {
      Command ssh;
      ssh.argv = {"ssh", "-i", server.key_file, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes",
                  user + "@" + server.floating_ip, "hostname; uptime"};
      if (!ns.empty()) ssh.argv.insert(ssh.argv.begin(), {"ip", "netns", "exec", ns});
      ssh.timeout = std::chrono::seconds(20);
      const Outcome outcome = run(ssh);
      if (outcome.ok()) {
        std::printf("  ssh %s@%s: %s\n", user.c_str(), server.floating_ip.c_str(), outcome.out.substr(0, outcome.out.find('\n')).c_str());
        return;
      }
      ssh_said = outcome.err;
    }
    if (steady_clock::now() > deadline)
      throw Fault(FaultKind::timeout, fmt::format("{} does not answer {}.", server.floating_ip, pinged ? "SSH: " + ssh_said : "ping"), fmt::format("`virga console {}` shows what the guest does.", server.name));
    usleep(200'000);
  }
}

void print_console(const Config& config, const std::string& server) {
  std::printf("\nThe last lines of its console:\n");
  std::string line;
  for (char c : console_of(config, server, 6) + "\n") {
    if (c == '\n') {
      if (!line.empty()) std::printf("  | %s\n", line.c_str());
      line.clear();
    } else if (c != '\r') {
      line += c;
    }
  }
}

void print_what_next(const Config& config, const std::string& home) {
  std::printf(
      "\nThe API:          %s  (identity at %s/v3)\n"
      "Credentials:      source %s/keystonerc_admin   or  keystonerc_demo; clouds.yaml has virga-admin and virga\n"
      "\nTry next:\n",
      cloud::api_url(config).c_str(), cloud::api_url(config).c_str(), home.c_str());
  if (config.has_compute())
    std::printf(
        "  source %s/keystonerc_demo && openstack server list\n"
        "  virga ssh demo            virga console demo        virga explain server demo\n"
        "  virga service status      virga virsh list          virga down [--purge]\n",
        home.c_str());
  else
    std::printf(
        "  source %s/keystonerc_admin && openstack hypervisor list\n"
        "  virga controller list     virga service status      virga status\n",
        home.c_str());
}

/// An answer file's settings become the configuration file.
void adopt_answers(Shared& shared, const std::string& file) {
  const cloud::AnswerResult result = cloud::apply_answer_file(read_file(file), file, shared.load());
  if (shared.config_path.empty()) shared.config_path = kDefaultConfig;
  mkdir(shared.config_path.substr(0, shared.config_path.rfind('/')).c_str(), 0755);
  write_file(shared.config_path, commented_config(result.config), 0600);
  for (const auto& line : result.applied) std::printf("  %s\n", line.c_str());
  if (!result.not_applied.empty()) std::printf("These keys do not apply to Virga:\n");
  for (const auto& [key, why] : result.not_applied) std::printf("  %s: %s\n", key.c_str(), why.c_str());
  std::printf("%s written.\n", shared.config_path.c_str());
}

/// `--tls` becomes a setting of the configuration file, so that whatever comes later agrees. True if it was none before.
bool adopt_tls(Shared& shared) {
  if (shared.load().tls.enabled) return false;
  if (shared.path().empty()) shared.config_path = kDefaultConfig;
  const std::string path = shared.path();
  mkdir(path.substr(0, path.rfind('/')).c_str(), 0755);
  const bool is_there = access(path.c_str(), F_OK) == 0;
  const std::string text = cloud::with_tls_enabled(is_there ? read_file(path) : commented_default());
  cloud::refresh_certificate(parse_config(text, path));  // before it is written: what cannot be served is refused
  write_file(path, text, 0600);
  std::printf("tls.enabled = true written to %s.\n", path.c_str());
  return true;
}

/// A cloud that runs already speaks what it was started with.
void restart_api(const Config& config) {
  try {
    cloud::service_command(config, "restart", "serve");
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::unavailable) throw;  // nothing runs: it will start with it
  }
}

/// Before anything starts: a database that does not answer is said at once, not by a service that fails.
void reach_database(const Config& config) {
  if (config.database.url.empty()) return;
  try {
    db::open({config.database_url()})->schema_version();
  } catch (const Fault& f) {
    throw Fault(f.kind, "The database of database.url cannot be used. " + f.message,
                f.kind == FaultKind::unavailable ? "Start the server, or correct database.url; then `virga up` again. " + f.hint : f.hint);
  }
}

void fake_guest(cloud::Provisioning& p, const Config& config) {
  // The fake hypervisor boots nothing: small files stand in for the guest's.
  const std::string dir = cloud::Paths(config).guest;
  mkdir(dir.c_str(), 0755);
  const auto put = [&](const char* name, const std::string& content) {
    write_file(dir + "/" + name, content);
    return dir + "/" + name;
  };
  p.guest.kernel = put("fake-kernel", "kernel");
  p.guest.initrd = put("fake-initrd", "initrd");
  if (access((dir + "/fake.qcow2").c_str(), R_OK) != 0) qemu::create_empty(dir + "/fake.qcow2", MiB{64});
  p.guest.disk = dir + "/fake.qcow2";
}

/// A cloud without it is whole but for consoles in the browser.
void get_novnc(const Config& config) {
  try {
    timed("noVNC", [&] { cloud::fetch_novnc(config); });
  } catch (const Fault& fault) {
    std::printf("  VNC consoles will open in no browser: %s %s\n", fault.message.c_str(), fault.hint.c_str());
  }
}

void warn_of_emulation(const Config& config) {
  if (config.compute.hypervisor == "fake" || config.compute.virt_type != "auto" || !config.has_compute()) return;
  if (find_string(cloud::supervisor_status(config), "virt_type") == "qemu")
    std::printf("  WARNING: KVM cannot run guests here, so they run under emulation (TCG), many times slower. `virga doctor` says why.\n");
}

/// A host whose tunnels cannot work looks well until guests on two hosts want to talk.
void warn_of_tunnels(const Config& config) {
  const bool others = !config.has_control() || !config.hosts_address().empty();
  if (config.compute.hypervisor == "fake" || config.trial() || !others || !config.has_compute() || !config.network.underlay_interface.empty()) return;
  if (find_bool(cloud::supervisor_status(config), "userspace_datapath"))
    std::printf("  WARNING: guests here and on other hosts will not hear each other: network.underlay_interface is missing. `virga doctor` says more.\n");
}

/// What came up and did not stay: a program that ends at once counts as ready until then.
void warn_of_failures(const Config& config) {
  const json::object status = cloud::supervisor_status(config);
  for (const auto& entry : *find_array(status, "services")) {
    const json::object& service = entry.as_object();
    if (find_string(service, "state") == "backoff")
      std::printf("  WARNING: %s ends again and again: %s\n", find_string(service, "name").c_str(), find_string(service, "problem").c_str());
  }
}

/// Until a controller has let this host in.
void wait_connected(const Config& config) {
  const auto deadline = steady_clock::now() + std::chrono::seconds(60);
  for (;;) {
    const json::object status = cloud::agent_status(config);
    if (find_bool(status, "connected")) return;
    if (steady_clock::now() > deadline)
      throw Fault(FaultKind::timeout, fmt::format("No controller lets this host in: {}", find_string(status, "problem", "its agent says nothing")),
                  fmt::format("It goes on trying. Controllers: {}. The agent's log: {}/agent.log", fmt::join(config.hosts.controllers, ", "), config.cloud.log_dir));
    usleep(100'000);
  }
}

/// A compute host: engines and agent, for a cloud whose controllers are elsewhere.
void up_host(const Shared& shared, const Config& config) {
  const auto start = steady_clock::now();
  const bool fake = config.compute.hypervisor == "fake";
  if (!cloud::has_joined(config))
    throw Fault(FaultKind::conflict, "This machine is configured as a compute host, and has joined no cloud.",
                "On a controller: virga token create. Then run here what that prints.");
  std::printf("Virga comes up as a host of the cloud at %s:\n", config.hosts.controllers.front().c_str());
  cloud::claim_directories(config);
  if (!fake) cloud::check_uplink(config);
  // Whether KVM can run a guest is found out with a kernel.
  if (!fake && config.compute.virt_type == "auto" && access("/dev/kvm", F_OK) == 0)
    timed("tiny guest", [&] {
      cloud::Provisioning guest = provisioning(config);
      build_guest(config, guest);
    });
  cloud::bring_up(config, launch_options(shared, config), print_step);
  warn_of_emulation(config);
  warn_of_tunnels(config);
  timed("a controller lets it in", [&] { wait_connected(config); });
  print_step("in all", std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
  std::printf("\n%s is a host of the cloud now: `openstack hypervisor list` shows it. Here: virga status, virga service status.\n",
              cloud::compute_host_name(config).c_str());
}

}  // namespace

void up(const Shared& shared, bool foreground) {
  require_root();
  const Config config = shared.load();
  if (config.tls.enabled) {
    cloud::claim_directories(config);
    cloud::refresh_certificate(config);
  }
  if (foreground) {
    log::open("supervisor", "", config.log.level.c_str());
    throw CLI::RuntimeError(cloud::run_supervisor(config, launch_options(shared, config)));
  }
  if (!config.has_control()) return up_host(shared, config);
  const bool fake = config.compute.hypervisor == "fake";
  const auto start = steady_clock::now();
  if (!fake) cloud::check_uplink(config);
  reach_database(config);
  cloud::Provisioning p = provisioning(config);
  std::printf("Virga comes up%s:\n", config.trial() ? fmt::format(" in the network namespace {}", config.network.name_space).c_str() : "");
  cloud::claim_directories(config);
  // First, since whether KVM can run a guest is found out with it.
  if (config.demo.enabled) timed("tiny guest", [&] { fake ? fake_guest(p, config) : build_guest(config, p); });
  if (!fake) get_novnc(config);
  cloud::bring_up(config, launch_options(shared, config), print_step);
  warn_of_emulation(config);
  warn_of_tunnels(config);
  const std::string home = home_of_caller();
  if (config.demo.enabled) timed("provisioning", [&] { cloud::provision_cloud(config, p, [](const std::string&) {}); });
  p.cacert = cloud::cacert_file(config);
  cloud::write_credentials(config, p, home);
  if (config.demo.enabled && config.demo.server) {
    cloud::DemoServer server;
    const auto provide = [&] { server = cloud::provision_demo_server(config, p, [](const std::string&) {}); };
    timed("demo server ACTIVE", provide);
    std::printf("\nServer %s (%s) is %s at %s, floating IP %s.\n", server.name.c_str(), server.id.c_str(), server.status.c_str(), server.fixed_ip.c_str(), server.floating_ip.c_str());
    if (!fake) {
      timed("it answers ping and SSH", [&] { prove_reachable(config, server, p.guest.ssh_user, provide); });
      print_console(config, server.id);
    }
  }
  warn_of_failures(config);
  print_step("in all", std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
  print_what_next(config, home);
}

namespace {

/// The link that ./allinone made so that `virga` is found; an installed program is left alone.
void remove_own_link() {
  const char* link = "/usr/local/bin/virga";
  char target[4096];
  const ssize_t n = readlink(link, target, sizeof target);
  if (n > 0 && std::string(target, static_cast<size_t>(n)) == own_program()) unlink(link);
}

}  // namespace

void down(const Shared& shared, bool purge) {
  require_root();
  const Config config = shared.load();
  cloud::tear_down(config, purge, print_step);
  if (purge) {
    cloud::remove_credentials(home_of_caller());
    remove_own_link();
  }
  std::printf(purge ? "Virga is gone, with all its state.\n" : "Virga is down; its state stays. `virga up` goes on from here.\n");
}

namespace {

/// A compute host knows of itself only.
void host_status(const Config& config, json::object state, bool as_json) {
  const json::object agent = cloud::agent_status(config);
  if (as_json) {
    state["agent"] = agent;
    state["controllers"] = json::value_from(config.hosts.controllers);
    std::printf("%s\n", json::serialize(state).c_str());
    return;
  }
  print_service_table(state);
  const std::string problem = find_string(agent, "problem"), refused = find_string(agent, "refused");
  std::printf("\nHost %s of the cloud at %s: %s\n", cloud::compute_host_name(config).c_str(),
              fmt::format("{}", fmt::join(config.hosts.controllers, ", ")).c_str(),
              find_bool(agent, "connected") ? "connected" : ("not connected. " + problem).c_str());
  if (!refused.empty()) std::printf("%s\n", refused.c_str());
  std::printf("Logs: %s\n", config.cloud.log_dir.c_str());
}

void status(const Shared& shared, bool as_json) {
  const Config config = shared.load();
  json::object state = cloud::supervisor_status(config);
  if (!config.has_control()) return host_status(config, std::move(state), as_json);
  if (!as_json) {
    print_service_table(state);
    print_problems(problems(config));
    const std::string home = home_of_caller();
    std::printf("\nAPI:          %s  (identity at %s/v3)\nCredentials:  %s/keystonerc_admin, keystonerc_demo\nLogs:         %s\n",
                cloud::api_url(config).c_str(), cloud::api_url(config).c_str(), home.c_str(), config.cloud.log_dir.c_str());
    return;
  }
  state["problems"] = problems(config);
  const cloud::Provisioning p = provisioning(config);
  state["api"] = cloud::api_url(config);
  state["ca_file"] = cloud::cacert_file(config);
  state["admin"] = {{"user", p.admin.user}, {"password", p.admin.password}, {"project", p.admin.project}};
  state["demo"] = {{"user", p.demo.user}, {"password", p.demo.password}, {"project", p.demo.project}};
  state["guest_user"] = p.guest.ssh_user;
  state["guest_password"] = qemu::TinyGuestOptions{}.password;
  std::printf("%s\n", json::serialize(state).c_str());
}

}  // namespace

void add_lifecycle_commands(CLI::App& app, Shared& shared) {
  struct Words {
    std::string answer_file, generate;
    bool allinone = false, foreground = false, tls = false, purge = false, as_json = false;
  };
  auto w = std::make_shared<Words>();
  auto* up_command = app.add_subcommand("up", "bring this machine's cloud up (again and again, until it is)");
  up_command->add_flag("--allinone", w->allinone, "controller and compute host on this machine (the default)");
  up_command->add_option("--answer-file", w->answer_file, "packstack's answer file: what applies here becomes virga.toml");
  up_command->add_option("--gen-answer-file", w->generate, "write an answer file with packstack's keys, and end");
  up_command->add_flag("--tls", w->tls, "serve the API over TLS from now on: sets tls.enabled in virga.toml");
  up_command->add_flag("--foreground", w->foreground, "run the supervisor in the foreground (systemd)");
  up_command->callback([&shared, w] {
    if (!w->generate.empty()) {
      write_file(w->generate, cloud::generate_answer_file(shared.load()), 0600);
      std::printf("%s written. Change it and give it to `virga up --answer-file`.\n", w->generate.c_str());
      return;
    }
    if (!w->answer_file.empty()) adopt_answers(shared, w->answer_file);
    if (w->tls) {
      require_root();
      cloud::claim_directories(shared.load());
      if (adopt_tls(shared)) restart_api(shared.load());
    }
    up(shared, w->foreground);
  });
  auto* down_command = app.add_subcommand("down", "stop everything; state stays");
  down_command->add_flag("--purge", w->purge, "remove state, credentials and namespaces too: no trace is left");
  down_command->callback([&shared, w] { down(shared, w->purge); });
  auto* status_command = app.add_subcommand("status", "what runs, how it is, and how to reach it");
  status_command->add_flag("--json", w->as_json, "for programs; holds passwords");
  status_command->callback([&shared, w] { status(shared, w->as_json); });

  app.add_subcommand("serve", "the control plane (started by the supervisor)")->group("")->callback([&shared] {
    prefer_thread_caches();
    const Config config = shared.load();
    log::open("serve", "", config.log.level.c_str());
    throw CLI::RuntimeError(cloud::run_serve(config, cloud::inherited_listeners()));
  });
  app.add_subcommand("agent", "the compute host's agent (started by the supervisor)")->group("")->callback([&shared] {
    prefer_thread_caches();
    const Config config = shared.load();
    log::open("agent", "", config.log.level.c_str());
    throw CLI::RuntimeError(cloud::run_agent_role(config));
  });
  app.add_subcommand("supervisor", "the supervisor (started by up)")->group("")->callback([&shared] {
    const Config config = shared.load();
    log::open("supervisor", "", config.log.level.c_str());
    throw CLI::RuntimeError(cloud::run_supervisor(config, launch_options(shared, config)));
  });
}

}  // namespace virga::cli
