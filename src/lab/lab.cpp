#include "lab/api.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/config.h"
#include "base/fault.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/novnc.h"
#include "cloud/purge.h"
#include "lab/database.h"
#include "lab/fabric.h"
#include "lab/node.h"
#include "lab/step.h"
#include "qemu/api.h"

namespace virga::lab {
namespace {

namespace fs = std::filesystem;

bool userspace_datapath() {
  return cloud::find_engines({}, {}).userspace_datapath;
}

/// remember_made and undo_made keep their file there.
Config memory(const std::string& folder) {
  Config config;
  config.cloud.state_dir = folder;
  return config;
}

/// The names that a lab gave to network namespaces, also half made ones.
std::vector<std::string> lab_namespaces() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fs::path(netns::path_of("x")).parent_path(), ignored))
    if (const std::string name = entry.path().filename(); name.rfind(kNodePrefix, 0) == 0)
      found.push_back(name);
  return found;
}

/// What the cloud in a node says of itself: "12 of 12 services ready", or why there is none.
std::string cloud_state(const cloud::ProcessName& init) {
  Config config;
  config.cloud.run_dir = fmt::format("/proc/{}/root/run/virga", init.pid);
  try {
    const json::object status = cloud::supervisor_status(config);
    const json::array& services = *find_array(status, "services");
    const auto ready = std::count_if(services.begin(), services.end(), [](const json::value& s) {
      return find_string(s.as_object(), "state") == "ready";
    });
    if (find_string(status, "phase") != "running")
      return find_string(status, "phase") + " " + find_string(status, "problem");
    return fmt::format("{} of {} services ready", ready, services.size());
  } catch (const Fault&) {
    return "no cloud runs";
  }
}

json::object status_of(const std::string& lab, int number) {
  const NodeFolders folders(lab, number);
  json::object o = {
      {"name", node_name(number)}, {"address", node_address(number)}, {"role", ""}, {"on", false}};
  if (access(folders.settings.c_str(), R_OK) == 0) o["role"] = load_config(folders.settings).cloud.role;
  const std::optional<cloud::ProcessName> init = init_of(lab, number);
  if (!init) return o;
  const std::vector<pid_t> processes = processes_of(*init);
  int64_t kib = 0;
  for (const pid_t pid : processes) kib += cloud::memory_kib_of(pid);
  o["on"] = true;
  o["pid"] = init->pid;
  o["processes"] = processes.size();
  o["memory_kib"] = kib;
  o["uptime_s"] = cloud::uptime_s(*init);
  o["cloud"] = cloud_state(*init);
  return o;
}

}  // namespace

Lab::Lab(std::string folder, std::string program) : folder_(std::move(folder)), program_(std::move(program)) {
  if (folder_.empty() || folder_[0] != '/')
    throw Fault(FaultKind::bad_request, "The lab's folder must be an absolute path.");
}

Lab::Shape Lab::shape() const {
  const std::string text = text_of(folder_ + "/lab.json");
  if (text.empty()) return {};
  const json::value value = parse_json(text);
  return {static_cast<int>(find_int(value.as_object(), "hosts")), find_string(value.as_object(), "packages"),
          static_cast<int>(find_int(value.as_object(), "controllers", 1))};
}

int Lab::find(const std::string& host) const {
  return node_number(host, shape().hosts);
}

/// Folders over which a node's own are mounted, and where namespaces have their names.
void Lab::prepare_machine() const {
  const Config ours = memory(folder_);
  for (const char* folder : {"/etc/virga", "/var/lib/virga", "/var/log/virga"}) {
    if (fs::exists(folder)) continue;
    cloud::remember_made(ours, std::string("dir:") + folder);
    mkdir(folder, 0755);
  }
  if (!fs::exists("/run/netns")) cloud::remember_made(ours, "mount:/run/netns");
}

