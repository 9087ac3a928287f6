#include <sys/statvfs.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>

#include "base/process.h"
#include "base/scope_exit.h"
#include "host/file_sink.h"
#include "host/image_cache.h"
#include "host/qemu_user.h"
#include "host/storage.h"
#include "qemu/api.h"

namespace virga::host {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDisk = "disk";

/// "disk", "disk.1", "disk.2", …
std::string disk_name(int64_t number) {
  return number ? fmt::format("{}.{}", kDisk, number) : std::string(kDisk);
}

std::optional<int64_t> disk_number(std::string_view name) {
  if (name == kDisk) return 0;
  if (!name.starts_with(kDisk) || name.size() <= kDisk.size() || name[kDisk.size()] != '.') return std::nullopt;
  name.remove_prefix(kDisk.size() + 1);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

class FileSource final : public link::ByteSource {
 public:
  explicit FileSource(const std::string& path) : file_(path, std::ios::binary) {
    if (!file_) throw Fault(FaultKind::not_found, "there is no disk " + path);
  }
  size_t read(std::span<char> buffer) override {
    file_.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    if (file_.bad()) throw Fault(FaultKind::unavailable, "the disk cannot be read");
    return static_cast<size_t>(file_.gcount());
  }

 private:
  std::ifstream file_;
};

class LocalStorage final : public Storage {
 public:
  LocalStorage(const std::string& instances_dir, const std::string& image_cache_dir)
      : instances_(instances_dir), cache_(image_cache_dir) {
    fs::create_directories(instances_);
  }

  ServerPaths paths(const ServerId& server, int64_t disk) override {
    const auto folder = instances_ + "/" + server.str();
    return {folder, folder + "/" + disk_name(disk), folder + "/disk.config", folder + "/console.log",
            folder + "/serial.sock"};
  }

  ServerFiles look(const ServerId& server, int64_t disk) override {
    const auto p = paths(server, disk);
    ServerFiles files{fs::exists(p.folder), fs::exists(p.disk), fs::exists(p.config_drive), {}};
    if (!files.any) return files;
    for (const auto& entry : fs::directory_iterator(p.folder))
      if (const auto number = disk_number(entry.path().filename().string())) files.disks.insert(*number);
    return files;
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

  void create_disk(const DiskOf& disk, const link::ImageRef& image, GiB size) override {
    const auto p = paths(disk.server, disk.number);
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

  void copy_disk(const DiskOf& disk, int64_t from, GiB size) override {
    const auto p = paths(disk.server, disk.number);
    const auto part = p.disk + ".part";
    run_or_throw({.argv = {"cp", "--reflink=auto", "--sparse=auto", paths(disk.server, from).disk, part}, .timeout = std::chrono::hours(1)});
    grow_to(part, size);
    fs::rename(part, p.disk);
  }

  void receive_disk(const DiskOf& disk, const link::ImageRef& image, GiB size, const FetchDisk& fetch) override {
    const auto p = paths(disk.server, disk.number);
    make_folder(p);
    const auto part = p.disk + ".part";
    ScopeExit discard([&] { fs::remove(part); });
    {
      // An overlay has its own tables besides what was written to it.
      const uint64_t limit = size.count ? Bytes(size).count + Bytes(size).count / 8 + Bytes(MiB{64}).count : UINT64_MAX;
      FileSink file(part);
      fetch([&](std::string_view bytes) {
        if (file.size() + bytes.size() > limit)
          throw Fault(FaultKind::unprocessable, "the disk that comes is larger than its server's flavor lets it be");
        file.add(bytes);
      });
      file.finish(0600);
    }
    qemu::adopt_overlay(part, cache_.path_of(image), image.format);
    grow_to(part, size);
    fs::rename(part, p.disk);
    discard.release();
  }

  link::AgentSide::Disk read_disk(const DiskOf& disk) override {
    const auto path = paths(disk.server, disk.number).disk;
    auto file = std::make_unique<FileSource>(path);
    return {fs::file_size(path), std::move(file)};
  }

  void remove_disk(const DiskOf& disk) override { fs::remove(paths(disk.server, disk.number).disk); }

  void write_config_drive(const ServerId& server, const std::vector<link::ConfigDriveFile>& files) override {
    const auto p = paths(server, 0);
    make_folder(p);
    std::map<std::string, std::string> content;
    for (const auto& file : files) content[file.path] = file.content;
    qemu::write_config_drive(p.config_drive, content);
  }

  void remove(const ServerId& server) override { fs::remove_all(paths(server, 0).folder); }

  GiB capacity() override {
    struct statvfs st;
    if (::statvfs(instances_.c_str(), &st) != 0) return GiB{0};
    return GiB{static_cast<uint64_t>(st.f_blocks) * st.f_frsize >> 30};
  }

 private:
  static void grow_to(const std::string& path, GiB size) {
    if (Bytes(size).count > qemu::probe_image(path).virtual_size) qemu::grow_image(path, "qcow2", size);
  }

  /// QEMU makes serial.sock in it under its own user, so the folder is that user's.
  static void make_folder(const ServerPaths& p) {
    fs::create_directories(p.folder);
    fs::permissions(p.folder, fs::perms(0711));
    give_to_qemu(p.folder);
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
