#include "host/image_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/crypto.h"
#include "base/log.h"
#include "base/scope_exit.h"
#include "host/file_sink.h"
#include "qemu/api.h"

namespace virga::host {
namespace {

constexpr std::string_view kPart = ".part";

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool has_checksum(const link::ImageRef& image) { return image.sha512.size() == 128 && is_hex(image.sha512); }

/// Writes, hashes and counts a download, which may begin with what an earlier one left.
class Download {
 public:
  Download(const std::string& path, uint64_t limit, bool go_on) : file_(path, go_on), limit_(limit) {
    std::ifstream left(path, std::ios::binary);
    std::string buffer(1 << 20, '\0');
    uint64_t hashed = 0;
    while (hashed < file_.size() && left.read(buffer.data(), static_cast<std::streamsize>(buffer.size())).gcount() > 0) {
      digest_->update({buffer.data(), static_cast<size_t>(left.gcount())});
      hashed += static_cast<uint64_t>(left.gcount());
    }
    if (hashed != file_.size() || (limit_ && hashed > limit_)) begin_again();
  }

  void add(uint64_t at, std::string_view bytes) {
    if (at == 0 && file_.size() != 0) begin_again();
    if (at != file_.size()) throw Fault(FaultKind::unavailable, "the image comes from another place than it was asked for");
    if (limit_ && file_.size() + bytes.size() > limit_)
      throw Fault(FaultKind::unprocessable, "the image is longer than its record says",
                  "Upload the image again and create the server anew.");
    digest_->update(bytes);
    file_.add(bytes);
  }
  /// On disk; returns the checksum.
  std::string finish() {
    file_.finish(0444);
    return digest_->finish_hex();
  }
  uint64_t size() const { return file_.size(); }

 private:
  void begin_again() {
    file_.empty();
    digest_.emplace("sha512");
  }

  FileSink file_;
  const uint64_t limit_;
  std::optional<Digest> digest_ = std::make_optional<Digest>("sha512");
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

/// All of it, verified; or what has come stays in `part`, if it ends only for now and can be verified later.
void receive(const std::string& part, const link::ImageRef& image, const FetchImage& fetch, bool go_on, bool& went_on) {
  ScopeExit discard([&] { ::unlink(part.c_str()); });
  Download download(part, image.size, go_on);
  went_on = download.size() > 0;
  if (went_on) log::info("image {}: goes on from {} of {} bytes", image.id.str(), download.size(), image.size);
  bool here = false;  // who fails: this host, or the way to the bytes
  try {
    fetch(image.id, download.size(), [&](uint64_t at, std::string_view bytes) {
      here = true;
      download.add(at, bytes);
      here = false;
    });
  } catch (const Fault& fault) {
    if (may_be_chance(fault.kind) && !here && has_checksum(image)) discard.release();
    throw;
  }
  const auto sha512 = download.finish();
  verify(download, sha512, part, image);
  discard.release();
}

}  // namespace

ImageCache::ImageCache(std::string folder) : folder_(std::move(folder)) {
  namespace fs = std::filesystem;
  fs::create_directories(folder_);
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (const auto& entry : fs::directory_iterator(folder_)) {
    std::error_code gone;
    if (entry.path().extension() == kPart && entry.last_write_time(gone) < yesterday) fs::remove(entry.path(), gone);
  }
}

std::string ImageCache::path_of(const link::ImageRef& image) const {
  return folder_ + "/" + (has_checksum(image) ? image.sha512 : image.id.str()) + ".img";
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
  const auto part = path + std::string(kPart);
  bool went_on = false;
  try {
    receive(part, image, fetch, has_checksum(image), went_on);
  } catch (const Fault& fault) {
    // If power was lost, what was left need not be what was written: it proves nothing of the image.
    if (!went_on || fault.kind != FaultKind::unprocessable) throw;
    log::warn("{}; what an earlier download left is thrown away", fault.message);
    receive(part, image, fetch, false, went_on);
  }
  if (::rename(part.c_str(), path.c_str()) != 0) throw cannot_write(path);
}

}  // namespace virga::host
