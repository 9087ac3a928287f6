// Disk full and I/O errors: every member of a commit gets 503, nothing is half written, service resumes.

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <latch>
#include <thread>

#include "base/scope_exit.h"
#include "db/api.h"
#include "db/sqlite_fault_vfs.h"
#include "support/mariadb.h"

namespace virga::db {
namespace {

const std::vector<Migration> kSchema = {{1, "t", "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, body MEDIUMTEXT);\n"}};

int64_t count(Database& db) {
  return db.read([](Tx& tx) { return tx.query("SELECT COUNT(*) FROM item").at(0).integer(0); });
}

class FaultTest : public testing::Test {
 protected:
  FaultTest() {
    db_ = open({"sqlite://" + file_ + "?vfs=faulty"});
    db_->migrate(kSchema);
    db_->write([](Tx& tx) { tx.exec("INSERT INTO item VALUES (0, 'before')"); });
  }
  /// Runs 16 writes in one commit, with `strike` called before the first of them; returns how many got 503.
  template <class F>
  int run_batch(F&& strike) {
    std::latch running(1), go(1);
    std::atomic<int> refused{0}, hooks{0};
    std::vector<std::thread> threads;
    const auto write = [&](int id) {
      try {
        db_->write([&](Tx& tx) {
          if (id == 1) {
            running.count_down();
            go.wait();
            strike();
          }
          tx.after_commit([&] { ++hooks; });
          tx.exec("INSERT INTO item VALUES (?, ?)", id, std::string(3000, 'x'));
        });
      } catch (const Fault& f) {
        refused += f.status() == 503 && !f.hint.empty();
      }
    };
    threads.emplace_back(write, 1);
    running.wait();
    for (int id = 2; id <= 16; ++id) threads.emplace_back(write, id);
    while (db_->stats().queued < 15) std::this_thread::yield();
    go.count_down();
    for (auto& t : threads) t.join();
    if (refused > 0) {
      EXPECT_EQ(hooks, 0);
    }
    return refused;
  }
  void expect_service_resumed() {
    EXPECT_EQ(count(*db_), 1);
    vfs_.heal();
    for (int i = 0; i < 500 && std::filesystem::file_size(file_ + "-wal") > 0; ++i)  // the writer empties the log
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    expect_nothing_after_a_crash();
    EXPECT_EQ(run_batch([] {}), 0);
    EXPECT_EQ(count(*db_), 17);
  }
  /// What another process would find if this one died now.
  void expect_nothing_after_a_crash() {
    namespace fs = std::filesystem;
    const std::string copy = dir_.path() + "/copy.db";
    for (const char* end : {"", "-wal"}) fs::copy_file(file_ + end, copy + end, fs::copy_options::overwrite_existing);
    EXPECT_EQ(count(*open({"sqlite://" + copy})), 1);
  }

  FaultVfs vfs_{"faulty"};
  test::TempDir dir_;
  std::string file_ = dir_.path() + "/virga.db";
  std::unique_ptr<Database> db_;
};

TEST_F(FaultTest, ACommitIsOneWriteAndOneSync) {
  const int syncs = vfs_.syncs(), writes = vfs_.writes();
  EXPECT_EQ(run_batch([] {}), 0);
  EXPECT_LE(vfs_.syncs() - syncs, 2);  // the log's header is written and synced too when the log starts anew
  EXPECT_LE(vfs_.writes() - writes, 2);
  EXPECT_EQ(count(*db_), 17);
}

TEST_F(FaultTest, DiskFullAtAnyWrite) {
  // The log is empty before, so its header is the first write and the commit's pages the second.
  for (int nth : {1, 2}) {
    const int refused = run_batch([&] { vfs_.fail_writes(nth, SQLITE_FULL); });
    EXPECT_EQ(refused, 16) << nth;
    EXPECT_EQ(count(*db_), 1) << nth;
    vfs_.heal();
  }
  expect_service_resumed();
}

TEST_F(FaultTest, WriteError) {
  EXPECT_EQ(run_batch([&] { vfs_.fail_writes(1, SQLITE_IOERR_WRITE); }), 16);
  expect_service_resumed();
}

TEST_F(FaultTest, SyncErrorAtTheCommit) {
  EXPECT_EQ(run_batch([&] { vfs_.fail_syncs(1, SQLITE_IOERR_FSYNC); }), 16);
  expect_service_resumed();
}

TEST_F(FaultTest, ASyncErrorThatStaysFailsEveryWriteUntilItEnds) {
  EXPECT_EQ(run_batch([&] { vfs_.fail_syncs(1, SQLITE_IOERR_FSYNC); }), 16);
  EXPECT_THROW(db_->write([](Tx& tx) { tx.exec("INSERT INTO item VALUES (99, '')"); }), Fault);
  expect_service_resumed();
}

// In a mount namespace of the thread, so that nothing is left on the machine.
void fill_a_small_disk(const std::string& dir, bool& mounted) {
  if (unshare(CLONE_FS | CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", dir.c_str(), "tmpfs", 0, "size=2m") != 0)
    return;
  mounted = true;
  auto db = open({"sqlite://" + dir + "/virga.db"});
  db->migrate(kSchema);
  int64_t written = 0;
  const auto add = [&] { db->write([&](Tx& tx) { tx.exec("INSERT INTO item VALUES (?, ?)", written, std::string(20'000, 'x')); }); };
  { std::ofstream(dir + "/ballast") << std::string(1'000'000, 'x'); }
  try {
    for (;; ++written) add();
  } catch (const Fault& f) {
    EXPECT_EQ(f.status(), 503) << f.message;
    EXPECT_NE(f.hint.find("Free space"), std::string::npos) << f.message;
  }
  EXPECT_GT(written, 3);
  EXPECT_EQ(count(*db), written);
  std::filesystem::remove(dir + "/ballast");
  add();
  EXPECT_EQ(count(*db), written + 1);
}

TEST(SmallDisk, AFullDiskRefusesAndResumes) {
  test::TempDir dir;
  bool mounted = false;
  std::thread([&] {
    try {
      fill_a_small_disk(dir.path(), mounted);
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
  }).join();
  if (!mounted) GTEST_SKIP() << "a tmpfs cannot be mounted here";
}

}  // namespace
}  // namespace virga::db
