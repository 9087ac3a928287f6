#pragma once
// The classic proof of concept by one command: two virtual machines, `controller` and `compute`, of Debian with Virga's
// package, on a NAT and a private network; a checkpoint of both as they are fresh; a cloud in the one, which the other joins;
// a first server on the compute host.
//
// What an operator does by hand for it: an image with virt-builder, two libvirt networks, machines in virt-manager, addresses
// with nmtui, snapshots, packstack. Here the machines are QEMU processes in a network namespace of their own, so nothing of the
// machine's network, libvirt or firewall is touched; there is no way from the machines to the world. One at a time on a machine.
//
// What is wished stands in the folder (poc.json) before anything is made; each step looks whether it was done. `up` may be
// killed at any point, which the kill points name, and run again:
//   poc.before_system_is_kept  the packages are installed, the system is not kept yet: that is done again
//   poc.after_system           it is kept
//   poc.before_image_is_kept   made again
//   poc.after_disk             a machine's disk is there
//   poc.after_start            a QEMU runs and is on no network yet: it is plugged in
//   poc.after_savevm           a checkpoint nobody knows of: taken again, in its place
//   poc.after_checkpoint       both are taken
//   poc.after_cloud            the controller's cloud runs; the other machine has not joined
//   poc.after_join             it has
//   poc.after_server           the server runs
//   poc.restore_wished         the next `up` or `restore` goes back to the checkpoint
// All functions block and throw Fault; a second command that changes the machines is refused meanwhile.

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cloud/bring_up.h"
#include "cloud/rest_client.h"
#include "lab/poc_plan.h"

namespace virga::lab {

inline constexpr const char* kPocFolder = "/var/lib/virga-poc";

/// What is not given stays as it was, or is as by default.
struct PocOptions {
  std::string controller_name, compute_name;
  std::string controller_nat, compute_nat, controller_private, compute_private;
  int memory_mib = 0, disk_gib = 0, vcpus = 0;
  std::string deb;       ///< Virga's package; "": made from this program's build, or found
  std::string packages;  ///< folder of the tiny guest's packages; "": in the folder
  bool bare = false;     ///< machines and checkpoint only, no cloud in them
};

class Poc {
 public:
  Poc(std::string folder, std::string program);

  /// Throws Fault(conflict) if the machines are there and are wished otherwise, or this machine cannot carry them.
  void up(const PocOptions& options, const cloud::StepDone& done) const;
  /// Both machines as they were at the checkpoint, in memory and on disk.
  void restore(const cloud::StepDone& done) const;
  /// Ends both at once and removes them. Their image stays for the next time, unless `purge`: then no trace is left.
  void down(bool purge, const cloud::StepDone& done) const;
  /// {"folder", "namespace", "machines": [{"name", "nat", "private", "on", "pid", "memory_kib", "uptime_s", "checkpoint",
  /// "console"}], "client": folder of keystonerc_admin, …}; "machines" is empty if there are none.
  json::object status() const;
  /// A login in a machine, or a command there: the calling process becomes it.
  [[noreturn]] void ssh(const std::string& machine, const std::vector<std::string>& command) const;
  /// A program of this host in the machines' networks, with the cloud's credentials for OS_CLOUD=virga-admin and virga.
  [[noreturn]] void exec(const std::vector<std::string>& command) const;

 private:
  std::optional<PocShape> shape() const;
  PocShape need_shape() const;
  PocShape adopt(const PocOptions& options) const;
  QemuChoice accelerator() const;
  void check_machine(const PocShape& shape) const;
  void ensure_disks(const PocOptions& options, const PocShape& shape, const cloud::StepDone& done) const;
  void ensure_running(const PocShape& shape, QemuChoice choice, const cloud::StepDone& done) const;
  void ensure_checkpoints(const PocShape& shape, const cloud::StepDone& done) const;
  void run(const PocMachine& machine, const std::vector<std::string>& command, int tries) const;
  void ensure_cloud(const PocShape& shape, const QemuChoice& choice, const cloud::StepDone& done) const;
  cloud::Credentials write_client(const PocShape& shape) const;
  void boot_server(const PocShape& shape, const cloud::Credentials& admin, std::chrono::seconds deadline, const cloud::StepDone& done) const;

  const std::string folder_, program_;
};

}  // namespace virga::lab
