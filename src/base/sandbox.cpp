#include "base/sandbox.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "base/fault.h"

namespace virga {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "sandbox.cpp does not know this architecture's AUDIT_ARCH_ number."
#endif

constexpr uint32_t kX32 = 0x40000000;  // x86-64's second table of calls, by which one would go around ours

constexpr uint32_t kRefused[] = {
    // programs, and other processes
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_kcmp,
    SYS_pidfd_getfd,
    // mounts and namespaces
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_setns,
    SYS_unshare,
    // the kernel, and the machine
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_syslog,
    SYS_quotactl,
    SYS_nfsservctl,
    SYS_lookup_dcookie,
    // what most ways to break out of a process have used
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_fanotify_init,
    SYS_personality,
    SYS_vhangup,
#if defined(__x86_64__)
    SYS_ioperm,
    SYS_iopl,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_create_module,
    SYS_ustat,
    SYS_sysfs,
    SYS__sysctl,
#endif
};

sock_filter load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
sock_filter answer(uint32_t action) {
  return BPF_STMT(BPF_RET | BPF_K, action);
}
sock_filter jump(uint16_t how, uint32_t value, uint8_t if_true, uint8_t if_false) {
  return BPF_JUMP(static_cast<uint16_t>(BPF_JMP | BPF_K | how), value, if_true, if_false);
}

std::vector<sock_filter> program() {
  constexpr uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
  std::vector<sock_filter> p = {load(offsetof(seccomp_data, arch)), jump(BPF_JEQ, kArchitecture, 1, 0),
                                answer(refuse), load(offsetof(seccomp_data, nr))};
#if defined(__x86_64__)
  p.insert(p.end(), {jump(BPF_JGE, kX32, 0, 1), answer(refuse)});
#endif
  for (const uint32_t call : kRefused) p.insert(p.end(), {jump(BPF_JEQ, call, 0, 1), answer(refuse)});
  p.push_back(answer(SECCOMP_RET_ALLOW));
  return p;
}

}  // namespace

bool enter_sandbox() {
  auto instructions = program();
  const sock_fprog filter{static_cast<unsigned short>(instructions.size()), instructions.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    throw Fault(FaultKind::internal, std::string("No new privileges: ") + std::strerror(errno));
  constexpr unsigned kAllThreads = SECCOMP_FILTER_FLAG_TSYNC, kLogged = SECCOMP_FILTER_FLAG_LOG;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kAllThreads | kLogged, &filter) == 0) return true;
  if (errno == ENOSYS || errno == EINVAL) return false;
  throw Fault(FaultKind::internal,
              std::string("The kernel refused the sandbox: ") + std::strerror(errno) + ".");
}

}  // namespace virga
