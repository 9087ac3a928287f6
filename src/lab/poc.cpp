#include "lab/poc.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/config.h"
#include "base/fault.h"
#include "base/kill_point.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/provision.h"
#include "cloud/purge.h"
#include "lab/plan.h"
#include "lab/poc_image.h"
#include "lab/poc_machine.h"
#include "lab/poc_server.h"
#include "lab/step.h"
#include "qemu/api.h"

namespace virga::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::minutes;

std::string given_or(const std::string& given, const std::string& otherwise) { return given.empty() ? otherwise : given; }

PocShape wished(const PocShape& now, const PocOptions& o) {
  PocShape shape = now;
  shape.controller = {given_or(o.controller_name, now.controller.name), given_or(o.controller_nat, now.controller.nat), given_or(o.controller_private, now.controller.priv)};
  shape.compute = {given_or(o.compute_name, now.compute.name), given_or(o.compute_nat, now.compute.nat), given_or(o.compute_private, now.compute.priv)};
  if (o.memory_mib) shape.memory_mib = o.memory_mib;
  if (o.disk_gib) shape.disk_gib = o.disk_gib;
  if (o.vcpus) shape.vcpus = o.vcpus;
  return shape;
}

uint64_t available_memory_mib() {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("MemAvailable:", 0) == 0) return std::strtoull(line.c_str() + 13, nullptr, 10) / 1024;
  return 0;
}

bool in_path(const char* program) {
  for (const char* folder : {"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"})
    if (access((std::string(folder) + program).c_str(), X_OK) == 0) return true;
  return false;
}

void need_programs(bool image_too) {
  struct Need {
    const char *program, *package;
    bool for_image;
  };
  std::vector<std::string> packages;
  for (const Need& n : {Need{"qemu-system-x86_64", "qemu-system-x86", false}, Need{"qemu-img", "qemu-utils", false}, Need{"ssh", "openssh-client", false},
                        Need{"mmdebstrap", "mmdebstrap", true}, Need{"mkfs.ext4", "e2fsprogs", true}, Need{"apt-get", "apt", true}})
    if ((image_too || !n.for_image) && !in_path(n.program)) packages.push_back(n.package);
  if (!packages.empty())
    throw Fault(FaultKind::conflict, fmt::format("These packages are missing on this machine: {}.", fmt::join(packages, ", ")),
                fmt::format("apt-get install {}", fmt::join(packages, " ")));
}

bool has_disk(const std::string& folder, const PocMachine& machine) { return fs::exists(PocFolders(folder, machine.name).disk); }

bool any_disk(const std::string& folder, const PocShape& shape) { return has_disk(folder, shape.controller) || has_disk(folder, shape.compute); }

/// Whose key opens both machines.
std::string public_key(const std::string& folder) {
  const std::string key = folder + "/key";
  if (!fs::exists(key)) {
    for (const char* left : {"/key.new", "/key.new.pub"}) unlink((folder + left).c_str());
    run_or_throw({.argv = {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "virga-poc", "-f", key + ".new"}});
    fs::rename(key + ".new.pub", key + ".pub");
    fs::rename(key + ".new", key);
  }
  return read_file(key + ".pub");
}

/// What is remembered of this machine besides the folder.
Config memory(const std::string& folder) {
  Config config;
  config.cloud.state_dir = folder;
  return config;
}

std::chrono::seconds patience(const QemuChoice& choice) { return choice.kvm ? minutes(4) : minutes(20); }

}  // namespace

Poc::Poc(std::string folder, std::string program) : folder_(std::move(folder)), program_(std::move(program)) {
  if (folder_.empty() || folder_[0] != '/') throw Fault(FaultKind::bad_request, "The folder must be an absolute path.");
  if (folder_.size() > 70) throw Fault(FaultKind::bad_request, "The folder's path is too long for the sockets in it.", "70 letters at most.");
}

std::optional<PocShape> Poc::shape() const {
  const std::string text = text_of(folder_ + "/poc.json");
  if (text.empty()) return std::nullopt;
  return shape_of_json(parse_json(text).as_object());
}

PocShape Poc::need_shape() const {
  if (const auto found = shape()) return *found;
  throw Fault(FaultKind::not_found, "There is no proof of concept on this machine.", "`virga lab poc up` makes one.");
}

