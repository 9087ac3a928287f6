#pragma once
// Whether guests can run under KVM here, found out for real and remembered until the next boot of this machine.

#include "base/config.h"
#include "qemu/api.h"

namespace virga::cloud {

/// First a few guest instructions; then, since there are machines where those run and a kernel spins for ever, a boot of
/// the tiny guest's kernel (if it is built). The second stage takes up to 15 s, so its verdict is kept in state_dir.
qemu::KvmProbe kvm_verdict(const Config& config);

}  // namespace virga::cloud
