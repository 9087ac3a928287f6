#include <pwd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

#include "host/image_cache.h"
#include "host/storage.h"
#include "qemu/api.h"

namespace virga::host {
namespace {

namespace fs = std::filesystem;

class LocalStorage final : public Storage {
 public:
  LocalStorage(const std::string& instances_dir, const std::string& image_cache_dir)
      : instances_(instances_dir), cache_(image_cache_dir) {
    fs::create_directories(instances_);
  }

  ServerPaths paths(const ServerId& server) override {
    const auto folder = instances_ + "/" + server.str();
    return {folder, folder + "/disk", folder + "/disk.config", folder + "/console.log",
            folder + "/serial.sock"};
  }

  ServerFiles look(const ServerId& server) override {
    const auto p = paths(server);
    return {fs::exists(p.folder), fs::exists(p.disk), fs::exists(p.config_drive)};
  }

  std::vector<ServerId> servers() override {
    std::vector<ServerId> found;
    for (const auto& entry : fs::directory_iterator(instances_)) {
      const auto name = entry.path().filename().string();
      if (looks_like_uuid(name)) found.emplace_back(name);
    }
    return found;
  }

  std::string ensure_image(const link::ImageRef& image, const FetchImage& fetch) override {
    return cache_.ensure(image, fetch);
  }

  void create_disk(const ServerId& server, const link::ImageRef& image, GiB size) override {
    const auto p = paths(server);
    make_folder(p);
    const auto base = cache_.path_of(image);
    const auto info = qemu::probe_image(base);
    const auto want = std::max(Bytes{info.virtual_size}, Bytes(size));
    if (size.count && Bytes(size).count < info.virtual_size)
      throw Fault(FaultKind::unprocessable, "the flavor's disk is smaller than the image",
                  "Choose a flavor with a larger disk.");
    // Under another name until it is whole: a half-made overlay must not pass for the server's disk.
    const auto part = p.disk + ".part";
    qemu::create_overlay(base, image.format, part, want);
    fs::rename(part, p.disk);
  }

  void write_config_drive(const ServerId& server, const std::vector<link::ConfigDriveFile>& files) override {
    const auto p = paths(server);
    make_folder(p);
    std::map<std::string, std::string> content;
    for (const auto& file : files) content[file.path] = file.content;
    qemu::write_config_drive(p.config_drive, content);
  }

  void remove(const ServerId& server) override { fs::remove_all(paths(server).folder); }

  GiB capacity() override {
    struct statvfs st;
    if (::statvfs(instances_.c_str(), &st) != 0) return GiB{0};
    return GiB{static_cast<uint64_t>(st.f_blocks) * st.f_frsize >> 30};
  }

 private:
  /// QEMU makes serial.sock in it under its own user, so the folder is that user's.
  static void make_folder(const ServerPaths& p) {
    fs::create_directories(p.folder);
    fs::permissions(p.folder, fs::perms(0711));
    passwd entry{};
    passwd* found = nullptr;
    char buffer[4096];
    if (::getpwnam_r("libvirt-qemu", &entry, buffer, sizeof buffer, &found) == 0 && found &&
        ::chown(p.folder.c_str(), found->pw_uid, found->pw_gid) != 0)
      throw Fault(FaultKind::unavailable, "cannot give " + p.folder + " to QEMU's user");
  }

  const std::string instances_;
  ImageCache cache_;
};

}  // namespace

std::unique_ptr<Storage> make_local_storage(const std::string& instances_dir,
                                            const std::string& image_cache_dir) {
  return std::make_unique<LocalStorage>(instances_dir, image_cache_dir);
}

}  // namespace virga::host
