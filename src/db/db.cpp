#include <charconv>
#include <cstdlib>

#include "base/log.h"
#include "db/api.h"
#include "db/connection.h"
#include "db/mariadb.h"
#include "db/sqlite.h"
#include "db/url.h"

namespace virga::db {
namespace {
thread_local const void* inside = nullptr;
}

NestingGuard::NestingGuard(const void* database) : outer_(inside) {
  check(database);
  inside = database;
}
NestingGuard::~NestingGuard() { inside = outer_; }
void NestingGuard::check(const void* database) {
  if (inside == database)
    throw Fault(FaultKind::internal, "A database call was made from inside a transaction of the same database.",
                "This is a defect of Virga; please report it with the log.");
}

void run_hooks(const std::vector<std::function<void()>>& hooks) {
  for (const auto& hook : hooks) {
    try {
      hook();
    } catch (const std::exception& e) {
      log::error("a wake-up after commit failed: {}", e.what());
    }
  }
}

Fault unavailable(std::string message, std::string hint) {
  Fault fault(FaultKind::unavailable, std::move(message), std::move(hint));
  fault.headers.emplace_back("Retry-After", "2");
  return fault;
}

const Row::Cell& Row::cell(size_t i) const {
  if (i >= size_) throw Fault(FaultKind::internal, fmt::format("A database row has no column {}.", i));
  return block_->cells[first_ + i];
}

std::string Row::text(size_t i) const {
  const Cell& c = cell(i);
  switch (c.type) {
    case Cell::Type::text: return std::string(text_of(c));
    case Cell::Type::integer: return std::to_string(c.integer);
    case Cell::Type::real: return fmt::format("{}", c.real);
    case Cell::Type::null: break;
  }
  return {};
}

int64_t Row::integer(size_t i) const {
  const Cell& c = cell(i);
  if (c.type == Cell::Type::integer) return c.integer;
  if (c.type == Cell::Type::real) return static_cast<int64_t>(c.real);
  int64_t parsed = 0;
  if (c.type == Cell::Type::text) {
    const auto s = text_of(c);
    std::from_chars(s.data(), s.data() + s.size(), parsed);
  }
  return parsed;
}

double Row::real(size_t i) const {
  const Cell& c = cell(i);
  if (c.type == Cell::Type::real) return c.real;
  if (c.type == Cell::Type::integer) return static_cast<double>(c.integer);
  if (c.type == Cell::Type::text) return std::strtod(text(i).c_str(), nullptr);
  return 0;
}

std::optional<std::string> Row::maybe_text(size_t i) const {
  if (is_null(i)) return std::nullopt;
  return text(i);
}
std::optional<int64_t> Row::maybe_integer(size_t i) const {
  if (is_null(i)) return std::nullopt;
  return integer(i);
}

std::string_view Row::view(size_t i) const {
  const Cell& c = cell(i);
  if (c.type == Cell::Type::text) return text_of(c);
  if (c.type == Cell::Type::null) return {};
  throw Fault(FaultKind::internal, fmt::format("Column {} of a database row is not text.", i));
}

std::string_view for_update(const Tx& tx) { return tx.dialect() == Dialect::mariadb ? " FOR UPDATE" : ""; }

Time database_now(Tx& tx) {
  // SQLite's database has one process, whose clock is the database's; its own functions know milliseconds only.
  if (tx.dialect() == Dialect::sqlite) return SystemClock().now();
  return parse_time(tx.query("SELECT UTC_TIMESTAMP(6)", {}).at(0).text(0));
}

std::string placeholders(size_t n) {
  std::string out;
  out.reserve(n * 3);
  for (size_t i = 0; i < n; ++i) out += i == 0 ? "?" : ", ?";
  return out;
}

std::unique_ptr<Database> open(const Options& options) {
  const Url url = parse_url(options.url);
  return url.scheme == "sqlite" ? open_sqlite(url, options) : open_mariadb(url, options);
}

}  // namespace virga::db
