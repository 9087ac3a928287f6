#pragma once
// GRUB for the tiny guest's disk, without installing or mounting: a boot sector, and a core image behind it.

#include <string>
#include <vector>

namespace virga::qemu {

struct BootLoader {
  std::string boot_code;  ///< 440 bytes for the start of sector 0
  std::string core;       ///< from sector 1 on; ends before sector 2048
};

/// Boots /boot/vmlinuz and /boot/initrd of the first partition. `work` is a scratch folder.
BootLoader make_boot_loader(const std::vector<std::string>& grub_debs, const std::string& work,
                            const std::string& command_line);

}  // namespace virga::qemu
