#include "libvirt/migration_xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <pugixml.hpp>
#include <set>
#include <sstream>

#include "base/fault.h"

namespace virga::libvirt {
namespace {

using pugi::xml_node;

xml_node load(pugi::xml_document& doc, const std::string& xml, std::string_view whose) {
  if (!doc.load_buffer(xml.data(), xml.size()) || std::string_view(doc.document_element().name()) != "domain")
    throw Fault(FaultKind::bad_request, fmt::format("{} is not a domain's XML", whose));
  return doc.document_element();
}

/// What tells a device from others of its kind.
std::string key_of(xml_node device) {
  const std::string kind = device.name();
  if (kind == "disk") return device.child("target").attribute("dev").value();
  if (kind == "interface") return device.child("mac").attribute("address").value();
  return "";
}

xml_node find_device(xml_node devices, xml_node like) {
  for (auto device : devices.children(like.name()))
    if (key_of(device) == key_of(like)) return device;
  throw Fault(FaultKind::bad_request, fmt::format("the new host has no {} {} for it", like.name(), key_of(like)));
}

void replace_child(xml_node parent, xml_node other, const char* name) {
  const auto theirs = other.child(name);
  const auto mine = parent.child(name);
  if (theirs && mine) parent.insert_copy_before(theirs, mine);
  else if (theirs) parent.append_copy(theirs);
  if (mine) parent.remove_child(mine);
}

/// Its parts that belong to the host rather than to the guest.
void take_over(xml_node device, xml_node from) {
  for (const char* part : {"source", "log", "virtualport"}) replace_child(device, from, part);
  if (std::string_view(device.name()) != "interface") return;
  device.child("target").attribute("dev").set_value(from.child("target").attribute("dev").value());
}

const std::set<std::string_view> kHostsKinds = {"disk", "interface", "serial"};

void rewrite(xml_node devices, xml_node described) {
  for (auto device : devices.children()) {
    const std::string_view kind = device.name();
    if (kHostsKinds.contains(kind)) take_over(device, find_device(described, device));
    if (kind == "console") take_over(device, described.child("serial"));  // libvirt's second view of the first serial port
    if (kind == "disk") device.remove_child("backingStore"), device.remove_child("mirror");
    if (kind == "channel") device.remove_child("source");  // libvirt chooses its path
    if (kind != "graphics") continue;
    device.remove_attribute("socket");
    device.child("listen").remove_attribute("socket");
  }
}

// ---- what comes ----

const std::set<std::string_view> kRoot = {
    "name",     "uuid",     "title",       "metadata", "memory",   "currentMemory", "vcpu",   "resource", "sysinfo", "os",       "features",
    "cpu",      "clock",    "on_poweroff", "on_reboot", "on_crash", "pm",           "devices", "seclabel", "description"};
const std::set<std::string_view> kDevices = {"emulator", "disk",  "controller", "interface", "serial", "console",    "channel", "input",
                                             "graphics", "audio", "video",      "memballoon", "rng",    "watchdog"};
/// Files of which each host has its own.
const std::set<std::string_view> kEverywhere = {"/dev/urandom", "/usr/bin/qemu-system-x86_64", "/usr/bin/kvm", "/usr/bin/qemu-system-i386"};

struct Refused {
  std::string why;
};

template <class F>
void each_value(xml_node node, const F& f) {
  for (auto attribute : node.attributes()) f(node, attribute.name(), attribute.value());
  for (auto child : node.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) f(node, "", child.value());
    each_value(child, f);
  }
}

bool names_a_file(std::string_view value) { return value.find('/') != std::string_view::npos && !value.starts_with("http"); }

/// Where systemd runs, libvirt puts each domain into this group, and says so.
bool is_usual_partition(xml_node node, std::string_view value) {
  return std::string_view(node.name()) == "partition" && std::string_view(node.parent().name()) == "resource" && value == "/machine";
}

void check_files(xml_node domain, xml_node described) {
  std::set<std::string> ours(kEverywhere.begin(), kEverywhere.end());
  each_value(described, [&](xml_node, const char*, const char* value) { ours.insert(value); });
  each_value(domain, [&](xml_node node, const char*, const char* value) {
    if (names_a_file(value) && !ours.contains(value) && !is_usual_partition(node, value)) throw Refused{fmt::format("its {} names {}", node.name(), value)};
  });
}

/// Only labels that this host's libvirt makes itself: no other would confine the guest as its own domains are.
void check_label(xml_node label) {
  const std::string_view type = label.attribute("type").as_string("dynamic"), relabel = label.attribute("relabel").as_string("yes");
  if (std::string_view(label.attribute("model").value()) == "none") return;  // of a libvirt without a security driver; no other looks at it
  if (type != "dynamic" || relabel != "yes" || label.child("baselabel"))
    throw Refused{fmt::format("its security label is {}, and relabels: {}", label.child("baselabel") ? "of its own" : type, relabel)};
}

void check_same(xml_node mine, xml_node theirs, const char* part) {
  std::ostringstream a, b;
  for (const auto& [node, out] : {std::pair{mine.child(part), &a}, std::pair{theirs.child(part), &b}}) {
    for (auto attribute : node.attributes())
      if (std::string_view(attribute.name()) != "index") *out << attribute.name() << '=' << attribute.value() << ' ';
    for (auto child : node.children()) child.print(*out, "", pugi::format_raw);
  }
  if (a.str() != b.str()) throw Refused{fmt::format("the {} of its {} {} is {}, and not {}", part, mine.name(), key_of(mine), a.str(), b.str())};
}

void check_device(xml_node device, xml_node described) {
  const std::string_view kind = device.name();
  if (!kDevices.contains(kind)) throw Refused{fmt::format("it has a {}", kind)};
  if (!kHostsKinds.contains(kind)) return;
  xml_node ours;
  try {
    ours = find_device(described, device);
  } catch (const Fault& none) {
    throw Refused{none.message};
  }
  if (std::string_view(device.attribute("type").value()) != ours.attribute("type").value())
    throw Refused{fmt::format("its {} is of type {}", kind, device.attribute("type").value())};
  if (kind != "serial") check_same(device, ours, "source");
  for (const char* part : {"backingStore", "mirror", "auth", "encryption", "script", "backend", "filterref"})
    if (device.child(part)) throw Refused{fmt::format("its {} has a {}", kind, part)};
  if (kind == "interface" && std::string_view(device.child("target").attribute("dev").value()) != ours.child("target").attribute("dev").value())
    throw Refused{"its interface has another device"};
  if (kind == "interface" &&
      std::string_view(device.child("virtualport").child("parameters").attribute("interfaceid").value()) !=
          ours.child("virtualport").child("parameters").attribute("interfaceid").value())
    throw Refused{"its interface is another port's"};
}

}  // namespace

