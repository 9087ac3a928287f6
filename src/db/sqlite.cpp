#include "db/sqlite.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "db/migrate.h"
#include "db/pool.h"
#include "db/sqlite_connection.h"

namespace virga::db {
namespace {

/// A write that waits for its commit; lives on its caller's stack.
struct Job {
  const std::function<void(Tx&)>& body;
  std::vector<std::function<void()>> hooks;
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;

  void finish() {
    // Notified under the lock: the caller may destroy the job as soon as it can take the lock.
    std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done; });
  }
};

/// Connection of the writer, and the thread that runs queued closures as savepoints of shared transactions.
class Writer {
 public:
  Writer(std::function<std::unique_ptr<SqliteConnection>()> open, size_t group_limit, const void* database)
      : open_(std::move(open)), group_limit_(std::max<size_t>(1, group_limit)), database_(database),
        connection_(open_()), thread_([this] { loop(); }) {}
  ~Writer() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    arrived_.notify_one();
    thread_.join();
  }

  void run(const std::function<void(Tx&)>& body) {
    Job job{body, {}, {}, {}, {}};
    {
      std::lock_guard lock(mutex_);
      if (stopping_) throw unavailable("The database is closing.", "Try again after the restart.");
      queue_.push_back(&job);
    }
    arrived_.notify_one();
    job.wait();
    if (job.error) std::rethrow_exception(job.error);
  }

  Stats stats() const {
    std::lock_guard lock(mutex_);
    return {commits_, closures_, 0, queue_.size()};
  }

 private:
  Job* next(bool wait) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return stopping_ || !queue_.empty(); };
    if (wait && suspect_log_)
      arrived_.wait_for(lock, std::chrono::milliseconds(200), ready);
    else if (wait)
      arrived_.wait(lock, ready);
    if (queue_.empty()) return nullptr;
    Job* job = queue_.front();
    queue_.pop_front();
    return job;
  }

  void loop() {
    for (;;) {
      if (Job* first = next(true)) {
        run_group(first);
        tidy_log();
      } else if (suspect_log_ && !stopping()) {
        heal_log();
      } else if (stopping()) {
        return;
      }
    }
  }
  bool stopping() const {
    std::lock_guard lock(mutex_);
    return stopping_;
  }

  // A commit whose sync failed is rolled back, but its frames may stand in the log, and a crash would bring them back
  // to life. So the log is emptied as soon as the disk works again, without waiting for the next write.
  void heal_log() noexcept {
    try {
      if (!connection_) connection_ = open_();
      suspect_log_ = !connection_->checkpoint(true);
    } catch (const std::exception&) {  // the disk still fails; tried again soon
    }
  }

  void run_group(Job* first) {
    NestingGuard guard(database_);
    std::vector<Job*> members;
    try {
      begin();
      for (Job* job = first; job; job = members.size() < group_limit_ ? next(false) : nullptr) {
        members.push_back(job);
        run_member(*job);
      }
      connection_->run("COMMIT");
    } catch (...) {
      if (members.empty()) members.push_back(first);
      abandon(members, std::current_exception());
      return;
    }
    answer(members, true);
  }

  void begin() {
    if (!connection_) connection_ = open_();
    connection_->forget_failure();
    if (suspect_log_) heal_log();
    connection_->exec("BEGIN IMMEDIATE", {});
  }

  // Throws only if the outer transaction is lost; the closure's own exception stays in the job, and is delivered
  // after the commit, for it may rest on what an earlier member of the group wrote.
  void run_member(Job& job) {
    ConnectionTx tx(*connection_);
    connection_->exec("SAVEPOINT member", {});
    try {
      job.body(tx);
    } catch (...) {
      job.error = std::current_exception();
    }
    // Asked even if the closure swallowed the error: SQLite may have rolled everything back by itself.
    if (connection_->engine_failed() || !connection_->in_transaction()) {
      if (job.error) std::rethrow_exception(job.error);
      throw unavailable("The database failed during the transaction.", "Try again; see the log for the cause.");
    }
    if (job.error) connection_->exec("ROLLBACK TO member", {});
    connection_->exec("RELEASE member", {});
    if (!job.error) job.hooks = tx.take_hooks();
  }

  void abandon(const std::vector<Job*>& members, std::exception_ptr cause) {
    Fault fault = unavailable("The database failed during the transaction.", "Try again; see the log for the cause.");
    try {
      std::rethrow_exception(cause);
    } catch (const Fault& f) {
      if (f.kind == FaultKind::unavailable) fault = f;
      log::error("a commit of {} writes failed: {}", members.size(), f.message);
    } catch (const std::exception& e) {
      log::error("a commit of {} writes failed: {}", members.size(), e.what());
    }
    suspect_log_ = true;
    if (connection_ && !connection_->rollback()) connection_.reset();
    heal_log();
    for (Job* job : members) {
      job->hooks.clear();
      job->error = std::make_exception_ptr(fault);
    }
    answer(members, false);
  }

  void answer(const std::vector<Job*>& members, bool committed) {
    {
      std::lock_guard lock(mutex_);
      commits_ += committed;
      closures_ += members.size();
    }
    for (Job* job : members) {
      run_hooks(job->hooks);  // before the caller resumes: hooks may refer to its stack
      job->finish();
    }
  }

  void tidy_log() {
    if (!connection_ || connection_->wal_pages() < kCheckpointPages) return;
    bool idle;
    {
      std::lock_guard lock(mutex_);
      idle = queue_.empty();
    }
    if (idle || connection_->wal_pages() > 8 * kCheckpointPages) connection_->checkpoint(false);
  }

  static constexpr int kCheckpointPages = 1000;
  const std::function<std::unique_ptr<SqliteConnection>()> open_;
  const size_t group_limit_;
  const void* database_;
  std::unique_ptr<SqliteConnection> connection_;
  bool suspect_log_ = false;  // the writer thread's own

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Job*> queue_;
  bool stopping_ = false;
  uint64_t commits_ = 0, closures_ = 0;
  std::thread thread_;  // last: it uses the rest
};

