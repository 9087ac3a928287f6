#pragma once
// For tests: databases of both engines. A MariaDB server of our own (temporary folder, unix socket, no network)
// starts when first asked for, once per test program, and ends with it.
//
//   class ServersTest : public testing::TestWithParam<virga::db::Dialect> {
//     virga::test::TestDatabase db_{GetParam()};            // empty, no schema; db_->migrate() for all migrations
//   };
//   INSTANTIATE_TEST_SUITE_P(Engines, ServersTest, virga::test::engines(), virga::test::engine_name);

#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "base/process.h"
#include "db/api.h"

namespace virga::test {

/// A folder that goes away with the object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "virga-test-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw Fault(FaultKind::internal, "mkdtemp failed");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class MariadbServer {
 public:
  MariadbServer() {
    const passwd* mysql = geteuid() == 0 ? getpwnam("mysql") : nullptr;
    if (mysql) uid_ = mysql->pw_uid, gid_ = mysql->pw_gid;
    chmod(dir_.path().c_str(), 0755);
    std::filesystem::create_directory(data());
    if (mysql && chown(data().c_str(), uid_, gid_) != 0) throw Fault(FaultKind::internal, "chown failed");
    run_or_throw(command({"mariadb-install-db", "--no-defaults", "--datadir=" + data(), "--skip-test-db",
                          "--auth-root-authentication-method=normal"}));
    start();
  }
  ~MariadbServer() { stop(SIGTERM); }

  /// Listens on its socket when this returns.
  void start() {
    pid_ = spawn(command({"/usr/sbin/mariadbd", "--no-defaults", "--datadir=" + data(), "--socket=" + socket(),
                          "--skip-networking", "--pid-file=" + data() + "/pid", "--innodb-buffer-pool-size=64M",
                          "--innodb-log-file-size=32M", "--max-connections=200", "--character-set-server=latin1"}),
                 dir_.path() + "/log");
    for (int i = 0; i < 600 && !answers(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  void stop(int signal) {
    if (pid_ <= 0) return;
    kill(pid_, signal);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string url(const std::string& database) const {
    return "mariadb://root@localhost/" + database + "?socket=" + socket();
  }
  /// Makes a new, empty database and returns its URL.
  std::string new_database() {
    const std::string name = "t" + std::to_string(++made_);
    db::open({url("mysql")})->write([&](db::Tx& tx) { tx.exec("CREATE DATABASE " + name); });
    return url(name);
  }

 private:
  std::string data() const { return dir_.path() + "/data"; }
  std::string socket() const { return data() + "/sock"; }
  bool answers() const {
    try {
      db::open({url("mysql")})->read([](db::Tx& tx) { tx.query("SELECT 1"); });
      return true;
    } catch (const Fault&) {
      return false;
    }
  }
  // As user mysql (the server refuses root), and dying with the test program, however that ends.
  Command command(std::vector<std::string> argv) const {
    Command c{std::move(argv)};
    const uid_t uid = uid_;
    const gid_t gid = gid_;
    c.in_child = [uid, gid] {
      if (uid && (setgroups(0, nullptr) != 0 || setgid(gid) != 0 || setuid(uid) != 0)) _exit(126);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
    };
    return c;
  }

  TempDir dir_;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  pid_t pid_ = -1;
  std::atomic<int> made_{0};
};

/// The test program's server.
inline MariadbServer& mariadb_server() {
  static MariadbServer server;
  return server;
}

/// A fresh, empty database of one engine.
class TestDatabase {
 public:
  explicit TestDatabase(db::Dialect dialect) {
    options.url = dialect == db::Dialect::sqlite ? "sqlite://" + dir_.path() + "/virga.db"
                                                 : mariadb_server().new_database();
    database_ = db::open(options);
  }
  db::Database& operator*() { return *database_; }
  db::Database* operator->() { return database_.get(); }
  /// Closes and opens again, as a restart does.
  void reopen() {
    database_.reset();
    database_ = db::open(options);
  }
  const std::string& dir() const { return dir_.path(); }
  db::Options options;

 private:
  TempDir dir_;
  std::unique_ptr<db::Database> database_;
};

inline auto engines() { return testing::Values(db::Dialect::sqlite, db::Dialect::mariadb); }
inline std::string engine_name(const testing::TestParamInfo<db::Dialect>& info) {
  return info.param == db::Dialect::sqlite ? "sqlite" : "mariadb";
}

}  // namespace virga::test
