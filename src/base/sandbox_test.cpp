#include "base/sandbox.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

namespace virga {
namespace {

/// What `f` returns in a child that entered the sandbox; 99 if there is none to enter.
int in_sandbox(const std::function<int()>& f) {
  const pid_t child = fork();
  if (child == 0) _exit(enter_sandbox() ? f() : 99);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string status_line(const std::string& name) {
  std::ifstream in("/proc/thread-self/status");
  for (std::string line; std::getline(in, line);)
    if (line.rfind(name, 0) == 0) return line.substr(line.find_first_not_of(" \t", name.size()));
  return "";
}

class Sandbox : public ::testing::Test {
 protected:
  void SetUp() override {
    if (in_sandbox([] { return 0; }) == 99) GTEST_SKIP() << "this kernel has no seccomp filters";
  }
};

TEST_F(Sandbox, StartsNoProgram) {
  EXPECT_EQ(in_sandbox([] {
              execl("/bin/true", "true", nullptr);
              return errno;
            }),
            EPERM);
  EXPECT_EQ(in_sandbox([] { return system("true") == 0 ? 0 : EPERM; }), EPERM);
}

TEST_F(Sandbox, RefusesWhatAServerNeverNeeds) {
  const std::pair<const char*, std::function<int()>> calls[] = {
      {"mount", [] { return mount("none", "/tmp", "tmpfs", 0, nullptr); }},
      {"unshare", [] { return unshare(CLONE_NEWUSER); }},
      {"setns", [] { return setns(-1, 0); }},
      {"ptrace", [] { return static_cast<int>(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }},
      {"bpf", [] { return static_cast<int>(syscall(SYS_bpf, 0, nullptr, 0)); }},
      {"keyctl", [] { return static_cast<int>(syscall(SYS_keyctl, 0, 0, 0, 0, 0)); }},
      {"userfaultfd", [] { return static_cast<int>(syscall(SYS_userfaultfd, 0)); }},
      {"perf_event_open", [] { return static_cast<int>(syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0)); }},
      {"io_uring_setup", [] { return static_cast<int>(syscall(SYS_io_uring_setup, 1, nullptr)); }},
      {"init_module", [] { return static_cast<int>(syscall(SYS_init_module, nullptr, 0, "")); }},
      {"kexec_load", [] { return static_cast<int>(syscall(SYS_kexec_load, 0, 0, nullptr, 0)); }},
      {"process_vm_readv",
       [] { return static_cast<int>(syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0)); }}};
  for (const auto& [name, call] : calls)
    EXPECT_EQ(in_sandbox([&call = call] { return call() == -1 ? errno : 0; }), EPERM) << name;
}

TEST_F(Sandbox, LeavesWhatAServerDoes) {
  EXPECT_EQ(in_sandbox([] {
              std::atomic<int> ran{0};
              std::thread([&] { ++ran; }).join();
              std::ofstream out("/dev/null");
              out << "x" << std::flush;
              return ran == 1 && out.good() && access("/", F_OK) == 0 ? 0 : 1;
            }),
            0);
}

TEST_F(Sandbox, ShowsInTheKernelsTables) {
  EXPECT_EQ(
      in_sandbox([] { return status_line("Seccomp:") == "2" && status_line("NoNewPrivs:") == "1" ? 0 : 1; }),
      0);
}

TEST_F(Sandbox, HoldsForThreadsThatRanBefore) {
  EXPECT_EQ(in_sandbox([] { return 0; }), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<bool> entered{false};
    std::atomic<int> saw{0};
    std::thread before([&] {
      while (!entered) std::this_thread::yield();
      saw = status_line("Seccomp:") == "2" ? 1 : 2;
    });
    enter_sandbox();
    entered = true;
    before.join();
    _exit(saw == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace virga