class SqliteDatabase final : public Database {
 public:
  SqliteDatabase(const Url& url, const Options& options)
      : path_(url.path), vfs_(url.options.contains("vfs") ? url.options.at("vfs") : ""),
        writer_([this] { return open(SqliteConnection::Use::writer); }, options.group_limit, this),
        readers_(std::max(1, options.readers), [this] { return open(SqliteConnection::Use::reader); }) {}

  Dialect dialect() const override { return Dialect::sqlite; }
  Stats stats() const override { return writer_.stats(); }

  int schema_version() override {
    NestingGuard guard(this);
    auto connection = readers_.lease();
    const auto applied = read_history(*connection);
    return applied.empty() ? 0 : applied.back().number;
  }

  // All pending migrations are one transaction: after a crash the file is at the version it had.
  void migrate(const std::vector<Migration>& to) override {
    NestingGuard guard(this);
    auto connection = open(SqliteConnection::Use::migration);
    connection->run("BEGIN IMMEDIATE");
    try {
      const auto applied = read_history(*connection);
      const auto todo = pending(applied, to, oldest_served(*connection, applied));
      if (todo.empty()) {
        connection->run("ROLLBACK");
        return;
      }
      if (!applied.empty()) back_up(applied.back().number);
      create_history(*connection);
      for (const Migration& m : todo) apply(*connection, m);
      check_references(*connection);
      connection->run("COMMIT");
    } catch (...) {
      connection->rollback();
      throw;
    }
  }

 protected:
  void run_write(const std::function<void(Tx&)>& body) override {
    NestingGuard::check(this);
    writer_.run(body);
  }

  void run_read(const std::function<void(Tx&)>& body) override {
    NestingGuard guard(this);
    auto connection = readers_.lease();
    ConnectionTx tx(*connection);
    connection->exec("BEGIN", {});
    try {
      body(tx);
    } catch (...) {
      if (!connection->rollback() || connection->engine_failed()) connection.drop();
      throw;
    }
    connection->exec("COMMIT", {});
    run_hooks(tx.take_hooks());
  }

 private:
  std::unique_ptr<SqliteConnection> open(SqliteConnection::Use use) const {
    return std::make_unique<SqliteConnection>(path_, vfs_, use);
  }

  // Through a connection of its own: it sees what was last committed, while the migration's holds the write lock.
  void back_up(int version) {
    const std::string file = fmt::format("{}.bak-{:04}", path_, version);
    open(SqliteConnection::Use::reader)->backup_to(file);
    log::info("the database was backed up to {} before its upgrade", file);
  }

  static void apply(SqliteConnection& connection, const Migration& m) {
    try {
      for (const std::string& statement : split_statements(m.sql)) connection.run(statement);
    } catch (Fault& f) {
      f.message = fmt::format("Migration {:04}_{} failed; the database is as it was before. {}", m.number, m.name, f.message);
      throw;
    }
    record_applied(connection, m);
    log::info("migrated the database to {:04}_{}", m.number, m.name);
  }

  static void check_references(SqliteConnection& connection) {
    const Rows broken = connection.query("PRAGMA foreign_key_check", {});
    if (!broken.empty())
      throw Fault(FaultKind::internal, "A migration leaves rows of " + broken[0].text(0) + " without what they refer to.");
  }

  const std::string path_, vfs_;
  Writer writer_;
  Pool<SqliteConnection> readers_;
};

}  // namespace

std::unique_ptr<Database> open_sqlite(const Url& url, const Options& options) {
  // Its statistics take one lock of the whole process for each allocation. Refused, and no loss, once SQLite is in use.
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  return std::make_unique<SqliteDatabase>(url, options);
}

}  // namespace virga::db