/// The lab as it is wished, written down before anything is made.
Lab::Shape Lab::grow(const UpOptions& options) const {
  Shape now = shape();
  if (now.hosts == 0 && !lab_namespaces().empty())
    throw Fault(FaultKind::conflict, "This machine has a lab in another folder, or the rest of one.",
                "`virga lab down` removes it.");
  const int hosts = options.hosts ? options.hosts : now.hosts ? now.hosts : 3;
  if (hosts < now.hosts)
    throw Fault(FaultKind::conflict, fmt::format("The lab has {} hosts already.", now.hosts),
                "`virga lab down`, then `virga lab up` with fewer.");
  const int controllers = std::max(options.controllers, now.controllers);
  if (controllers < 1 || controllers > hosts)
    throw Fault(FaultKind::bad_request, fmt::format("Of {} hosts {} cannot be controllers.", hosts, controllers));
  if (now.hosts && controllers > 1 && now.controllers == 1)
    throw Fault(FaultKind::conflict, "The lab's cloud has a database that only one controller can use.",
                "`virga lab down`, then `virga lab up --controllers N`.");
  const std::string packages = !options.packages.empty() ? fs::absolute(options.packages).string()
                               : now.packages.empty()    ? folder_ + "/packages"
                                                         : now.packages;
  fs::create_directories(packages);
  write_file(folder_ + "/lab.json",
             json::serialize(json::object{{"hosts", hosts}, {"packages", packages}, {"controllers", controllers}}) + "\n");
  // In place: running nodes have this very file as their /etc/hosts.
  std::ofstream(folder_ + "/hosts", std::ios::trunc) << hosts_file(hosts);
  return {hosts, packages, controllers};
}

void Lab::power(int number, const Shape& shape, const cloud::StepDone& done) const {
  if (init_of(folder_, number)) return;
  const NodeFolders folders(folder_, number);
  fs::create_directories(folders.etc);
  if (access(folders.settings.c_str(), F_OK) != 0)
    write_file(folders.settings, number == 1 ? controller_settings(userspace_datapath(), lab_database_url(shape.controllers))
                           : machine_settings(),
               0600);
  timed(node_name(number) + " is on", done, [&] { power_on({folder_, program_, shape.packages}, number); });
}

/// Runs a command on a host; what it prints is seen. Throws Fault(internal) if it fails.
void Lab::run(int number, const std::vector<std::string>& argv) const {
  const std::optional<cloud::ProcessName> init = init_of(folder_, number);
  if (!init)
    throw Fault(FaultKind::unavailable, fmt::format("{} is off.", node_name(number)),
                fmt::format("virga lab start {}", node_name(number)));
  std::printf("%s: %s %s\n", node_name(number).c_str(), argv[0].c_str(), argv[1].c_str());
  if (const int code = run_inside(*init, argv); code != 0)
    throw Fault(
        FaultKind::internal,
        fmt::format("`{} {}` on {} failed ({}).", argv[0], argv[1], node_name(number), code),
        fmt::format(
            "Above stands why. `virga lab exec {} -- bash` looks into it, `virga lab up` tries again.",
            node_name(number)));
}

/// What node 1 needs from the world, which it does not see.
void Lab::prepare_guest(const Shape& shape, const cloud::StepDone& done) const {
  const NodeFolders folders(folder_, 1);
  Config config = memory(folders.lib);
  config.cloud.package_cache = shape.packages;
  qemu::TinyGuestOptions guest;
  guest.out_dir = folders.lib + "/guest";
  guest.package_dir = shape.packages;
  timed("tiny guest", done, [&] { qemu::build_tiny_guest(guest, [](std::string_view) {}); });
  try {
    cloud::fetch_novnc(config);
  } catch (const Fault& fault) {
    std::printf("  VNC consoles will open in no browser: %s\n", fault.message.c_str());
  }
}

/// A cloud was made there, or the host has joined one.
bool Lab::has_cloud(int number) const {
  const NodeFolders folders(folder_, number);
  if (number == 1) return fs::exists(folders.lib + "/control");
  return access(folders.settings.c_str(), R_OK) == 0 && !load_config(folders.settings).hosts.controllers.empty();
}

void Lab::bring_cloud_up(int number, const cloud::StepDone& done) const {
  const int keeper = lab_database_node(shape().controllers);
  if (const auto init = keeper ? init_of(folder_, keeper) : std::nullopt; init && (number == 1 || number == keeper))
    timed("database on " + node_name(keeper), done, [&] { ensure_lab_database(keeper, *init); });
  if (number == 1 || has_cloud(number))
    timed("cloud on " + node_name(number), done, [&] { run(number, {"virga", "up"}); });
  else
    timed(node_name(number) + " has joined", done, [&] { join(number); });
}

void Lab::join(int number) const {
  join_with_kept_line(
      NodeFolders(folder_, number).join,
      [&] {
        Command create;
        create.argv = {program_,     "lab", "--folder", folder_, "exec",
                       node_name(1), "--",  "virga",    "token", "create"};
        if (number <= shape().controllers) create.argv.push_back("--controller");
        return run_or_throw(create);
      },
      [&](const std::string& said) { run(number, join_command(said, number, userspace_datapath())); });
}

