#include "libvirt/domain_xml.h"

#include <map>
#include <pugixml.hpp>
#include <sstream>

namespace virga::libvirt {

using pugi::xml_node;

namespace {

xml_node child(xml_node in, const char* name) {
  return in.append_child(name);
}

void text(xml_node in, const char* name, const std::string& value) {
  child(in, name).text().set(value.c_str());
}

template <class T>
void attr(xml_node in, const char* name, const T& value) {
  in.append_attribute(name).set_value(value);
}
void attr(xml_node in, const char* name, const std::string& value) {
  in.append_attribute(name).set_value(value.c_str());
}

void add_identity(xml_node domain, const host::DomainSpec& spec) {
  text(domain, "name", spec.name);
  text(domain, "uuid", spec.id.str());
  if (!spec.title.empty()) text(domain, "title", spec.title);
  auto server = child(child(domain, "metadata"), "virga:server");
  attr(server, "xmlns:virga", kMetadataUri);
  attr(server, "generation", static_cast<long long>(spec.generation));
  attr(server, "project", spec.project_id);
  attr(server, "user", spec.user_id);
  attr(server, "flavor", spec.flavor_name);
}

void add_size(xml_node domain, const host::DomainSpec& spec) {
  auto memory = child(domain, "memory");
  attr(memory, "unit", "MiB");
  memory.text().set(static_cast<unsigned long long>(spec.memory.count));
  child(domain, "vcpu").text().set(spec.vcpus);
}

// cloud-init takes a machine for an OpenStack server by its product name, and reads the instance id from the
// serial.
void add_smbios(xml_node domain, const host::DomainSpec& spec) {
  auto info = child(domain, "sysinfo");
  attr(info, "type", "smbios");
  auto system = child(info, "system");
  auto entry = [&](const char* name, const std::string& value) {
    auto e = child(system, "entry");
    attr(e, "name", name);
    e.text().set(value.c_str());
  };
  entry("manufacturer", "OpenStack Foundation");
  entry("product", "OpenStack Nova");
  entry("version", "Virga");
  entry("serial", spec.id.str());
  entry("uuid", spec.id.str());
  entry("family", "Virtual Machine");
}

// Machine "pc": rescue and old guests want IDE, its one PCI bus hot-plugs without spare root ports, and its
// firmware starts fastest under TCG.
void add_boot(xml_node domain, const host::DomainSpec& spec) {
  auto os = child(domain, "os");
  auto type = child(os, "type");
  attr(type, "arch", "x86_64");
  attr(type, "machine", "pc");
  type.text().set("hvm");
  if (!spec.kernel.empty()) text(os, "kernel", spec.kernel);
  if (!spec.initrd.empty()) text(os, "initrd", spec.initrd);
  if (!spec.command_line.empty()) text(os, "cmdline", spec.command_line);
  attr(child(os, "boot"), "dev", "hd");
  attr(child(os, "smbios"), "mode", "sysinfo");
}

void add_timer(xml_node clock, const char* name, const char* key, const char* value) {
  auto timer = child(clock, "timer");
  attr(timer, "name", name);
  attr(timer, key, value);
}

void add_machine(xml_node domain, const DomainStyle& style) {
  auto features = child(domain, "features");
  child(features, "acpi");
  child(features, "apic");
  std::string cpu = style.cpu_mode;
  if (cpu.empty() && style.virt_type == "kvm") cpu = "host-model";
  if (cpu.empty() && style.virt_type == "qemu") cpu = "maximum";
  if (!cpu.empty()) attr(child(domain, "cpu"), "mode", cpu);
  auto clock = child(domain, "clock");
  attr(clock, "offset", "utc");
  add_timer(clock, "pit", "tickpolicy", "delay");
  add_timer(clock, "rtc", "tickpolicy", "catchup");
  add_timer(clock, "hpet", "present", "no");
  text(domain, "on_poweroff", "destroy");
  text(domain, "on_reboot", "restart");
  text(domain, "on_crash", "destroy");
}

std::string target_prefix(const std::string& bus) {
  if (bus == "virtio") return "vd";
  if (bus == "ide") return "hd";
  if (bus == "sata" || bus == "scsi") return "sd";
  throw Fault(FaultKind::bad_request, fmt::format("Disk bus {} is not supported.", bus),
              "Use virtio, scsi, sata or ide as the image's hw_disk_bus.");
}

void add_disk(xml_node devices, const host::DiskSpec& disk, const DomainStyle& style, int index) {
  auto node = child(devices, "disk");
  attr(node, "type", "file");
  attr(node, "device", disk.device);
  auto driver = child(node, "driver");
  attr(driver, "name", "qemu");
  attr(driver, "type", disk.format);
  if (!style.disk_cache.empty()) attr(driver, "cache", style.disk_cache);
  if (disk.device == "disk") attr(driver, "discard", "unmap");
  attr(child(node, "source"), "file", disk.path);
  auto target = child(node, "target");
  attr(target, "dev", target_prefix(disk.bus) + device_letters(index));
  attr(target, "bus", disk.bus);
  if (disk.read_only || disk.device == "cdrom") child(node, "readonly");
  if (!disk.serial.empty()) text(node, "serial", disk.serial);
}

void add_disks(xml_node devices, const host::DomainSpec& spec, const DomainStyle& style) {
  std::map<std::string, int> used;
  bool scsi = false;
  for (const auto& disk : spec.disks) {
    add_disk(devices, disk, style, used[target_prefix(disk.bus)]++);
    scsi = scsi || disk.bus == "scsi";
  }
  if (!scsi) return;
  auto controller = child(devices, "controller");
  attr(controller, "type", "scsi");
  attr(controller, "model", "virtio-scsi");
}

void offload_off(xml_node driver, const char* side, bool has_gso) {
  auto node = child(driver, side);
  attr(node, "csum", "off");
  if (has_gso) attr(node, "gso", "off");
  for (const char* name : {"tso4", "tso6", "ecn", "ufo"}) attr(node, name, "off");
}

void add_nic(xml_node devices, const host::NicSpec& nic, const DomainStyle& style) {
  auto node = child(devices, "interface");
  attr(node, "type", "bridge");
  attr(child(node, "mac"), "address", nic.mac);
  attr(child(node, "source"), "bridge", nic.bridge);
  auto port = child(node, "virtualport");
  attr(port, "type", "openvswitch");
  attr(child(port, "parameters"), "interfaceid", nic.port.str());
  attr(child(node, "target"), "dev", nic.tap);
  attr(child(node, "model"), "type", "virtio");
  // The userspace datapath forwards packets whose checksum the guest left to a NIC that does not exist: TCP
  // then hangs while ping works.
  if (style.userspace_datapath) {
    auto driver = child(node, "driver");
    attr(driver, "name", "qemu");
    offload_off(driver, "host", true);
    offload_off(driver, "guest", false);
  }
  if (nic.mtu > 0) attr(child(node, "mtu"), "size", nic.mtu);
}

void add_serial(xml_node devices, const host::DomainSpec& spec) {
  auto serial = child(devices, "serial");
  attr(serial, "type", spec.serial_socket.empty() ? "pty" : "unix");
  if (!spec.serial_socket.empty()) {
    auto source = child(serial, "source");
    attr(source, "mode", "bind");
    attr(source, "path", spec.serial_socket);
  }
  if (!spec.console_log.empty()) attr(child(serial, "log"), "file", spec.console_log);
  attr(child(serial, "target"), "port", "0");
}

void add_other_devices(xml_node devices) {
  auto usb = child(devices, "controller");
  attr(usb, "type", "usb");
  attr(usb, "model", "none");
  auto agent = child(devices, "channel");
  attr(agent, "type", "unix");
  attr(child(agent, "source"), "mode", "bind");
  auto target = child(agent, "target");
  attr(target, "type", "virtio");
  attr(target, "name", "org.qemu.guest_agent.0");
  auto graphics = child(devices, "graphics");
  attr(graphics, "type", "vnc");
  // libvirt chooses the path: a path of ours would collide on a live migration.
  attr(child(graphics, "listen"), "type", "socket");
  attr(child(child(devices, "video"), "model"), "type", "vga");
  auto balloon = child(devices, "memballoon");
  attr(balloon, "model", "virtio");
  attr(child(balloon, "stats"), "period", "10");
  auto rng = child(devices, "rng");
  attr(rng, "model", "virtio");
  auto backend = child(rng, "backend");
  attr(backend, "model", "random");
  backend.text().set("/dev/urandom");
}

}  // namespace

std::string device_letters(int index) {
  std::string letters;
  for (int i = index; i >= 0; i = i / 26 - 1)
    letters.insert(letters.begin(), static_cast<char>('a' + i % 26));
  return letters;
}

std::string domain_xml(const host::DomainSpec& spec, const DomainStyle& style) {
  pugi::xml_document doc;
  auto domain = doc.append_child("domain");
  attr(domain, "type", style.virt_type);
  add_identity(domain, spec);
  add_size(domain, spec);
  add_smbios(domain, spec);
  add_boot(domain, spec);
  add_machine(domain, style);
  auto devices = child(domain, "devices");
  add_disks(devices, spec, style);
  for (const auto& nic : spec.nics) add_nic(devices, nic, style);
  add_serial(devices, spec);
  add_other_devices(devices);
  std::ostringstream out;
  doc.save(out, "  ", pugi::format_indent | pugi::format_no_declaration);
  return out.str();
}

std::optional<int64_t> generation_of_metadata(const std::string& element_xml) {
  pugi::xml_document doc;
  if (!doc.load_buffer(element_xml.data(), element_xml.size())) return std::nullopt;
  auto root = doc.document_element();
  std::string name = root.name();  // libvirt returns it with or without the prefix, by the call
  if (name != "server" && name != "virga:server") return std::nullopt;
  return root.attribute("generation").as_llong();
}

std::string vnc_socket_of_domain(const std::string& domain_xml) {
  pugi::xml_document doc;
  if (!doc.load_buffer(domain_xml.data(), domain_xml.size())) return {};
  for (auto graphics : doc.child("domain").child("devices").children("graphics")) {
    if (std::string(graphics.attribute("type").value()) != "vnc") continue;
    std::string socket = graphics.attribute("socket").value();
    if (socket.empty()) socket = graphics.child("listen").attribute("socket").value();
    if (!socket.empty()) return socket;
  }
  return {};
}

std::string cpu_model_of_capabilities(const std::string& capabilities_xml) {
  pugi::xml_document doc;
  if (!doc.load_buffer(capabilities_xml.data(), capabilities_xml.size())) return {};
  return doc.child("capabilities").child("host").child("cpu").child("model").text().get();
}

}  // namespace virga::libvirt
