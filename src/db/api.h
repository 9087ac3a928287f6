#pragma once
// The database: the only truth of the cloud.
//
// One `Database` per process, over SQLite (one file, WAL) or MariaDB (anything that speaks its protocol). SQL in the
// rest of the program is portable between both, with `?` for each parameter; values are text, integers, reals, null.
//
// Reads run on pooled connections, each in a snapshot of its own. A write is a *re-runnable closure without side
// effects*: on SQLite one writer thread runs closures as savepoints of a shared outer transaction (group commit) and
// answers each after the shared commit is durable; on MariaDB closures run concurrently (each statement sees what is
// committed by then: READ COMMITTED), and again on deadlock
// (1213, 1205), and once if a constraint refused what they had not seen. So a closure may run more than once, and must only touch its Tx and its own captures, assigning
// captures afresh each time. A thrown exception rolls back that closure alone and reaches the caller. (On MariaDB a
// read too runs again if its connection was lost.) A read or write from inside a closure or an after_commit hook of
// the same Database throws Fault(internal): it would wait for itself.
//
// Portable SQL: MariaDB sessions run with ANSI_QUOTES, PIPES_AS_CONCAT, NO_BACKSLASH_ESCAPES and strict mode; SQLite
// with case-sensitive LIKE and foreign keys on. Lengths of VARCHAR(n) are held by MariaDB alone: validate before.
//
// Errors: Fault(unavailable) with hint when the engine fails (disk full, I/O error, lost connection): nothing of the
// closure is written. UniqueViolation and ForeignKeyViolation when a constraint refuses.
//
// Threads: Database is thread-safe. Tx and Row belong to the thread and the call that got them.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/fault.h"
#include "base/ids.h"
#include "db/url.h"

namespace virga::db {

/// One SQL value. Anything convertible is taken: integers, bool (0/1), text, Id<>, Time, optional<>, nullptr.
class Value {
 public:
  using Variant = std::variant<std::nullptr_t, int64_t, double, std::string>;
  Value(std::nullptr_t = nullptr) : v_(nullptr) {}
  template <class T>
    requires std::is_integral_v<T>
  Value(T v) : v_(static_cast<int64_t>(v)) {}
  Value(double v) : v_(v) {}
  Value(const char* v) : v_(std::string(v)) {}
  Value(std::string v) : v_(std::move(v)) {}
  Value(std::string_view v) : v_(std::string(v)) {}
  Value(Time t) : v_(to_db(t)) {}
  template <class Tag>
  Value(const Id<Tag>& id) : v_(id.str()) {}
  template <class T>
  Value(const std::optional<T>& v) : Value(v ? Value(*v) : Value(nullptr)) {}

  const Variant& get() const { return v_; }
  Variant& get() { return v_; }
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(v_); }

 private:
  Variant v_;
};

/// A unique key refused a row. `constraint` is the engine's name of it (index or column list).
struct UniqueViolation : Fault {
  explicit UniqueViolation(std::string constraint)
      : Fault(FaultKind::conflict, "A row with that key exists: " + constraint), constraint(std::move(constraint)) {}
  std::string constraint;
};

/// A foreign key refused a row or its removal.
struct ForeignKeyViolation : Fault {
  explicit ForeignKeyViolation(std::string what) : Fault(FaultKind::conflict, std::move(what)) {}
};

/// One row of a result; columns by position, in the order of the SELECT list. Cheap to copy: all rows of a result share
/// one block of memory, which lives as long as any of them.
class Row {
 public:
  /// What a result is gathered in, by the engines' connections.
  struct Cell {
    enum class Type : uint8_t { null, integer, real, text } type = Type::null;
    uint32_t size = 0;  ///< of a text
    union {
      int64_t integer = 0;
      double real;
      size_t offset;  ///< of a text in Block::text
    };
  };
  struct Block {
    std::vector<Cell> cells;
    std::string text;
  };

  Row(std::shared_ptr<const Block> block, size_t first, size_t size)
      : block_(std::move(block)), first_(static_cast<uint32_t>(first)), size_(static_cast<uint32_t>(size)) {}
  size_t size() const { return size_; }
  bool is_null(size_t i) const { return cell(i).type == Cell::Type::null; }
  /// Text; "" for null; numbers are rendered.
  std::string text(size_t i) const;
  /// Integer; 0 for null; text is parsed.
  int64_t integer(size_t i) const;
  double real(size_t i) const;
  bool boolean(size_t i) const { return integer(i) != 0; }
  std::optional<std::string> maybe_text(size_t i) const;
  std::optional<int64_t> maybe_integer(size_t i) const;
  /// Text without a copy, valid as long as the row; "" for null; Fault(internal) if the column is a number.
  std::string_view view(size_t i) const;
  template <class I>
  I id(size_t i) const {
    return I(text(i));
  }

 private:
  const Cell& cell(size_t i) const;
  std::string_view text_of(const Cell& c) const { return {block_->text.data() + c.offset, c.size}; }

  std::shared_ptr<const Block> block_;
  uint32_t first_, size_;
};
using Rows = std::vector<Row>;

enum class Dialect { sqlite, mariadb };

