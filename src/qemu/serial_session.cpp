#include "qemu/serial_session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/unix_socket.h"

namespace virga::qemu {

using Clock = std::chrono::steady_clock;

SerialSession::SerialSession(const std::vector<std::string>& argv) {
  const auto pair = socket_pair();
  std::vector<char*> raw;
  for (const auto& word : argv) raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd : {0, 1, 2}) dup2(pair[1], fd);
    execvp(raw[0], raw.data());
    _exit(127);
  }
  close(pair[1]);
  fd_ = pair[0];
  if (pid_ < 0) {
    close(fd_);
    throw Fault(FaultKind::internal, "Could not start QEMU.");
  }
}

SerialSession::~SerialSession() {
  close(fd_);
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

bool SerialSession::read_some(std::chrono::milliseconds wait) {
  pollfd p{fd_, POLLIN, 0};
  if (poll(&p, 1, static_cast<int>(std::max<int64_t>(0, wait.count()))) <= 0) return true;
  char buffer[4096];
  auto n = read(fd_, buffer, sizeof buffer);
  if (n <= 0) return false;
  output_.append(buffer, static_cast<size_t>(n));
  return true;
}

bool SerialSession::expect(const std::string& text, std::chrono::milliseconds deadline) {
  auto until = Clock::now() + deadline;
  for (;;) {
    auto at = output_.find(text, matched_);
    if (at != std::string::npos) {
      matched_ = at + text.size();
      return true;
    }
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
    if (left.count() <= 0 || !read_some(left)) return false;
  }
}

void SerialSession::send(const std::string& text) {
  if (write(fd_, text.data(), text.size()) < 0) throw Fault(FaultKind::internal, "QEMU's console is closed.");
}

// The end mark is written in two parts so that the terminal's echo of the command does not match it.
std::string SerialSession::command(const std::string& line, std::chrono::milliseconds deadline) {
  auto mark = fmt::format("{}=done", ++commands_);
  auto start = matched_;
  send(fmt::format("{}\necho \"mark\"{}\n", line, mark));
  bool found = expect("mark" + mark, deadline);
  return output_.substr(start, found ? matched_ - start : std::string::npos);
}

bool SerialSession::ended(std::chrono::milliseconds deadline) {
  auto until = Clock::now() + deadline;
  while (Clock::now() < until) {
    if (!read_some(std::chrono::milliseconds(100))) {
      waitpid(pid_, nullptr, 0);
      pid_ = -1;
      return true;
    }
  }
  return false;
}

}  // namespace virga::qemu
