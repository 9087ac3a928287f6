// Commits and reads a second. Usage: db_bench [database URL]; without one, an SQLite file in a new folder of the
// current directory (so that the disk measured is the one you chose).

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "db/api.h"

namespace {

using namespace virga;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Calls `once(i)` from `threads` threads for two seconds; prints calls a second.
template <class F>
void measure(const char* what, int threads, F&& once) {
  std::atomic<int64_t> calls{0};
  std::vector<std::thread> pool;
  const auto start = Clock::now();
  for (int t = 0; t < threads; ++t)
    pool.emplace_back([&] {
      while (seconds_since(start) < 2) once(++calls);
    });
  for (auto& t : pool) t.join();
  fmt::print("{:<32} {:>3} threads {:>10.0f}/s\n", what, threads, static_cast<double>(calls) / seconds_since(start));
}

void measure_list(db::Database& database) {
  std::string columns = "id";
  for (int i = 0; i < 29; ++i) columns += fmt::format(", 'some text of a column' || {}", i);
  const std::string sql = "SELECT " + columns + " FROM bench_item ORDER BY id LIMIT 1000";
  double best = 1e9;
  size_t rows = 0;
  for (int i = 0; i < 20; ++i) {
    const auto start = Clock::now();
    rows = database.read([&](db::Tx& tx) { return tx.query(sql).size(); });
    best = std::min(best, seconds_since(start));
  }
  fmt::print("list of {} rows x 30 columns       {:>10.2f} ms\n", rows, best * 1000);
}

void run(db::Database& database) {
  database.migrate({{1, "bench", "CREATE TABLE bench_item (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64), n BIGINT NOT NULL);\n"}});
  std::atomic<int64_t> next{0};
  const auto insert = [&](int64_t) {
    const int64_t id = ++next;
    database.write([&](db::Tx& tx) { tx.exec("INSERT INTO bench_item VALUES (?, ?, ?)", id, "a name of some length", id); });
  };
  for (int threads : {1, 64}) {
    const db::Stats before = database.stats();
    measure("writes (one insert each)", threads, insert);
    const db::Stats after = database.stats();
    fmt::print("  {:.1f} writes a commit\n", double(after.closures - before.closures) / double(after.commits - before.commits));
  }
  const int64_t top = next;
  for (int threads : {1, 4})
    measure("point reads", threads, [&](int64_t i) {
      database.read([&](db::Tx& tx) { tx.first("SELECT name, n FROM bench_item WHERE id = ?", i % top + 1); });
    });
  measure_list(database);
}

}  // namespace

int main(int argc, char** argv) {
  std::string dir = "./db_bench.XXXXXX";
  if (argc < 2 && !mkdtemp(dir.data())) return 1;
  db::Options options;
  options.url = argc > 1 ? argv[1] : "sqlite://" + dir + "/bench.db";
  options.readers = 64;
  run(*db::open(options));
  if (argc < 2) std::filesystem::remove_all(dir);
}
