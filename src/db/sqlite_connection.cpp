#include "db/sqlite_connection.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/scope_exit.h"
#include "db/rows_builder.h"
#include "db/sqlite_wal_vfs.h"

namespace virga::db {
namespace {

// Created by us and not by SQLite, so that the file and its -wal and -shm are never readable by others.
void create_private_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    throw unavailable(fmt::format("The database file {} cannot be opened: {}.", path, strerror(errno)),
                      "Check that its folder exists and belongs to the user that virga runs as.");
  ::close(fd);
}

// "UNIQUE constraint failed: t.a, t.b" -> "t.a, t.b"
std::string after_colon(const char* message) {
  const char* colon = std::strstr(message, ": ");
  return colon ? colon + 2 : message;
}

void bind(sqlite3_stmt* s, int at, const Value& value) {
  const Value::Variant& v = value.get();
  if (const auto* text = std::get_if<std::string>(&v))
    sqlite3_bind_text64(s, at, text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8);
  else if (const auto* n = std::get_if<int64_t>(&v))
    sqlite3_bind_int64(s, at, *n);
  else if (const auto* d = std::get_if<double>(&v))
    sqlite3_bind_double(s, at, *d);
  else
    sqlite3_bind_null(s, at);
}

/// One value of a row. Asked of the value and not of the column, whose functions look it up anew each time; the
/// statement is used by one thread at a time, which such values need.
void add_column(RowsBuilder& rows, sqlite3_stmt* s, int i) {
  sqlite3_value* v = sqlite3_column_value(s, i);
  switch (sqlite3_value_type(v)) {
    case SQLITE_INTEGER: return rows.add(static_cast<int64_t>(sqlite3_value_int64(v)));
    case SQLITE_FLOAT: return rows.add(sqlite3_value_double(v));
    case SQLITE_NULL: return rows.add_null();
    default: {
      const auto* text = static_cast<const char*>(sqlite3_value_blob(v));
      return rows.add(std::string_view(text ? text : "", static_cast<size_t>(sqlite3_value_bytes(v))));
    }
  }
}

const char* hint_for(int primary) {
  switch (primary) {
    case SQLITE_FULL: return "Free space on the disk that holds the database; service resumes by itself.";
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return "Another program holds the database's lock; close it and try again.";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return "The database file is damaged; restore it from a backup.";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN: return "Check the owner and mode of the database file and of its folder.";
    case SQLITE_NOMEM: return "The process ran out of memory; free some and try again.";
    default: return "Look at the kernel log for disk errors; service resumes by itself once the disk works.";
  }
}

}  // namespace

SqliteConnection::SqliteConnection(const std::string& path, const std::string& vfs, Use use)
    : path_(path), use_(use) {
  if (use == Use::writer) create_private_file(path);
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, gathering_vfs(vfs).c_str());
  handle_.reset(raw);
  if (rc != SQLITE_OK) raise(rc);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, 5000);
  if (use == Use::writer) run("PRAGMA journal_mode = WAL");
  run("PRAGMA synchronous = FULL");  // and nothing less: see sqlite_wal_vfs.h
  run(use == Use::migration ? "PRAGMA foreign_keys = OFF" : "PRAGMA foreign_keys = ON");
  run("PRAGMA temp_store = MEMORY");
  run("PRAGMA case_sensitive_like = ON");
  run("PRAGMA cache_size = -8000");
  if (use == Use::reader) run("PRAGMA query_only = ON");
  // Checkpoints happen in the writer's idle moments, not inside somebody's commit. The hook must come
  // after any wal_autocheckpoint, which would replace it.
  sqlite3_wal_hook(
      raw,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SqliteConnection*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
}

sqlite3_stmt* SqliteConnection::prepare(std::string_view sql, const std::vector<Value>& parameters) {
  sqlite3_stmt* s = nullptr;
  if (Statement* cached = cache_.find(sql)) {
    s = cached->get();
  } else {
    const int rc = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &s, nullptr);
    if (rc != SQLITE_OK) raise(rc);
    if (!s) throw Fault(FaultKind::internal, "An SQL statement is empty.");
    cache_.add(sql, Statement(s));
  }
  if (sqlite3_bind_parameter_count(s) != static_cast<int>(parameters.size()))
    throw Fault(FaultKind::internal, fmt::format("An SQL statement takes {} parameters and got {}: {}",
                                                 sqlite3_bind_parameter_count(s), parameters.size(), sql));
  for (size_t i = 0; i < parameters.size(); ++i) bind(s, static_cast<int>(i) + 1, parameters[i]);
  return s;
}

