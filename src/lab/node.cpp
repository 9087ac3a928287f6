#include "lab/node.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/config.h"
#include "base/fault.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/bring_up.h"
#include "cloud/purge.h"
#include "lab/fabric.h"
#include "lab/plan.h"

namespace virga::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

cloud::ProcessName read_name(const std::string& file) {
  cloud::ProcessName name;
  std::ifstream(file) >> name.pid >> name.start_ticks;
  return name;
}

std::string link_of(pid_t pid, const char* space) {
  std::error_code ignored;
  return fs::read_symlink(fmt::format("/proc/{}/ns/{}", pid, space), ignored);
}

/// Processes in the node's network namespace: the node's own, and those that somebody started there from
/// outside.
std::vector<pid_t> processes_on_wires(int number) {
  struct stat space {
  }, other{};
  std::vector<pid_t> found;
  if (!netns::exists(node_namespace(number)) ||
      stat(netns::path_of(node_namespace(number)).c_str(), &space) != 0)
    return found;
  for (const pid_t pid : cloud::all_processes())
    if (stat(fmt::format("/proc/{}/ns/net", pid).c_str(), &other) == 0 && other.st_ino == space.st_ino &&
        other.st_dev == space.st_dev)
      found.push_back(pid);
  return found;
}

void wait_gone(const cloud::ProcessName& process) {
  const auto end = steady_clock::now() + std::chrono::seconds(20);
  while (process.alive() && steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  if (process.alive())
    throw Fault(FaultKind::timeout, fmt::format("The process {} does not end.", process.pid));
}

std::string comm_of(pid_t pid) {
  std::string name;
  std::ifstream in(fmt::format("/proc/{}/comm", pid));
  std::getline(in, name);
  return name;
}

/// The pid that the process has in its innermost PID namespace.
pid_t inner_pid(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("NSpid:", 0) != 0) continue;
    return std::atoi(line.substr(line.find_last_of(" \t") + 1).c_str());
  }
  return 0;
}

/// Pids inside the node of what its supervisor calls by that name.
std::vector<pid_t> supervised(const cloud::ProcessName& init, const std::string& name,
                              std::vector<std::string>& known) {
  Config config;
  config.cloud.run_dir = fmt::format("/proc/{}/root/run/virga", init.pid);
  std::vector<pid_t> found;
  try {
    const json::object status = cloud::supervisor_status(config);
    known.push_back("supervisor");
    if (name == "supervisor") found.push_back(static_cast<pid_t>(find_int(status, "pid")));
    for (const json::value& value : *find_array(status, "services")) {
      const json::object& s = value.as_object();
      bool meant = find_string(s, "name") == name;
      known.push_back(find_string(s, "name"));
      for (const json::value& alias : *find_array(s, "aliases")) meant |= str(alias) == name;
      if (const auto pid = static_cast<pid_t>(find_int(s, "pid")); meant && pid > 0) found.push_back(pid);
    }
  } catch (const Fault& f) {
    if (f.kind != FaultKind::unavailable) throw;
    const std::string file =
        config.cloud.run_dir + "/pid/" + name;  // its supervisor is dead; the service may live
    if (const cloud::ProcessName left = read_name(file); left.pid > 0) found.push_back(left.pid);
  }
  return found;
}

/// Runs in the child that becomes a program inside the node.
[[noreturn]] void become(std::vector<std::string>& argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int s : {SIGINT, SIGQUIT, SIGTERM, SIGHUP}) signal(s, SIG_DFL);
  std::vector<std::string> environment = {
      std::string("HOME=") + kHome, "USER=root", "LOGNAME=root", "SHELL=/bin/bash",
      std::string("PATH=") + kOwnRun + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  for (const char* kept : {"TERM", "COLORTERM", "LANG", "LC_ALL"})
    if (const char* value = std::getenv(kept)) environment.push_back(fmt::format("{}={}", kept, value));
  std::vector<char*> raw_argv, raw_environment;
  for (auto& a : argv) raw_argv.push_back(a.data());
  for (auto& e : environment) raw_environment.push_back(e.data());
  raw_argv.push_back(nullptr);
  raw_environment.push_back(nullptr);
  try {
    cloud::claim_folder("/var/lib/virga", 0711);
    mkdir(kHome, 0700);
  } catch (const Fault&) {  // it is in nobody's way: the command may be there to see why
  }
  if (chdir(kHome) != 0 && chdir("/") != 0) _exit(126);
  setenv("PATH", environment[4].c_str() + 5, 1);  // where execvpe looks
  execvpe(raw_argv[0], raw_argv.data(), raw_environment.data());
  std::fprintf(stderr, "virga: %s: %s\n", raw_argv[0], strerror(errno));
  _exit(127);
}

pid_t forwarded_to = 0;
void forward(int received) {
  kill(forwarded_to, received);
}

int exit_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return exit_code(status);
}

}  // namespace

