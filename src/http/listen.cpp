#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/scope_exit.h"
#include "http/api.h"

namespace virga::http {
namespace {

constexpr int kBacklog = 4096;

int open_socket(int family) {
  int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw Fault(FaultKind::internal, fmt::format("Cannot make a socket: {}.", std::strerror(errno)));
  return fd;
}

void bind_and_listen(int fd, const sockaddr* address, socklen_t length, const std::string& what) {
  if (::bind(fd, address, length) == 0 && ::listen(fd, kBacklog) == 0) return;
  int error = errno;
  if (error == EADDRINUSE)
    throw Fault(FaultKind::conflict, fmt::format("{}: port in use.", what),
                "Stop the program that listens there, or choose another port.");
  throw Fault(error == EACCES ? FaultKind::forbidden : FaultKind::internal,
              fmt::format("Cannot listen on {}: {}.", what, std::strerror(error)));
}

/// A socket file whose server died may be taken over; one that still answers may not.
void remove_stale(const sockaddr_un& address) {
  int probe = open_socket(AF_UNIX);
  ScopeExit closing([probe] { ::close(probe); });
  if (::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == ECONNREFUSED)
    ::unlink(address.sun_path);
}

}  // namespace

int listen_tcp(const std::string& address, uint16_t port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  const std::string what = fmt::format("{}:{}", address, port);
  const char* host = address.empty() ? nullptr : address.c_str();
  if (int rc = ::getaddrinfo(host, std::to_string(port).c_str(), &hints, &found); rc != 0)
    throw Fault(FaultKind::bad_request, fmt::format("Bad listen address {}: {}.", what, ::gai_strerror(rc)));
  ScopeExit freeing([found] { ::freeaddrinfo(found); });
  int fd = open_socket(found->ai_family);
  ScopeExit closing([fd] { ::close(fd); });
  int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // accepted sockets inherit it on Linux
  bind_and_listen(fd, found->ai_addr, found->ai_addrlen, what);
  closing.release();
  return fd;
}

int listen_unix(const std::string& path, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    throw Fault(FaultKind::bad_request, fmt::format("The socket path {} is empty or too long.", path));
  std::memcpy(address.sun_path, path.data(), path.size());
  remove_stale(address);
  int fd = open_socket(AF_UNIX);
  ScopeExit closing([fd] { ::close(fd); });
  // On Linux the file takes its mode from the socket's own, so there is no moment with a wider one.
  ::fchmod(fd, mode);
  bind_and_listen(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address, path);
  ::chmod(path.c_str(), mode);
  closing.release();
  return fd;
}

}  // namespace virga::http
