#include "lab/poc_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/config.h"
#include "base/fault.h"

namespace virga::lab {
namespace {

std::string refusal(const PocShape& shape) {
  try {
    check_shape(shape);
    return "";
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::bad_request);
    return fault.message;
  }
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

TEST(PocPlan, TheDefaultsAreTheClassicOnes) {
  const PocShape shape;
  EXPECT_EQ(refusal(shape), "");
  EXPECT_EQ(shape.controller.nat + " " + shape.compute.nat, "192.168.122.100 192.168.122.110");
  EXPECT_EQ(shape.controller.priv + " " + shape.compute.priv, "192.168.90.100 192.168.90.110");
  EXPECT_EQ(gateway_of(shape.compute.nat), "192.168.122.1");
}

TEST(PocPlan, WhatDoesNotFitIsRefusedByName) {
  const auto changed = [](auto change) {
    PocShape shape;
    change(shape);
    return refusal(shape);
  };
  EXPECT_NE(changed([](PocShape& s) { s.compute.nat = "192.168.123.110"; }).find("not in one /24"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.compute.priv = s.controller.priv; }).find("Both machines have the address"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.controller.nat = "192.168.122.1"; }).find("cannot be a machine's"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.controller.nat = "192.168.122.255"; }).find("cannot be a machine's"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.controller.nat = "controller"; }).find("no IPv4"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.controller.priv = "192.168.122.5", s.compute.priv = "192.168.122.6"; }).find("cannot be both"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.controller.priv = "10.0.0.5", s.compute.priv = "10.0.0.6"; }).find("inside the cloud"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.compute.name = "controller"; }).find("Both machines are called"), std::string::npos);
  for (const char* name : {"", "Big", "a b", "-x", "x-", "a/b", "a.b", "localhost"})
    EXPECT_NE(changed([&](PocShape& s) { s.compute.name = name; }), "") << name;
  EXPECT_NE(changed([](PocShape& s) { s.memory_mib = 512; }).find("1024"), std::string::npos);
  EXPECT_NE(changed([](PocShape& s) { s.disk_gib = 1; }).find("3 GiB"), std::string::npos);
}

TEST(PocPlan, AShapeIsReadAsItIsWritten) {
  PocShape shape;
  shape.compute = {"c2", "192.168.5.7", "192.168.6.7"};
  shape.memory_mib = 4096;
  const PocShape back = shape_of_json(parse_json(json::serialize(to_json(shape))).as_object());
  EXPECT_EQ(to_json(back), to_json(shape));
  EXPECT_EQ(back.compute.priv, "192.168.6.7");
}

TEST(PocPlan, AMachineIsFoundByItsName) {
  const PocShape shape;
  EXPECT_EQ(&find_machine(shape, "compute"), &shape.compute);
  try {
    find_machine(shape, "compote");
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.hint, "It has controller and compute.");
  }
}

TEST(PocPlan, DevicesAreEachMachinesOwn) {
  const PocShape shape;
  std::set<std::string> macs, taps;
  for (const PocMachine* machine : shape.machines())
    for (const PocNic& nic : nics_of(shape, *machine)) {
      macs.insert(nic.mac);
      taps.insert(nic.tap);
      EXPECT_LT(nic.tap.size(), 16u);
      EXPECT_LT(nic.bridge.size(), 16u);
    }
  EXPECT_EQ(macs.size(), 4u);
  EXPECT_EQ(taps.size(), 4u);
}

TEST(PocPlan, NamesOfADependsField) {
  EXPECT_EQ(names_of_depends("libvirt-clients, libc6 (>= 2.36), libabsl20220623 (>= 0~20220623.0-1), mail | sendmail\n"),
            (std::vector<std::string>{"libvirt-clients", "libc6", "libabsl20220623", "mail"}));
  EXPECT_TRUE(names_of_depends("").empty());
}

