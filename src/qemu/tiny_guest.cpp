// Builds the tiny guest: unpack packages, lay out a root, make an initrd and a disk. Needs root (owners,
// setuid bits) but mounts nothing: mkfs.ext4 fills the file system from a folder, and the partition table is
// 16 bytes.

#include <crypt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/crypto.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "qemu/api.h"
#include "qemu/archive_writer.h"
#include "qemu/guest_boot_loader.h"
#include "qemu/guest_files.h"
#include "qemu/guest_packages.h"

namespace virga::qemu {

namespace fs = std::filesystem;

namespace {

constexpr const char* kCommandLine = "root=/dev/vda1 console=tty0 console=ttyS0 quiet net.ifnames=0";
constexpr uint64_t kFirstSector = 2048, kSector = 512;

// Every program and library the guest has; what a package holds beyond that stays out.
bool wanted(const std::string& path) {
  static const char* const kPrograms[] = {
      "usr/bin/bash",           "usr/bin/busybox",
      "usr/bin/curl",           "usr/sbin/dropbear",
      "usr/bin/dropbearkey",    "usr/sbin/resize2fs",
      "usr/sbin/mke2fs",        "usr/sbin/mkfs.ext4",
      "usr/bin/nc.traditional", "usr/sbin/qemu-ga",
      "usr/bin/sudo",           "usr/bin/lsblk",
      "usr/sbin/blkid",         "usr/lib/x86_64-linux-gnu/security/pam_permit.so",
      "etc/mke2fs.conf",        "usr/lib64/ld-linux-x86-64.so.2"};
  for (const char* program : kPrograms) {
    if (path == program) return true;
  }
  if (path.starts_with("usr/libexec/sudo/"))
    return path.find("sudoers.so") != std::string::npos || path.find("libsudo_util") != std::string::npos;
  std::string_view libraries = "usr/lib/x86_64-linux-gnu/";
  return path.starts_with(libraries) && path.find('/', libraries.size()) == std::string::npos &&
         path.find(".so") != std::string::npos;
}

/// Debian's packages still say /bin and /lib; the guest's root is merged.
std::string merged(const std::string& path) {
  for (const char* top : {"bin/", "sbin/", "lib/", "lib64/"}) {
    if (path.starts_with(top)) return "usr/" + path;
  }
  return path;
}

class Root {
 public:
  explicit Root(std::string directory) : directory_(std::move(directory)) {}
  std::string at(const std::string& path) const { return directory_ + "/" + path; }
  void put(const std::string& path, const std::string& content, mode_t mode = 0644) const {
    fs::create_directories(fs::path(at(path)).parent_path());
    std::ofstream(at(path), std::ios::binary) << content;
    ::chmod(at(path).c_str(), mode);
  }
  void link(const std::string& path, const std::string& target) const {
    fs::create_symlink(target, at(path));
  }
  void directory(const std::string& path, mode_t mode = 0755) const {
    fs::create_directories(at(path));
    ::chmod(at(path).c_str(), mode);
  }
  const std::string& path() const { return directory_; }

