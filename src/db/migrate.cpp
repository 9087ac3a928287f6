#include "db/migrate.h"

#include <algorithm>
#include <limits>

#include "base/crypto.h"
#include "base/log.h"

namespace virga::db {
namespace {

std::string label(int number, std::string_view name) { return fmt::format("{:04}_{}", number, name); }

[[noreturn]] void disagree(std::string message) {
  throw Fault(FaultKind::conflict, std::move(message),
              "Migrations are append-only: use the virga that wrote this database, or restore a backup. "
              "(Before the first release: start from an empty database.)");
}

}  // namespace

std::vector<std::string> split_statements(std::string_view sql) {
  std::vector<std::string> out;
  std::string statement;
  while (!sql.empty()) {
    const size_t end = std::min(sql.find('\n'), sql.size());
    std::string_view line = sql.substr(0, end);
    sql.remove_prefix(std::min(end + 1, sql.size()));
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.remove_suffix(1);
    const size_t first = line.find_first_not_of(" \t");
    if (first == line.npos || line.substr(first).starts_with("--")) continue;
    const bool last = line.back() == ';';
    if (last) line.remove_suffix(1);
    statement.append(line).append(last ? "" : "\n");
    if (last) out.push_back(std::exchange(statement, {}));
  }
  if (!statement.empty())
    throw Fault(FaultKind::internal, "A migration's last statement does not end with ';' at the end of a line: " + statement);
  return out;
}

std::string checksum_of(const Migration& m) { return to_hex(sha256(m.sql)); }

void create_history(Connection& c) {
  c.run("CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT NOT NULL PRIMARY KEY, name VARCHAR(190) NOT NULL, "
        "checksum VARCHAR(64) NOT NULL, applied_at DATETIME(6) NOT NULL)");
}

bool has_history(Connection& c) {
  return !c.query(c.dialect() == Dialect::sqlite
                      ? "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'"
                      : "SELECT table_name FROM information_schema.tables "
                        "WHERE table_schema = DATABASE() AND table_name = 'schema_migrations'",
                  {})
              .empty();
}

std::vector<Applied> read_history(Connection& c) {
  std::vector<Applied> out;
  if (!has_history(c)) return out;
  for (Row& row : c.query("SELECT number, name, checksum FROM schema_migrations ORDER BY number", {}))
    out.push_back({static_cast<int>(row.integer(0)), row.text(1), row.text(2)});
  return out;
}

void record_applied(Connection& c, const Migration& m) {
  c.exec("INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
         {m.number, m.name, checksum_of(m), SystemClock().now()});
}

void check_numbering(const std::vector<Migration>& known) {
  int last = 0;
  for (const Migration& m : known) {
    if (m.number <= last || m.name.empty())
      throw Fault(FaultKind::internal, fmt::format("Migration {} does not come after {:04}.", label(m.number, m.name), last));
    last = m.number;
  }
}

int oldest_served(Connection& c, const std::vector<Applied>& applied) {
  constexpr std::string_view kSays = "controllers";  // the migration that made the table
  if (std::none_of(applied.begin(), applied.end(), [&](const Applied& a) { return a.name == kSays; })) return std::numeric_limits<int>::max();
  return static_cast<int>(c.query("SELECT oldest FROM schema_compatibility", {}).at(0).integer(0));
}

std::span<const Migration> pending(const std::vector<Applied>& applied, const std::vector<Migration>& known, int oldest) {
  check_numbering(known);
  const int newest = known.empty() ? 0 : known.back().number;
  if (!applied.empty() && applied.back().number > newest && oldest > newest)
    throw Fault(FaultKind::conflict,
                fmt::format("The database is at schema {:04}, newer than this virga, which knows up to {:04}.",
                            applied.back().number, newest),
                "Install the virga that wrote it, or restore the backup from before its upgrade (FILE.bak-NNNN).");
  size_t i = 0;
  for (const Applied& a : applied) {
    if (a.number > newest) {
      log::warn("the database is at schema {:04}, newer than this virga, which knows up to {:04}; it serves both, for an upgrade",
                applied.back().number, newest);
      break;
    }
    if (known[i].number > a.number) disagree(fmt::format("Migration {} was applied to this database and has been removed since.", label(a.number, a.name)));
    if (known[i].number < a.number)
      disagree(fmt::format("Migration {} was inserted before {}, which this database already has.",
                           label(known[i].number, known[i].name), label(a.number, a.name)));
    if (known[i].name != a.name || checksum_of(known[i]) != a.checksum)
      disagree(fmt::format("Migration {} was edited after it had been applied to this database.", label(a.number, a.name)));
    ++i;
  }
  return std::span(known).subspan(i);
}

}  // namespace virga::db
