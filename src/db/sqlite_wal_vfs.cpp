#include "db/sqlite_wal_vfs.h"

#include <sqlite3.h>

#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "db/api.h"

namespace virga::db {
namespace {

constexpr size_t kMost = 64 << 10;  ///< bytes of one write; SQLite's own files take less than 128 KiB at once

struct GatheringVfs : sqlite3_vfs {
  std::string name, base;
};

sqlite3_vfs* base_of(sqlite3_vfs* vfs) {
  const std::string& base = static_cast<GatheringVfs*>(vfs)->base;
  return sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
}

/// A log. The real file follows it in memory, as SQLite allocates both.
struct LogFile : sqlite3_file {
  std::string gathered;
  sqlite3_int64 at = 0;   ///< where `gathered` belongs
  bool gathers = false;  ///< else each write goes through

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }

  int flush() {
    if (gathered.empty()) return SQLITE_OK;
    const int rc = real()->pMethods->xWrite(real(), gathered.data(), static_cast<int>(gathered.size()), at);
    gathered.clear();  // also if that failed: the commit fails then, and its pages are written anew
    return rc;
  }
  int write(const void* data, int size, sqlite3_int64 offset) {
    if (!gathers) return real()->pMethods->xWrite(real(), data, size, offset);
    const bool follows = offset == at + static_cast<sqlite3_int64>(gathered.size());
    if (!gathered.empty() && (!follows || gathered.size() + static_cast<size_t>(size) > kMost))
      if (const int rc = flush(); rc != SQLITE_OK) return rc;
    if (gathered.empty()) at = offset;
    gathered.append(static_cast<const char*>(data), static_cast<size_t>(size));
    return SQLITE_OK;
  }
};

LogFile& log_of(sqlite3_file* f) { return *static_cast<LogFile*>(f); }

/// Calls `ask` of the real file, after what was gathered is in it.
template <class Ask>
int after_flush(sqlite3_file* f, Ask ask) {
  const int rc = log_of(f).flush();
  return rc == SQLITE_OK ? ask(log_of(f).real()) : rc;
}

int close_log(sqlite3_file* f) {
  LogFile& log = log_of(f);
  const int written = log.flush(), closed = log.real()->pMethods->xClose(log.real());
  log.~LogFile();
  return written == SQLITE_OK ? closed : written;
}

const sqlite3_io_methods kLogMethods = {
    1,
    &close_log,
    [](sqlite3_file* f, void* into, int n, sqlite3_int64 at) {
      return after_flush(f, [&](sqlite3_file* real) { return real->pMethods->xRead(real, into, n, at); });
    },
    [](sqlite3_file* f, const void* data, int n, sqlite3_int64 at) { return log_of(f).write(data, n, at); },
    [](sqlite3_file* f, sqlite3_int64 size) {
      return after_flush(f, [&](sqlite3_file* real) { return real->pMethods->xTruncate(real, size); });
    },
    [](sqlite3_file* f, int flags) {
      return after_flush(f, [&](sqlite3_file* real) { return real->pMethods->xSync(real, flags); });
    },
    [](sqlite3_file* f, sqlite3_int64* size) {
      return after_flush(f, [&](sqlite3_file* real) { return real->pMethods->xFileSize(real, size); });
    },
    [](sqlite3_file* f, int level) { return log_of(f).real()->pMethods->xLock(log_of(f).real(), level); },
    [](sqlite3_file* f, int level) { return log_of(f).real()->pMethods->xUnlock(log_of(f).real(), level); },
    [](sqlite3_file* f, int* out) { return log_of(f).real()->pMethods->xCheckReservedLock(log_of(f).real(), out); },
    [](sqlite3_file* f, int op, void* argument) {
      return after_flush(f, [&](sqlite3_file* real) { return real->pMethods->xFileControl(real, op, argument); });
    },
    [](sqlite3_file* f) { return log_of(f).real()->pMethods->xSectorSize(log_of(f).real()); },
    [](sqlite3_file* f) { return log_of(f).real()->pMethods->xDeviceCharacteristics(log_of(f).real()); },
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr};

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* f, int flags, int* out) {
  sqlite3_vfs* base = base_of(vfs);
  if (!base) return SQLITE_CANTOPEN;
  if (!(flags & SQLITE_OPEN_WAL)) return base->xOpen(base, path, f, flags, out);
  auto* log = new (f) LogFile;
  log->pMethods = nullptr;
  const int rc = base->xOpen(base, path, log->real(), flags, out);
  if (rc != SQLITE_OK) {
    log->~LogFile();
    return rc;
  }
  log->pMethods = &kLogMethods;
  // Without this a commit is padded to a whole sector, and what is behind its sync counts too.
  log->gathers = log->real()->pMethods->xDeviceCharacteristics(log->real()) & SQLITE_IOCAP_POWERSAFE_OVERWRITE;
  return SQLITE_OK;
}

}  // namespace

std::string gathering_vfs(const std::string& base) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<GatheringVfs>> all;
  std::lock_guard lock(mutex);
  auto& vfs = all[base];
  if (vfs) return vfs->name;
  const sqlite3_vfs* real = sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
  if (!real) throw Fault(FaultKind::internal, fmt::format("SQLite has no VFS {}.", base));
  vfs = std::make_unique<GatheringVfs>();
  static_cast<sqlite3_vfs&>(*vfs) = *real;
  vfs->name = "gathering-" + base;
  vfs->base = base;
  vfs->zName = vfs->name.c_str();
  vfs->pNext = nullptr;
  vfs->szOsFile = static_cast<int>(sizeof(LogFile)) + real->szOsFile;
  vfs->xOpen = &open_file;
  if (sqlite3_vfs_register(vfs.get(), 0) != SQLITE_OK) throw Fault(FaultKind::internal, "SQLite takes no VFS.");
  return vfs->name;
}

}  // namespace virga::db
