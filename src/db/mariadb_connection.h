#pragma once
// MariaDB's C API as a Connection: server-side prepared statements, kept per connection.

#include <mysql.h>

#include <memory>
#include <string>

#include "db/connection.h"
#include "db/statement_cache.h"
#include "db/url.h"

namespace virga::db {

/// The server answers, and has no such database (or does not show it to this user).
struct UnknownDatabase : Fault {
  using Fault::Fault;
};

/// Throws Fault(unavailable) if a server of that version (major * 10000 + minor * 100 + patch) lacks what is used: it must know
/// SKIP LOCKED (MariaDB 10.6). MySQL's numbers are smaller than all of MariaDB's that do.
void need_server_version(unsigned long version);

class MariadbConnection final : public Connection {
 public:
  /// What the last errors mean for the transaction under way.
  enum class Health {
    good,
    conflict,  ///< deadlock or lock wait timeout: roll back and run the closure again
    lost,      ///< the connection is gone
  };
  /// What its transactions are for. A transaction begins with the first statement, so that it costs no round trip of its own.
  enum class Use {
    plain,    ///< each statement by itself, unless START TRANSACTION is said
    reading,  ///< all statements see the snapshot of the first; writes are refused
    writing,  ///< each statement sees what is committed by then
  };
  /// `read_timeout_s` 0 waits for ever (DDL on large tables).
  /// Of several nodes (the URL's option "also") it is to the first that serves.
  explicit MariadbConnection(const Url& url, unsigned read_timeout_s = 60, Use use = Use::plain);

  Rows query(std::string_view sql, const std::vector<Value>& parameters) override;
  int64_t exec(std::string_view sql, const std::vector<Value>& parameters) override;
  void run(std::string_view sql) override;
  Dialect dialect() const override { return Dialect::mariadb; }

  Health health() const { return health_; }
  /// Ends the transaction; afterwards health() is good, or lost.
  void rollback() noexcept;
  /// The engine's number of the last error (1050: table exists, ...).
  unsigned last_error() const { return last_error_; }

 private:
  struct Close {
    void operator()(MYSQL* m) const { mysql_close(m); }
  };
  struct CloseStatement {
    void operator()(MYSQL_STMT* s) const { mysql_stmt_close(s); }
  };
  using Statement = std::unique_ptr<MYSQL_STMT, CloseStatement>;

  void open(const Url& url, unsigned read_timeout_s);
  void prepare_for(Use use);
  void connect(const Url& url);
  MYSQL_STMT* execute(std::string_view sql, const std::vector<Value>& parameters);
  [[noreturn]] void raise(unsigned code, std::string message);
  [[noreturn]] void raise(MYSQL_STMT* statement);

  std::unique_ptr<MYSQL, Close> handle_;
  StatementCache<Statement> cache_{128};  // destroyed before the handle that its statements live on
  Health health_ = Health::good;
  unsigned last_error_ = 0;
  bool is_cluster_ = false;  ///< the URL names several nodes
};

}  // namespace virga::db
