#include "base/unix_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault.h"

namespace virga {
namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Fault(FaultKind::internal, "socket path too long: " + path);
  std::strcpy(address.sun_path, path.c_str());
  return address;
}

int new_socket() {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw Fault(FaultKind::unavailable, fmt::format("no socket: {}", std::strerror(errno)));
  return fd;
}

[[noreturn]] void fail(int fd, const std::string& what) {
  const int error = errno;
  ::close(fd);
  throw Fault(FaultKind::unavailable, fmt::format("{}: {}", what, std::strerror(error)));
}

}  // namespace

int connect_unix(const std::string& path) {
  const auto address = address_of(path);
  const int fd = new_socket();
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail(fd, "nobody listens on " + path);
  return fd;
}

int listen_unix(const std::string& path) {
  const auto address = address_of(path);
  const int fd = new_socket();
  ::unlink(path.c_str());
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::chmod(path.c_str(), 0600) != 0 ||
      ::listen(fd, 16) != 0)
    fail(fd, "cannot listen on " + path);
  return fd;
}

std::array<int, 2> socket_pair() {
  std::array<int, 2> ends;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw Fault(FaultKind::unavailable, fmt::format("no sockets are left: {}", std::strerror(errno)));
  return ends;
}

bool send_all(int socket, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t sent = ::send(socket, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

}  // namespace virga