void Lab::up(const UpOptions& options, const cloud::StepDone& done) const {
  cloud::claim_folder(folder_, 0755);
  const int held = lock_folder(folder_);
  ScopeExit unlock([held] { close(held); });
  const Shape shape = grow(options);
  prepare_machine();
  timed("wires", done, [&] { ensure_fabric(shape.hosts, Cuts::parse(text_of(folder_ + "/cuts"))); });
  for (int n = 1; n <= shape.hosts; ++n) power(n, shape, done);
  // What `virga up` needs in a host, which cannot fetch it from there. Who names a folder of packages has them.
  if (!options.bare || options.packages.empty()) prepare_guest(shape, done);
  if (options.bare) return;
  for (int n = 1; n <= shape.hosts; ++n) bring_cloud_up(n, done);
}

void Lab::start(const std::string& host, const cloud::StepDone& done) const {
  const int number = find(host), held = lock_folder(folder_);
  ScopeExit unlock([held] { close(held); });
  ensure_fabric(shape().hosts, Cuts::parse(text_of(folder_ + "/cuts")));
  power(number, shape(), done);
  if (has_cloud(number)) bring_cloud_up(number, done);
}

void Lab::down(const cloud::StepDone& done) const {
  const std::vector<std::string> spaces = lab_namespaces();
  int held = -1;
  if (fs::exists(folder_)) held = lock_folder(folder_);
  ScopeExit unlock([&] {
    if (held >= 0) close(held);
  });
  timed("hosts end", done, [&] {
    for (int n = 1; n <= kMostHosts; ++n) {
      const bool named = std::find(spaces.begin(), spaces.end(), node_namespace(n)) != spaces.end();
      if (named || fs::exists(NodeFolders(folder_, n).root)) power_off(folder_, n);
    }
  });
  timed("traces removed", done, [&] {
    remove_fabric();
    cloud::undo_made(memory(folder_));
    if (fs::exists(folder_))
      cloud::claim_folder(folder_, 0755);  // an `up` that was killed may not have come to that
    cloud::remove_claimed_folder(folder_);
  });
}

void Lab::cut(const std::string& host, const std::string& other, bool cut) const {
  const int hosts = shape().hosts, a = find(host), b = other.empty() ? 0 : find(other);
  // One after the other, but beside an `up` that runs: two at once would forget one of both.
  const int held = open((folder_ + "/cuts.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ScopeExit unlock([held] { close(held); });
  while (flock(held, LOCK_EX) != 0 && errno == EINTR) {
  }
  Cuts cuts = Cuts::parse(text_of(folder_ + "/cuts"));
  cuts.set(cut, a, b, hosts);
  write_file(folder_ + "/cuts", cuts.text());
  ensure_fabric(hosts, cuts);
}

/// Init of a host. Throws Fault(conflict) if the host is off.
cloud::ProcessName Lab::running(const std::string& host) const {
  if (const std::optional<cloud::ProcessName> init = init_of(folder_, find(host))) return *init;
  throw Fault(FaultKind::conflict, fmt::format("{} is off.", host), fmt::format("virga lab start {}", host));
}

int Lab::kill(const std::string& host, const std::string& process) const {
  if (!process.empty()) return signal_process(running(host), process, SIGKILL);
  const int number = find(host);
  const std::optional<cloud::ProcessName> init = init_of(folder_, number);
  const int processes = init ? static_cast<int>(processes_of(*init).size()) : 0;
  power_off(folder_, number);
  return processes;
}

int Lab::pause(const std::string& host, const std::string& process) const {
  return signal_process(running(host), process, SIGSTOP);
}

int Lab::resume(const std::string& host) const {
  return signal_process(running(host), "", SIGCONT);
}

int Lab::exec(const std::string& host, const std::vector<std::string>& argv) const {
  return exec_inside(running(host), argv);
}

json::object Lab::status() const {
  json::array hosts, cuts;
  for (int n = 1; n <= shape().hosts; ++n) hosts.push_back(status_of(folder_, n));
  const Cuts parsed = Cuts::parse(text_of(folder_ + "/cuts"));
  for (const auto& [a, b] : parsed.pairs()) cuts.push_back(json::array{node_name(a), node_name(b)});
  return {{"folder", folder_}, {"hosts", std::move(hosts)}, {"cuts", std::move(cuts)}};
}

int Lab::init(const std::string& host, const std::string& packages) const {
  return run_init({folder_, program_, packages}, find(host));
}

}  // namespace virga::lab
