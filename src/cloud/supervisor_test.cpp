#include "cloud/supervisor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/fault.h"
#include "base/ids.h"
#include "base/process.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;

/// Services that are harmless `sleep`s, under a folder of their own.
class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override {
    kill_leftovers(dir_, "");
    std::filesystem::remove_all(dir_);
  }
  ServiceSpec sleeper(const std::string& name, std::vector<std::string> after = {}) {
    ServiceSpec s;
    s.name = name;
    s.aliases = {"group"};
    s.argv = {"sleep", "1000"};
    s.after = std::move(after);
    s.log_file = dir_ + "/" + name + ".log";
    s.on_ready = [this, name] { note("+" + name); };
    return s;
  }
  void note(const std::string& line) {
    std::lock_guard lock(mutex_);
    order_ += line + " ";
  }
  SupervisorOptions options() const { return {dir_, milliseconds(10), milliseconds(40), milliseconds(60'000)}; }
  /// Waits (bounded) for a condition that another process or thread brings about.
  static bool soon(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      usleep(5000);
    }
    return false;
  }
  const std::string dir_ = "/tmp/virga-supervisor-" + new_hex_id().substr(0, 8);
  std::mutex mutex_;
  std::string order_;
};

TEST_F(SupervisorTest, StartsInOrderAndStopsInReverse) {
  Supervisor s(options(), {sleeper("a"), sleeper("b", {"a"}), sleeper("c", {"a", "b"})});
  s.run();
  ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
  EXPECT_EQ(order_, "+a +b +c ");
  const auto up = s.status();
  EXPECT_GT(up[0].memory_kib, 0);
  EXPECT_GE(up[0].uptime_s, 0);
  s.shutdown();
  for (const auto& row : up) EXPECT_NE(kill(row.pid, 0), 0);
  for (const auto& row : s.status()) EXPECT_EQ(row.state, ServiceState::stopped);
}

TEST_F(SupervisorTest, AdoptsWhatSurvivedItsPredecessor) {
  pid_t first = 0;
  {
    Supervisor s(options(), {sleeper("a")});
    s.run();
    ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
    first = s.status()[0].pid;
  }
  ASSERT_EQ(kill(first, 0), 0);
  Supervisor s(options(), {sleeper("a")});
  s.run();
  ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
  EXPECT_EQ(s.status()[0].pid, first);
  EXPECT_TRUE(s.status()[0].adopted);
  s.shutdown();
  EXPECT_TRUE(soon([&] { return kill(first, 0) != 0; }));
}

TEST_F(SupervisorTest, NeverAdoptsAStrangerWithARecycledPid) {
  std::filesystem::create_directories(dir_ + "/pid");
  write_file(dir_ + "/pid/a", fmt::format("{} {}\n", getpid(), process_start_ticks(getpid())));
  Supervisor s(options(), {sleeper("a")});
  s.run();
  ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
  EXPECT_NE(s.status()[0].pid, getpid());
  s.shutdown();
}

TEST_F(SupervisorTest, RestartsWhatWasKilled) {
  Supervisor s(options(), {sleeper("a")});
  s.run();
  ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
  const pid_t first = s.status()[0].pid;
  kill(first, SIGKILL);
  EXPECT_TRUE(soon([&] { return s.status()[0].restarts == 1 && s.status()[0].state == ServiceState::ready; }));
  EXPECT_NE(s.status()[0].pid, first);
  s.shutdown();
}

TEST_F(SupervisorTest, BacksOffAndSaysWhy) {
  ServiceSpec bad = sleeper("bad");
  bad.argv = {"sh", "-c", "echo no such thing; exit 3"};
  bad.ready_sockets = {dir_ + "/never.sock"};
  Supervisor s(options(), {bad, sleeper("on-top", {"bad"})});
  s.run();
  EXPECT_TRUE(soon([&] { return s.status()[0].restarts >= 3; }));
  EXPECT_NE(s.status()[0].problem.find("exit code 3"), std::string::npos) << s.status()[0].problem;
  EXPECT_NE(s.status()[0].problem.find("no such thing"), std::string::npos);
  EXPECT_EQ(s.status()[1].state, ServiceState::waiting);
  EXPECT_FALSE(s.wait_ready(milliseconds(1)));
  s.shutdown();
}

TEST_F(SupervisorTest, StartEndsAPause) {
  ServiceSpec bad = sleeper("bad");
  bad.argv = {"sh", "-c", "exit 3"};
  SupervisorOptions patient = options();
  patient.backoff_min = std::chrono::hours(1);
  Supervisor s(patient, {bad});
  s.run();
  ASSERT_TRUE(soon([&] { return s.status()[0].restarts == 1; }));
  s.start("bad");
  EXPECT_TRUE(soon([&] { return s.status()[0].restarts >= 2; }));
  s.shutdown();
}

TEST_F(SupervisorTest, StopsStartsAndRestartsByNameOrGroup) {
  Supervisor s(options(), {sleeper("a"), sleeper("b", {"a"})});
  s.run();
  ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
  const auto before = s.status();
  s.stop("a");
  EXPECT_TRUE(soon([&] { return s.status()[0].state == ServiceState::stopped; }));
  EXPECT_EQ(s.status()[1].pid, before[1].pid);
  s.start("a");
  EXPECT_TRUE(soon([&] { return s.status()[0].state == ServiceState::ready; }));
  s.restart("group");
  EXPECT_TRUE(soon([&] {
    return s.status()[1].pid != before[1].pid && s.status()[1].state == ServiceState::ready;
  }));
  EXPECT_THROW(s.stop("nothing"), Fault);
  s.shutdown();
}

TEST_F(SupervisorTest, AChildWhosePidWasNeverWrittenDownIsReplaced) {
  pid_t first = 0;
  {
    Supervisor s(options(), {sleeper("a")});
    s.run();
    ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
    first = s.status()[0].pid;
  }
  std::filesystem::remove(dir_ + "/pid/a");
  Supervisor s(options(), {sleeper("a")});
  s.run();
  ASSERT_TRUE(s.wait_ready(milliseconds(5000)));
  EXPECT_NE(s.status()[0].pid, first);
  EXPECT_NE(kill(first, 0), 0);
  s.shutdown();
}

TEST_F(SupervisorTest, LeavesProcessesOfAnotherMachineAlone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  // A lab's host has folders of the same names: its service carries the same marker, in a PID namespace of its own.
  ServiceSpec spec = sleeper("a");
  spec.argv = {"unshare", "--pid", "--fork", "sleep", "1000"};
  const ProcessName outer = start_service(spec, dir_, dir_ + "/pid-file");
  const std::string children = "/proc/" + std::to_string(outer.pid) + "/task/" + std::to_string(outer.pid) + "/children";
  pid_t inner = 0;
  ASSERT_TRUE(soon([&] { return static_cast<bool>(std::ifstream(children) >> inner); }));
  const ProcessName elsewhere{inner, process_start_ticks(inner)};
  kill_leftovers(dir_, "a");
  EXPECT_FALSE(outer.alive());
  EXPECT_TRUE(elsewhere.alive());
  kill(inner, SIGKILL);
  EXPECT_TRUE(soon([&] { return !elsewhere.alive(); }));
}

TEST_F(SupervisorTest, ASlowStartShowsWhatTheProgramSays) {
  ServiceSpec spec = sleeper("a");
  spec.argv = {"sh", "-c", "echo waiting for something; exec sleep 1000"};
  spec.log_file = dir_ + "/a.log";
  spec.ready_sockets = {dir_ + "/never"};
  SupervisorOptions impatient = options();
  impatient.slow_start = milliseconds(100);
  Supervisor supervisor(impatient, {spec});
  supervisor.run();
  EXPECT_TRUE(soon([&] { return supervisor.status().front().problem == "waiting for something"; }));
  EXPECT_EQ(supervisor.status().front().state, ServiceState::starting);
  supervisor.shutdown();
}

TEST(LogTail, IsTheLastLines) {
  const std::string path = "/tmp/virga-log-tail-" + new_hex_id();
  const auto tail = [&](const std::string& text, size_t lines) {
    write_file(path, text);
    return log_tail(path, lines);
  };
  EXPECT_EQ(tail("a\nb\nc\n", 1), "c");
  EXPECT_EQ(tail("a\nb\nc\n", 2), "b\nc");
  EXPECT_EQ(tail("a\nb", 5), "a\nb");
  EXPECT_EQ(tail("\n\n", 1), "");
  EXPECT_EQ(tail(std::string(100'000, 'x') + "\nend\n", 1), "end");
  EXPECT_EQ(tail(std::string(100'000, 'x'), 1).size(), 16384u);
  std::filesystem::remove(path);
  EXPECT_EQ(log_tail(path, 3), "");
}

TEST_F(SupervisorTest, RefusesServicesThatStandOnUnknownOnes) {
  EXPECT_THROW(Supervisor(options(), {sleeper("a", {"b"}), sleeper("b")}), Fault);
}

}  // namespace
}  // namespace virga::cloud