/// A connection inside a transaction.
class Tx {
 public:
  virtual ~Tx() = default;
  virtual Rows query(std::string_view sql, const std::vector<Value>& parameters) = 0;
  /// Number of rows changed (matched rows, also on MariaDB: CLIENT_FOUND_ROWS).
  virtual int64_t exec(std::string_view sql, const std::vector<Value>& parameters) = 0;
  virtual Dialect dialect() const = 0;
  /// Runs after this transaction is durable, on the committing thread, never if it rolled back. Must be quick and not throw.
  virtual void after_commit(std::function<void()> wake) = 0;

  template <class... Args>
  Rows query(std::string_view sql, const Args&... args) {
    return query(sql, std::vector<Value>{Value(args)...});
  }
  template <class... Args>
  int64_t exec(std::string_view sql, const Args&... args) {
    return exec(sql, std::vector<Value>{Value(args)...});
  }
  /// First row, if any.
  std::optional<Row> first(std::string_view sql, const std::vector<Value>& parameters) {
    Rows rows = query(sql, parameters);
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
  }
  template <class... Args>
  std::optional<Row> first(std::string_view sql, const Args&... args) {
    return first(sql, std::vector<Value>{Value(args)...});
  }
};

struct Options {
  /// "sqlite:///var/lib/virga/virga.db" or "mariadb://user:password@host:port/database" (or ?socket=/path).
  std::string url;
  int readers = 4;       ///< pooled read connections (SQLite), and on MariaDB connections for reads, and as many for writes (at least 8)
  int group_limit = 64;  ///< closures in one commit
};

/// What a Database has done since it was opened.
struct Stats {
  uint64_t commits = 0;   ///< write transactions made durable
  uint64_t closures = 0;  ///< write closures answered, with success or not
  uint64_t reruns = 0;    ///< closures run again after a deadlock or a lost connection
  uint64_t queued = 0;    ///< write closures waiting for the writer now (SQLite)
};

/// A numbered schema step; see migrations/. `sql` holds statements that each end with ";\n".
struct Migration {
  int number;
  std::string_view name;
  std::string_view sql;
};
/// All migrations that this binary knows, in order (generated from src/db/migrations).
const std::vector<Migration>& migrations();

class Database {
 public:
  virtual ~Database() = default;

  /// Runs `f(Tx&)` in a snapshot. Writes in it are refused.
  template <class F>
  auto read(F&& f) -> std::invoke_result_t<F, Tx&> {
    return call(std::forward<F>(f), [this](const std::function<void(Tx&)>& body) { run_read(body); });
  }
  /// Runs `f(Tx&)` as a write (see above) and returns when it is durable.
  template <class F>
  auto write(F&& f) -> std::invoke_result_t<F, Tx&> {
    return call(std::forward<F>(f), [this](const std::function<void(Tx&)>& body) { run_write(body); });
  }

  virtual Dialect dialect() const = 0;
  /// Brings the schema to this binary's version: backs an older SQLite file up first (FILE.bak-NNNN); throws
  /// Fault(conflict) with a hint if the schema is newer than this binary. Restartable after a crash at any point. On
  /// MariaDB it makes the database if the server has none of that name and the user may.
  virtual void migrate(const std::vector<Migration>& to = migrations()) = 0;
  /// Number of the last migration applied; 0 for an empty database, and on MariaDB for one that migrate() would make.
  virtual int schema_version() = 0;
  virtual Stats stats() const = 0;

 protected:
  virtual void run_read(const std::function<void(Tx&)>& body) = 0;
  virtual void run_write(const std::function<void(Tx&)>& body) = 0;

 private:
  template <class F, class Run>
  static auto call(F&& f, Run&& run) -> std::invoke_result_t<F, Tx&> {
    using R = std::invoke_result_t<F, Tx&>;
    if constexpr (std::is_void_v<R>) {
      run([&](Tx& tx) { f(tx); });
    } else {
      std::optional<R> result;
      run([&](Tx& tx) { result.emplace(f(tx)); });
      return std::move(*result);
    }
  }
};

/// Opens the database (creates the SQLite file, mode 0600). Does not migrate.
std::unique_ptr<Database> open(const Options& options);

/// " FOR UPDATE" where the engine knows it (MariaDB); "" on SQLite, whose write closures are alone anyway.
std::string_view for_update(const Tx& tx);

/// The database's own time, the same for all controllers: what leases are measured by.
Time database_now(Tx& tx);

// ---- the cloud's epoch
//
// A number in the database that only grows, at each connection of a host and every half minute while hosts are
// connected. Whatever the database rules over (hosts, OVN's database, the image store) remembers the highest it has
// seen. One that has seen a later epoch than the database's shows that the database is older: restored from a backup.
// Then nothing is taken away there, and the epoch stands still, or it would catch up by itself, until the operator
// accepts the older database.

int64_t cloud_epoch(Tx& tx);
void grow_epoch(Tx& tx);
/// True if `seen` shows that the database is older, or something else has shown it before. It is remembered.
bool is_older_than(Tx& tx, int64_t seen);
/// The same without a new proof, for reads.
bool is_known_older(Tx& tx);
/// The operator takes the older database for the truth: its epoch passes all that was seen. False if it is not older.
bool accept_as_newest(Tx& tx);

/// "?, ?, ?" for `n` parameters of an IN list.
std::string placeholders(size_t n);

}  // namespace virga::db
