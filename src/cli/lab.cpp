// `virga lab`: several hosts of a cloud on one machine.

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cstdio>

#include "base/fault.h"
#include "cli/api.h"
#include "cli/cloud_client.h"
#include "cli/poc.h"
#include "lab/api.h"

namespace virga::cli {
namespace {

struct Words {
  std::string folder = lab::kDefaultFolder, host, other, packages;
  lab::UpOptions up;
  bool as_json = false;

  lab::Lab lab() const {
    if (geteuid() != 0)
      throw Fault(FaultKind::forbidden, "A lab needs root: it makes namespaces and mounts.",
                  "Run it with sudo.");
    return {folder, own_program()};
  }
};

void print_step(const std::string& step, std::chrono::milliseconds took) {
  std::printf("  %-34s %7.2f s\n", step.c_str(), static_cast<double>(took.count()) / 1000);
  std::fflush(stdout);
}

void print_status(const json::object& status) {
  if (find_array(status, "hosts")->empty())
    return static_cast<void>(std::printf("There is no lab. `virga lab up` makes one.\n"));
  std::printf("%-8s %-12s %-5s %-10s %9s %9s  %s\n", "host", "address", "", "role", "processes", "memory",
              "");
  for (const json::value& entry : *find_array(status, "hosts")) {
    const json::object& h = entry.as_object();
    std::printf("%-8s %-12s %-5s %-10s %9lld %6lld MB  %s\n", find_string(h, "name").c_str(),
                find_string(h, "address").c_str(), find_bool(h, "on") ? "on" : "off",
                find_string(h, "role").c_str(), static_cast<long long>(find_int(h, "processes")),
                static_cast<long long>(find_int(h, "memory_kib") / 1024), find_string(h, "cloud").c_str());
  }
  for (const json::value& pair : *find_array(status, "cuts"))
    std::printf("cut: %s and %s\n", str(pair.at(0)).c_str(), str(pair.at(1)).c_str());
}

void up(const Words& w) {
  w.lab().up(w.up, print_step);
  print_status(w.lab().status());
  std::printf(
      w.up.bare
          ? "\nTry next:\n  virga lab exec node1 -- bash\n"
          : "\nTry next:\n  virga lab exec node1 -- bash -c 'source ~/keystonerc_admin; openstack compute "
            "service list'\n"
            "  virga lab exec node1 -- bash       virga lab cut node1 node2      virga lab heal node1 node2\n"
            "  virga lab kill node2               virga lab start node2          virga lab down\n");
}

void add_failures(CLI::App& group, const std::shared_ptr<Words>& w) {
  for (const bool cut : {true, false}) {
    auto* command = group.add_subcommand(
        cut ? "cut" : "heal",
        cut ? "drop all packets between two hosts, or a host and all others" : "the end of a cut");
    command->add_option("host", w->host, "node1, node2, …")->required();
    command->add_option("other", w->other, "another one; without it: all others");
    command->callback([w, cut] { w->lab().cut(w->host, w->other, cut); });
  }
  auto* kill = group.add_subcommand("kill", "a power failure of a host; or kill -9 of one of its processes");
  kill->add_option("host", w->host, "node1, node2, …")->required();
  kill->add_option("process", w->other,
                   "a service (serve, agent, libvirtd, …), supervisor, or a program's name");
  kill->callback([w] { std::printf("%d killed\n", w->lab().kill(w->host, w->other)); });
  auto* pause = group.add_subcommand("pause", "stop a process of a host, or all, without ending it (SIGSTOP)");
  pause->add_option("host", w->host, "node1, node2, …")->required();
  pause->add_option("process", w->other, "as for kill; without it: all of the host's");
  pause->callback([w] { std::printf("%d paused\n", w->lab().pause(w->host, w->other)); });
  auto* resume = group.add_subcommand("resume", "the end of a pause: all processes of a host go on");
  resume->add_option("host", w->host, "node1, node2, …")->required();
  resume->callback([w] { w->lab().resume(w->host); });
  auto* start = group.add_subcommand("start", "bring a host back, with its disk, and the cloud in it");
  start->add_option("host", w->host, "node1, node2, …")->required();
  start->callback([w] { w->lab().start(w->host, print_step); });
}

}  // namespace

void add_lab_commands(CLI::App& app) {
  auto w = std::make_shared<Words>();
  auto* group = app.add_subcommand("lab", "several hosts of a cloud on this machine, to try and to break");
  group->require_subcommand(1);
  group->add_option("--folder", w->folder, "folder of the lab (default /var/lib/virga-lab)");
  auto* up_command =
      group->add_subcommand("up", "bring hosts up, and a cloud in them (again and again, until it is)");
  up_command->add_option("--hosts", w->up.hosts, "how many (default 3, or as many as there are)")
      ->check(CLI::Range(1, lab::kMostHosts));
  up_command->add_option("--controllers", w->up.controllers, "how many of them are controllers (1)");
  up_command->add_option("--packages", w->up.packages,
                         "folder that keeps the Debian packages of the tiny guest");
  up_command->add_flag("--bare", w->up.bare, "hosts only, no cloud in them");
  up_command->callback([w] { up(*w); });
  auto* status = group->add_subcommand("status", "the hosts, how they are, and which wires are cut");
  status->add_flag("--json", w->as_json, "for programs");
  status->callback([w] {
    const json::object now = w->lab().status();
    w->as_json ? static_cast<void>(std::printf("%s\n", json::serialize(now).c_str())) : print_status(now);
  });
  auto* exec = group->add_subcommand(
      "exec", "run a program on a host, as root there: virga lab exec node1 -- COMMAND…");
  exec->add_option("host", w->host, "node1, node2, …")->required();
  exec->prefix_command()->fallthrough(false);  // what follows is the host's, not this program's
  exec->callback([w, exec] {
    if (exec->remaining().empty())
      throw Fault(FaultKind::bad_request, "A command is missing.", "virga lab exec node1 -- COMMAND…");
    throw CLI::RuntimeError(w->lab().exec(w->host, exec->remaining()));
  });
  add_failures(*group, w);
  add_poc_commands(*group);
  auto* down = group->add_subcommand("down", "end all hosts at once; no trace is left");
  down->callback([w] { w->lab().down(print_step); });
  auto* init =
      group->add_subcommand("init", "becomes a host's first process (started by up and start)")->group("");
  init->add_option("host", w->host)->required();
  init->add_option("--packages", w->packages)->required();
  init->callback([w] { throw CLI::RuntimeError(w->lab().init(w->host, w->packages)); });
}

}  // namespace virga::cli
