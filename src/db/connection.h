#pragma once
// One connection to an engine, used by one thread at a time. Internal to the db module: the rest of the program sees Tx.

#include <functional>
#include <string_view>
#include <vector>

#include "db/api.h"

namespace virga::db {

class Connection {
 public:
  virtual ~Connection() = default;
  virtual Rows query(std::string_view sql, const std::vector<Value>& parameters) = 0;
  virtual int64_t exec(std::string_view sql, const std::vector<Value>& parameters) = 0;
  /// One statement without parameters, not cached: transaction control and DDL.
  virtual void run(std::string_view sql) = 0;
  virtual Dialect dialect() const = 0;
};

/// The Tx that closures see: a connection plus what to do once the transaction is durable.
class ConnectionTx final : public Tx {
 public:
  explicit ConnectionTx(Connection& connection) : connection_(connection) {}
  Rows query(std::string_view sql, const std::vector<Value>& p) override { return connection_.query(sql, p); }
  int64_t exec(std::string_view sql, const std::vector<Value>& p) override { return connection_.exec(sql, p); }
  Dialect dialect() const override { return connection_.dialect(); }
  void after_commit(std::function<void()> wake) override { hooks_.push_back(std::move(wake)); }
  std::vector<std::function<void()>> take_hooks() { return std::move(hooks_); }

 private:
  Connection& connection_;
  std::vector<std::function<void()>> hooks_;
};

/// Runs hooks; one that throws is logged, since the transaction is durable already.
void run_hooks(const std::vector<std::function<void()>>& hooks);

/// Marks this thread as being inside a closure of `database`; throws Fault(internal) if it already is: the
/// nested call would wait for a connection or a writer that its own caller holds.
class NestingGuard {
 public:
  explicit NestingGuard(const void* database);
  ~NestingGuard();
  NestingGuard(const NestingGuard&) = delete;
  NestingGuard& operator=(const NestingGuard&) = delete;
  /// For a call that hands its closure to another thread: throws as the constructor does.
  static void check(const void* database);

 private:
  const void* outer_;
};

/// Fault(unavailable) with Retry-After, as clients expect of a 503.
Fault unavailable(std::string message, std::string hint);

}  // namespace virga::db
