#include "image/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "base/log.h"

namespace virga::image {
namespace {

constexpr std::string_view kTemporary = ".part";
constexpr std::string_view kEpoch = "/.epoch";

Fault failure(std::string_view what) {
  return Fault(FaultKind::unavailable, fmt::format("The image store cannot {}: {}.", what, strerror(errno)),
               errno == ENOSPC ? "Free some space on the image store's disk." : "");
}

struct File {
  explicit File(int fd) : fd(fd) {}
  ~File() {
    if (fd >= 0) close(fd);
  }
  int fd;
};

}  // namespace

Store::Store(std::string directory) : directory_(std::move(directory)) {
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) throw failure("make its directory");
  int64_t seen = 0;
  std::ifstream(directory_ + std::string(kEpoch)) >> seen;
  seen_ = seen;
}

int64_t Store::seen_epoch() const { return seen_; }

void Store::see_epoch(int64_t epoch) {
  if (epoch <= seen_) return;
  std::lock_guard lock(mutex_);
  if (epoch <= seen_) return;
  const std::string path = directory_ + std::string(kEpoch), next = path + std::string(kTemporary);
  {
    const File file(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const std::string text = fmt::format("{}\n", epoch);
    if (file.fd < 0 || ::write(file.fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || fsync(file.fd) != 0)
      throw failure("note the database's epoch");
  }
  if (rename(next.c_str(), path.c_str()) != 0) throw failure("note the database's epoch");
  seen_ = epoch;
}

Store::Writer::Writer(const Store& store, std::string name)
    : directory_(store.directory_), temporary_(fmt::format("{}/{}{}", directory_, name, kTemporary)), final_(directory_ + "/" + name) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd_ < 0) throw failure("make a file");
}

Store::Writer::~Writer() {
  if (fd_ >= 0) close(fd_);
  if (!committed_) unlink(temporary_.c_str());
}

void Store::Writer::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw failure("write");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void Store::Writer::commit() {
  if (fsync(fd_) != 0) throw failure("write");
  if (rename(temporary_.c_str(), final_.c_str()) != 0) throw failure("rename a file");
  committed_ = true;
  const File directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.fd >= 0) fsync(directory.fd);
}

std::function<size_t(std::span<char>)> Store::open(const std::string& name, uint64_t offset, uint64_t length) const {
  const int fd = ::open((directory_ + "/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Fault(FaultKind::not_found, "The image's data is missing from the store.", "Upload it again.");
  auto file = std::make_shared<File>(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return [file, at = offset, left = length](std::span<char> buffer) mutable -> size_t {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), left));
    const ssize_t n = want == 0 ? 0 : pread(file->fd, buffer.data(), want, static_cast<off_t>(at));
    if (n < 0) throw failure("read");
    at += static_cast<uint64_t>(n);
    left -= static_cast<uint64_t>(n);
    return static_cast<size_t>(n);
  };
}

bool Store::has(const std::string& name) const { return !name.empty() && access((directory_ + "/" + name).c_str(), F_OK) == 0; }

void Store::remove(const std::string& name) const {
  if (!name.empty()) unlink((directory_ + "/" + name).c_str());
}

void Store::keep_only(const std::set<std::string>& keep) const {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory_.c_str()), closedir);
  if (!dir) return;
  std::vector<std::string> gone;
  while (const dirent* entry = readdir(dir.get()))
    if (entry->d_name[0] != '.' && !keep.contains(entry->d_name)) gone.emplace_back(entry->d_name);
  for (const auto& name : gone) {
    log::info("image store: removing {}, which no image names", name);
    remove(name);
  }
}

}  // namespace virga::image
