#include "cloud/control_socket.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault.h"
#include "base/scope_exit.h"

namespace virga::cloud {
namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path)
    throw Fault(FaultKind::bad_request, fmt::format("{} is too long for a socket.", path), "Shorten cloud.run_dir.");
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

bool send_line(int fd, const json::object& o) {
  const std::string text = json::serialize(o) + "\n";
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

/// One line, at most 4 MiB; false if the peer is silent for 10 s, or gone.
bool receive_line(int fd, std::string& line) {
  line.clear();
  char buffer[8192];
  while (line.size() < (4u << 20)) {
    pollfd p{fd, POLLIN, 0};
    if (poll(&p, 1, 10'000) <= 0) return false;
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    line.append(buffer, static_cast<size_t>(n));
    if (const size_t end = line.find('\n'); end != std::string::npos) {
      line.resize(end);
      return true;
    }
  }
  return false;
}

}  // namespace

ControlSocket::ControlSocket(const std::string& path, std::function<json::object(const json::object&)> answer)
    : path_(path), answer_(std::move(answer)) {
  const sockaddr_un address = address_of(path);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(path.c_str());  // the caller holds the supervisor's lock: a socket left here has no owner
  const mode_t mask = umask(0177);
  const int bound = bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  umask(mask);
  if (bound != 0 || listen(fd_, 16) != 0) {
    close(fd_);
    throw Fault(FaultKind::internal, fmt::format("{} cannot be made: {}.", path, strerror(errno)));
  }
  wake_fd_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { serve(); });
}

ControlSocket::~ControlSocket() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof one);
  thread_.join();
  unlink(path_.c_str());
  close(fd_);
  close(wake_fd_);
}

void ControlSocket::serve() {
  while (true) {
    pollfd fds[2] = {{fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents) return;
    if (!fds[0].revents) continue;
    const int client = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    converse(client);
    close(client);
  }
}

void ControlSocket::converse(int client) {
  std::string line;
  if (!receive_line(client, line)) return;
  json::object reply;
  try {
    const json::value request = parse_json(line);
    if (!request.is_object()) throw Fault(FaultKind::bad_request, "A request is a JSON object.");
    reply = answer_(request.as_object());
  } catch (const Fault& f) {
    reply = {{"error", f.message}, {"hint", f.hint}, {"status", f.status()}};
  } catch (const std::exception& e) {
    reply = {{"error", e.what()}, {"status", 500}};
  }
  send_line(client, reply);
}

json::object ask(const std::string& path, const json::object& request) {
  const sockaddr_un address = address_of(path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ScopeExit closer([fd] { close(fd); });
  std::string line;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || !send_line(fd, request) ||
      !receive_line(fd, line))
    throw Fault(FaultKind::unavailable, "The supervisor does not answer.", "`virga up` starts it.");
  json::object reply = parse_json(line).as_object();
  if (const std::string error = find_string(reply, "error"); !error.empty())
    throw Fault(static_cast<FaultKind>(find_int(reply, "status", 500)), error, find_string(reply, "hint"));
  return reply;
}

}  // namespace virga::cloud
