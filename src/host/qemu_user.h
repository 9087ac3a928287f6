#pragma once

#include <string>

namespace virga::host {

/// Makes QEMU's own user (libvirt-qemu, where there is one) the owner of a file. Throws Fault(unavailable).
void give_to_qemu(const std::string& path);

}  // namespace virga::host
