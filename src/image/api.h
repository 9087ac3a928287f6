#pragma once
// Image: the Image API v2. Metadata in rows, bytes in a store directory (content written to a temporary name, fsynced,
// renamed; the row turns active in one transaction after it). What the bytes really are is recorded at upload by our
// own header parsers (src/qemu), and boot insists on it.
//
// With several controllers each has a store of its own. An upload is kept where it arrived; which controllers have it stands in
// a table. Who needs bytes that it has not fetches them from one that has, verifies and keeps them, so that in time each
// has all of them.
//
// Threads: everything here is thread-safe.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "api/api.h"
#include "base/clock.h"
#include "base/ids.h"
#include "controllers/api.h"
#include "db/api.h"

namespace virga::image {

/// What compute needs to boot from an image.
struct BootImage {
  ImageId id;
  std::string name, status, owner, visibility;
  std::string disk_format;      ///< declared: "qcow2", "raw", "aki", "ari", …
  std::string detected_format;  ///< what the bytes are
  std::string problem;          ///< not empty: why it may not boot (mismatch, names another file, …)
  uint64_t size = 0;            ///< bytes stored
  uint64_t virtual_size = 0;    ///< bytes of the disk it describes
  int64_t min_disk_gb = 0, min_ram_mb = 0;
  std::string sha512;
  std::string kernel_id, ramdisk_id;  ///< properties, or ""
  json::object properties;      ///< all custom properties
};

class Images {
 public:
  virtual ~Images() = default;
  virtual api::Service& service() = 0;
  /// The image if the caller may see it; nullopt otherwise (also for deleted ones).
  virtual std::optional<BootImage> find(db::Tx& tx, const ImageId& id, const api::Caller& caller) = 0;
  /// The same without a caller: for kernels and ramdisks and for agents.
  virtual std::optional<BootImage> find(db::Tx& tx, const ImageId& id) = 0;
  /// Opens the bytes, from this one on. Reader returns bytes read, 0 at the end. Throws Fault(not_found), or
  /// Fault(range_not_satisfiable) if there are not so many.
  virtual std::function<size_t(std::span<char>)> open_data(const ImageId& id, uint64_t from = 0) = 0;
  /// Removes bytes that no row names and rows whose upload was cut off. Called at start. Of a database that is older
  /// than the store it believes no absence: all bytes stay.
  virtual void collect_garbage() = 0;
  /// The bytes of an upload that this controller has, for another one. Throws Fault(not_found).
  virtual std::function<size_t(std::span<char>)> open_upload(const std::string& upload) {
    throw Fault(FaultKind::not_found, "There is no upload " + upload + ".");
  }
  /// With several controllers: removes what was deleted on others, ends uploads whose controller died. To be called now and then.
  virtual void look_around() {}
  /// Fetches one image that others have and this controller has not; false if there is none. May take long.
  virtual bool fetch_one() { return false; }
};

struct Options {
  std::string store_dir;            ///< /var/lib/virga/images
  uint64_t max_image_bytes = 1ull << 40;
  /// With several controllers: who they are, and a way to an upload's bytes on the one whose link has that address.
  const controllers::Controllers* controllers = nullptr;
  std::function<void(const std::string& address, const std::string& upload, const std::function<void(std::string_view)>& sink)> fetch = {};
};

std::unique_ptr<Images> make_images(Options options, db::Database& database, const Clock& clock);

}  // namespace virga::image
