#include "lab/poc_image.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/config.h"
#include "base/crypto.h"
#include "base/fault.h"
#include "base/kill_point.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/novnc.h"
#include "cloud/purge.h"
#include "cloud/supervised_process.h"
#include "lab/step.h"
#include "qemu/api.h"

namespace virga::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::minutes;

constexpr const char* kBuild = "build";  ///< marks what a build runs

std::string work_of(const std::string& folder) { return folder + "/work"; }

/// In mount and PID namespaces of its own: whatever it starts ends with it, and its mounts are seen by nobody else, so that a
/// kill -9 leaves nothing but files in the working folder.
std::string run_apart(const std::string& folder, const std::vector<std::string>& argv, minutes timeout = minutes(10)) {
  Command command;
  command.argv = {"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"};
  command.argv.insert(command.argv.end(), argv.begin(), argv.end());
  command.environment = {"TMPDIR=" + work_of(folder), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
                         "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         fmt::format("VIRGA_SERVICE={}:{}", folder, kBuild)};
  command.timeout = timeout;
  command.in_child = [] { prctl(PR_SET_PDEATHSIG, SIGKILL); };
  return run_or_throw(command);
}

std::string sha256_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  Digest digest("sha256");
  std::vector<char> piece(1 << 20);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0)
    digest.update({piece.data(), static_cast<size_t>(in.gcount())});
  return digest.finish_hex();
}

/// "bookworm"
std::string release_of_this_machine() {
  std::istringstream lines(read_file("/etc/os-release"));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind("VERSION_CODENAME=", 0) == 0) return line.substr(17);
  throw Fault(FaultKind::conflict, "This machine does not say which release of Debian it runs.", "A proof of concept is built on Debian 12.");
}

/// Where this machine's apt takes packages from.
std::vector<std::string> apt_sources() {
  std::vector<std::string> files;
  if (fs::exists("/etc/apt/sources.list") && fs::file_size("/etc/apt/sources.list") > 0) files.push_back("/etc/apt/sources.list");
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/etc/apt/sources.list.d", ignored))
    if (const auto ending = entry.path().extension(); ending == ".list" || ending == ".sources") files.push_back(entry.path());
  if (files.empty()) throw Fault(FaultKind::conflict, "apt has no sources on this machine.", "Write /etc/apt/sources.list, then `apt-get update`.");
  std::sort(files.begin(), files.end());
  return files;
}

// virtio and ext4 are all that the first moments need: a small initrd is soon unpacked, under emulation too.
constexpr const char* kEssentialHook =
    "mkdir -p \"$1/etc/initramfs-tools/conf.d\" && echo MODULES=list > \"$1/etc/initramfs-tools/conf.d/virga-poc\" && "
    "printf 'virtio_pci\\nvirtio_blk\\next4\\n' > \"$1/etc/initramfs-tools/modules\"";

/// The system: a tar of Debian with these packages. Kept as long as the list of packages stays the same.
void make_system(const ImageOptions& options, const std::vector<std::string>& packages) {
  const std::string system = options.folder + "/system.tar", key_file = options.folder + "/system.key",
                    key = release_of_this_machine() + " " + fmt::format("{}", fmt::join(packages, " ")) + "\n";
  if (fs::exists(system) && text_of(key_file) == key) return;
  unlink(key_file.c_str());
  const std::string settings = work_of(options.folder) + "/apt.conf", part = work_of(options.folder) + "/system.tar";
  write_file(settings, run_or_throw({.argv = {"apt-config", "dump", "Acquire"}}));
  std::vector<std::string> argv = {"mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
                                   fmt::format("--include={}", fmt::join(packages, ",")), "--aptopt=" + settings,
                                   "--aptopt=APT::Install-Recommends \"false\"", fmt::format("--essential-hook={}", kEssentialHook)};
  for (const char* left_out : {"man", "doc", "locale", "info"})
    argv.push_back(fmt::format("--dpkgopt=path-exclude=/usr/share/{}/*", left_out));
  argv.insert(argv.end(), {release_of_this_machine(), part});
  for (const std::string& file : apt_sources()) argv.push_back(file);
  try {
    run_apart(options.folder, argv, minutes(90));
  } catch (const Fault& fault) {
    throw Fault(fault.kind, "Debian's system could not be made. " + fault.message, "`apt-get update` shows whether this machine reaches its package archive; then the same command again.");
  }
  kill_point("poc.before_system_is_kept");
  fs::rename(part, system);
  write_file(key_file, key);
}

