#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "qemu/api.h"

namespace virga::qemu {
namespace {

/// Speaks QMP to one client as QEMU 7.2 does: a greeting, then an answer to each line, with events in between.
class FakeQemu {
 public:
  explicit FakeQemu(std::string answer) : path_("/tmp/virga-monitor-test." + std::to_string(getpid())), answer_(std::move(answer)) {
    ::unlink(path_.c_str());
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeQemu() {
    thread_.join();
    close(fd_);
    ::unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }
  const std::string& heard() const { return heard_; }

 private:
  void serve() {
    const int client = accept(fd_, nullptr, nullptr);
    say(client, R"({"QMP": {"version": {}, "capabilities": ["oob"]}})");
    listen_line(client);
    say(client, R"({"return": {}})");
    listen_line(client);
    say(client, R"({"timestamp": {"seconds": 1}, "event": "STOP"})");
    if (!answer_.empty()) say(client, answer_);
    close(client);
  }
  static void say(int client, const std::string& line) { EXPECT_GT(::send(client, (line + "\r\n").data(), line.size() + 2, MSG_NOSIGNAL), 0); }
  void listen_line(int client) {
    for (char c; recv(client, &c, 1, 0) == 1 && c != '\n';) heard_ += c;
  }

  const std::string path_, answer_;
  int fd_ = -1;
  std::string heard_;
  std::thread thread_;
};

TEST(Monitor, AnswersOfACommandAreFoundAmongEvents) {
  FakeQemu qemu(R"({"return": "Error: no space left\r\n"})");
  EXPECT_EQ(monitor_command(qemu.path(), "savevm \"fresh\""), "Error: no space left\r\n");
  EXPECT_NE(qemu.heard().find(R"("command-line":"savevm \"fresh\"")"), std::string::npos) << qemu.heard();
}

TEST(Monitor, AnErrorIsAFault) {
  FakeQemu qemu(R"({"error": {"class": "GenericError", "desc": "not now"}})");
  try {
    monitor_command(qemu.path(), "savevm x");
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_NE(fault.message.find("not now"), std::string::npos);
  }
}

TEST(Monitor, AQemuThatEndsOrIsNotThereIsUnavailable) {
  {
    FakeQemu qemu("");
    EXPECT_THROW(monitor_command(qemu.path(), "savevm x"), Fault);
  }
  try {
    monitor_command("/tmp/virga-no-such-monitor", "info");
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable);
  }
}

}  // namespace
}  // namespace virga::qemu
