#include "host/file_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace virga::host {

Fault cannot_write(const std::string& path) {
  return Fault(FaultKind::unavailable, fmt::format("cannot write {}: {}", path, std::strerror(errno)),
               "Free some space on the host, or check the folder's permissions.");
}

FileSink::FileSink(const std::string& path, bool keep) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (keep ? 0 : O_TRUNC), 0600);
  if (fd_ < 0) throw cannot_write(path);
  struct stat st;
  if (::fstat(fd_, &st) == 0) size_ = static_cast<uint64_t>(st.st_size);
}

FileSink::~FileSink() {
  ::close(fd_);
}

void FileSink::add(std::string_view bytes) {
  size_ += bytes.size();
  while (!bytes.empty()) {
    const auto n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw cannot_write(path_);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void FileSink::empty() {
  if (::ftruncate(fd_, 0) != 0) throw cannot_write(path_);
  size_ = 0;
}

void FileSink::finish(unsigned mode) {
  if (::fdatasync(fd_) != 0 || ::fchmod(fd_, mode) != 0) throw cannot_write(path_);
}

}  // namespace virga::host