std::string outgoing_xml(const std::string& live, const std::string& description) {
  pugi::xml_document mine, theirs;
  auto domain = load(mine, live, "libvirt's answer");
  const auto described = load(theirs, description, "the other host's description");
  for (const char* part : {"metadata", "title"}) replace_child(domain, described, part);
  for (const char* part : {"kernel", "initrd", "cmdline"}) replace_child(domain.child("os"), described.child("os"), part);
  rewrite(domain.child("devices"), described.child("devices"));
  std::ostringstream out;
  mine.save(out, "  ", pugi::format_indent | pugi::format_no_declaration);
  return out.str();
}

std::optional<std::string> why_not_incoming(const std::string& xml, const std::string& description) try {
  pugi::xml_document mine, theirs;
  const auto domain = load(mine, xml, "what came");
  const auto described = load(theirs, description, "the description");
  for (auto attribute : domain.attributes())
    if (std::string_view(attribute.name()).starts_with("xmlns")) throw Refused{fmt::format("it speaks {}", attribute.value())};
  for (auto child : domain.children())
    if (!kRoot.contains(child.name())) throw Refused{fmt::format("it has a {}", child.name())};
  for (auto label : domain.children("seclabel")) check_label(label);
  for (const char* part : {"name", "uuid", "vcpu"})
    if (std::string_view(domain.child(part).text().get()) != described.child(part).text().get())
      throw Refused{fmt::format("its {} is {}", part, domain.child(part).text().get())};
  for (auto device : domain.child("devices").children()) check_device(device, described.child("devices"));
  check_files(domain, described);
  return std::nullopt;
} catch (const Refused& refused) {
  return refused.why;
} catch (const Fault& fault) {
  return fault.message;
}

}  // namespace virga::libvirt