void put(const std::string& root, const std::string& path, const ImageFile& file) {
  const std::string at = root + "/" + path;
  fs::create_directories(fs::path(at).parent_path());
  std::ofstream(at, std::ios::binary | std::ios::trunc) << file.content;
  chmod(at.c_str(), static_cast<mode_t>(file.mode));
}

/// What `virga up` in a machine needs from the world, which it does not see.
void add_guest(const ImageOptions& options, const std::string& root) {
  const std::string state = root + "/var/lib/virga", packages = root + kPocPackages;
  cloud::claim_folder(state, 0711);
  qemu::TinyGuestOptions guest;
  guest.out_dir = state + "/guest";
  guest.package_dir = options.packages;
  qemu::build_tiny_guest(guest, [](std::string_view) {});
  Config config;
  config.cloud.state_dir = state;
  config.cloud.package_cache = options.packages;
  try {
    cloud::fetch_novnc(config);
  } catch (const Fault& fault) {
    std::printf("  VNC consoles will open in no browser: %s\n", fault.message.c_str());
  }
  fs::create_directories(packages);
  for (const auto& entry : fs::directory_iterator(options.packages))
    if (entry.path().extension() == ".deb") fs::copy_file(entry.path(), packages / entry.path().filename(), fs::copy_options::overwrite_existing);
}

void lay_out(const ImageOptions& options, const PocShape& shape, const std::string& deb, const std::string& root) {
  fs::create_directories(root);
  chmod(root.c_str(), 0755);
  run_apart(options.folder, {"tar", "-C", root, "--numeric-owner", "-xpf", options.folder + "/system.tar"});
  fs::copy_file(deb, root + "/virga.deb", fs::copy_options::overwrite_existing);
  run_apart(options.folder, {"chroot", root, "dpkg", "--install", "/virga.deb"});
  fs::remove(root + "/virga.deb");
  for (const auto& [path, file] : image_files(shape, options.public_key)) put(root, path, file);
  chmod((root + "/root/.ssh").c_str(), 0700);
  fs::remove(root + "/etc/hostname");
  const auto systemctl = [&](const char* verb, const std::vector<std::string>& units) {
    std::vector<std::string> argv = {"chroot", root, "systemctl", "--quiet", verb};
    argv.insert(argv.end(), units.begin(), units.end());
    run_apart(options.folder, argv);
  };
  systemctl("enable", enabled_units());
  systemctl("mask", masked_units());
  add_guest(options, root);
}

/// The newest file of /boot with that beginning.
std::string boot_file(const std::string& root, const std::string& prefix) {
  std::string found;
  for (const auto& entry : fs::directory_iterator(root + "/boot"))
    if (entry.path().filename().string().starts_with(prefix)) found = std::max(found, entry.path().string());
  if (found.empty()) throw Fault(FaultKind::internal, fmt::format("The system has no /boot/{}….", prefix));
  return found;
}

/// Of the files, and room for what the first boot writes; the machine's disk grows over it.
uint64_t disk_size_of(const std::string& root) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.is_regular_file() && !entry.is_symlink()) bytes += (entry.file_size() + 4095) / 4096 * 4096;
  constexpr uint64_t kMiB = 1 << 20;
  return (bytes * 5 / 4 + 512 * kMiB) / kMiB * kMiB;
}

