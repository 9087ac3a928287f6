// Whether KVM runs guests. Opening the device and creating a machine proves nothing: under some hypervisors
// both succeed and the guest then spins. So a child process runs real guest instructions, and is killed at
// the deadline.

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu/api.h"
#include "qemu/serial_session.h"

namespace virga::qemu {

namespace {

// At 0x1000, real mode: say 'R' on port 0x80, enter protected mode, jump to 0x1100.
constexpr unsigned char kRealMode[] = {
    0xb0, 'R',  0xe6, 0x80, 0xfa, 0x0f, 0x01, 0x16, 0x00, 0x20,  // lgdt [0x2000]
    0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,              // cr0 |= 1
    0x66, 0xea, 0x00, 0x11, 0x00, 0x00, 0x08, 0x00,              // jmp 8:0x1100
};
// At 0x1100, protected mode: say 'P', loop, write and read memory, say 'O' if it kept the value.
constexpr unsigned char kProtectedMode[] = {
    0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0xb0, 'P',  0xe6, 0x80,
    0xb9, 0xa0, 0x86, 0x01, 0x00, 0xe2, 0xfe,                    // 100,000 times round
    0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x78, 0x56, 0x34, 0x12,  // [0x3000] = 0x12345678
    0xa1, 0x00, 0x30, 0x00, 0x00, 0x3d, 0x78, 0x56, 0x34, 0x12,
    0x75, 0x04, 0xb0, 'O',  0xe6, 0x80, 0xf4,
};
constexpr unsigned char kGdt[] = {
    0x17, 0,    0x10, 0x20, 0, 0,    0,    0,
    0,    0,    0,    0,    0, 0,    0,    0,  // limit and base, then padding
    0,    0,    0,    0,    0, 0,    0,    0,
    0xff, 0xff, 0,    0,    0, 0x9a, 0xcf, 0,  // code, flat
    0xff, 0xff, 0,    0,    0, 0x92, 0xcf, 0,  // data, flat
};

struct Machine {
  int vcpu = -1;
  kvm_run* run = nullptr;
};

/// In the child, after fork: system calls only. Returns null or what failed.
const char* make_machine(Machine& machine) {
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) return "/dev/kvm cannot be opened (is the kvm module loaded, and may this user use it?)";
  if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return "/dev/kvm speaks an unknown API version";
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) return "KVM cannot create a machine (is virtualization switched off in the firmware?)";
  constexpr size_t size = 0x10000;
  auto* memory = static_cast<unsigned char*>(
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) return "no memory for the probe's guest";
  memcpy(memory + 0x1000, kRealMode, sizeof kRealMode);
  memcpy(memory + 0x1100, kProtectedMode, sizeof kProtectedMode);
  memcpy(memory + 0x2000, kGdt, sizeof kGdt);
  kvm_userspace_memory_region region{};
  region.memory_size = size;
  region.userspace_addr = reinterpret_cast<uint64_t>(memory);
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) return "KVM takes no guest memory";
  machine.vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  if (machine.vcpu < 0) return "KVM cannot create a virtual CPU";
  int length = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  auto* run = mmap(nullptr, static_cast<size_t>(length), PROT_READ | PROT_WRITE, MAP_SHARED, machine.vcpu, 0);
  if (length < 0 || run == MAP_FAILED) return "KVM's run area cannot be mapped";
  machine.run = static_cast<kvm_run*>(run);
  return nullptr;
}

const char* start_at_0x1000(const Machine& machine) {
  kvm_sregs special;
  if (ioctl(machine.vcpu, KVM_GET_SREGS, &special) < 0) return "KVM does not give the CPU's registers";
  special.cs.base = 0;
  special.cs.selector = 0;
  kvm_regs registers{};
  registers.rip = 0x1000;
  registers.rflags = 2;
  bool set =
      ioctl(machine.vcpu, KVM_SET_SREGS, &special) == 0 && ioctl(machine.vcpu, KVM_SET_REGS, &registers) == 0;
  return set ? nullptr : "KVM does not take the CPU's registers";
}

/// The letter the guest wrote, or 0 for anything else.
char run_to_letter(const Machine& machine) {
  if (ioctl(machine.vcpu, KVM_RUN, 0) < 0) return 0;
  const auto* run = machine.run;
  if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x80) return 0;
  return reinterpret_cast<const char*>(run)[run->io.data_offset];
}

const char* run_guest() {
  Machine machine;
  if (const char* problem = make_machine(machine)) return problem;
  if (const char* problem = start_at_0x1000(machine)) return problem;
  if (run_to_letter(machine) != 'R') return "KVM cannot run real-mode instructions";
  if (run_to_letter(machine) != 'P') return "KVM cannot enter protected mode";
  if (run_to_letter(machine) != 'O') return "KVM cannot run protected-mode instructions";
  return "";
}

void report_and_exit(int fd) {
  const char* reason = run_guest();
  auto written = write(fd, reason, strlen(reason) + 1);
  _exit(written > 0 ? 0 : 1);
}

std::string read_reason(int fd, std::chrono::milliseconds deadline) {
  pollfd p{fd, POLLIN, 0};
  if (poll(&p, 1, static_cast<int>(deadline.count())) <= 0)
    return "a guest on KVM hangs in its first instructions";
  char buffer[256];
  auto n = read(fd, buffer, sizeof buffer - 1);
  if (n <= 0) return "the probe's process ended early";
  buffer[n] = 0;
  return buffer;
}

}  // namespace

KvmProbe probe_kvm(std::chrono::milliseconds deadline) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) throw Fault(FaultKind::internal, "No pipe for the KVM probe.");
  pid_t child = fork();
  if (child == 0) report_and_exit(fds[1]);
  close(fds[1]);
  KvmProbe probe;
  probe.reason = child < 0 ? "no process for the probe" : read_reason(fds[0], deadline);
  close(fds[0]);
  if (child > 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  probe.usable = probe.reason.empty();
  if (probe.usable) probe.reason = "KVM runs guest instructions";
  return probe;
}

KvmProbe probe_kvm_boot(const std::string& kernel, const std::string& initrd,
                        std::chrono::milliseconds deadline) {
  SerialSession vm({"qemu-system-x86_64",
                    "-machine",
                    "pc,accel=kvm",
                    "-cpu",
                    "host",
                    "-m",
                    "128",
                    "-nodefaults",
                    "-display",
                    "none",
                    "-monitor",
                    "none",
                    "-serial",
                    "stdio",
                    "-nic",
                    "none",
                    "-no-reboot",
                    "-kernel",
                    kernel,
                    "-initrd",
                    initrd,
                    "-append",
                    "console=ttyS0 panic=-1"});
  // The initrd says this when it is given no root file system: the kernel and a process of it have run.
  if (vm.expect("virga-guest:", deadline)) return {true, "a kernel boots on KVM"};
  bool started = vm.output().find("Linux version") != std::string::npos;
  const char* what = vm.ended(std::chrono::milliseconds(1))
                         ? "QEMU ends by itself when it runs a kernel on KVM"
                     : started ? "a kernel starts on KVM but does not come up"
                               : "a kernel on KVM does not start";
  return {false, fmt::format("{} (given {} s)", what, deadline.count() / 1000)};
}

}  // namespace virga::qemu