/// What is wished, written down before anything is made.
PocShape Poc::adopt(const PocOptions& options) const {
  const std::optional<PocShape> now = shape();
  if (!now && netns::exists(kPocNamespace))
    throw Fault(FaultKind::conflict, "This machine has a proof of concept in another folder, or the rest of one.", "`virga lab poc down --purge`, with its --folder, removes it.");
  const PocShape shape = wished(now.value_or(PocShape{}), options);
  check_shape(shape);
  if (now && to_json(*now) != to_json(shape) && any_disk(folder_, *now))
    throw Fault(FaultKind::conflict, "The machines are there already, with other names, addresses or sizes.", "`virga lab poc down`, then `up` as it is wished.");
  check_machine(shape);
  write_file(folder_ + "/poc.json", json::serialize(to_json(shape)) + "\n");
  return shape;
}

QemuChoice Poc::accelerator() const {
  QemuChoice choice;
  qemu::KvmProbe probe = qemu::probe_kvm();
  const std::string kernel = folder_ + "/image/vmlinuz", initrd = folder_ + "/image/initrd";
  if (probe.usable && fs::exists(kernel)) probe = qemu::probe_kvm_boot(kernel, initrd);
  choice.kvm = probe.usable;
  if (!choice.kvm)
    std::printf("  WARNING: KVM runs no guests here (%s), so both machines run under emulation (TCG), many times slower.\n", probe.reason.c_str());
  std::fflush(stdout);
  if (getpwnam("libvirt-qemu")) choice.run_as = "libvirt-qemu";
  return choice;
}

void Poc::check_machine(const PocShape& shape) const {
  need_programs(!any_disk(folder_, shape));
  uint64_t memory_needed = 0;
  for (const PocMachine* machine : shape.machines())
    if (qemu_of(folder_, *machine).pid == 0) memory_needed += static_cast<uint64_t>(shape.memory_mib) + 512;  // and QEMU itself
  if (const uint64_t there = available_memory_mib(); there < memory_needed)
    throw Fault(FaultKind::conflict, fmt::format("The machines need {} MiB of memory, and {} MiB are free.", memory_needed, there), "--memory makes them smaller (1024 MiB each at least).");
  const uint64_t disk_needed = has_image(folder_) ? 4096 : 8192, free_mib = fs::space(folder_).available >> 20;
  if (!any_disk(folder_, shape) && free_mib < disk_needed)
    throw Fault(FaultKind::conflict, fmt::format("{} has {} MiB free; image and machines need {} MiB.", folder_, free_mib, disk_needed), "--folder names another place.");
}

void Poc::ensure_disks(const PocOptions& options, const PocShape& shape, const cloud::StepDone& done) const {
  if (!any_disk(folder_, shape)) {  // afterwards the image lies below the disks, and must stay as it is
    ImageOptions image;
    image.folder = folder_;
    image.program = program_;
    image.deb = options.deb;
    image.packages = options.packages.empty() ? folder_ + "/packages" : fs::absolute(options.packages).string();
    image.public_key = public_key(folder_);
    if (!fs::exists(folder_ + "/system.key")) std::printf("  Debian's packages are fetched and installed: once, some minutes\n");
    std::fflush(stdout);
    build_image(image, shape, done);
  }
  for (const PocMachine* machine : shape.machines()) {
    const PocFolders own(folder_, machine->name);
    if (fs::exists(own.disk)) continue;
    fs::create_directories(own.root);
    const std::string part = own.disk + ".part";
    qemu::create_overlay(folder_ + "/image/disk.raw", "raw", part, GiB{static_cast<uint64_t>(shape.disk_gib)});
    fs::rename(part, own.disk);
    kill_point("poc.after_disk");
  }
}

/// A machine that is to go back to its checkpoint is marked until it has, so that this outlives a kill -9.
void Poc::ensure_running(const PocShape& shape, QemuChoice choice, const cloud::StepDone& done) const {
  ensure_poc_networks(shape);
  const auto is_marked = [&](const PocMachine& machine) { return fs::exists(PocFolders(folder_, machine.name).restore); };
  for (const PocMachine* machine : shape.machines()) {
    choice.from_checkpoint = is_marked(*machine);
    if (choice.from_checkpoint) power_machine_off(folder_, *machine);
    power_machine_on(folder_, shape, *machine, choice);
  }
  for (const PocMachine* machine : shape.machines())
    timed(machine->name + " lets root in", done, [&] {
      wait_for_login(folder_, *machine, patience(choice));
      if (!is_marked(*machine)) return;
      ask_machine(folder_, *machine, {"date", "--set", fmt::format("@{}", std::time(nullptr))});  // it is as old as the checkpoint
      const PocFolders own(folder_, machine->name);
      unlink(own.join.c_str());
      unlink(own.restore.c_str());
    });
}

