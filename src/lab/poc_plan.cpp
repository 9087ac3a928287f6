#include "lab/poc_plan.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "base/config.h"
#include "base/fault.h"

namespace virga::lab {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) {
  throw Fault(FaultKind::bad_request, message, hint);
}

uint32_t host_part(const std::string& address) {
  in_addr parsed{};
  if (inet_pton(AF_INET, address.c_str(), &parsed) != 1) refuse(fmt::format("\"{}\" is no IPv4 address.", address));
  return ntohl(parsed.s_addr) & 0xff;
}

std::string network_of(const std::string& address) { return address.substr(0, address.rfind('.')) + ".0/24"; }

/// Both machines' addresses in one network.
void check_network(const char* network, const std::string& a, const std::string& b) {
  for (const std::string& address : {a, b})
    if (const uint32_t host = host_part(address); host < 2 || host == 255)
      refuse(fmt::format("{} cannot be a machine's address in the {} network.", address, network),
             fmt::format("{} is this host's there.", gateway_of(address)));
  if (a == b) refuse(fmt::format("Both machines have the address {} in the {} network.", a, network));
  if (network_of(a) != network_of(b))
    refuse(fmt::format("{} and {} are not in one /24, so the machines would not hear each other.", a, b));
}

void check_name(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 63 && name[0] != '-' && name.back() != '-' &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::islower(c) || std::isdigit(c) || c == '-';
                    });
  if (!good) refuse(fmt::format("\"{}\" is no hostname.", name), "Small letters, digits and hyphens, at most 63.");
  if (name == "localhost") refuse("No machine can be called localhost.");
}

int number_of(const PocShape& shape, const PocMachine& machine) { return &machine == &shape.controller ? 1 : 2; }

json::object to_json(const PocMachine& m) { return {{"name", m.name}, {"nat", m.nat}, {"private", m.priv}}; }

PocMachine machine_of_json(const json::object& o) {
  return {find_string(o, "name"), find_string(o, "nat"), find_string(o, "private")};
}

std::string network_file(const PocNic& nic) {
  return fmt::format(
      "[Match]\nMACAddress={}\n\n[Network]\nAddress={}/24\n{}IPv6AcceptRA=no\nLinkLocalAddressing=no\n", nic.mac, nic.address,
      nic.network == "nat" ? fmt::format("Gateway={}\n", gateway_of(nic.address)) : "");
}

// Its own host key: the image is both machines'. The name it was started with becomes its own, so that the first boot is over
// once there is one.
constexpr const char* kFirstBoot = R"([Unit]
Description=First boot of a machine of Virga's proof of concept
DefaultDependencies=no
After=systemd-remount-fs.service
Before=ssh.service
ConditionPathExists=!/etc/hostname

[Service]
Type=oneshot
ExecStart=/usr/sbin/resize2fs /dev/vda
ExecStart=/bin/sh -c 'rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key'
ExecStart=/bin/sh -c 'hostname > /etc/hostname.new && sync && mv /etc/hostname.new /etc/hostname'

[Install]
WantedBy=multi-user.target
)";

}  // namespace

std::string gateway_of(const std::string& address) { return address.substr(0, address.rfind('.')) + ".1"; }

void check_shape(const PocShape& shape) {
  check_name(shape.controller.name);
  check_name(shape.compute.name);
  if (shape.controller.name == shape.compute.name) refuse(fmt::format("Both machines are called {}.", shape.compute.name));
  check_network("NAT", shape.controller.nat, shape.compute.nat);
  check_network("private", shape.controller.priv, shape.compute.priv);
  const std::string nat = network_of(shape.controller.nat), priv = network_of(shape.controller.priv);
  if (nat == priv) refuse(fmt::format("{} cannot be both networks.", nat));
  const Config defaults;
  for (const std::string& taken : {defaults.network.external_cidr, defaults.network.private_cidr})
    for (const std::string& own : {nat, priv})
      if (ranges_overlap(own, taken)) refuse(fmt::format("{} is a network inside the cloud.", taken), "Take another range for the machines.");
  if (shape.memory_mib < 1024) refuse("A machine needs 1024 MiB of memory at least.");
  if (shape.disk_gib < 3) refuse("A machine needs a disk of 3 GiB at least.");
  if (shape.vcpus < 1) refuse("A machine needs a processor.");
}