NodeFolders::NodeFolders(const std::string& lab, int number)
    : root(lab + "/" + node_name(number)),
      etc(root + "/etc"),
      lib(root + "/lib"),
      log(root + "/log"),
      settings(etc + "/virga.toml"),
      join(root + "/join"),
      init(root + "/init"),
      keeper(root + "/keeper"),
      console(root + "/console.log") {}

std::optional<cloud::ProcessName> init_of(const std::string& lab, int number) {
  const cloud::ProcessName init = read_name(NodeFolders(lab, number).init);
  return init.pid > 0 && init.alive() ? std::optional(init) : std::nullopt;
}

void power_on(const NodeOptions& options, int number) {
  if (init_of(options.lab, number)) return;
  power_off(options.lab, number);  // what a start that was cut off, or a death of init alone, left
  const NodeFolders folders(options.lab, number);
  fs::create_directories(folders.root);
  cloud::claim_folder(folders.lib, 0711);
  cloud::claim_folder(folders.log, 0751);
  fs::create_directories(folders.etc);
  plug_in(number);
  cloud::ServiceSpec spec;
  spec.name = node_name(number);
  spec.argv = {options.program,   "lab",        "--folder",      options.lab, "init",
               node_name(number), "--packages", options.packages};
  spec.name_space = node_namespace(number);
  spec.log_file = folders.console;
  const cloud::ProcessName keeper = cloud::start_service(spec, options.lab, folders.keeper);
  std::string status;
  while (!init_of(options.lab, number))
    if (cloud::wait_for_end(keeper, -1, 5, status))
      throw Fault(FaultKind::internal, fmt::format("{} does not come up ({}): {}", node_name(number), status,
                                                   cloud::log_tail(folders.console, 3)));
}

void power_off(const std::string& lab, int number) {
  const NodeFolders folders(lab, number);
  const cloud::ProcessName init = read_name(folders.init);
  if (init.pid > 0 && init.alive()) kill(init.pid, SIGKILL);
  cloud::kill_leftovers(lab, node_name(number));  // its parent, whether its name was written down or not
  if (init.pid > 0) wait_gone(init);
  const auto end = steady_clock::now() + std::chrono::seconds(20);
  for (std::vector<pid_t> left; !(left = processes_on_wires(number)).empty();) {
    for (const pid_t pid : left) kill(pid, SIGKILL);
    if (steady_clock::now() > end)
      throw Fault(FaultKind::timeout,
                  fmt::format("{} processes of {} do not end.", left.size(), node_name(number)));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  unplug(number);
  for (const std::string& file : {folders.init, folders.keeper}) unlink(file.c_str());
}

int exec_inside(const cloud::ProcessName& init, std::vector<std::string> argv) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, init.pid, 0));
  ScopeExit closer([fd] { close(fd); });
  if (fd < 0 || !init.alive())
    throw Fault(FaultKind::unavailable, "The host went off.", "`virga lab start HOST` starts it.");
  if (setns(fd, CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID) != 0)
    throw Fault(FaultKind::internal, fmt::format("The host cannot be entered: {}.", strerror(errno)));
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw Fault(FaultKind::internal, "No process could be forked.");
  if (child == 0) become(argv);
  forwarded_to = child;
  for (const int s : {SIGINT, SIGQUIT}) signal(s, SIG_IGN);  // a terminal sends them to the child too
  for (const int s : {SIGTERM, SIGHUP}) signal(s, forward);
  return wait_for(child);
}

int run_inside(const cloud::ProcessName& init, const std::vector<std::string>& argv) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw Fault(FaultKind::internal, "No process could be forked.");
  if (child > 0) return wait_for(child);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    _exit(exec_inside(init, argv));
  } catch (const Fault& fault) {
    std::fprintf(stderr, "virga: %s\n", fault.message.c_str());
    _exit(126);
  }
}

std::vector<pid_t> processes_of(const cloud::ProcessName& init) {
  const std::string space = link_of(init.pid, "pid");
  std::vector<pid_t> found;
  for (const pid_t pid : cloud::all_processes())
    if (!space.empty() && link_of(pid, "pid") == space) found.push_back(pid);
  return found;
}

int signal_process(const cloud::ProcessName& init, const std::string& name, int signal) {
  std::vector<std::string> known;
  const std::vector<pid_t> inside = name.empty() ? std::vector<pid_t>{} : supervised(init, name, known);
  int reached = 0;
  for (const pid_t pid : processes_of(init)) {
    if (pid == init.pid) continue;
    const bool meant =
        name.empty() ||
        (inside.empty() ? comm_of(pid) == name.substr(0, 15)  // the kernel keeps no more of a name
                        : std::find(inside.begin(), inside.end(), inner_pid(pid)) != inside.end());
    if (meant && kill(pid, signal) == 0) ++reached;
    known.push_back(comm_of(pid));
  }
  if (reached || name.empty()) return reached;
  const std::string near = nearest_word(name, known);
  throw Fault(FaultKind::not_found, fmt::format("Nothing called {} runs there.", name),
              near.empty() ? "`virga lab exec HOST -- virga status` lists its services."
                           : fmt::format("Did you mean {}?", near));
}

}  // namespace virga::lab
