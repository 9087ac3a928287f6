#pragma once
// For tests: an SQLite VFS that passes everything to the default one, and fails the Nth write or sync when asked to.

#include <sqlite3.h>

#include <atomic>
#include <cstring>
#include <string>

namespace virga::db {

class FaultVfs {
 public:
  explicit FaultVfs(std::string name) : name_(std::move(name)), base_(sqlite3_vfs_find(nullptr)) {
    vfs_ = *base_;
    vfs_.zName = name_.c_str();
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + base_->szOsFile;
    vfs_.pAppData = this;
    vfs_.xOpen = &FaultVfs::open;
    sqlite3_vfs_register(&vfs_, 0);
  }
  ~FaultVfs() { sqlite3_vfs_unregister(&vfs_); }
  FaultVfs(const FaultVfs&) = delete;

  /// The `nth` write (1 = the next) writes half of its bytes and fails with `code`, as all later ones do, until healed.
  void fail_writes(int nth, int code) { write_code_ = code, writes_left_ = nth; }
  void fail_syncs(int nth, int code) { sync_code_ = code, syncs_left_ = nth; }
  void heal() { writes_left_ = syncs_left_ = 0, torn_ = false; }
  int writes() const { return writes_; }
  int syncs() const { return syncs_; }

 private:
  struct File {
    sqlite3_file head;
    FaultVfs* self;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File& of(sqlite3_file* f) { return *reinterpret_cast<File*>(f); }
  static const sqlite3_io_methods& real(sqlite3_file* f) { return *of(f).real()->pMethods; }

  // Counts down to 1 and stays there: from then on everything fails.
  static bool strikes(std::atomic<int>& left) {
    const int n = left;
    if (n > 1) --left;
    return n == 1;
  }
  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* f, int flags, int* out) {
    auto* self = static_cast<FaultVfs*>(vfs->pAppData);
    of(f).self = self;
    f->pMethods = nullptr;
    const int rc = self->base_->xOpen(self->base_, path, of(f).real(), flags, out);
    if (rc == SQLITE_OK) f->pMethods = methods();
    return rc;
  }
  static int write(sqlite3_file* f, const void* data, int n, sqlite3_int64 at) {
    FaultVfs& self = *of(f).self;
    ++self.writes_;
    if (!strikes(self.writes_left_)) return real(f).xWrite(of(f).real(), data, n, at);
    if (!self.torn_.exchange(true)) real(f).xWrite(of(f).real(), data, n / 2, at);
    return self.write_code_;
  }
  static int sync(sqlite3_file* f, int flags) {
    FaultVfs& self = *of(f).self;
    ++self.syncs_;
    return strikes(self.syncs_left_) ? self.sync_code_.load() : real(f).xSync(of(f).real(), flags);
  }
  static const sqlite3_io_methods* methods() {
    using F = sqlite3_file*;
    using I = sqlite3_int64;
    static const sqlite3_io_methods m = {
        2,
        [](F f) { return real(f).xClose(of(f).real()); },
        [](F f, void* d, int n, I at) { return real(f).xRead(of(f).real(), d, n, at); },
        &FaultVfs::write,
        [](F f, I n) { return real(f).xTruncate(of(f).real(), n); },
        &FaultVfs::sync,
        [](F f, I* n) { return real(f).xFileSize(of(f).real(), n); },
        [](F f, int l) { return real(f).xLock(of(f).real(), l); },
        [](F f, int l) { return real(f).xUnlock(of(f).real(), l); },
        [](F f, int* o) { return real(f).xCheckReservedLock(of(f).real(), o); },
        [](F f, int op, void* a) { return real(f).xFileControl(of(f).real(), op, a); },
        [](F f) { return real(f).xSectorSize(of(f).real()); },
        [](F f) { return real(f).xDeviceCharacteristics(of(f).real()); },
        [](F f, int p, int s, int e, void volatile** o) { return real(f).xShmMap(of(f).real(), p, s, e, o); },
        [](F f, int o, int n, int l) { return real(f).xShmLock(of(f).real(), o, n, l); },
        [](F f) { real(f).xShmBarrier(of(f).real()); },
        [](F f, int d) { return real(f).xShmUnmap(of(f).real(), d); },
        nullptr,
        nullptr};
    return &m;
  }

  const std::string name_;
  sqlite3_vfs* base_;
  sqlite3_vfs vfs_;
  std::atomic<int> writes_left_{0}, syncs_left_{0}, write_code_{0}, sync_code_{0}, syncs_{0}, writes_{0};
  std::atomic<bool> torn_{false};
};

}  // namespace virga::db
