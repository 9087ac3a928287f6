// What a domain is made into on its way to another host, and what that host lets in: nothing but what it described itself.

#include "libvirt/migration_gate.h"

#include <gtest/gtest.h>
#include <libvirt/libvirt.h>

#include "base/fault.h"
#include "libvirt/domain_xml.h"
#include "libvirt/migration_xml.h"

namespace virga::libvirt {
namespace {

const ServerId kServer("aaaaaaaa-0000-4000-8000-000000000001");

host::DomainSpec spec_of(const std::string& root, int64_t generation) {
  host::DomainSpec spec;
  spec.id = kServer;
  spec.generation = generation;
  spec.name = "instance-00000007";
  spec.title = "a & b";
  spec.kernel = root + "/images/kernel";
  spec.disks.push_back({.path = root + "/" + kServer.str() + "/disk.3"});
  spec.disks.push_back({.path = root + "/" + kServer.str() + "/disk.config", .format = "raw", .bus = "ide", .device = "cdrom", .read_only = true});
  spec.nics.push_back({PortId("bbbbbbbb-0000-4000-8000-000000000001"), "fa:16:3e:00:00:01", 1442, "br-int", "tapbbbbbbbb-00"});
  spec.console_log = root + "/" + kServer.str() + "/console.log";
  spec.serial_socket = root + "/" + kServer.str() + "/serial.sock";
  return spec;
}

std::string replace(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// What libvirt makes of it once it runs: addresses, a second view of the console, what it chose by itself.
std::string live(const std::string& root) {
  auto xml = domain_xml(spec_of(root, 4), {});
  xml = replace(xml, "<target dev=\"vda\" bus=\"virtio\" />",
                "<backingStore type='file'><source file='/somewhere/base'/></backingStore><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/>"
                "<address type='pci' slot='0x04'/>");
  xml = replace(xml, "<devices>", "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='pci' index='0' model='pci-root'/>");
  return replace(xml, "</devices>", "<console type='unix'><source mode='bind' path='" + root + "/x/serial.sock'/><log file='" + root +
                                        "/x/console.log'/></console></devices>");
}

const std::string kDescription = domain_xml(spec_of("/there", 0), {});

TEST(MigrationXml, TheGuestKeepsItsDevicesAndTheHostsAreTheOthers) {
  const auto out = outgoing_xml(live("/here"), kDescription);
  EXPECT_EQ(out.find("/here"), std::string::npos) << out;
  EXPECT_EQ(out.find("/somewhere"), std::string::npos) << "the other's QEMU finds its backing file by itself";
  EXPECT_NE(out.find("/there/" + kServer.str() + "/disk.3"), std::string::npos);
  EXPECT_NE(out.find("slot=\"0x04\""), std::string::npos);
  EXPECT_NE(out.find("generation=\"0\""), std::string::npos);
  EXPECT_EQ(why_not_incoming(out, kDescription), std::nullopt) << *why_not_incoming(out, kDescription);
}

TEST(MigrationXml, WhatLibvirtAddsUnderSystemdAndAppArmorIsTaken) {
  const auto label = [](const std::string& model, const std::string& text) {
    return "<seclabel type='dynamic' model='" + model + "' relabel='yes'><label>" + text + "</label><imagelabel>" + text + "</imagelabel></seclabel>";
  };
  for (const auto& added : {std::string("<resource><partition>/machine</partition></resource>"), label("apparmor", "libvirt-" + kServer.str()) + label("dac", "+64055:+64055"),
                            std::string("<seclabel type='none' model='none'/>")}) {
    const auto out = outgoing_xml(replace(live("/here"), "</domain>", added + "</domain>"), kDescription);
    EXPECT_EQ(why_not_incoming(out, kDescription), std::nullopt) << added << *why_not_incoming(out, kDescription);
  }
}

TEST(MigrationXml, AnotherMachineDoesNotFit) {
  auto spec = spec_of("/there", 0);
  spec.nics.clear();
  EXPECT_THROW(outgoing_xml(live("/here"), domain_xml(spec, {})), Fault);
  EXPECT_THROW(outgoing_xml("no xml", kDescription), Fault);
  EXPECT_THROW(outgoing_xml(live("/here"), "<network/>"), Fault);
}

TEST(MigrationXml, WhatADishonestHostWouldHaveStartedHere) {
  const auto honest = outgoing_xml(live("/here"), kDescription);
  const auto refused = [&](const std::string& from, const std::string& to) {
    const auto why = why_not_incoming(replace(honest, from, to), kDescription);
    EXPECT_TRUE(why.has_value()) << to;
    return why.value_or("");
  };
  const std::string disk = "/there/" + kServer.str() + "/disk.3";
  refused(disk, "/etc/shadow");
  refused(disk, "/there/another/disk");
  refused("/disk.config", "/disk.3");  // writable elsewhere, and it is the description's, but not this device's
  refused("type=\"file\" device=\"disk\"", "type=\"block\" device=\"disk\"");
  refused("<target dev=\"vda\"", "<encryption format=\"luks\" /><target dev=\"vda\"");
  refused("</devices>", "<hostdev mode='subsystem' type='pci'/></devices>");
  refused("</devices>", "<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem></devices>");
  refused("</devices>", "<disk type='file' device='disk'><source file='/etc/passwd'/><target dev='vdz' bus='virtio'/></disk></devices>");
  refused("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ");
  refused("</domain>", "<commandline><arg value='-S'/></commandline></domain>");
  refused("/usr/bin/qemu-system-x86_64", "/tmp/evil");
  refused("bridge=\"br-int\"", "bridge=\"br-ex\"");
  refused("bbbbbbbb-0000-4000-8000-000000000001", "cccccccc-0000-4000-8000-000000000001");
  refused("tapbbbbbbbb-00", "tapcccccccc-00");
  refused("/there/images/kernel", "/boot/vmlinuz");
  refused("instance-00000007", "instance-00000008");
  refused("/dev/urandom", "/dev/sda");
  refused("</domain>", "<resource><partition>/system.slice</partition></resource></domain>");
  refused("<devices>", "<partition>/machine</partition><devices>");
  refused("</domain>", "<seclabel type='none'/></domain>");
  refused("</domain>", "<seclabel type='none' model='apparmor'/></domain>");
  refused("</domain>", "<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel></domain>");
  refused("</domain>", "<seclabel type='dynamic' model='dac' relabel='no'/></domain>");
  refused("</domain>", "<seclabel type='dynamic' model='dac'><baselabel>+0:+0</baselabel></seclabel></domain>");
  refused("<uuid>aaaaaaaa", "<uuid>bbbbbbbb");
  EXPECT_TRUE(why_not_incoming("<domain", kDescription).has_value());
}

// ---- the protocol ----

std::string word(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string opaque(const std::string& bytes) { return word(static_cast<uint32_t>(bytes.size())) + bytes + std::string((4 - bytes.size() % 4) % 4, '\0'); }

std::string message(uint32_t procedure, const std::string& body, uint32_t program = 0x20008086, uint32_t type = 0) {
  const std::string rest = word(program) + word(1) + word(procedure) + word(type) + word(9) + word(0) + body;
  return word(static_cast<uint32_t>(rest.size() + 4)) + rest;
}

using Texts = std::vector<std::pair<std::string, std::string>>;
std::string arguments(const Texts& texts, uint32_t flags, uint32_t numbers = 1) {
  std::string body = word(static_cast<uint32_t>(texts.size()) + numbers);
  for (uint32_t i = 0; i < numbers; ++i) body += opaque(VIR_MIGRATE_PARAM_BANDWIDTH) + word(VIR_TYPED_PARAM_ULLONG) + word(0) + word(7);
  for (const auto& [name, text] : texts) body += opaque(name) + word(VIR_TYPED_PARAM_STRING) + opaque(text);
  return body + opaque("<cookie/>") + word(flags);
}

class GateTest : public testing::Test {
 protected:
  void passes(const std::string& bytes) { EXPECT_EQ(keeper_.pass(bytes), bytes); }
  void refuses(const std::string& bytes) {
    GateKeeper keeper(expected());
    EXPECT_THROW(keeper.pass(bytes), Fault);
  }
  static Expected expected() { return {"instance-00000007", kDescription, "unix:///run/m/a/memory.sock", "unix:///run/m/a/disk.sock"}; }
  std::string prepare(Texts texts = {}, uint32_t flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER) {
    const Texts honest{{VIR_MIGRATE_PARAM_DEST_XML, outgoing_xml(live("/here"), kDescription)},
                       {VIR_MIGRATE_PARAM_URI, "unix:///run/m/a/memory.sock"},
                       {VIR_MIGRATE_PARAM_DISKS_URI, "unix:///run/m/a/disk.sock"}};
    for (const auto& [name, text] : honest)
      if (std::none_of(texts.begin(), texts.end(), [&name = name](const auto& t) { return t.first == name; })) texts.emplace_back(name, text);
    std::erase_if(texts, [](const auto& t) { return t.second.empty(); });
    return message(303, arguments(texts, flags));
  }
  GateKeeper keeper_{expected()};
};

TEST_F(GateTest, AMigrationPasses) {
  for (const uint32_t procedure : {66, 60, 1, 360}) passes(message(procedure, "any"));
  passes(message(2, "", 0x6b656570, 2));
  passes(prepare());
  passes(message(306, arguments({{VIR_MIGRATE_PARAM_DEST_NAME, "instance-00000007"}}, VIR_MIGRATE_LIVE) + word(0)));
  passes(message(361, ""));
  passes(message(2, ""));
}

TEST_F(GateTest, InPiecesOfAnySizeNothingPassesBeforeItWasSeenWhole) {
  const std::string bytes = message(66, "") + prepare() + message(2, "");
  std::string passed;
  for (const char byte : bytes) passed += keeper_.pass({&byte, 1});
  EXPECT_TRUE(passed == bytes);
  EXPECT_EQ(keeper_.pass(prepare().substr(0, 400)), "");
}

TEST_F(GateTest, NothingElseDoes) {
  refuses(message(10, opaque("<domain/>")));              // create a domain
  refuses(message(12, ""));                               // destroy one
  refuses(message(1, "", 0x20008087));                    // QEMU's monitor
  refuses(message(1, "", 0x20008086, 4));                 // a call with descriptors
  refuses(message(303, "", 0x6b656570));
  refuses(word(3));
  refuses(word(0xffffffff));
  refuses(message(303, ""));
  refuses(message(303, word(65)));
  refuses(message(303, word(1) + opaque("x") + word(99)));
  refuses(message(303, word(1) + word(0xfffffff0)));
  refuses(prepare({{VIR_MIGRATE_PARAM_DEST_XML, ""}}));
  refuses(prepare({{VIR_MIGRATE_PARAM_URI, ""}}));
  refuses(prepare({{VIR_MIGRATE_PARAM_URI, "unix:///run/m/b/memory.sock"}}));
  refuses(prepare({{VIR_MIGRATE_PARAM_DISKS_URI, "tcp://0.0.0.0:1"}}));
  refuses(prepare({{VIR_MIGRATE_PARAM_PERSIST_XML, "<domain/>"}}));
  refuses(prepare({{VIR_MIGRATE_PARAM_DEST_NAME, "another"}}));
  refuses(prepare({{VIR_MIGRATE_PARAM_DEST_XML, replace(outgoing_xml(live("/here"), kDescription), "br-int", "br-ex")}}));
  refuses(prepare({}, VIR_MIGRATE_PERSIST_DEST));
  refuses(prepare({}, VIR_MIGRATE_TUNNELLED));
  refuses(message(306, arguments({{VIR_MIGRATE_PARAM_DEST_NAME, "instance-00000008"}}, 0) + word(0)));
  refuses(message(306, arguments({}, 0) + word(0)));
}

}  // namespace
}  // namespace virga::libvirt
