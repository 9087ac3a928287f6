#pragma once
// Where image bytes stand: one file an upload, named by the upload's id. A file appears only when it is whole (written
// to a temporary name, fsynced, renamed), so a crash leaves at worst a temporary file, which start-up removes. The
// file .epoch has the newest epoch of the database that it knows (db/api.h).

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace virga::image {

class Store {
 public:
  explicit Store(std::string directory);

  /// Writes one file. Destroyed without commit, nothing is left.
  class Writer {
   public:
    Writer(const Store& store, std::string name);
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    /// Throws Fault(unavailable) when the disk is full.
    void write(std::string_view bytes);
    /// fsync, rename, fsync of the directory.
    void commit();

   private:
    std::string directory_, temporary_, final_;
    int fd_;
    bool committed_ = false;
  };

  /// Reads from `offset` at most `length` bytes. The file stays readable after a removal. Throws Fault(not_found).
  std::function<size_t(std::span<char>)> open(const std::string& name, uint64_t offset = 0, uint64_t length = UINT64_MAX) const;
  bool has(const std::string& name) const;
  void remove(const std::string& name) const;
  /// Removes temporary files and all files not in `keep`.
  void keep_only(const std::set<std::string>& keep) const;

  int64_t seen_epoch() const;
  /// Durable when it returns; older ones are ignored. Throws Fault(unavailable).
  void see_epoch(int64_t epoch);

 private:
  std::string directory_;
  std::mutex mutex_;
  std::atomic<int64_t> seen_{0};
};

}  // namespace virga::image
