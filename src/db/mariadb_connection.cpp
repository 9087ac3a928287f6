#include "db/mariadb_connection.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/scope_exit.h"
#include "base/text.h"
#include "db/rows_builder.h"

namespace virga::db {
namespace {

// Strict, and reading SQL as SQLite does: "name" quotes an identifier, || joins text, \ is an ordinary character.
constexpr const char* kSession =
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,"
    "NO_ENGINE_SUBSTITUTION,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES', time_zone = '+00:00', "
    "tx_isolation = 'REPEATABLE-READ', innodb_lock_wait_timeout = 10, default_storage_engine = InnoDB";

bool is_lost(unsigned code) {
  return (code >= 2000 && code < 3000) || code == 1053 /* shutdown */ || code == 1927 /* killed */;
}
bool is_conflict(unsigned code) {
  return code == 1213 || code == 1205 || code == 1020 /* snapshot is out of date */;
}
bool is_engine_failure(unsigned code) {
  switch (code) {
    case 1021: case 1030: case 1114:               // disk full, storage engine, table full
    case 1180: case 1037: case 1041:               // commit, memory
    case 1040: case 1203: case 1226:               // too many connections
    case 1044: case 1045: case 1049: case 1698:    // login, no such database
    case 1047: case 1290: case 1836: case 1317: return true;  // not synced, read-only, interrupted
    default: return false;
  }
}
const char* hint_for(unsigned code) {
  switch (code) {
    case 1021: case 1030: case 1114: return "Free space on the database server's disk; service resumes by itself.";
    case 1040: case 1203: case 1226: return "Raise max_connections of the database server.";
    case 1044: case 1045: case 1049: case 1698:
      return "Check user, password and database name in the database URL, and that the user may use the database.";
    case 1047: return "This Galera node is not in sync with its cluster; start or join it.";
    case 1290: case 1836: return "The database server is read-only; point the database URL at the primary.";
    default: return "Check that the database server runs and can be reached; service resumes by itself.";
  }
}

// "Duplicate entry 'x' for key 'name'" -> "name"
std::string key_of(const std::string& message) {
  const size_t start = message.rfind("for key '");
  if (start == message.npos) return message;
  const std::string name = message.substr(start + 9);
  return name.substr(0, name.rfind('\''));
}

struct Parameters {
  explicit Parameters(const std::vector<Value>& values) : binds(values.size()) {  // zeroed
    for (size_t i = 0; i < values.size(); ++i) bind(binds[i], values[i].get());
  }
  static void bind(MYSQL_BIND& b, const Value::Variant& v) {
    if (const auto* text = std::get_if<std::string>(&v)) {
      b.buffer_type = MYSQL_TYPE_STRING;
      b.buffer = const_cast<char*>(text->data());
      b.buffer_length = text->size();
      b.length = &b.buffer_length;
    } else if (const auto* n = std::get_if<int64_t>(&v)) {
      b.buffer_type = MYSQL_TYPE_LONGLONG;
      b.buffer = const_cast<int64_t*>(n);
    } else if (const auto* d = std::get_if<double>(&v)) {
      b.buffer_type = MYSQL_TYPE_DOUBLE;
      b.buffer = const_cast<double*>(d);
    } else {
      b.buffer_type = MYSQL_TYPE_NULL;
    }
  }
  std::vector<MYSQL_BIND> binds;
};

/// Where one column of the current row lands.
struct Cell {
  enum class Kind { integer, real, decimal, time, text } kind = Kind::text;
  int64_t integer = 0;
  double real = 0;
  MYSQL_TIME time{};
  std::array<char, 256> text;  // longer text is fetched again, straight into its string
  unsigned long length = 0;
  my_bool null = 0, error = 0;