void Poc::ensure_checkpoints(const PocShape& shape, const cloud::StepDone& done) const {
  for (const PocMachine* machine : shape.machines())
    if (!has_checkpoint(folder_, *machine)) timed("checkpoint of " + machine->name, done, [&] { take_checkpoint(folder_, *machine); });
  kill_point("poc.after_checkpoint");
}

/// What runs there may be run again until it has come to its end; under emulation its own deadlines are too short at times.
void Poc::run(const PocMachine& machine, const std::vector<std::string>& command, int tries) const {
  const std::string what = fmt::format("`{} {}` on {}", command[0], command[1], machine.name);
  for (int code = 0;;) {
    std::printf("%s: %s %s\n", machine.name.c_str(), command[0].c_str(), command[1].c_str());
    if (code = run_in_machine(folder_, machine, command); code == 0) return;
    if (--tries <= 0)
      throw Fault(FaultKind::internal, fmt::format("{} failed ({}).", what, code),
                  fmt::format("Above stands why. `virga lab poc ssh {}` looks into it, `virga lab poc up` tries again.", machine.name));
    std::printf("%s failed (%d). Once more, since this is slow.\n", what.c_str(), code);
  }
}

void Poc::ensure_cloud(const PocShape& shape, const QemuChoice& choice, const cloud::StepDone& done) const {
  const int tries = choice.kvm ? 1 : 4;
  const PocMachine &controller = shape.controller, &compute = shape.compute;
  const auto asks = [&](const PocMachine& machine, const std::string& script, const std::string& input = {}) {
    return ask_machine(folder_, machine, {"sh", "-c", script}, input);
  };
  timed("cloud on " + controller.name, done, [&] {
    asks(controller, "[ -e /etc/virga/virga.toml ] || { mkdir -p /etc/virga && cat > /etc/virga/virga.new && sync && mv /etc/virga/virga.new /etc/virga/virga.toml; }", poc_settings(shape));
    run(controller, {"virga", "up"}, tries);
  });
  kill_point("poc.after_cloud");
  const bool joined = asks(compute, "! [ -e /etc/virga/virga.toml ] || echo yes").find("yes") != std::string::npos && !fs::exists(PocFolders(folder_, compute.name).join);
  if (joined)
    timed("host " + compute.name, done, [&] { run(compute, {"virga", "up"}, tries); });
  else
    timed(compute.name + " has joined", done, [&] {
      join_with_kept_line(
          PocFolders(folder_, compute.name).join, [&] { return asks(controller, "virga token create"); },
          [&](const std::string& said) { run(compute, join_line(said, compute.priv), tries); });
    });
  kill_point("poc.after_join");
  // After a power failure of the machine its cloud comes back by itself.
  for (const PocMachine* machine : shape.machines()) asks(*machine, "systemctl --quiet enable virga.service");
}

/// For clients on this host.
cloud::Credentials Poc::write_client(const PocShape& shape) const {
  const json::value state = parse_json(ask_machine(folder_, shape.controller, {"virga", "status", "--json"}));
  const json::object& status = state.as_object();
  const std::string home = folder_ + "/client";
  fs::create_directories(home);
  cloud::Provisioning p;
  p.cacert = home + "/ca.pem";
  write_file(p.cacert, ask_machine(folder_, shape.controller, {"cat", find_string(status, "ca_file")}));
  const auto take = [&](cloud::Credentials& to, const char* who) {
    const json::object& from = *find_object(status, who);
    to.auth_url = find_string(status, "api");
    to.ca_file = p.cacert;
    to.user = find_string(from, "user");
    to.password = find_string(from, "password");
    to.project = find_string(from, "project");
  };
  take(p.admin, "admin");
  take(p.demo, "demo");
  cloud::write_credentials(Config{}, p, home);
  return p.admin;
}

