#pragma once
// Base images on this host, one file per content (sha512) or, without a checksum, per image. A file appears
// under its name only whole, verified and read-only; overlays of servers stand on it, so it is never changed
// and never removed here. Its name ends in .img, because AppArmor lets libvirt's virt-aa-helper read backing
// files by such names only; else a guest may not open its base. A file whose size is not the image's
// (truncated on disk) is fetched again under the same name.
//
// What a broken connection, or the end of the agent, left of an image that has a checksum stays beside it (.part): the next
// try goes on from there. If nobody asks for it within a day, the agent's next start removes it.

#include "host/storage.h"

namespace virga::host {

class ImageCache {
 public:
  explicit ImageCache(std::string folder);
  std::string path_of(const link::ImageRef& image) const;
  /// Two servers that need the same image fetch it once.
  std::string ensure(const link::ImageRef& image, const FetchImage& fetch);

 private:
  void fetch_to(const std::string& path, const link::ImageRef& image, const FetchImage& fetch);
  std::shared_ptr<std::mutex> lock_of(const std::string& path);

  const std::string folder_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<std::mutex>> busy_;
};

}  // namespace virga::host
