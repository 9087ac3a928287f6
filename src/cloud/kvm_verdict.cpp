#include "cloud/kvm_verdict.h"

#include <unistd.h>

#include "base/fault.h"
#include "base/process.h"
#include "cloud/serve.h"

namespace virga::cloud {
namespace {

std::string boot_id() {
  try {
    return read_file("/proc/sys/kernel/random/boot_id");
  } catch (const Fault&) {
    return "";
  }
}

}  // namespace

qemu::KvmProbe kvm_verdict(const Config& config) {
  qemu::KvmProbe probe = qemu::probe_kvm();
  const Paths paths(config);
  const std::string kernel = paths.guest + "/vmlinuz", initrd = paths.guest + "/initrd";
  if (!probe.usable || access(kernel.c_str(), R_OK) != 0 || access(initrd.c_str(), R_OK) != 0) return probe;
  const std::string memory = config.cloud.state_dir + "/kvm-verdict", boot = boot_id();
  if (access(memory.c_str(), R_OK) == 0) {
    const std::string kept = read_file(memory);
    if (kept.rfind(boot, 0) == 0) {
      const std::string reason = kept.substr(boot.size());
      return {reason.empty(), reason};
    }
  }
  probe = qemu::probe_kvm_boot(kernel, initrd);
  if (access(config.cloud.state_dir.c_str(), W_OK) == 0) write_file(memory, boot + (probe.usable ? "" : probe.reason.empty() ? "a kernel does not boot" : probe.reason));
  return probe;
}

}  // namespace virga::cloud
