#pragma once
// The files of servers on this host: what the agent needs of disks. LocalStorage keeps them in
// instances_dir/<server id>/ (disk, disk.config, console.log, serial.sock) on base images in a cache; the
// fake keeps nothing, so that a bench with 100,000 servers touches no disk.
//
// All calls block, are thread-safe and may be repeated. They throw Fault: kinds unavailable, timeout and
// internal are worth another try, any other is for ever (a broken image).

#include <functional>
#include <memory>
#include <set>

#include "host/hypervisor.h"
#include "link/api.h"

namespace virga::host {

/// Whether what a Fault of this kind says is expected to pass by itself: somebody is away, or slow.
constexpr bool may_heal(FaultKind kind) { return kind == FaultKind::unavailable || kind == FaultKind::timeout; }
/// Whether it may be otherwise when it is tried again: that, or a failure of unknown cause.
constexpr bool may_be_chance(FaultKind kind) { return may_heal(kind) || kind == FaultKind::internal || kind == FaultKind::bad_gateway; }

struct ServerFiles {
  bool any = false;  ///< its folder is there
  bool disk = false, config_drive = false;
  std::set<int64_t> disks;  ///< root disks that are there, by number
};
struct ServerPaths {
  std::string folder, disk, config_drive, console_log, serial_socket;
};

/// Streams an image from the controller into a sink, from this byte on.
using FetchImage = std::function<void(const ImageId&, uint64_t from, const link::ImageSink&)>;
/// Streams a disk from the host that has it into a sink.
using FetchDisk = std::function<void(const std::function<void(std::string_view)>&)>;

/// Root disks have numbers (link::DesiredServer::disk): each is a file of its own.
struct DiskOf {
  ServerId server;
  int64_t number = 0;
};

class Storage {
 public:
  virtual ~Storage() = default;
  /// `disk` tells which of its root disks is asked for.
  virtual ServerFiles look(const ServerId& server, int64_t disk = 0) = 0;
  virtual std::vector<ServerId> servers() = 0;  ///< whose files are here
  virtual ServerPaths paths(const ServerId& server, int64_t disk = 0) = 0;
  /// The image's file in the cache, fetched if it is absent or damaged, verified.
  virtual std::string ensure_image(const link::ImageRef& image, const FetchImage& fetch) = 0;
  /// Root disk as an overlay on the cached image, at least `size` large.
  virtual void create_disk(const DiskOf& disk, const link::ImageRef& image, GiB size) = 0;
  /// Root disk as a copy of another one that is here, or of one that is fetched; grown to `size`. What comes from
  /// another host is not trusted: it must be an overlay on `image` and name no other file.
  virtual void copy_disk(const DiskOf& disk, int64_t from, GiB size) = 0;
  virtual void receive_disk(const DiskOf& disk, const link::ImageRef& image, GiB size, const FetchDisk& fetch) = 0;
  /// To send it to another host. Throws Fault(not_found).
  virtual link::AgentSide::Disk read_disk(const DiskOf& disk) = 0;
  virtual void remove_disk(const DiskOf& disk) = 0;
  virtual void write_config_drive(const ServerId& server,
                                  const std::vector<link::ConfigDriveFile>& files) = 0;
  virtual void remove(const ServerId& server) = 0;
  virtual GiB capacity() = 0;
};

std::unique_ptr<Storage> make_local_storage(const std::string& instances_dir,
                                            const std::string& image_cache_dir);

}  // namespace virga::host
