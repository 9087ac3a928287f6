#include "http/wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace virga::http::wire {

namespace {

ssize_t send_sealed(TlsStream& tls, std::string_view head, std::string_view body) {
  const ssize_t sent = tls.send(head);
  if (sent < 0 || static_cast<size_t>(sent) < head.size() || body.empty()) return sent;
  const ssize_t more = tls.send(body);
  return more < 0 ? -1 : sent + more;
}

}  // namespace

ssize_t send_now(Channel to, std::string_view head, std::string_view body) {
  if (to.tls) return send_sealed(*to.tls, head, body);
  iovec parts[2] = {{const_cast<char*>(head.data()), head.size()}, {const_cast<char*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body.empty() ? 1 : 2;
  for (;;) {
    ssize_t sent = ::sendmsg(to.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
  }
}

bool send_all(Channel to, std::string_view bytes, Timeout timeout) {
  while (!bytes.empty()) {
    ssize_t sent = send_now(to, bytes, {});
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
    if (!bytes.empty() && sent == 0 && !wait_for(to.fd, to.tls ? to.tls->writer_awaits() : POLLOUT, timeout)) return false;
  }
  return true;
}

ssize_t receive(Channel from, std::span<char> into, Timeout timeout) {
  for (;;) {
    ssize_t got = from.tls ? from.tls->receive(into) : ::recv(from.fd, into.data(), into.size(), MSG_DONTWAIT);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -1;
    if (!wait_for(from.fd, from.tls ? from.tls->reader_awaits() : POLLIN, timeout)) {
      errno = ETIMEDOUT;
      return -1;
    }
  }
}

bool is_readable(Channel from) { return from.tls ? from.tls->has_content() : wait_for(from.fd, POLLIN, Timeout(0)); }

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
