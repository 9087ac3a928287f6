#pragma once
// SQLite's C API as a Connection: handles owned, result codes turned into faults.

#include <sqlite3.h>

#include <memory>
#include <string>

#include "db/connection.h"
#include "db/statement_cache.h"

namespace virga::db {

class SqliteConnection final : public Connection {
 public:
  enum class Use { reader, writer, migration };
  /// Opens the file; the writer creates it, mode 0600, in WAL mode.
  SqliteConnection(const std::string& path, const std::string& vfs, Use use);

  Rows query(std::string_view sql, const std::vector<Value>& parameters) override;
  int64_t exec(std::string_view sql, const std::vector<Value>& parameters) override;
  void run(std::string_view sql) override;
  Dialect dialect() const override { return Dialect::sqlite; }

  /// True between BEGIN and its end. SQLite ends a transaction by itself on some I/O errors.
  bool in_transaction() const { return sqlite3_get_autocommit(handle_.get()) == 0; }
  /// True once a statement failed because of the engine (disk, file, memory) and not of what it asked.
  bool engine_failed() const { return engine_failed_; }
  void forget_failure() { engine_failed_ = false; }
  /// Ends a transaction that may or may not be open any more. False if even that fails.
  bool rollback() noexcept;
  /// Pages in the write-ahead log after the last commit.
  int wal_pages() const { return wal_pages_; }
  /// Moves the log into the file as far as readers allow; `truncate` waits for them and empties the log.
  bool checkpoint(bool truncate) noexcept;
  /// Copies the whole database into a new file (mode 0600), atomically replacing it.
  void backup_to(const std::string& path);

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  sqlite3_stmt* prepare(std::string_view sql, const std::vector<Value>& parameters);
  [[noreturn]] void raise(int code);

  std::string path_;
  Use use_;
  std::unique_ptr<sqlite3, Close> handle_;
  StatementCache<Statement> cache_{256};
  bool engine_failed_ = false;
  int wal_pages_ = 0;
};

}  // namespace virga::db