Rows SqliteConnection::query(std::string_view sql, const std::vector<Value>& parameters) {
  sqlite3_stmt* s = prepare(sql, parameters);
  ScopeExit reset([s] { sqlite3_reset(s), sqlite3_clear_bindings(s); });
  // The first step may prepare the statement anew, so its columns are counted after it.
  int rc = sqlite3_step(s);
  const int n = sqlite3_column_count(s);
  RowsBuilder rows(static_cast<size_t>(n));
  for (; rc == SQLITE_ROW; rc = sqlite3_step(s))
    for (int i = 0; i < n; ++i) add_column(rows, s, i);
  if (rc != SQLITE_DONE) raise(rc);
  return rows.finish();
}

int64_t SqliteConnection::exec(std::string_view sql, const std::vector<Value>& parameters) {
  sqlite3_stmt* s = prepare(sql, parameters);
  ScopeExit reset([s] { sqlite3_reset(s), sqlite3_clear_bindings(s); });
  int rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
  }
  if (rc != SQLITE_DONE) raise(rc);
  return sqlite3_stmt_readonly(s) ? 0 : sqlite3_changes64(handle_.get());
}

void SqliteConnection::run(std::string_view sql) {
  const int rc = sqlite3_exec(handle_.get(), std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) raise(rc);
}

void SqliteConnection::raise(int code) {
  const std::string message = handle_ ? sqlite3_errmsg(handle_.get()) : sqlite3_errstr(code);
  switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID: throw UniqueViolation(after_colon(message.c_str()));
    case SQLITE_CONSTRAINT_FOREIGNKEY: throw ForeignKeyViolation("A row refers to one that is not there, or is referred to.");
    default: break;
  }
  const int primary = code & 0xff;
  if (primary == SQLITE_READONLY && use_ == Use::reader)
    throw Fault(FaultKind::internal, "A write was made in a read of the database.");
  switch (primary) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_NOMEM:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      engine_failed_ = true;
      throw unavailable(fmt::format("The database {} failed: {} (SQLite {}).", path_, message, code), hint_for(primary));
    default: throw Fault(FaultKind::internal, fmt::format("The database refused a statement: {} (SQLite {}).", message, code));
  }
}

bool SqliteConnection::rollback() noexcept {
  if (in_transaction()) sqlite3_exec(handle_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  return !in_transaction();
}

bool SqliteConnection::checkpoint(bool truncate) noexcept {
  const int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
  return sqlite3_wal_checkpoint_v2(handle_.get(), nullptr, mode, nullptr, nullptr) == SQLITE_OK;
}

void SqliteConnection::backup_to(const std::string& path) {
  const std::string part = path + ".part";
  ::unlink(part.c_str());
  create_private_file(part);
  {
    sqlite3* raw = nullptr;
    const int rc = sqlite3_open_v2(part.c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr);
    std::unique_ptr<sqlite3, Close> target(raw);
    sqlite3_backup* backup = rc == SQLITE_OK ? sqlite3_backup_init(raw, "main", handle_.get(), "main") : nullptr;
    const int step = backup ? sqlite3_backup_step(backup, -1) : SQLITE_ERROR;
    const int finished = backup ? sqlite3_backup_finish(backup) : SQLITE_ERROR;
    if (step != SQLITE_DONE || finished != SQLITE_OK) {
      const std::string why = raw ? sqlite3_errmsg(raw) : sqlite3_errstr(rc);
      ::unlink(part.c_str());
      throw unavailable(fmt::format("The database could not be backed up to {}: {}.", path, why),
                        "Free space in that folder; nothing was changed.");
    }
  }
  if (std::rename(part.c_str(), path.c_str()) != 0)
    throw unavailable(fmt::format("The backup {} could not be put in place: {}.", path, strerror(errno)), "");
}

}  // namespace virga::db
