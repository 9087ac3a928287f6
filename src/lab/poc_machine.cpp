#include "lab/poc_machine.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/fault.h"
#include "base/kill_point.h"
#include "base/netns.h"
#include "base/scope_exit.h"
#include "lab/step.h"
#include "qemu/api.h"

namespace virga::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string what_qemu_said(const PocFolders& own) { return cloud::log_tail(own.log, 4); }

/// QEMU makes a tap when it starts, and the kernel removes it when QEMU ends; only its place on the bridge is ours.
void plug_in(const PocFolders& own, const cloud::ProcessName& qemu, const PocNic& nic) {
  const auto end = steady_clock::now() + std::chrono::seconds(30);
  std::string status;
  while (!netns::find_link(kPocNamespace, nic.tap)) {
    if (cloud::wait_for_end(qemu, -1, 20, status))
      throw Fault(FaultKind::internal, fmt::format("QEMU does not start ({}): {}", status, what_qemu_said(own)));
    if (steady_clock::now() > end) throw Fault(FaultKind::timeout, fmt::format("QEMU makes no network device: {}", what_qemu_said(own)));
  }
  netns::set_master(kPocNamespace, nic.tap, nic.bridge);
  netns::set_up(kPocNamespace, nic.tap);
}

/// A tap goes a moment after the QEMU that made it; until then it looks like the next one's.
void wait_unplugged(const PocNic& nic) {
  const auto end = steady_clock::now() + std::chrono::seconds(20);
  while (netns::find_link(kPocNamespace, nic.tap)) {
    if (steady_clock::now() > end) throw Fault(FaultKind::timeout, fmt::format("{} is still there, of a machine that ended.", nic.tap));
    std::this_thread::sleep_for(milliseconds(10));
  }
}

std::string last_of_console(const PocFolders& own) {
  std::string text;
  for (const char c : cloud::log_tail(own.console, 6))
    if (c == '\n' || c >= ' ') text += c;
  return text;
}

/// Prepared before fork; in the child only system calls.
Command inside(const std::vector<std::string>& argv, int space) {
  Command command;
  command.argv = argv;
  command.in_child = [space] {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!netns::enter_fd(space)) _exit(126);
  };
  return command;
}

[[noreturn]] void become(std::vector<std::string>& argv) {
  std::vector<char*> raw;
  for (auto& word : argv) raw.push_back(word.data());
  raw.push_back(nullptr);
  execvp(raw[0], raw.data());
  std::fprintf(stderr, "virga: %s: %s\n", raw[0], strerror(errno));
  _exit(127);
}

void stop_if_off(const std::string& folder, const PocMachine& machine) {
  if (qemu_of(folder, machine).pid == 0)
    throw Fault(FaultKind::conflict, fmt::format("{} is off.", machine.name), "`virga lab poc up` starts it.");
}

}  // namespace

void ensure_poc_networks(const PocShape& shape) {
  netns::ensure(kPocNamespace);
  for (const PocNic& nic : nics_of(shape, shape.controller)) {
    netns::ensure_bridge(kPocNamespace, nic.bridge);
    netns::set_up(kPocNamespace, nic.bridge);
    netns::add_address(kPocNamespace, nic.bridge, gateway_of(nic.address) + "/24");
  }
}

void remove_poc_networks() {
  if (!netns::exists(kPocNamespace)) return;
  for (const netns::Link& link : netns::links(kPocNamespace))
    if (link.kind == "bridge") netns::remove_link(kPocNamespace, link.name);
  netns::remove(kPocNamespace);
}

cloud::ProcessName qemu_of(const std::string& folder, const PocMachine& machine) {
  return cloud::adopt_service(PocFolders(folder, machine.name).pid, folder, machine.name);
}

void power_machine_on(const std::string& folder, const PocShape& shape, const PocMachine& machine, const QemuChoice& choice) {
  const PocFolders own(folder, machine.name);
  cloud::ProcessName qemu = qemu_of(folder, machine);
  if (qemu.pid == 0) {
    power_machine_off(folder, machine);  // one whose pid was not written down
    for (const PocNic& nic : nics_of(shape, machine)) wait_unplugged(nic);
    cloud::ServiceSpec spec;
    spec.name = machine.name;
    spec.argv = qemu_command(folder, shape, machine, choice);
    spec.name_space = kPocNamespace;
    spec.log_file = own.log;
    qemu = cloud::start_service(spec, folder, own.pid);
    kill_point("poc.after_start");
  }
  for (const PocNic& nic : nics_of(shape, machine)) plug_in(own, qemu, nic);
}

void power_machine_off(const std::string& folder, const PocMachine& machine) {
  cloud::kill_leftovers(folder, machine.name);
  unlink(PocFolders(folder, machine.name).pid.c_str());
}

void wait_for_login(const std::string& folder, const PocMachine& machine, std::chrono::seconds deadline) {
  const PocFolders own(folder, machine.name);
  const auto end = steady_clock::now() + deadline;
  const cloud::ProcessName qemu = qemu_of(folder, machine);
  std::string said = "Its SSH does not answer.", status;
  for (;;) {
    if (qemu.pid == 0 || cloud::wait_for_end(qemu, -1, 500, status))
      throw Fault(FaultKind::internal, fmt::format("{} ended while it started ({}). {}", machine.name, status, what_qemu_said(own)));
    try {
      close(netns::connect_tcp(kPocNamespace, machine.nat, 22, 2000));
      ask_machine(folder, machine, {"true"});
      return;
    } catch (const Fault& fault) {
      said = fault.message;
    }
    if (steady_clock::now() > end)
      throw Fault(FaultKind::timeout, fmt::format("{} lets nobody in: {}\nThe end of its console:\n{}", machine.name, said, last_of_console(own)),
                  fmt::format("{} has all of it. `virga lab poc up` waits again.", own.console));
  }
}

bool has_checkpoint(const std::string& folder, const PocMachine& machine) { return fs::exists(PocFolders(folder, machine.name).checkpoint); }

void take_checkpoint(const std::string& folder, const PocMachine& machine) {
  const PocFolders own(folder, machine.name);
  ask_machine(folder, machine, {"sync"});
  if (const std::string said = qemu::monitor_command(own.monitor, fmt::format("savevm {}", kCheckpoint)); !said.empty())
    throw Fault(FaultKind::internal, fmt::format("{} has no checkpoint: {}", machine.name, said));
  kill_point("poc.after_savevm");
  write_file(own.checkpoint, "");
}

std::string ask_machine(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command,
                        const std::string& input) {
  stop_if_off(folder, machine);
  const int space = netns::open_fd(kPocNamespace);
  ScopeExit closer([space] { close(space); });
  Command ssh = inside(ssh_command(folder, machine, command), space);
  ssh.input = input;
  ssh.timeout = std::chrono::minutes(5);
  return run_or_throw(ssh);
}

int run_in_machine(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command) {
  stop_if_off(folder, machine);
  const int space = netns::open_fd(kPocNamespace);
  ScopeExit closer([space] { close(space); });
  std::vector<std::string> argv = ssh_command(folder, machine, command);
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw Fault(FaultKind::internal, "No process could be forked.");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!netns::enter_fd(space)) _exit(126);
    become(argv);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void become_ssh(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command) {
  stop_if_off(folder, machine);
  become_inside(ssh_command(folder, machine, command));
}

void become_inside(std::vector<std::string> argv) {
  if (!netns::exists(kPocNamespace)) throw Fault(FaultKind::conflict, "The machines' networks are not there.", "`virga lab poc up` makes them.");
  netns::enter(kPocNamespace);
  std::fflush(stdout);
  become(argv);
}

}  // namespace virga::lab