  void bind(const MYSQL_FIELD& field, MYSQL_BIND& b);
  void add_to(RowsBuilder& rows, MYSQL_STMT* statement, unsigned at);
};

void Cell::bind(const MYSQL_FIELD& field, MYSQL_BIND& b) {
  const auto as = [&](Kind k, enum_field_types type, void* buffer, size_t size) {
    kind = k;
    b.buffer_type = type;
    b.buffer = buffer;
    b.buffer_length = size;
  };
  switch (field.type) {
    case MYSQL_TYPE_TINY: case MYSQL_TYPE_SHORT: case MYSQL_TYPE_INT24: case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG: case MYSQL_TYPE_YEAR:
      as(Kind::integer, MYSQL_TYPE_LONGLONG, &integer, sizeof integer);
      b.is_unsigned = (field.flags & UNSIGNED_FLAG) != 0;
      break;
    case MYSQL_TYPE_FLOAT: case MYSQL_TYPE_DOUBLE: as(Kind::real, MYSQL_TYPE_DOUBLE, &real, sizeof real); break;
    case MYSQL_TYPE_DATETIME: case MYSQL_TYPE_TIMESTAMP:
      as(Kind::time, MYSQL_TYPE_DATETIME, &time, sizeof time);
      break;
    case MYSQL_TYPE_DECIMAL: case MYSQL_TYPE_NEWDECIMAL:
      as(Kind::decimal, MYSQL_TYPE_STRING, text.data(), text.size());
      break;
    default: as(Kind::text, MYSQL_TYPE_STRING, text.data(), text.size());
  }
  b.length = &length;
  b.is_null = &null;
  b.error = &error;
}

void Cell::add_to(RowsBuilder& rows, MYSQL_STMT* statement, unsigned at) {
  if (null) return rows.add_null();
  switch (kind) {
    case Kind::integer: return rows.add(integer);
    case Kind::real: return rows.add(real);
    case Kind::time:
      return rows.add(fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}", time.year, time.month, time.day,
                                  time.hour, time.minute, time.second, time.second_part));
    case Kind::decimal: {  // SUM() of integers is a DECIMAL here and an integer in SQLite
      int64_t whole = 0;
      const auto [end, failed] = std::from_chars(text.data(), text.data() + length, whole);
      if (failed == std::errc() && end == text.data() + length) return rows.add(whole);
      return rows.add(std::strtod(std::string(text.data(), length).c_str(), nullptr));
    }
    case Kind::text: break;
  }
  if (length <= text.size()) return rows.add(std::string_view(text.data(), length));
  std::string whole(length, '\0');
  MYSQL_BIND b{};
  my_bool cut = 0;
  b.buffer_type = MYSQL_TYPE_STRING;
  b.buffer = whole.data();
  b.buffer_length = length;
  b.length = &length;
  b.is_null = &null;
  b.error = &cut;
  mysql_stmt_fetch_column(statement, &b, at, 0);
  rows.add(std::string_view(whole));
}

}  // namespace

namespace {

/// The URL's server, and then those of its option "also" (HOST:PORT,…): the nodes of a cluster, tried in this order.
std::vector<Url> nodes_of(const Url& url) {
  std::vector<Url> nodes{url};
  const auto also = url.options.find("also");
  if (also == url.options.end()) return nodes;
  for (const auto& node : split_words(also->second, ',')) {
    Url other = url;
    const size_t colon = node.rfind(':');
    other.host = node.substr(0, colon);
    other.port = colon == node.npos ? 3306 : std::atoi(node.c_str() + colon + 1);
    nodes.push_back(std::move(other));
  }
  return nodes;
}

}  // namespace

void need_server_version(unsigned long version) {
  if (version >= 100600) return;
  throw unavailable(fmt::format("The database server is of version {}.{}.{}; MariaDB 10.6 or newer is needed.", version / 10000, version / 100 % 100, version % 100),
                    "Upgrade it, or point the database URL at a newer one.");
}

MariadbConnection::MariadbConnection(const Url& url, unsigned read_timeout_s, Use use) {
  const auto nodes = nodes_of(url);
  is_cluster_ = nodes.size() > 1;
  for (size_t i = 0;; ++i) try {
      open(nodes[i], read_timeout_s);
      prepare_for(use);
      return;
    } catch (const UnknownDatabase&) {
      throw;
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::unavailable || i + 1 == nodes.size()) throw;
      health_ = Health::good;
    }
}

