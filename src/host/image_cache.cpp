#include "host/image_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/crypto.h"
#include "base/log.h"
#include "base/scope_exit.h"
#include "host/file_sink.h"
#include "qemu/api.h"

namespace virga::host {
namespace {

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Writes, hashes and counts a download.
class Download {
 public:
  Download(const std::string& path, uint64_t limit) : file_(path), limit_(limit) {}

  void add(std::string_view bytes) {
    if (limit_ && file_.size() + bytes.size() > limit_)
      throw Fault(FaultKind::unprocessable, "the image is longer than its record says",
                  "Upload the image again and create the server anew.");
    digest_.update(bytes);
    file_.add(bytes);
  }
  /// On disk; returns the checksum.
  std::string finish() {
    file_.finish(0444);
    return digest_.finish_hex();
  }
  uint64_t size() const { return file_.size(); }

 private:
  FileSink file_;
  const uint64_t limit_;
  Digest digest_{"sha512"};
};

bool is_disk(const link::ImageRef& image) {
  return image.format != "aki" && image.format != "ari";
}

void verify(const Download& download, const std::string& sha512, const std::string& path,
            const link::ImageRef& image) {
  if (image.size && download.size() != image.size)
    // A connection that broke throws in the fetch: this is what the store has.
    throw Fault(FaultKind::unprocessable,
                fmt::format("image {} is damaged in the image store: it has {} of {} bytes", image.id.str(),
                            download.size(), image.size),
                "Upload the image again and create the server anew.");
  if (!image.sha512.empty() && sha512 != image.sha512)
    throw Fault(FaultKind::unprocessable, fmt::format("image {} does not match its checksum", image.id.str()),
                "Upload the image again and create the server anew.");
  if (!is_disk(image)) return;
  try {
    qemu::require_bootable(qemu::probe_image(path), image.format);
  } catch (const Fault& fault) {
    throw Fault(FaultKind::unprocessable, fmt::format("image {}: {}", image.id.str(), fault.message),
                fault.hint);
  }
}

}  // namespace

ImageCache::ImageCache(std::string folder) : folder_(std::move(folder)) {
  std::filesystem::create_directories(folder_);
}

std::string ImageCache::path_of(const link::ImageRef& image) const {
  const bool by_content = image.sha512.size() == 128 && is_hex(image.sha512);
  return folder_ + "/" + (by_content ? image.sha512 : image.id.str()) + ".img";
}

std::shared_ptr<std::mutex> ImageCache::lock_of(const std::string& path) {
  std::lock_guard lock(mutex_);
  std::erase_if(busy_, [](const auto& entry) { return entry.second.expired(); });
  auto& weak = busy_[path];
  auto strong = weak.lock();
  if (!strong) weak = strong = std::make_shared<std::mutex>();
  return strong;
}

std::string ImageCache::ensure(const link::ImageRef& image, const FetchImage& fetch) {
  const auto path = path_of(image);
  const auto one = lock_of(path);
  std::lock_guard lock(*one);
  struct stat st;
  if (::stat(path.c_str(), &st) == 0) {
    if (!image.size || static_cast<uint64_t>(st.st_size) == image.size) return path;
    log::error("image {}: {} has {} bytes instead of {}: fetching it again", image.id.str(), path, st.st_size,
               image.size);
  }
  fetch_to(path, image, fetch);
  return path;
}

void ImageCache::fetch_to(const std::string& path, const link::ImageRef& image, const FetchImage& fetch) {
  const auto part = path + ".part";
  ScopeExit discard([&] { ::unlink(part.c_str()); });
  {
    Download download(part, image.size);
    fetch(image.id, [&](std::string_view bytes) { download.add(bytes); });
    const auto sha512 = download.finish();
    verify(download, sha512, part, image);
  }
  if (::rename(part.c_str(), path.c_str()) != 0) throw cannot_write(path);
  discard.release();
}

}  // namespace virga::host
