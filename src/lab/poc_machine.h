#pragma once
// The proof of concept's machines as processes (lab/poc.h): a QEMU each, in a network namespace with both networks' bridges,
// found again by pid file and start time. A QEMU that dies takes its network devices with it.

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/process.h"
#include "cloud/supervised_process.h"
#include "lab/poc_plan.h"

namespace virga::lab {

/// The namespace with the bridges of both networks, on which this host has the first address.
void ensure_poc_networks(const PocShape& shape);
/// What is in the namespace has ended.
void remove_poc_networks();

/// QEMU of a machine; pid 0 if it is off.
cloud::ProcessName qemu_of(const std::string& folder, const PocMachine& machine);
/// Starts a machine, whose disk is there, and plugs it into its networks. If it runs, only the latter.
/// Throws Fault(internal) with what QEMU said if it does not start.
void power_machine_on(const std::string& folder, const PocShape& shape, const PocMachine& machine, const QemuChoice& choice);
/// A power failure.
void power_machine_off(const std::string& folder, const PocMachine& machine);
/// Until root can log in. Throws Fault(timeout) with the last lines of the console, or Fault(internal) if QEMU ends.
void wait_for_login(const std::string& folder, const PocMachine& machine, std::chrono::seconds deadline);

/// Memory, devices and disk as they are now, under kCheckpoint in the machine's disk. The machine stands still meanwhile.
void take_checkpoint(const std::string& folder, const PocMachine& machine);
bool has_checkpoint(const std::string& folder, const PocMachine& machine);

/// Runs a command in a machine as root and returns what it printed. Throws Fault(internal) if it fails.
std::string ask_machine(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command,
                        const std::string& input = {});
/// The same; what it prints is seen. Returns its exit code (255: no connection).
int run_in_machine(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command);
/// Becomes that command, or a login.
[[noreturn]] void become_ssh(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command);
/// Becomes a program of this host in the machines' networks.
[[noreturn]] void become_inside(std::vector<std::string> argv);

}  // namespace virga::lab
