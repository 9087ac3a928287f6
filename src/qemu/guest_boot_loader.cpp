#include "qemu/guest_boot_loader.h"

#include <filesystem>

#include "base/fault.h"
#include "base/process.h"
#include "qemu/archive_writer.h"

namespace virga::qemu {

namespace {

// boot.img loads sector 1, and the core image's own list starts at sector 2: contiguous, so nothing needs
// patching.
constexpr size_t kBootCode = 440, kCoreRoom = 2047 * 512;

}  // namespace

BootLoader make_boot_loader(const std::vector<std::string>& grub_debs, const std::string& work,
                            const std::string& command_line) {
  std::filesystem::create_directories(work);
  for (const auto& deb : grub_debs) {
    unpack_deb(deb, work, [](const std::string& path) -> std::string {
      bool grub = path.starts_with("usr/lib/grub/i386-pc/") || path == "usr/bin/grub-mkimage";
      if (grub) return path;
      bool library = path.find("lib/x86_64-linux-gnu/lib") != std::string::npos;
      return library ? "lib/" + std::filesystem::path(path).filename().string() : "";
    });
  }
  const auto modules = work + "/usr/lib/grub/i386-pc";
  write_file(work + "/early.cfg",
             fmt::format("linux (hd0,msdos1)/boot/vmlinuz {}\ninitrd (hd0,msdos1)/boot/initrd\nboot\n",
                         command_line));
  Command mkimage{.argv = {work + "/usr/bin/grub-mkimage", "-d", modules, "-O", "i386-pc", "-c",
                           work + "/early.cfg", "-p", "(hd0,msdos1)/boot/grub", "-o", work + "/core.img",
                           "biosdisk", "part_msdos", "ext2", "linux", "boot"},
                  .environment = {"LD_LIBRARY_PATH=" + work + "/lib"}};
  run_or_throw(mkimage);
  BootLoader loader{read_file(modules + "/boot.img").substr(0, kBootCode), read_file(work + "/core.img")};
  if (loader.core.size() > kCoreRoom)
    throw Fault(FaultKind::internal, "GRUB's core image does not fit before the partition.");
  return loader;
}

}  // namespace virga::qemu
