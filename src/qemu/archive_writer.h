#pragma once
// libarchive under RAII: ISO 9660 images, newc archives and the files within a .deb.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

struct archive;

namespace virga::qemu {

class ArchiveWriter {
 public:
  /// `options` are libarchive's ("volume-id=config-2"); `gzip` compresses.
  ArchiveWriter(const std::string& path, const char* format, const std::string& options, bool gzip);
  ~ArchiveWriter();
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;

  void directory(const std::string& path, unsigned mode = 0755);
  void file(const std::string& path, std::string_view content, unsigned mode = 0644);
  void link(const std::string& path, const std::string& target);
  void device(const std::string& path, unsigned mode, unsigned major, unsigned minor);
  /// Call last: until then errors may be pending.
  void close();

 private:
  void check(int result);
  archive* archive_;
};

/// Unpacks a .deb's data: `place` maps a path within the package (without leading "./") to a path below
/// `directory`, or to
/// "" to leave it out. Directories are made as needed.
void unpack_deb(const std::string& deb, const std::string& directory,
                const std::function<std::string(const std::string&)>& place);

}  // namespace virga::qemu
