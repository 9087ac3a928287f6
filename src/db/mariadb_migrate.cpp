#include "db/mariadb_migrate.h"

#include "base/crypto.h"
#include "base/log.h"
#include "db/migrate.h"

namespace virga::db {
namespace {

bool is_ddl(const std::string& statement) {
  for (std::string_view word : {"CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"}) {
    bool same = statement.size() > word.size();
    for (size_t i = 0; same && i < word.size(); ++i) same = (statement[i] & ~0x20) == word[i];
    if (same) return true;
  }
  return false;
}

// What a DDL statement says when it had already happened: MariaDB's DDL is atomic, so it then happened completely.
bool already_happened(unsigned code, const std::string& message) {
  if (code == 1005) return message.find("errno: 121") != message.npos;  // a foreign key of that name
  switch (code) {
    case 1050: case 1051: case 1060: case 1061: case 1068: case 1091: case 1826: return true;
    default: return false;
  }
}

/// The progress of the migration under way: the statement it is at, and whether that one was begun.
class Progress {
 public:
  Progress(MariadbConnection& c, const Migration& m) : c_(c), m_(m) {
    const Rows rows = c_.query("SELECT statement, begun FROM schema_migration_progress WHERE number = ?", {m.number});
    if (rows.empty()) {
      c_.exec("INSERT INTO schema_migration_progress (number, statement, begun) VALUES (?, 0, 0)", {m.number});
      return;
    }
    at_ = static_cast<size_t>(rows[0].integer(0));
    begun_ = rows[0].boolean(1);
    log::warn("migration {:04}_{} was cut short at statement {}; it goes on from there", m.number, m.name, at_ + 1);
  }
  size_t at() const { return at_; }
  bool begun() const { return begun_; }
  void begin() { set(at_, true); }
  void not_begun() { set(at_, false); }
  void next() { set(at_ + 1, false); }

 private:
  void set(size_t at, bool begun) {
    c_.exec("UPDATE schema_migration_progress SET statement = ?, begun = ? WHERE number = ?",
            {at, begun, m_.number});
    at_ = at;
    begun_ = begun;
  }
  MariadbConnection& c_;
  const Migration& m_;
  size_t at_ = 0;
  bool begun_ = false;
};

void run_ddl(MariadbConnection& c, const std::string& statement, Progress& progress) {
  const bool again = progress.begun();
  if (!again) progress.begin();
  try {
    c.run(statement);
  } catch (const Fault& f) {
    if (again && already_happened(c.last_error(), f.message)) {
      progress.next();
      return;
    }
    // A refusal changed nothing; only a lost connection leaves it open whether the statement happened.
    if (!again && c.health() != MariadbConnection::Health::lost) progress.not_begun();
    throw;
  }
  progress.next();
}

void run_data(MariadbConnection& c, const std::string& statement, Progress& progress) {
  c.run("START TRANSACTION");
  try {
    c.run(statement);
    progress.next();
    c.run("COMMIT");
  } catch (...) {
    c.rollback();
    throw;
  }
}

void apply(MariadbConnection& c, const Migration& m) {
  const std::vector<std::string> statements = split_statements(m.sql);
  Progress progress(c, m);
  try {
    while (progress.at() < statements.size()) {
      const std::string& statement = statements[progress.at()];
      if (is_ddl(statement))
        run_ddl(c, statement, progress);
      else
        run_data(c, statement, progress);
    }
  } catch (Fault& f) {
    f.message = fmt::format("Migration {:04}_{} failed at statement {}. {}", m.number, m.name, progress.at() + 1, f.message);
    if (f.hint.empty()) f.hint = "It goes on from that statement at the next start.";
    throw;
  }
  c.run("START TRANSACTION");
  record_applied(c, m);
  c.exec("DELETE FROM schema_migration_progress WHERE number = ?", {m.number});
  c.run("COMMIT");
  log::info("migrated the database to {:04}_{}", m.number, m.name);
}

// Held by the session, so a migrator that dies lets go of it. Named after the database: names are server-wide.
void lock(MariadbConnection& c) {
  const std::string name = "virga-migrate-" + c.query("SELECT DATABASE()", {}).at(0).text(0);
  const std::string key = name.size() <= 64 ? name : to_hex(sha256(name));
  if (c.query("SELECT GET_LOCK(?, 60)", {key}).at(0).integer(0) != 1)
    throw unavailable("Another controller has been migrating the database for a minute.",
                      "Wait until it is done, then start again.");
}

}  // namespace

void migrate_mariadb(MariadbConnection& c, const std::vector<Migration>& to) {
  lock(c);
  const auto applied = read_history(c);
  const auto todo = pending(applied, to, oldest_served(c, applied));
  if (todo.empty()) return;
  if (!has_history(c)) {
    c.run("ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    create_history(c);
  }
  c.run("CREATE TABLE IF NOT EXISTS schema_migration_progress (number BIGINT NOT NULL PRIMARY KEY, "
        "statement BIGINT NOT NULL, begun SMALLINT NOT NULL)");
  for (const Migration& m : todo) apply(c, m);
}

}  // namespace virga::db