json::object to_json(const PocShape& shape) {
  return {{"controller", to_json(shape.controller)}, {"compute", to_json(shape.compute)}, {"memory_mib", shape.memory_mib},
          {"disk_gib", shape.disk_gib},              {"vcpus", shape.vcpus}};
}

PocShape shape_of_json(const json::object& o) {
  PocShape shape;
  shape.controller = machine_of_json(*find_object(o, "controller"));
  shape.compute = machine_of_json(*find_object(o, "compute"));
  shape.memory_mib = static_cast<int>(find_int(o, "memory_mib"));
  shape.disk_gib = static_cast<int>(find_int(o, "disk_gib"));
  shape.vcpus = static_cast<int>(find_int(o, "vcpus"));
  return shape;
}

const PocMachine& find_machine(const PocShape& shape, const std::string& name) {
  for (const PocMachine* machine : shape.machines())
    if (machine->name == name) return *machine;
  throw Fault(FaultKind::not_found, fmt::format("The proof of concept has no machine {}.", name),
              fmt::format("It has {} and {}.", shape.controller.name, shape.compute.name));
}

std::array<PocNic, 2> nics_of(const PocShape& shape, const PocMachine& machine) {
  const int number = number_of(shape, machine);
  const auto nic = [number](const char* network, const char* device, const char* bridge, int which, const std::string& address) {
    return PocNic{network, device, fmt::format("poc{}-{}", number, which == 1 ? "nat" : "priv"), bridge,
                  fmt::format("52:54:00:76:6c:{}{}", number, which), address};
  };
  return {nic("nat", "nat0", "br-nat", 1, machine.nat), nic("private", "priv0", "br-private", 2, machine.priv)};
}

const std::vector<std::string>& system_packages() {
  static const std::vector<std::string> packages = {
      "linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "openssh-server", "iproute2", "iputils-ping",
      "netbase", "procps", "curl", "ca-certificates", "less", "apparmor"};
  return packages;
}

