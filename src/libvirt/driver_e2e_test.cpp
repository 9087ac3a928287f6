// The driver against a real libvirtd and QEMU: a private daemon in its own network and mount namespace boots
// the tiny guest under TCG. Needs root and VIRGA_TINY_DIR (vmlinuz, initrd, tiny.qcow2); the fast loop leaves
// *_E2E out.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/process.h"
#include "libvirt/api.h"

namespace virga::libvirt {
namespace {

namespace fs = std::filesystem;
using host::DomainPower;
using namespace std::chrono_literals;

bool eventually(std::chrono::seconds deadline, const std::function<bool()>& f) {
  for (auto until = std::chrono::steady_clock::now() + deadline; std::chrono::steady_clock::now() < until;) {
    if (f()) return true;
    std::this_thread::sleep_for(50ms);
  }
  return false;
}

/// libvirtd with its own state below a temporary folder.
class PrivateLibvirt {
 public:
  PrivateLibvirt() {
    char name[] = "/tmp/virga-libvirt-XXXXXX";
    dir_ = mkdtemp(name);
    chmod(dir_.c_str(), 0755);
    for (const char* sub : {"run", "lib", "log/qemu", "cache", "guest"})
      fs::create_directories(dir_ + "/" + sub);
    fs::copy("/etc/libvirt", dir_ + "/etc", fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    fs::remove_all(dir_ + "/etc/qemu/networks/autostart");
    fs::copy("/var/lib/libvirt", dir_ + "/lib",
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    std::ofstream(dir_ + "/etc/qemu.conf", std::ios::app) << "\nstdio_handler = \"file\"\n";
    chown_for_qemu();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    reaper_ = std::thread([this] { reap(); });
  }
  ~PrivateLibvirt() {
    stop(SIGTERM);
    kill_left_over_guests();
    done_ = true;
    reaper_.join();
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    fs::remove_all(dir_);
  }
  void start() {
    Command command{.argv = {"/usr/sbin/libvirtd"}};
    command.in_child = [this] {
      unshare(CLONE_NEWNS | CLONE_NEWNET);
      mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
      mkdir("/run/libvirt", 0755);
      mount((dir_ + "/run").c_str(), "/run/libvirt", nullptr, MS_BIND, nullptr);
      mount((dir_ + "/etc").c_str(), "/etc/libvirt", nullptr, MS_BIND, nullptr);
      mount((dir_ + "/lib").c_str(), "/var/lib/libvirt", nullptr, MS_BIND, nullptr);
      mount((dir_ + "/log").c_str(), "/var/log/libvirt", nullptr, MS_BIND, nullptr);
      mount((dir_ + "/cache").c_str(), "/var/cache/libvirt", nullptr, MS_BIND, nullptr);
    };
    pid_ = spawn(command, dir_ + "/libvirtd.log");
  }
  void stop(int signal) {
    if (pid_ <= 0) return;
    kill(pid_, signal);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  Options options() const {
    Options options;
    options.uri = "qemu+unix:///system?socket=" + dir_ + "/run/libvirt-sock";
    options.virt_type = "qemu";
    options.path_map = {{"/var/lib/libvirt/", dir_ + "/lib/"}};
    return options;
  }
  std::string guest(const std::string& file) const { return dir_ + "/guest/" + file; }
  std::string log() const {
    auto text = read_file(dir_ + "/libvirtd.log");
    return text.substr(text.size() - std::min<size_t>(text.size(), 2000));
  }

 private:
  void chown_for_qemu() {
    run({.argv = {"chown", "-R", "libvirt-qemu:", dir_ + "/lib/qemu", dir_ + "/guest"}});
  }
  // QEMU daemonizes, and libvirt waits until a QEMU it stopped is gone for good, which a zombie is not. Where
  // the machine's process 1 reaps slowly, every start and stop would take many seconds: so orphans come to
  // us.
  void reap() {
    while (!done_) {
      siginfo_t info{};
      waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
      if (info.si_pid > 0 && info.si_pid != pid_) waitpid(info.si_pid, nullptr, WNOHANG);
      std::this_thread::sleep_for(5ms);
    }
  }
  void kill_left_over_guests() {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(dir_ + "/run/qemu", ignored)) {
      if (entry.path().extension() == ".pid") kill(std::stoi(read_file(entry.path())), SIGKILL);
    }
  }
  std::string dir_;
  std::atomic<pid_t> pid_{-1};
  std::atomic<bool> done_{false};
  std::thread reaper_;
};

bool can_connect(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool ok = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return ok;
}

host::DomainSpec tiny(const PrivateLibvirt& libvirt, const std::string& from) {
  fs::copy_file(from + "/tiny.qcow2", libvirt.guest("disk"));
  for (const char* file : {"vmlinuz", "initrd"}) fs::copy_file(from + "/" + file, libvirt.guest(file));
  host::DomainSpec spec;
  spec.id = ServerId("33333333-3333-4333-8333-333333333333");
  spec.name = "instance-00000003";
  spec.generation = 5;
  spec.memory = MiB{128};
  spec.kernel = libvirt.guest("vmlinuz");
  spec.initrd = libvirt.guest("initrd");
  spec.command_line = "root=/dev/vda1 console=tty0 console=ttyS0 quiet net.ifnames=0";
  spec.disks = {{.path = libvirt.guest("disk")}};
  spec.console_log = libvirt.guest("console.log");
  spec.serial_socket = libvirt.guest("serial.sock");
  return spec;
}

bool console_says(const host::DomainSpec& spec, const std::string& text) {
  return fs::exists(spec.console_log) && read_file(spec.console_log).find(text) != std::string::npos;
}

void boots_and_answers(host::Hypervisor& hv, const host::DomainSpec& spec) {
  auto began = std::chrono::steady_clock::now();
  hv.define(spec);
  hv.start(spec.id);
  fmt::print("define + start: {:.2f} s\n",
             std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  EXPECT_EQ(hv.find(spec.id).power, DomainPower::running);
  ASSERT_TRUE(eventually(60s, [&] { return console_says(spec, "login:"); }));
  fmt::print("login prompt: {:.2f} s\n",
             std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  EXPECT_TRUE(can_connect(hv.vnc_socket(spec.id))) << hv.vnc_socket(spec.id);
  EXPECT_TRUE(can_connect(spec.serial_socket));
}

void survives_the_death_of_libvirtd(host::Hypervisor& hv, PrivateLibvirt& libvirt,
                                    const host::DomainSpec& spec, std::atomic<int>& changes) {
  libvirt.stop(SIGKILL);
  ASSERT_TRUE(eventually(10s, [&] {
    try {
      hv.find(spec.id);
      return false;
    } catch (const Fault& fault) {
      return fault.kind == FaultKind::unavailable;
    }
  }));
  int before = changes;
  libvirt.start();
  ASSERT_TRUE(eventually(30s, [&] { return changes > before; })) << libvirt.log();
  auto domain = hv.find(spec.id);
  EXPECT_EQ(domain.power, DomainPower::running);
  EXPECT_EQ(domain.generation, 5);
  EXPECT_TRUE(domain.ours);
}

TEST(Driver, BootsADomainOnAPrivateLibvirtd_E2E) {
  const char* from = getenv("VIRGA_TINY_DIR");
  if (geteuid() != 0 || !from) GTEST_SKIP() << "needs root and VIRGA_TINY_DIR";
  PrivateLibvirt libvirt;
  libvirt.start();
  auto hv = connect(libvirt.options());
  std::atomic<int> changes{0};
  hv->on_change([&](const ServerId&) { ++changes; });
  ASSERT_TRUE(eventually(60s, [&] {
    try {
      return hv->capabilities().version > 7000000;
    } catch (const Fault&) {
      return false;
    }
  })) << libvirt.log();
  EXPECT_EQ(hv->capabilities().hypervisor, "QEMU");
  auto spec = tiny(libvirt, from);
  boots_and_answers(*hv, spec);
  survives_the_death_of_libvirtd(*hv, libvirt, spec, changes);
  hv->shutdown(spec.id);
  EXPECT_TRUE(eventually(30s, [&] { return hv->find(spec.id).power == DomainPower::shutoff; }));
  hv->start(spec.id);
  hv->reset(spec.id);
  hv->destroy(spec.id);
  hv->undefine(spec.id);
  EXPECT_EQ(hv->find(spec.id).power, DomainPower::absent);
  EXPECT_GE(changes, 5);
}

}  // namespace
}  // namespace virga::libvirt