void Poc::boot_server(const PocShape& shape, const cloud::Credentials& admin, std::chrono::seconds deadline, const cloud::StepDone& done) const {
  const FirstServer server = netns::call_in(kPocNamespace, [&] { return boot_first_server(admin, shape.compute.name, deadline, done); });
  kill_point("poc.after_server");
  std::printf("\nServer first on %s has the floating IP %s. The last lines of its console:\n%s\n", shape.compute.name.c_str(),
              server.floating_ip.c_str(), server.console.c_str());
}

void Poc::up(const PocOptions& options, const cloud::StepDone& done) const {
  cloud::claim_folder(folder_, 0755);
  const int held = lock_folder(folder_);
  ScopeExit unlock([held] { close(held); });
  const PocShape shape = adopt(options);
  if (!fs::exists("/run/netns")) cloud::remember_made(memory(folder_), "mount:/run/netns");
  ensure_disks(options, shape, done);
  const QemuChoice choice = accelerator();
  ensure_running(shape, choice, done);
  ensure_checkpoints(shape, done);
  if (options.bare) return;
  ensure_cloud(shape, choice, done);
  boot_server(shape, write_client(shape), patience(choice), done);
}

void Poc::restore(const cloud::StepDone& done) const {
  const PocShape shape = need_shape();
  const int held = lock_folder(folder_);
  ScopeExit unlock([held] { close(held); });
  for (const PocMachine* machine : shape.machines())
    if (!has_checkpoint(folder_, *machine))
      throw Fault(FaultKind::conflict, fmt::format("{} has no checkpoint yet.", machine->name), "`virga lab poc up` goes on where it was.");
  check_machine(shape);
  for (const PocMachine* machine : shape.machines()) write_file(PocFolders(folder_, machine->name).restore, "");
  kill_point("poc.restore_wished");
  for (const PocMachine* machine : shape.machines()) power_machine_off(folder_, *machine);
  fs::remove_all(folder_ + "/client");
  ensure_running(shape, accelerator(), done);
}

void Poc::down(bool purge, const cloud::StepDone& done) const {
  if (!fs::exists(folder_)) {
    if (netns::exists(kPocNamespace))
      throw Fault(FaultKind::conflict, fmt::format("There is nothing in {}, but a proof of concept in another folder.", folder_), "Give that one's --folder.");
    return;
  }
  cloud::claim_folder(folder_, 0755);  // an `up` that was killed may not have come to that
  const int held = lock_folder(folder_);
  ScopeExit unlock([held] { close(held); });
  timed("machines end", done, [&] {
    clear_build(folder_);
    cloud::kill_leftovers(folder_, "");
  });
  timed("traces removed", done, [&] {
    if (const auto now = shape()) {
      remove_poc_networks();
      for (const PocMachine* machine : now->machines()) fs::remove_all(PocFolders(folder_, machine->name).root);
    }
    for (const char* rest : {"/client", "/known_hosts", "/poc.json"}) fs::remove_all(folder_ + rest);
    if (!purge) return;
    cloud::undo_made(memory(folder_));
    cloud::remove_claimed_folder(folder_);
  });
}

json::object Poc::status() const {
  json::array machines;
  if (const auto now = shape())
    for (const PocMachine* machine : now->machines()) {
      const cloud::ProcessName qemu = qemu_of(folder_, *machine);
      json::object o = {{"name", machine->name}, {"nat", machine->nat}, {"private", machine->priv}, {"on", qemu.pid != 0},
                        {"checkpoint", has_checkpoint(folder_, *machine)}, {"console", PocFolders(folder_, machine->name).console}};
      if (qemu.pid != 0) {
        o["pid"] = qemu.pid;
        o["memory_kib"] = cloud::memory_kib_of(qemu.pid);
        o["uptime_s"] = cloud::uptime_s(qemu);
      }
      machines.push_back(std::move(o));
    }
  json::object status = {{"folder", folder_}, {"namespace", kPocNamespace}, {"machines", std::move(machines)}, {"client", ""}};
  if (fs::exists(folder_ + "/client/keystonerc_admin")) status["client"] = folder_ + "/client";
  return status;
}

void Poc::ssh(const std::string& machine, const std::vector<std::string>& command) const {
  become_ssh(folder_, find_machine(need_shape(), machine), command);
}

void Poc::exec(const std::vector<std::string>& command) const {
  need_shape();
  setenv("OS_CLIENT_CONFIG_FILE", (folder_ + "/client/.config/openstack/clouds.yaml").c_str(), 1);
  become_inside(command);
}

}  // namespace virga::lab
