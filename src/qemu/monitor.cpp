// One command to QEMU's monitor, over its QMP socket (docs/interop/qmp-spec of QEMU: one JSON object a line).

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/json.h"
#include "base/scope_exit.h"
#include "base/unix_socket.h"
#include "qemu/api.h"

namespace virga::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class Lines {
 public:
  Lines(int fd, std::string socket, steady_clock::time_point end)
      : fd_(fd), socket_(std::move(socket)), end_(end) {}

  void send(const json::object& message) const {
    const std::string line = json::serialize(message) + "\n";
    if (::send(fd_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
      throw Fault(FaultKind::unavailable, fmt::format("QEMU's monitor at {} takes nothing.", socket_));
  }
  /// The next message that has one of these members; events in between are passed over.
  json::object receive(std::initializer_list<std::string_view> wanted) {
    for (;;) {
      const json::value value = parse_json(line());
      if (!value.is_object()) continue;
      for (const std::string_view member : wanted)
        if (value.as_object().contains(member)) return value.as_object();
    }
  }

 private:
  std::string line() {
    for (;;) {
      if (const size_t at = text_.find('\n'); at != std::string::npos) {
        std::string found = text_.substr(0, at);
        text_.erase(0, at + 1);
        return found;
      }
      const auto left = std::chrono::duration_cast<milliseconds>(end_ - steady_clock::now()).count();
      pollfd ready{fd_, POLLIN, 0};
      if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) == 0)
        throw Fault(FaultKind::timeout, fmt::format("QEMU's monitor at {} does not answer in time.", socket_));
      char bytes[4096];
      const ssize_t n = recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (n <= 0)
        throw Fault(FaultKind::unavailable, fmt::format("QEMU closed its monitor at {}.", socket_));
      text_.append(bytes, static_cast<size_t>(n));
    }
  }

  const int fd_;
  const std::string socket_;
  const steady_clock::time_point end_;
  std::string text_;
};

json::object execute(Lines& lines, const json::object& message) {
  lines.send(message);
  return lines.receive({"return", "error"});
}

}  // namespace

std::string monitor_command(const std::string& socket_path, const std::string& command,
                            milliseconds timeout) {
  const int fd = connect_unix(socket_path);
  ScopeExit closer([fd] { close(fd); });
  Lines lines(fd, socket_path, steady_clock::now() + timeout);
  lines.receive({"QMP"});
  execute(lines, {{"execute", "qmp_capabilities"}});
  const json::object answer = execute(
      lines, {{"execute", "human-monitor-command"}, {"arguments", {{"command-line", command}}}});
  if (const json::object* error = find_object(answer, "error"))
    throw Fault(FaultKind::internal, fmt::format("QEMU refuses \"{}\": {}", command, find_string(*error, "desc")));
  return find_string(answer, "return");
}

}  // namespace virga::qemu