std::vector<std::string> names_of_depends(const std::string& depends) {
  std::vector<std::string> names;
  std::istringstream in(depends);
  for (std::string entry; std::getline(in, entry, ',');) {
    std::string name;
    std::istringstream(entry) >> name;
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

std::map<std::string, ImageFile> image_files(const PocShape& shape, const std::string& public_key) {
  std::map<std::string, ImageFile> files;
  std::string hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (const PocMachine* machine : shape.machines()) {
    hosts += fmt::format("{}\t{}\n", machine->priv, machine->name);
    for (const PocNic& nic : nics_of(shape, *machine)) {
      const std::string base = fmt::format("etc/systemd/network/10-{}-{}", machine->name, nic.device);
      files[base + ".link"] = {fmt::format("[Match]\nMACAddress={}\n\n[Link]\nName={}\n", nic.mac, nic.device)};
      files[base + ".network"] = {network_file(nic)};
    }
  }
  files["etc/hosts"] = {hosts};
  files["etc/fstab"] = {"/dev/vda / ext4 rw,noatime,discard 0 1\n"};
  files["etc/resolv.conf"] = {""};
  files["etc/machine-id"] = {""};
  files["etc/default/locale"] = {"LANG=C.UTF-8\n"};
  files["etc/ssh/sshd_config.d/virga-poc.conf"] = {"HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nPasswordAuthentication no\n"};
  files["etc/systemd/system/virga-poc.service"] = {kFirstBoot};
  files["root/.ssh/authorized_keys"] = {public_key, 0600};
  return files;
}

const std::vector<std::string>& enabled_units() {
  static const std::vector<std::string> units = {"systemd-networkd.service", "ssh.service", "virga-poc.service", "serial-getty@ttyS0.service"};
  return units;
}

const std::vector<std::string>& masked_units() {
  static const std::vector<std::string> units = {
      "openvswitch-switch.service", "ovsdb-server.service", "ovs-vswitchd.service", "ovs-record-hostname.service",
      "ovn-central.service", "ovn-host.service", "ovn-controller.service", "ovn-northd.service",
      "ovn-ovsdb-server-nb.service", "ovn-ovsdb-server-sb.service", "libvirtd.service", "libvirtd.socket",
      "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirt-guests.service", "virtlogd.service", "virtlogd.socket",
      "virtlogd-admin.socket", "virtlockd.service", "virtlockd.socket", "virtlockd-admin.socket",
      "systemd-timesyncd.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer",
      "e2scrub_reap.service", "dpkg-db-backup.timer", "fstrim.timer"};
  return units;
}

std::string poc_settings(const PocShape& shape) {
  Config c;
  c.cloud.api_address = shape.controller.nat;
  c.cloud.package_cache = kPocPackages;
  c.tls.enabled = true;
  c.tls.names = {shape.controller.name};
  c.network.mode = "host";
  c.network.encap_ip = shape.controller.priv;
  c.demo.server = false;  // the first server is booted once there are two hosts
  return commented_config(c);
}

PocFolders::PocFolders(const std::string& folder, const std::string& machine)
    : root(folder + "/" + machine),
      disk(root + "/disk.qcow2"),
      console(root + "/console.log"),
      serial(root + "/console.sock"),
      monitor(root + "/monitor.sock"),
      log(root + "/qemu.log"),
      pid(root + "/pid"),
      checkpoint(root + "/checkpoint"),
      restore(root + "/restore"),
      join(root + "/join") {}

std::vector<std::string> qemu_command(const std::string& folder, const PocShape& shape, const PocMachine& machine,
                                      const QemuChoice& choice) {
  const PocFolders own(folder, machine.name);
  std::vector<std::string> argv = {
      "qemu-system-x86_64", "-name", machine.name, "-machine", "pc", "-accel", choice.kvm ? "kvm" : "tcg,thread=multi,tb-size=256",
      "-cpu", choice.kvm ? "host" : "max", "-smp", std::to_string(shape.vcpus), "-m", std::to_string(shape.memory_mib),
      "-no-user-config", "-nodefaults", "-display", "none",
      // Without a boot loader: the firmware would read the kernel slowly under emulation.
      "-kernel", folder + "/image/vmlinuz", "-initrd", folder + "/image/initrd", "-append",
      // TCG emulates SVM too, but no kernel boots under that: without the module a machine need not find out.
      fmt::format("root=/dev/vda rw console=ttyS0 net.ifnames=0 loglevel=4 {}systemd.hostname={}",
                  choice.kvm ? "" : "modprobe.blacklist=kvm_amd,kvm_intel ", machine.name),
      "-drive", fmt::format("file={},if=virtio,format=qcow2,discard=unmap", own.disk),
      "-device", "virtio-rng-pci",
      "-chardev", fmt::format("socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on", own.serial, own.console),
      "-serial", "chardev:serial",
      "-chardev", fmt::format("socket,id=monitor,path={},server=on,wait=off", own.monitor),
      "-mon", "chardev=monitor,mode=control",
      "-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny"};
  for (const PocNic& nic : nics_of(shape, machine))
    argv.insert(argv.end(), {"-netdev", fmt::format("tap,id={},ifname={},script=no,downscript=no", nic.network, nic.tap), "-device",
                             fmt::format("virtio-net-pci,netdev={},mac={}", nic.network, nic.mac)});
  if (!choice.run_as.empty()) argv.insert(argv.end(), {"-runas", choice.run_as});
  if (choice.from_checkpoint) argv.insert(argv.end(), {"-loadvm", kCheckpoint});
  return argv;
}

std::string shell_quoted(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::vector<std::string> ssh_command(const std::string& folder, const PocMachine& machine, const std::vector<std::string>& command) {
  std::vector<std::string> argv = {"ssh", "-i", folder + "/key", "-F", "none"};
  for (const std::string& option :
       {"UserKnownHostsFile=" + folder + "/known_hosts", std::string("StrictHostKeyChecking=accept-new"), std::string("BatchMode=yes"),
        std::string("IdentitiesOnly=yes"), std::string("ConnectTimeout=60"), std::string("ServerAliveInterval=30"), std::string("LogLevel=ERROR")})
    argv.insert(argv.end(), {"-o", option});
  argv.push_back("root@" + machine.nat);
  std::vector<std::string> words;
  for (const std::string& word : command) words.push_back(shell_quoted(word));
  if (!words.empty()) argv.push_back(fmt::format("{}", fmt::join(words, " ")));
  return argv;
}

}  // namespace virga::lab
