#include "db/mariadb.h"

#include <atomic>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/scope_exit.h"
#include "db/mariadb_connection.h"
#include "db/mariadb_migrate.h"
#include "db/migrate.h"
#include "db/pool.h"

namespace virga::db {
namespace {

constexpr int kAttempts = 20;
using Health = MariadbConnection::Health;

// Jittered, so that transactions that collided do not collide again in step.
void back_off(int attempt) {
  thread_local std::minstd_rand random(std::random_device{}());
  const int limit_us = 500 << std::min(attempt, 8);
  std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<int>(100, limit_us)(random)));
}

class MariadbDatabase final : public Database {
 public:
  MariadbDatabase(Url url, const Options& options)
      : url_(std::move(url)),
        readers_(std::max(8, options.readers), [this] { return connect(MariadbConnection::Use::reading); }),
        writers_(std::max(8, options.readers), [this] { return connect(MariadbConnection::Use::writing); }) {}

  Dialect dialect() const override { return Dialect::mariadb; }
  Stats stats() const override { return {commits_, closures_, reruns_, 0}; }

  int schema_version() override {
    NestingGuard guard(this);
    try {
      MariadbConnection connection(url_);
      const auto applied = read_history(connection);
      return applied.empty() ? 0 : applied.back().number;
    } catch (const UnknownDatabase&) {
      return 0;  // migrate() makes it
    }
  }

  void migrate(const std::vector<Migration>& to) override {
    NestingGuard guard(this);
    make_database();
    MariadbConnection connection(url_, /*read_timeout_s=*/0);
    migrate_mariadb(connection, to);
    drop_idle();  // their statements were prepared for the old schema
  }

 protected:
  void run_write(const std::function<void(Tx&)>& body) override {
    NestingGuard guard(this);
    ScopeExit count([this] { ++closures_; });
    bool refused = false;
    rerun([&] { return attempt(writers_, body, true, &refused); });
    ++commits_;
  }
  void run_read(const std::function<void(Tx&)>& body) override {
    NestingGuard guard(this);
    rerun([&] { return attempt(readers_, body, false, nullptr); });
  }

 private:
  std::unique_ptr<MariadbConnection> connect(MariadbConnection::Use use) const {
    return std::make_unique<MariadbConnection>(url_, 60, use);
  }
  void drop_idle() {
    readers_.drop_idle();
    writers_.drop_idle();
  }

  /// As packstack does on an existing server: a database that is not there yet is made, if the user may.
  void make_database() {
    try {
      MariadbConnection connection(url_);
      return;
    } catch (const UnknownDatabase&) {
    }
    Url server = url_;
    server.path.clear();
    std::string quoted;
    for (const char c : url_.path) quoted += c == '"' ? "\"\"" : std::string(1, c);
    MariadbConnection(server).run("CREATE DATABASE IF NOT EXISTS \"" + quoted + "\" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    log::info("made the database {}", url_.path);
  }

  /// Calls until it gets no exception back; throws the last one when it has tried often enough.
  template <class F>
  void rerun(F&& once) {
    for (int n = 1;; ++n) {
      const std::exception_ptr error = once();
      if (!error) return;
      if (n == kAttempts) std::rethrow_exception(error);
      ++reruns_;
      back_off(n);
    }
  }

  /// True for what a constraint refused, the first time. The closure may have looked before it wrote, in a snapshot that
  /// does not show what others committed since (two requests that each make a project's default security group): in a new
  /// snapshot it sees that, and answers as it would on SQLite, where writers are alone.
  static bool refused_first(const std::exception_ptr& error, bool* refused) {
    if (!refused || std::exchange(*refused, true)) return false;
    try {
      std::rethrow_exception(error);
    } catch (const UniqueViolation&) {
      return true;
    } catch (const ForeignKeyViolation&) {
      return true;
    } catch (...) {
      return false;
    }
  }

  /// One try. Throws what the caller shall get; returns an exception if the closure shall run again.
  std::exception_ptr attempt(Pool<MariadbConnection>& pool, const std::function<void(Tx&)>& body, bool write, bool* refused) {
    auto connection = pool.lease();
    ConnectionTx tx(*connection);
    bool commit_sent = false;
    std::exception_ptr error;
    try {
      body(tx);
      // A closure may have swallowed the error; its transaction is gone all the same.
      if (connection->health() == Health::good) {
        commit_sent = true;
        connection->run("COMMIT");
        run_hooks(tx.take_hooks());
        return nullptr;
      }
      error = std::make_exception_ptr(unavailable("The database lost the transaction.", "Try again."));
    } catch (...) {
      error = std::current_exception();
    }
    const Health found = connection->health();
    connection->rollback();
    if (connection->health() == Health::lost) {
      connection.drop();
      if (found == Health::lost) drop_idle();  // the server most likely went away under all of them
    }
    if (found == Health::lost && commit_sent && write)
      throw unavailable("The connection to the database was lost during a commit; whether it was written is not known.",
                        "Look at the resource before trying again.");
    if (found == Health::good && !refused_first(error, refused)) std::rethrow_exception(error);
    return error;
  }

  const Url url_;
  Pool<MariadbConnection> readers_, writers_;  ///< two, so that reads do not queue behind writers that wait for each other's rows
  std::atomic<uint64_t> commits_{0}, closures_{0}, reruns_{0};
};

}  // namespace

std::unique_ptr<Database> open_mariadb(const Url& url, const Options& options) {
  return std::make_unique<MariadbDatabase>(url, options);
}

}  // namespace virga::db