void write_image(const std::string& root, const std::string& to) {
  fs::create_directories(to);
  fs::copy_file(boot_file(root, "vmlinuz-"), to + "/vmlinuz", fs::copy_options::overwrite_existing);
  fs::copy_file(boot_file(root, "initrd.img-"), to + "/initrd", fs::copy_options::overwrite_existing);
  for (const char* file : {"/vmlinuz", "/initrd"}) chmod((to + file).c_str(), 0644);
  const std::string disk = to + "/disk.raw";
  std::ofstream(disk, std::ios::binary).flush();
  fs::resize_file(disk, disk_size_of(root));
  run_or_throw({.argv = {"mkfs.ext4", "-q", "-F", "-L", "virga-poc", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d", root, disk},
                .timeout = minutes(10)});
}

std::string key_of_image(const ImageOptions& options, const PocShape& shape, const std::string& deb) {
  Digest digest("sha256");
  digest.update(sha256_of_file(deb) + text_of(options.folder + "/system.key"));
  for (const auto& [path, file] : image_files(shape, options.public_key)) digest.update(fmt::format("{}\n{}\n{}\n", path, file.mode, file.content));
  for (const auto* units : {&enabled_units(), &masked_units()}) digest.update(fmt::format("{}\n", fmt::join(*units, " ")));
  return digest.finish_hex();
}

/// cpack, in the folder where this program was built.
std::string pack(const std::string& settings, const std::string& into) {
  fs::remove_all(into);
  fs::create_directories(into);
  run_or_throw({.argv = {"cpack", "-G", "DEB", "--config", settings, "-B", into}, .directory = into, .timeout = minutes(10)});
  for (const auto& entry : fs::directory_iterator(into))
    if (entry.path().extension() == ".deb") return entry.path();
  throw Fault(FaultKind::internal, "cpack made no package.");
}

std::string newest_deb(const std::string& folder) {
  std::string found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (const std::string name = entry.path().filename(); name.starts_with("virga_") && name.ends_with(".deb") &&
        (found.empty() || entry.last_write_time() > fs::last_write_time(found)))
      found = entry.path();
  return found;
}

}  // namespace

std::string find_deb(const ImageOptions& options) {
  if (!options.deb.empty()) {
    if (!fs::exists(options.deb)) throw Fault(FaultKind::not_found, fmt::format("There is no file {}.", options.deb));
    return fs::absolute(options.deb);
  }
  const std::string beside = fs::path(options.program).parent_path();
  if (fs::exists(beside + "/CPackConfig.cmake")) return pack(beside + "/CPackConfig.cmake", work_of(options.folder) + "/pack");
  for (const std::string& folder : {beside, std::string("/var/cache/apt/archives")})
    if (const std::string deb = newest_deb(folder); !deb.empty()) return deb;
  throw Fault(FaultKind::not_found, "There is no package of Virga for the machines.",
              "Give it with --deb FILE. `cpack -G DEB` in a build folder makes one.");
}

void build_image(const ImageOptions& options, const PocShape& shape, const cloud::StepDone& done) {
  const std::string image = options.folder + "/image", work = work_of(options.folder);
  clear_build(options.folder);
  fs::create_directories(work);
  chmod(work.c_str(), 0755);
  ScopeExit clean([&] {
    std::error_code ignored;
    fs::remove_all(work, ignored);
  });
  std::string deb;
  timed("Virga's package", done, [&] { deb = find_deb(options); });
  std::set<std::string> packages(system_packages().begin(), system_packages().end());
  for (const std::string& name : names_of_depends(run_or_throw({.argv = {"dpkg-deb", "-f", deb, "Depends"}}))) packages.insert(name);
  timed("system of Debian packages", done, [&] { make_system(options, {packages.begin(), packages.end()}); });
  kill_point("poc.after_system");
  const std::string key = key_of_image(options, shape, deb);
  if (text_of(image + "/key") == key) return;
  timed("image with Virga", done, [&] {
    fs::remove_all(image);
    lay_out(options, shape, deb, work + "/root");
    write_image(work + "/root", work + "/image");
    kill_point("poc.before_image_is_kept");
    fs::rename(work + "/image", image);
    write_file(image + "/key", key);
  });
}

bool has_image(const std::string& folder) { return fs::exists(folder + "/image/key"); }

void clear_build(const std::string& folder) {
  cloud::kill_leftovers(folder, kBuild);
  std::error_code ignored;
  fs::remove_all(work_of(folder), ignored);
}

}  // namespace virga::lab