TEST(PocPlan, TheImageGivesEachDeviceItsAddressByItsMac) {
  const PocShape shape;
  const auto files = image_files(shape, "ssh-ed25519 AAAA virga-poc\n");
  const std::string nat = files.at("etc/systemd/network/10-compute-nat0.network").content,
                    priv = files.at("etc/systemd/network/10-compute-priv0.network").content;
  EXPECT_NE(nat.find("MACAddress=" + nics_of(shape, shape.compute)[0].mac + "\n"), std::string::npos);
  EXPECT_NE(nat.find("Address=192.168.122.110/24\nGateway=192.168.122.1\n"), std::string::npos);
  EXPECT_NE(priv.find("Address=192.168.90.110/24\n"), std::string::npos);
  EXPECT_EQ(priv.find("Gateway"), std::string::npos);
  EXPECT_NE(files.at("etc/systemd/network/10-controller-priv0.link").content.find("Name=priv0"), std::string::npos);
  EXPECT_NE(files.at("etc/hosts").content.find("192.168.90.100\tcontroller\n192.168.90.110\tcompute\n"), std::string::npos);
  EXPECT_EQ(files.at("root/.ssh/authorized_keys").content, "ssh-ed25519 AAAA virga-poc\n");
  EXPECT_EQ(files.at("root/.ssh/authorized_keys").mode, 0600);
  EXPECT_EQ(files.count("etc/hostname"), 0u) << "a machine has not written its own down yet";
}

TEST(PocPlan, TheControllersApiIsInTheNatNetworkAndItsTunnelsInThePrivate) {
  const Config c = parse_config(poc_settings(PocShape{}), "virga.toml");
  EXPECT_EQ(c.cloud.api_address, "192.168.122.100");
  EXPECT_EQ(c.hosts_address(), "192.168.122.100") << "where its API answers the host that joins";
  EXPECT_EQ(c.network.encap_ip, "192.168.90.100");
  EXPECT_TRUE(c.tls.enabled);
  EXPECT_EQ(c.tls.names, std::vector<std::string>{"controller"});
  EXPECT_FALSE(c.trial());
  EXPECT_FALSE(c.demo.server);
}

TEST(PocPlan, QemusCommandLine) {
  const PocShape shape;
  const auto cold = qemu_command("/poc", shape, shape.compute, {});
  EXPECT_TRUE(has(cold, "tcg,thread=multi,tb-size=256"));
  EXPECT_TRUE(has(cold, "file=/poc/compute/disk.qcow2,if=virtio,format=qcow2,discard=unmap"));
  EXPECT_TRUE(has(cold, "tap,id=nat,ifname=poc2-nat,script=no,downscript=no"));
  EXPECT_TRUE(has(cold, "virtio-net-pci,netdev=private,mac=52:54:00:76:6c:22"));
  EXPECT_FALSE(has(cold, "-loadvm"));
  EXPECT_FALSE(has(cold, "-runas"));
  EXPECT_TRUE(std::any_of(cold.begin(), cold.end(), [](const std::string& w) { return w.ends_with("systemd.hostname=compute"); }));
  const auto warm = qemu_command("/poc", shape, shape.controller, {.kvm = true, .run_as = "libvirt-qemu", .from_checkpoint = true});
  EXPECT_TRUE(has(warm, "kvm") && has(warm, "host") && has(warm, "libvirt-qemu"));
  EXPECT_EQ(warm.back(), kCheckpoint);
}

TEST(PocPlan, WordsReachTheMachineAsTheyAre) {
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
  const auto argv = ssh_command("/poc", PocShape{}.compute, {"sh", "-c", "echo $HOME; true"});
  EXPECT_EQ(argv.back(), "'sh' '-c' 'echo $HOME; true'");
  EXPECT_EQ(ssh_command("/poc", PocShape{}.compute, {}).back(), "root@192.168.122.110");
  EXPECT_TRUE(has(argv, "UserKnownHostsFile=/poc/known_hosts"));
}

}  // namespace
}  // namespace virga::lab
