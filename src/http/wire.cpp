#include "http/wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace virga::http::wire {

ssize_t send_now(int fd, std::string_view head, std::string_view body) {
  iovec parts[2] = {{const_cast<char*>(head.data()), head.size()}, {const_cast<char*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body.empty() ? 1 : 2;
  for (;;) {
    ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
  }
}

bool send_all(int fd, std::string_view bytes, Timeout timeout) {
  while (!bytes.empty()) {
    ssize_t sent = send_now(fd, bytes, {});
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
    if (!bytes.empty() && sent == 0 && !wait_for(fd, POLLOUT, timeout)) return false;
  }
  return true;
}

ssize_t receive(int fd, std::span<char> into, Timeout timeout) {
  for (;;) {
    ssize_t got = ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -1;
    if (!wait_for(fd, POLLIN, timeout)) {
      errno = ETIMEDOUT;
      return -1;
    }
  }
}

bool wait_for(int fd, short events, Timeout timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    auto left = std::chrono::duration_cast<Timeout>(end - std::chrono::steady_clock::now()).count();
    pollfd waiting{fd, events, 0};
    int rc = ::poll(&waiting, 1, left > 0 ? static_cast<int>(left) : 0);
    if (rc > 0) return true;
    if (rc == 0 || errno != EINTR) return false;
  }
}

}  // namespace virga::http::wire