void MariadbConnection::open(const Url& url, unsigned read_timeout_s) {
  handle_.reset(mysql_init(nullptr));
  if (!handle_) throw unavailable("No memory for a database connection.", "Free memory and try again.");
  const unsigned connect_s = 5, write_s = 60;
  MYSQL* m = handle_.get();
  mysql_optionsv(m, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
  mysql_optionsv(m, MYSQL_OPT_WRITE_TIMEOUT, &write_s);
  if (read_timeout_s) mysql_optionsv(m, MYSQL_OPT_READ_TIMEOUT, &read_timeout_s);
  mysql_optionsv(m, MYSQL_SET_CHARSET_NAME, "utf8mb4");
  connect(url);
  need_server_version(mysql_get_server_version(m));
  run("SET NAMES utf8mb4 COLLATE utf8mb4_bin");
  run(kSession);
  if (!is_cluster_) return;
  // Another node's commit counts here with the next statement, not a moment later; and a node that has lost the others says so
  // now rather than at the first use.
  run("SET SESSION wsrep_sync_wait = 7");
  run("SELECT COUNT(*) FROM information_schema.schemata");
}

/// Writers see what is committed, not a snapshot: whoever waited for a row then reads beside it what the other wrote, as on
/// SQLite, where writers are alone. And only rows are locked, no gaps: under REPEATABLE READ an UPDATE that finds no row
/// forbids others to insert near there, so that two first boots of a project, or two hosts that join, deadlocked.
void MariadbConnection::prepare_for(Use use) {
  if (use == Use::reading) run("SET SESSION tx_isolation = 'REPEATABLE-READ', tx_read_only = 1, autocommit = 0");
  if (use == Use::writing) run("SET SESSION tx_isolation = 'READ-COMMITTED', autocommit = 0");
}

void MariadbConnection::connect(const Url& url) {
  const auto socket = url.options.find("socket");
  const bool local = socket != url.options.end();
  const std::string host = url.host.empty() ? "127.0.0.1" : url.host;
  if (!mysql_real_connect(handle_.get(), local ? nullptr : host.c_str(), url.user.c_str(), url.password.c_str(),
                          url.path.c_str(), url.port, local ? socket->second.c_str() : nullptr, CLIENT_FOUND_ROWS))
    raise(mysql_errno(handle_.get()), mysql_error(handle_.get()));
}

void MariadbConnection::run(std::string_view sql) {
  MYSQL* m = handle_.get();
  if (mysql_real_query(m, sql.data(), sql.size())) raise(mysql_errno(m), mysql_error(m));
  if (MYSQL_RES* result = mysql_store_result(m)) mysql_free_result(result);
}

MYSQL_STMT* MariadbConnection::execute(std::string_view sql, const std::vector<Value>& parameters) {
  MYSQL_STMT* s = nullptr;
  if (Statement* cached = cache_.find(sql)) {
    s = cached->get();
  } else {
    Statement fresh(mysql_stmt_init(handle_.get()));
    if (!fresh) raise(mysql_errno(handle_.get()), mysql_error(handle_.get()));
    if (mysql_stmt_prepare(fresh.get(), sql.data(), sql.size())) raise(fresh.get());
    s = cache_.add(sql, std::move(fresh)).get();
  }
  if (mysql_stmt_param_count(s) != parameters.size())
    throw Fault(FaultKind::internal, fmt::format("An SQL statement takes {} parameters and got {}: {}",
                                                 mysql_stmt_param_count(s), parameters.size(), sql));
  Parameters bound(parameters);
  if (!parameters.empty() && mysql_stmt_bind_param(s, bound.binds.data())) raise(s);
  if (mysql_stmt_execute(s)) raise(s);
  return s;
}

Rows MariadbConnection::query(std::string_view sql, const std::vector<Value>& parameters) {
  MYSQL_STMT* s = execute(sql, parameters);
  ScopeExit release([s] { mysql_stmt_free_result(s); });
  if (mysql_stmt_store_result(s)) raise(s);
  const unsigned columns = mysql_stmt_field_count(s);
  if (columns == 0) return {};
  std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> fields(mysql_stmt_result_metadata(s), &mysql_free_result);
  if (!fields) raise(s);
  std::vector<Cell> cells(columns);
  std::vector<MYSQL_BIND> binds(columns);
  std::memset(binds.data(), 0, columns * sizeof(MYSQL_BIND));
  for (unsigned i = 0; i < columns; ++i) cells[i].bind(*mysql_fetch_field_direct(fields.get(), i), binds[i]);
  if (mysql_stmt_bind_result(s, binds.data())) raise(s);
  RowsBuilder rows(columns);
  for (;;) {
    const int rc = mysql_stmt_fetch(s);
    if (rc == MYSQL_NO_DATA) break;
    if (rc == 1) raise(s);
    for (unsigned i = 0; i < columns; ++i) cells[i].add_to(rows, s, i);
  }
  return rows.finish();
}

int64_t MariadbConnection::exec(std::string_view sql, const std::vector<Value>& parameters) {
  MYSQL_STMT* s = execute(sql, parameters);
  ScopeExit release([s] { mysql_stmt_free_result(s); });
  if (mysql_stmt_field_count(s) > 0) {
    if (mysql_stmt_store_result(s)) raise(s);
    return 0;
  }
  return static_cast<int64_t>(mysql_stmt_affected_rows(s));
}

void MariadbConnection::rollback() noexcept {
  if (health_ == Health::lost) return;
  health_ = mysql_real_query(handle_.get(), "ROLLBACK", 8) == 0 ? Health::good : Health::lost;
}

void MariadbConnection::raise(MYSQL_STMT* s) { raise(mysql_stmt_errno(s), mysql_stmt_error(s)); }

void MariadbConnection::raise(unsigned code, std::string message) {
  last_error_ = code;
  switch (code) {
    case 1062: case 1586: throw UniqueViolation(key_of(message));
    case 1451: case 1452: case 1216: case 1217: throw ForeignKeyViolation(std::move(message));
    case 1792: throw Fault(FaultKind::internal, "A write was made in a read of the database.");
    default: break;
  }
  if (is_lost(code) || (is_cluster_ && code == 1047))  // another node may be in sync
    health_ = Health::lost;
  else if (is_conflict(code))
    health_ = Health::conflict;
  if (is_conflict(code))
    throw unavailable("The database kept refusing a transaction because others changed the same rows.", "Try again.");
  if (code == 1049) throw UnknownDatabase(FaultKind::unavailable, fmt::format("The database server refused: {} (MariaDB {}).", message, code), hint_for(code));
  if (is_lost(code) || is_engine_failure(code))
    throw unavailable(fmt::format("The database server failed: {} (MariaDB {}).", message, code), hint_for(code));
  throw Fault(FaultKind::internal, fmt::format("The database refused a statement: {} (MariaDB {}).", message, code));
}

}  // namespace virga::db
