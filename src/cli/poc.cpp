// `virga lab poc`: the classic proof of concept, a controller and a compute host as two virtual machines.

#include "cli/poc.h"

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cstdio>

#include "base/fault.h"
#include "cli/cloud_client.h"
#include "cli/lifecycle.h"
#include "lab/poc.h"

namespace virga::cli {
namespace {

struct Words {
  std::string folder = lab::kPocFolder, machine;
  lab::PocOptions up;
  bool as_json = false, purge = false;

  lab::Poc poc() const {
    require_root();
    return {folder, own_program()};
  }
};

void print_step(const std::string& step, std::chrono::milliseconds took) {
  std::printf("  %-34s %7.2f s\n", step.c_str(), static_cast<double>(took.count()) / 1000);
  std::fflush(stdout);
}

void print_status(const json::object& status) {
  const json::array& machines = *find_array(status, "machines");
  if (machines.empty()) return static_cast<void>(std::printf("There is no proof of concept. `virga lab poc up` makes one.\n"));
  std::printf("%-16s %-16s %-16s %-4s %10s  %s\n", "machine", "NAT", "private", "", "memory", "checkpoint");
  for (const json::value& entry : machines) {
    const json::object& m = entry.as_object();
    std::printf("%-16s %-16s %-16s %-4s %7lld MB  %s\n", find_string(m, "name").c_str(), find_string(m, "nat").c_str(), find_string(m, "private").c_str(),
                find_bool(m, "on") ? "on" : "off", static_cast<long long>(find_int(m, "memory_kib") / 1024), find_bool(m, "checkpoint") ? "taken" : "none");
  }
}

/// The way in.
void print_what_next(const json::object& status, bool has_cloud) {
  const json::object &controller = find_array(status, "machines")->at(0).as_object(), &compute = find_array(status, "machines")->at(1).as_object();
  const std::string name = find_string(controller, "name"), other = find_string(compute, "name");
  if (has_cloud)
    std::printf("\nThe API:          https://%s:5000, in the network namespace %s\nCredentials:      %s (keystonerc_admin, keystonerc_demo, clouds.yaml)\n",
                find_string(controller, "nat").c_str(), find_string(status, "namespace").c_str(), find_string(status, "client").c_str());
  std::printf("\nTry next:\n");
  if (has_cloud)
    std::printf("  virga lab poc exec -- openstack --os-cloud virga-admin hypervisor list      # a client of this host\n  virga lab poc ssh %s -- virga host list\n", name.c_str());
  std::printf("  virga lab poc ssh %s            virga lab poc ssh %s -- virga status\n  virga lab poc restore                   # both machines as they were before any cloud\n"
              "  virga lab poc down [--purge]\n",
              name.c_str(), other.c_str());
}

void up(const Words& w) {
  w.poc().up(w.up, print_step);
  const json::object status = w.poc().status();
  print_status(status);
  print_what_next(status, !w.up.bare);
}

void add_up(CLI::App& group, const std::shared_ptr<Words>& w) {
  auto* command = group.add_subcommand("up", "build the machines, take their checkpoint, bring the cloud up in them (again and again, until it is)");
  command->add_option("--controller-name", w->up.controller_name, "hostname (controller)");
  command->add_option("--compute-name", w->up.compute_name, "hostname (compute)");
  command->add_option("--controller-nat", w->up.controller_nat, "address in the NAT network (192.168.122.100)");
  command->add_option("--compute-nat", w->up.compute_nat, "address in the NAT network (192.168.122.110)");
  command->add_option("--controller-private", w->up.controller_private, "address in the private network (192.168.90.100)");
  command->add_option("--compute-private", w->up.compute_private, "address in the private network (192.168.90.110)");
  command->add_option("--memory", w->up.memory_mib, "MiB of each machine (2048)");
  command->add_option("--disk", w->up.disk_gib, "GiB of each machine's disk (10)");
  command->add_option("--cpus", w->up.vcpus, "processors of each machine (2)");
  command->add_option("--deb", w->up.deb, "Virga's package (made from this program's build, else found beside it or in apt's cache)");
  command->add_option("--packages", w->up.packages, "folder that keeps the Debian packages of the tiny guest");
  command->add_flag("--bare", w->up.bare, "machines and their checkpoint only, no cloud in them");
  command->callback([w] { up(*w); });
}

std::vector<std::string> command_of(const CLI::App& app) {
  std::vector<std::string> words = app.remaining();
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  return words;
}

}  // namespace

void add_poc_commands(CLI::App& lab) {
  auto w = std::make_shared<Words>();
  auto* group = lab.add_subcommand("poc", "the classic proof of concept: a controller and a compute host as two virtual machines");
  group->require_subcommand(1);
  group->add_option("--folder", w->folder, "folder of the machines (default /var/lib/virga-poc)");
  add_up(*group, w);
  auto* status = group->add_subcommand("status", "the machines, and how they are");
  status->add_flag("--json", w->as_json, "for programs");
  status->callback([w] {
    const json::object now = w->poc().status();
    w->as_json ? static_cast<void>(std::printf("%s\n", json::serialize(now).c_str())) : print_status(now);
  });
  auto* ssh = group->add_subcommand("ssh", "log in to a machine as root, or run a command there: virga lab poc ssh controller -- COMMAND…");
  ssh->add_option("machine", w->machine, "controller, compute, or as they were named")->required();
  ssh->prefix_command()->fallthrough(false);
  ssh->callback([w, ssh] { w->poc().ssh(w->machine, command_of(*ssh)); });
  auto* exec = group->add_subcommand("exec", "run a program of this host in the machines' networks: virga lab poc exec -- openstack …");
  exec->prefix_command()->fallthrough(false);
  exec->callback([w, exec] {
    const std::vector<std::string> command = command_of(*exec);
    if (command.empty()) throw Fault(FaultKind::bad_request, "A command is missing.", "virga lab poc exec -- COMMAND…");
    w->poc().exec(command);
  });
  group->add_subcommand("restore", "both machines as they were at the checkpoint: fresh")->callback([w] { w->poc().restore(print_step); });
  auto* down = group->add_subcommand("down", "end and remove both machines; their image stays for the next time");
  down->add_flag("--purge", w->purge, "the image too: no trace is left");
  down->callback([w] { w->poc().down(w->purge, print_step); });
}

}  // namespace virga::cli
