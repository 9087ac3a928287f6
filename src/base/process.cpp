#include "base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/fault.h"
#include "base/ids.h"

extern char** environ;

namespace virga {
namespace {

struct Pipe {
  int fd[2] = {-1, -1};
  Pipe() {
    if (pipe2(fd, O_CLOEXEC) != 0) throw Fault(FaultKind::internal, "No pipe could be made.");
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(int which) {
    if (fd[which] >= 0) close(fd[which]);
    fd[which] = -1;
  }
};

/// argv, envp and the resolved program, prepared before fork: the child may only make async-signal-safe calls.
struct Prepared {
  std::vector<char*> argv, envp;
  std::vector<std::string> env_store;

  explicit Prepared(const Command& c) {
    for (const auto& a : c.argv) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    for (char** e = environ; *e; ++e) {
      const std::string_view name = std::string_view(*e).substr(0, std::string_view(*e).find('='));
      bool replaced = false;
      for (const auto& own : c.environment)
        replaced |= std::string_view(own).substr(0, own.find('=')) == name;
      if (!replaced) envp.push_back(*e);
    }
    env_store = c.environment;
    for (auto& own : env_store) envp.push_back(own.data());
    envp.push_back(nullptr);
  }
};

[[noreturn]] void exec_child(const Command& c, const Prepared& p, int in, int out, int err, int report) {
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  dup2(in, 0);
  dup2(out, 1);
  dup2(err, 2);
  // Whoever called us may have left descriptors open, a lock's for one: a daemon must not hold them for ever.
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  if (c.directory.empty() || chdir(c.directory.c_str()) == 0) {
    if (c.in_child) c.in_child();
    execvpe(p.argv[0], p.argv.data(), p.envp.data());
  }
  const int error = errno;
  [[maybe_unused]] ssize_t n = write(report, &error, sizeof error);
  _exit(127);
}

pid_t start(const Command& c, int in, int out, int err) {
  if (c.argv.empty()) throw Fault(FaultKind::internal, "No program was named.");
  Prepared prepared(c);
  Pipe report;
  const pid_t pid = fork();
  if (pid < 0) throw Fault(FaultKind::internal, "No process could be forked.");
  if (pid == 0) exec_child(c, prepared, in, out, err, report.fd[1]);
  report.close_end(1);
  int error = 0;
  ssize_t n;
  do n = read(report.fd[0], &error, sizeof error);
  while (n < 0 && errno == EINTR);
  if (n == sizeof error) {
    waitpid(pid, nullptr, 0);
    throw Fault(FaultKind::internal, fmt::format("{} could not be started: {}.", c.argv[0], strerror(error)),
                "Is its package installed, and is it in PATH?");
  }
  return pid;
}

void pump(const Command& c, Pipe& in, Pipe& out, Pipe& err, Outcome& outcome, pid_t pid) {
  const auto deadline = std::chrono::steady_clock::now() + c.timeout;
  size_t written = 0;
  fcntl(in.fd[1], F_SETFL, O_NONBLOCK);
  if (c.input.empty()) in.close_end(1);
  while (out.fd[0] >= 0 || err.fd[0] >= 0) {
    pollfd fds[3] = {{out.fd[0], POLLIN, 0}, {err.fd[0], POLLIN, 0}, {in.fd[1], POLLOUT, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      outcome.timed_out = true;
      kill(-pid, SIGKILL);
      return;
    }
    if (poll(fds, 3, static_cast<int>(left.count())) < 0 && errno != EINTR) return;
    char buffer[65536];
    for (int i = 0; i < 2; ++i) {
      if (!(fds[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
      Pipe& p = i == 0 ? out : err;
      std::string& sink = i == 0 ? outcome.out : outcome.err;
      const ssize_t n = read(p.fd[0], buffer, sizeof buffer);
      if (n <= 0) p.close_end(0);
      else if (sink.size() < c.max_output) sink.append(buffer, static_cast<size_t>(n));
    }
    if (fds[2].revents) {
      const ssize_t n = write(in.fd[1], c.input.data() + written, c.input.size() - written);
      if (n > 0) written += static_cast<size_t>(n);
      if (written == c.input.size() || (n < 0 && errno != EAGAIN)) in.close_end(1);
    }
  }
}

/// False if it cannot be read. A file of /proc may fail in the middle, when its process ends; an iterator of a stream would
/// throw then.
bool read_all(const std::string& path, std::string& content) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  if (in) out << in.rdbuf();
  content = std::move(out).str();
  return in.is_open() && !out.bad();
}

/// SIGPIPE would end us when a child closes its input early; EPIPE says the same.
void ignore_sigpipe_once() {
  [[maybe_unused]] static const auto previous = signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Outcome run(const Command& c) {
  ignore_sigpipe_once();
  Pipe in, out, err;
  const pid_t pid = start(c, in.fd[0], out.fd[1], err.fd[1]);
  in.close_end(0);
  out.close_end(1);
  err.close_end(1);
  Outcome outcome;
  pump(c, in, out, err, outcome, pid);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

std::string run_or_throw(const Command& c) {
  Outcome o = run(c);
  if (o.ok()) return std::move(o.out);
  std::string line;
  for (const auto& a : c.argv) line += (line.empty() ? "" : " ") + a;
  const std::string tail = o.err.size() > 800 ? o.err.substr(o.err.size() - 800) : o.err;
  throw Fault(FaultKind::internal, fmt::format("`{}` {}: {}", line,
                                               o.timed_out ? "took too long" : fmt::format("failed ({})", o.exit_code), tail));
}

pid_t spawn(const Command& c, const std::string& log_path) {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (log < 0) {
    close(null);
    throw Fault(FaultKind::internal, fmt::format("{} cannot be opened: {}.", log_path, strerror(errno)));
  }
  try {
    const pid_t pid = start(c, null, log, log);
    close(null);
    close(log);
    return pid;
  } catch (...) {
    close(null);
    close(log);
    throw;
  }
}

uint64_t process_start_ticks(pid_t pid) {
  std::string text;
  read_all(fmt::format("/proc/{}/stat", pid), text);
  const size_t after_name = text.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(text.substr(after_name + 2));
  std::string state, word;
  fields >> state;
  if (state == "Z" || state == "X") return 0;
  for (int field = 4; field <= 22; ++field) fields >> word;
  return std::strtoull(word.c_str(), nullptr, 10);
}

std::string read_file(const std::string& path) {
  std::string content;
  if (!read_all(path, content)) throw Fault(FaultKind::not_found, fmt::format("{} cannot be read: {}.", path, strerror(errno)));
  return content;
}

void write_file(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = path + ".new-" + new_hex_id().substr(0, 8);
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  const auto fail = [&] {
    const int error = errno;
    if (fd >= 0) close(fd);
    unlink(temporary.c_str());
    throw Fault(FaultKind::internal, fmt::format("{} cannot be written: {}.", path, strerror(error)));
  };
  if (fd < 0) fail();
  while (!content.empty()) {
    const ssize_t n = write(fd, content.data(), content.size());
    if (n < 0) fail();
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (fchmod(fd, mode) != 0 || fsync(fd) != 0) fail();
  close(fd);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(temporary.c_str());
    throw Fault(FaultKind::internal, fmt::format("{} cannot be written: {}.", path, strerror(error)));
  }
}

}  // namespace virga
