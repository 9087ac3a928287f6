#pragma once
// A file that is being received. Not thread-safe.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fault.h"

namespace virga::host {

/// "cannot write PATH: …", of errno.
Fault cannot_write(const std::string& path);

class FileSink {
 public:
  /// Creates the file, or empties it unless what it has is to be kept; mode 0600. Throws Fault(unavailable), as do the others.
  explicit FileSink(const std::string& path, bool keep = false);
  ~FileSink();
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  void add(std::string_view bytes);
  void empty();
  /// Onto the disk.
  void finish(unsigned mode);
  uint64_t size() const { return size_; }

 private:
  const std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace virga::host
