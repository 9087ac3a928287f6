#include "ovn/socket.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault.h"

namespace virga::ovn {
namespace {

FileDescriptor connect_address(const std::string& remote, const sockaddr* address, socklen_t size,
                               std::chrono::milliseconds timeout) {
  FileDescriptor fd(socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int error = 0;
  if (fd.get() < 0 || (connect(fd.get(), address, size) != 0 && errno != EINPROGRESS)) error = errno;
  if (!error) {
    pollfd p{fd.get(), POLLOUT, 0};
    socklen_t length = sizeof error;
    if (poll(&p, 1, static_cast<int>(timeout.count())) != 1)
      error = ETIMEDOUT;
    else
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  }
  if (error)
    throw Fault(FaultKind::unavailable,
                fmt::format("No OVSDB server answers at {}: {}.", remote, strerror(error)),
                "Is ovsdb-server running?");
  return fd;
}

FileDescriptor connect_unix(const std::string& remote, std::chrono::milliseconds timeout) {
  const std::string path = remote.substr(5);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    throw Fault(FaultKind::bad_request, fmt::format("{}: the path of a unix socket has 1 to {} characters.",
                                                    remote, sizeof address.sun_path - 1));
  memcpy(address.sun_path, path.data(), path.size());
  return connect_address(remote, reinterpret_cast<sockaddr*>(&address), sizeof address, timeout);
}

FileDescriptor connect_tcp(const std::string& remote, std::chrono::milliseconds timeout) {
  const size_t colon = remote.rfind(':');
  std::string host = colon > 4 ? remote.substr(4, colon - 4) : "";
  if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (host.empty() || getaddrinfo(host.c_str(), remote.c_str() + colon + 1, &hints, &found) != 0)
    throw Fault(FaultKind::bad_request,
                fmt::format("{} is not tcp:ADDRESS:PORT with a numeric address.", remote));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  return connect_address(remote, found->ai_addr, found->ai_addrlen, timeout);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor connect_to(const std::string& remote, std::chrono::milliseconds timeout) {
  if (remote.starts_with("unix:")) return connect_unix(remote, timeout);
  if (remote.starts_with("tcp:")) return connect_tcp(remote, timeout);
  throw Fault(FaultKind::bad_request, fmt::format("{} is not an OVSDB remote.", remote),
              "Write unix:/path/to/socket or tcp:ADDRESS:PORT.");
}

}  // namespace virga::ovn
