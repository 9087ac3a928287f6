#include "host/image_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/crypto.h"
#include "base/log.h"
#include "base/scope_exit.h"
#include "qemu/api.h"

namespace virga::host {
namespace {

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Fault io_fault(const std::string& path) {
  return Fault(FaultKind::unavailable, fmt::format("cannot write {}: {}", path, std::strerror(errno)),
               "Free some space on the host, or check the folder's permissions.");
}

/// Writes, hashes and counts a download.
class Download {
 public:
  Download(const std::string& path, uint64_t limit) : path_(path), limit_(limit) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0) throw io_fault(path);
  }
  ~Download() { ::close(fd_); }
  Download(const Download&) = delete;
  Download& operator=(const Download&) = delete;

  void add(std::string_view bytes) {
    size_ += bytes.size();
    if (limit_ && size_ > limit_)
      throw Fault(FaultKind::unprocessable, "the image is longer than its record says",
                  "Upload the image again and create the server anew.");
    digest_.update(bytes);
    while (!bytes.empty()) {
      const auto n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) throw io_fault(path_);
      bytes.remove_prefix(n);
    }
  }
  /// On disk; returns the checksum.
  std::string finish() {
    if (::fdatasync(fd_) != 0) throw io_fault(path_);
    ::fchmod(fd_, 0444);
    return digest_.finish_hex();
  }
  uint64_t size() const { return size_; }

 private:
  const std::string path_;
  const uint64_t limit_;
  int fd_ = -1;
  uint64_t size_ = 0;
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
  return folder_ + "/" + (by_content ? image.sha512 : image.id.str());
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
  if (::rename(part.c_str(), path.c_str()) != 0) throw io_fault(path);
  discard.release();
}

}  // namespace virga::host
