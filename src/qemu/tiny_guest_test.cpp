// Builds the tiny guest for real and boots it under QEMU (no libvirt), logging in over the serial console.
// Needs root, Debian's packages in a cache (VIRGA_PACKAGE_DIR, or apt) and half a minute: the fast loop
// leaves *_E2E out.

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "base/process.h"
#include "base/scope_exit.h"
#include "qemu/api.h"
#include "qemu/serial_session.h"

namespace virga::qemu {
namespace {

std::string package_dir() {
  const char* set = getenv("VIRGA_PACKAGE_DIR");
  return set ? set : "/var/cache/virga/guest-packages";
}

TEST(TinyGuest, BuildsBootsAndServes_E2E) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  char name[] = "/tmp/virga-tiny-XXXXXX";
  const char* keep = getenv("VIRGA_KEEP_DIR");
  std::string dir = keep ? keep : mkdtemp(name);
  ScopeExit clean([&] {
    if (!keep) std::filesystem::remove_all(dir);
  });
  TinyGuestOptions options{.out_dir = dir, .package_dir = package_dir()};
  auto began = std::chrono::steady_clock::now();
  auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  auto guest = build_tiny_guest(
      options, [&](std::string_view step) { fmt::print("{:6.2f} s {}\n", seconds(), step); });
  fmt::print("{:6.2f} s built: kernel {}, initrd {} kB, disk {} kB\n", seconds(), guest.kernel_version,
             std::filesystem::file_size(guest.initrd) >> 10, std::filesystem::file_size(guest.disk) >> 10);
  auto again = build_tiny_guest(options, [](std::string_view) { FAIL() << "an equal build must be reused"; });
  EXPECT_EQ(again.checksum, guest.checksum);
  EXPECT_EQ(again.kernel_version, guest.kernel_version);
  EXPECT_EQ(probe_image(guest.disk).problem, "");

  began = std::chrono::steady_clock::now();
  auto kvm = probe_kvm_boot(guest.kernel, guest.initrd);
  fmt::print("{:6.2f} s for a boot on KVM: usable={} ({})\n", seconds(), kvm.usable, kvm.reason);

  {
    began = std::chrono::steady_clock::now();
    SerialSession alone({"qemu-system-x86_64",
                         "-machine",
                         "pc,accel=tcg",
                         "-cpu",
                         "max",
                         "-m",
                         "128",
                         "-nodefaults",
                         "-display",
                         "none",
                         "-vga",
                         "std",
                         "-monitor",
                         "none",
                         "-serial",
                         "stdio",
                         "-nic",
                         "none",
                         "-snapshot",
                         "-drive",
                         "file=" + guest.disk + ",if=virtio,format=qcow2"});
    EXPECT_TRUE(alone.expect("login:", std::chrono::seconds(90))) << alone.output();
    fmt::print("{:6.2f} s from start to the login prompt, booting from the disk alone\n", seconds());
  }

  write_config_drive(dir + "/config.iso",
                     {{"openstack/latest/meta_data.json",
                       R"({"uuid":"i-1","hostname":"pine","public_keys":{"k":"ssh-ed25519 AAAAkey me"},)"
                       R"("files":[{"path":"/etc/given","content_path":"/content/0000"}]})"},
                      {"openstack/latest/user_data", "#!/bin/sh\necho ran >> /etc/user-data-ran\n"},
                      {"openstack/content/0000", "given text\n"}});
  create_overlay(guest.disk, "qcow2", dir + "/disk", GiB{1});
  SerialSession vm({"qemu-system-x86_64",
                    "-machine",
                    "pc,accel=tcg",
                    "-cpu",
                    "max",
                    "-m",
                    "128",
                    "-nographic",
                    "-monitor",
                    "none",
                    "-serial",
                    "stdio",
                    "-nodefaults",
                    "-nic",
                    "none",
                    "-kernel",
                    guest.kernel,
                    "-initrd",
                    guest.initrd,
                    "-append",
                    guest.command_line,
                    "-drive",
                    "file=" + dir + "/disk,if=virtio,format=qcow2",
                    "-drive",
                    "file=" + dir + "/config.iso,media=cdrom,readonly=on,format=raw",
                    "-device",
                    "virtio-serial-pci",
                    "-chardev",
                    "socket,id=ga,server=on,wait=off,path=" + dir + "/ga.sock",
                    "-device",
                    "virtserialport,chardev=ga,name=org.qemu.guest_agent.0"});
  began = std::chrono::steady_clock::now();
  ASSERT_TRUE(vm.expect("login:", std::chrono::seconds(90))) << vm.output();
  fmt::print("{:6.2f} s from start to the login prompt\n", seconds());
  vm.send("virga\n");
  ASSERT_TRUE(vm.expect("Password:", std::chrono::seconds(20))) << vm.output();
  vm.send("virga123\n");
  auto gives = [&](const std::string& command, const std::string& wanted) {
    auto out = vm.command(command);
    EXPECT_NE(out.find(wanted), std::string::npos) << command << "\n" << out;
  };
  gives("id -un; id -nG", "disk");
  gives("sudo id -u", "0");
  gives("sudo sh -c \"echo \\\"to console\\\" >/dev/console\"; echo $?", "0");
  gives("hostname", "pine");
  gives("cat .ssh/authorized_keys", "AAAAkey");
  gives("cat /etc/given", "given text");
  gives("cat /etc/user-data-ran", "ran");
  gives("curl -V", "curl 7");
  gives("lsblk -lb --nodeps", "TYPE");
  gives("sudo lsblk --fs --ascii", "vda1");
  gives("blkid -L config-2 -o device", "/dev/sr0");
  gives(
      "sudo mount $(blkid -L config-2 -o device) /mnt && cat /mnt/openstack/latest/meta_data.json; sudo "
      "umount /mnt",
      "pine");
  gives("df -m / | tail -n 1 | awk '{print ($2 > 900)}'", "1");
  gives("set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; ping -c1 -w1 -s56 127.0.0.1; set +eu",
        "1 packets received");
  gives(
      "sudo nc -p 80 -lk -e echo foolish & sleep 1; for i in 1 2 3; do echo bar | nc -w 1 127.0.0.1 80; "
      "sleep 1; done",
      "foolish");
  gives("sudo nc -u -p 81 -lk -e echo foolish2 & sleep 1; echo bar | nc -w 1 -u 127.0.0.1 81; echo status=$?",
        "status=0");
  gives("echo bar | nc -w 1 -u 127.0.0.1 81", "foolish2");
  gives("dd if=/dev/zero of=/tmp/x bs=1M count=8 2>/dev/null; sudo mke2fs -F -q -t ext4 /tmp/x && echo made",
        "made");
  gives("pidof dropbear >/dev/null && echo ssh-runs", "ssh-runs");
  gives("pidof qemu-ga >/dev/null && echo agent-runs", "agent-runs");
  gives("echo virga:other123 | sudo chpasswd; sudo grep -c '^virga:.6.' /etc/shadow", "1");
  gives("free -m", "Mem");
  vm.send("sudo poweroff\n");
  EXPECT_TRUE(vm.ended(std::chrono::seconds(20)));
  if (getenv("VIRGA_SHOW_CONSOLE")) fmt::print("{}\n", vm.output());
}

}  // namespace
}  // namespace virga::qemu
