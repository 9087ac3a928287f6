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

std::string Row::text(size_t i) const {
  const Value::Variant& v = values_.at(i).get();
  if (const auto* s = std::get_if<std::string>(&v)) return *s;
  if (const auto* n = std::get_if<int64_t>(&v)) return std::to_string(*n);
  if (const auto* d = std::get_if<double>(&v)) return fmt::format("{}", *d);
  return {};
}

int64_t Row::integer(size_t i) const {
  const Value::Variant& v = values_.at(i).get();
  if (const auto* n = std::get_if<int64_t>(&v)) return *n;
  if (const auto* d = std::get_if<double>(&v)) return static_cast<int64_t>(*d);
  int64_t parsed = 0;
  if (const auto* s = std::get_if<std::string>(&v)) std::from_chars(s->data(), s->data() + s->size(), parsed);
  return parsed;
}

double Row::real(size_t i) const {
  const Value::Variant& v = values_.at(i).get();
  if (const auto* d = std::get_if<double>(&v)) return *d;
  if (const auto* n = std::get_if<int64_t>(&v)) return static_cast<double>(*n);
  if (const auto* s = std::get_if<std::string>(&v)) return std::strtod(s->c_str(), nullptr);
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
  const Value::Variant& v = values_.at(i).get();
  if (const auto* s = std::get_if<std::string>(&v)) return *s;
  if (values_[i].is_null()) return {};
  throw Fault(FaultKind::internal, fmt::format("Column {} of a database row is not text.", i));
}

std::string Row::take(size_t i) {
  if (auto* s = std::get_if<std::string>(&values_.at(i).get())) return std::move(*s);
  return text(i);
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