 private:
  std::string directory_;
};

void unpack_programs(const Root& root, const GuestPackages& packages) {
  for (const char* dir : {"usr/bin", "usr/sbin", "usr/lib", "usr/lib64"}) root.directory(dir);
  for (const char* dir : {"bin", "sbin", "lib", "lib64"}) root.link(dir, fmt::format("usr/{}", dir));
  for (const auto& deb : packages.others) {
    unpack_deb(deb, root.path(), [](const std::string& path) {
      auto to = merged(path);
      return wanted(to) ? to : std::string();
    });
  }
}

// Links for all that busybox offers, except where the real program is there.
void link_applets(const Root& root) {
  Command list{.argv = {root.at("usr/bin/busybox"), "--list"}};
  std::istringstream applets(run_or_throw(list));
  for (std::string name; applets >> name;) {
    if (name == "busybox" || fs::exists(root.at("usr/sbin/" + name)) ||
        fs::exists(root.at("usr/bin/" + name)))
      continue;
    root.link("usr/bin/" + name, "busybox");
  }
  for (const char* name : {"init", "getty", "reboot", "poweroff", "halt", "udhcpc"}) {
    root.link(fmt::format("usr/sbin/{}", name), "../bin/busybox");
  }
  // Setuid for ping, su and passwd: busybox drops the rights again in every other applet.
  ::chmod(root.at("usr/bin/busybox").c_str(), 04755);
  ::chmod(root.at("usr/bin/sudo").c_str(), 04755);
}

std::string hashed(const std::string& password) {
  crypt_data data{};
  const char* hash = crypt_r(password.c_str(), "$6$virgaguest$", &data);
  if (!hash || hash[0] == '*')
    throw Fault(FaultKind::internal, "libcrypt offers no SHA-512 password hashes.");
  return hash;
}

void add_accounts(const Root& root, const TinyGuestOptions& options) {
  const auto& user = options.user;
  // bash for the user: busybox's shell runs its own applets instead of the programs on the PATH, such as our
  // nc.
  root.put("etc/passwd", fmt::format("root:x:0:0:root:/root:/bin/sh\n{0}:x:1000:1000:{0}"
                                     ":/home/{0}:/bin/bash\n",
                                     user));
  root.put(
      "etc/group",
      fmt::format("root:x:0:\ntty:x:5:\ndisk:x:6:{0}\ncdrom:x:24:{0}\nsudo:x:27:{0}\n{0}:x:1000:\n", user));
  root.put(
      "etc/shadow",
      fmt::format("root:*:19000:0:99999:7:::\n{}:{}:19000:0:99999:7:::\n", user, hashed(options.password)),
      0640);
  root.put("etc/shells", "/bin/sh\n/bin/bash\n");
  root.put("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n");
  root.put("etc/sudoers",
           fmt::format("Defaults secure_path=\"/usr/sbin:/usr/bin:/sbin:/bin\"\n"
                       "root ALL=(ALL:ALL) ALL\n{} ALL=(ALL:ALL) NOPASSWD: ALL\n",
                       user),
           0440);
  for (const char* service : {"sudo", "sudo-i", "other"}) {
    root.put(fmt::format("etc/pam.d/{}", service),
             "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\nsession sufficient "
             "pam_permit.so\n");
  }
  root.directory("root", 0700);
  root.directory("home/" + user);
  if (::chown(root.at("home/" + user).c_str(), 1000, 1000) != 0) {
    throw Fault(FaultKind::internal, "The tiny guest must be built as root.", "Run it with sudo.");
  }
}

void add_system_files(const Root& root, const TinyGuestOptions& options) {
  for (const char* dir :
       {"proc", "sys", "dev", "run", "mnt", "boot", "var/log", "var/lib/cloud", "etc/dropbear"}) {
    root.directory(dir);
  }
  root.directory("tmp", 01777);
  root.link("var/run", "/run");
  root.put("etc/inittab", guest_file("inittab"));
  root.put("etc/rc", guest_file("rc"), 0755);
  root.put("etc/hostname", "virga-guest\n");
  root.put("etc/hosts", "127.0.0.1 localhost virga-guest\n::1 localhost\n");
  root.put("etc/issue", "\nVirga's tiny guest \\n on \\l\n\n");
  root.put("etc/profile", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n");
  root.put("etc/resolv.conf", "");
  root.put("etc/acpi/PWRF/00000080", guest_file("power-button"), 0755);
  root.put("usr/share/udhcpc/default.script", guest_file("udhcpc.script"), 0755);
  auto cloud = guest_file("guest-cloud");
  for (size_t at; (at = cloud.find("@USER@")) != std::string::npos;) cloud.replace(at, 6, options.user);
  root.put("usr/sbin/guest-cloud", cloud, 0755);
  root.put("usr/bin/nc", guest_file("nc"), 0755);
  for (const char* name : {"guest-agent", "shutdown", "chpasswd"}) {
    root.put(fmt::format("usr/sbin/{}", name), guest_file(name), 0755);
  }
}

struct Kernel {
  std::string version, image;                                ///< image: path of vmlinuz
  std::vector<std::pair<std::string, std::string>> modules;  ///< name, path; in load order
};

Kernel unpack_kernel(const std::string& deb, const std::string& directory) {
  std::vector<std::string> names;
  std::istringstream in(guest_file("modules"));
  for (std::string name; in >> name;) names.push_back(name);
  Kernel kernel;
  std::map<std::string, std::string> found;
  unpack_deb(deb, directory, [&](const std::string& path) -> std::string {
    auto file = fs::path(path).filename().string();
    if (path.starts_with("boot/vmlinuz-")) {
      kernel.version = file.substr(std::string("vmlinuz-").size());
      kernel.image = directory + "/vmlinuz";
      return "vmlinuz";
    }
    if (!file.ends_with(".ko")) return {};
    auto name = file.substr(0, file.size() - 3);
    if (std::find(names.begin(), names.end(), name) == names.end()) return {};
    found[name] = directory + "/" + file;
    return file;
  });
  // What is not a module of this kernel is built in.
  for (const auto& name : names) {
    if (found.count(name)) kernel.modules.emplace_back(name, found[name]);
  }
  if (kernel.image.empty()) throw Fault(FaultKind::internal, fmt::format("{} holds no kernel.", deb));
  return kernel;
}

void write_initrd(const std::string& path, const Root& root, const Kernel& kernel) {
  ArchiveWriter out(path, "newc", "", true);
  for (const char* dir : {"bin", "modules", "proc", "sys", "dev", "tmp", "newroot"}) out.directory(dir);
  out.device("dev/console", 0600, 5, 1);
  out.file("bin/busybox", read_file(root.at("usr/bin/busybox")), 0755);
  for (const char* name : {"sh", "mount", "insmod", "cat", "sed", "usleep", "printf", "dd", "sync",
                           "blockdev", "echo", "switch_root"}) {
    out.link(fmt::format("bin/{}", name), "busybox");
  }
  int order = 10;
  for (const auto& [name, file] : kernel.modules) {
    out.file(fmt::format("modules/{}-{}.ko", order++, name), read_file(file));
  }
  out.file("init", guest_file("initrd.init"), 0755);
  out.close();
}

void little_endian(std::string& bytes, size_t at, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

/// A boot record with one active Linux partition from sector 2048 to the end.
std::string boot_record(uint64_t disk_bytes, const BootLoader& loader) {
  std::string mbr(kSector, '\0');
  mbr.replace(0, loader.boot_code.size(), loader.boot_code);
  mbr[446] = '\x80';
  mbr[450] = '\x83';
  little_endian(mbr, 440, 0x41475256);  // disk signature
  little_endian(mbr, 454, kFirstSector);
  little_endian(mbr, 458, static_cast<uint32_t>(disk_bytes / kSector - kFirstSector));
  mbr[510] = '\x55';
  mbr[511] = '\xaa';
  return mbr;
}

// A journal, since a guest may lose its power; 4 KiB blocks. Without metadata_csum and 64bit every boot loader can read it.
void write_disk(const std::string& path, const Root& root, Bytes size, const BootLoader& loader,
                const std::string& work) {
  auto raw = work + "/disk.raw";
  {
    std::ofstream out(raw, std::ios::binary);
    out << boot_record(size.count, loader) << loader.core;
  }
  fs::resize_file(raw, size.count);
  auto blocks = (size.count - kFirstSector * kSector) / 4096;
  Command mkfs{
      .argv = {"mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^64bit,^metadata_csum", "-m", "0",
               "-L", "virga-root", "-U", "76697267-6100-4000-8000-000000000001", "-E",
               fmt::format("offset={},hash_seed=76697267-6100-4000-8000-000000000002,lazy_itable_init=0",
                           kFirstSector * kSector),
               "-d", root.path(), raw, std::to_string(blocks)}};
  run_or_throw(mkfs);
  convert_image(raw, "raw", path, "qcow2", true, std::chrono::minutes(2));
}

std::string checksum_of(const TinyGuestOptions& options, const GuestPackages& packages) {
  Digest digest("sha256");
  auto add = [&](std::string_view part) {
    digest.update(std::to_string(part.size()) + ":");
    digest.update(part);
  };
  for (const auto& [name, content] : guest_files()) {
    add(name);
    add(content);
  }
  add(fmt::format("1 {} {} {}", options.user, options.password, options.disk_size.count));
  add(read_file(packages.kernel));
  for (const auto& deb : packages.others) add(read_file(deb));
  for (const auto& deb : packages.boot) add(read_file(deb));
  return digest.finish_hex();
}

std::optional<TinyGuest> built_before(const TinyGuest& wanted_guest, const std::string& record) {
  if (!fs::exists(record) || !fs::exists(wanted_guest.kernel) || !fs::exists(wanted_guest.initrd) ||
      !fs::exists(wanted_guest.disk)) {
    return std::nullopt;
  }
  auto value = parse_json(read_file(record));
  if (!value.is_object() || find_string(value.as_object(), "checksum") != wanted_guest.checksum)
    return std::nullopt;
  auto guest = wanted_guest;
  guest.kernel_version = find_string(value.as_object(), "kernel_version");
  return guest;
}

void build(TinyGuest& guest, const TinyGuestOptions& options, const GuestPackages& packages,
           const std::string& work, const std::function<void(std::string_view)>& progress) {
  progress("unpacking the kernel");
  fs::create_directories(work + "/kernel");
  auto kernel = unpack_kernel(packages.kernel, work + "/kernel");
  guest.kernel_version = kernel.version;
  progress("laying out the root file system");
  Root root(work + "/root");
  fs::create_directories(root.path());
  ::chmod(root.path().c_str(), 0755);
  unpack_programs(root, packages);
  add_system_files(root, options);
  add_accounts(root, options);
  link_applets(root);
  progress("writing kernel, initrd and disk");
  write_initrd(guest.initrd, root, kernel);
  fs::copy_file(kernel.image, guest.kernel, fs::copy_options::overwrite_existing);
  ::chmod(guest.kernel.c_str(), 0644);
  fs::copy_file(guest.kernel, root.at("boot/vmlinuz"));
  fs::copy_file(guest.initrd, root.at("boot/initrd"));
  write_disk(guest.disk, root, options.disk_size,
             make_boot_loader(packages.boot, work + "/grub", kCommandLine), work);
}

}  // namespace

std::string guest_file(const std::string& name) {
  auto found = guest_files().find(name);
  if (found == guest_files().end())
    throw Fault(FaultKind::internal, fmt::format("Guest file {} was not built in.", name));
  return std::string(found->second);
}

TinyGuest build_tiny_guest(const TinyGuestOptions& options,
                           const std::function<void(std::string_view)>& progress) {
  auto out = fs::absolute(options.out_dir).string();
  auto packages = fetch_guest_packages(fs::absolute(options.package_dir).string(), progress);
  TinyGuest guest{.kernel = out + "/vmlinuz",
                  .initrd = out + "/initrd",
                  .disk = out + "/tiny.qcow2",
                  .checksum = checksum_of(options, packages),
                  .command_line = kCommandLine};
  auto record = out + "/tiny.json";
  if (auto before = built_before(guest, record)) return *before;

  fs::create_directories(out);
  auto work = out + "/work-" + new_hex_id();
  fs::create_directories(work);
  ScopeExit clean([&] {
    std::error_code ignored;
    fs::remove_all(work, ignored);
  });
  std::error_code ignored;
  fs::remove(record, ignored);
  build(guest, options, packages, work, progress);
  write_file(record, json::serialize(json::object{{"checksum", guest.checksum},
                                                  {"kernel_version", guest.kernel_version},
                                                  {"command_line", guest.command_line}}));
  return guest;
}

}  // namespace virga::qemu
