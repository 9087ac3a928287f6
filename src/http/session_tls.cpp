// A session over TLS: its handshake, and its reads and writes where the descriptor's readiness says little by
// itself. The rest of the session knows no difference.
#include <poll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "http/response_head.h"
#include "http/session.h"

namespace virga::http {

/// A handshake is part of what must be there in time, as a header is.
void Session::start_tls() {
  phase_ = Phase::handshake;
  set_deadline(shared_->options.header_timeout);
  await(POLLIN, &Session::shake_hands);
}

void Session::await(short events, void (Session::*then)(const boost::system::error_code&)) {
  socket_.async_wait(
      events == POLLOUT ? Socket::wait_write : Socket::wait_read,
      [self = shared_from_this(), then](const boost::system::error_code& ec) { (self.get()->*then)(ec); });
}

void Session::shake_hands(const boost::system::error_code& ec) {
  if (ec || closed_) return close();
  // TLS begins with byte 22. A letter is the method of someone who speaks plain HTTP, and can be told so.
  char first = 0;
  if (::recv(fd(), &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && first >= 'A' && first <= 'Z') {
    tls_.reset();
    return refuse(400, "This port speaks HTTPS. Write https:// in front of the address.");
  }
  try {
    switch (tls_->handshake()) {
      case TlsStream::Step::read:
        return await(POLLIN, &Session::shake_hands);
      case TlsStream::Step::write:
        return await(POLLOUT, &Session::shake_hands);
      case TlsStream::Step::done:
        break;
    }
  } catch (const Fault& fault) {
    log::debug("http: {}: {}", remote_, fault.message);
    return close();
  }
  phase_ = Phase::idle;
  set_deadline(shared_->options.idle_timeout);
  arm_read();
}

/// Bytes may lie in TLS's own buffer, of which the descriptor knows nothing.
void Session::arm_tls_read() {
  if (!tls_->holds_input()) return await(POLLIN, &Session::read_sealed);
  net::post(socket_.get_executor(), [self = shared_from_this()] { self->read_sealed({}); });
}

void Session::read_sealed(const boost::system::error_code& ec) {
  // Cancelled: whoever did it reads on, or upgrades.
  if (ec || closed_ || stream_waits_ || upgrading_) return on_read(ec, 0);
  const ssize_t got = tls_->receive({in_.data() + end_, in_.size() - end_});
  if (got < 0 && errno == EAGAIN) return await(tls_->reader_awaits(), &Session::read_sealed);
  if (got > 0) return on_read({}, static_cast<size_t>(got));
  on_read(net::error::eof, 0);
}

void Session::write_rest_sealed(std::string_view head, std::string_view body, bool keep_alive) {
  const ssize_t sent = wire::send_now(channel(), head, body);
  if (sent < 0) return after_write(false);
  written_ += static_cast<size_t>(sent);
  if (static_cast<size_t>(sent) == head.size() + body.size()) return after_write(keep_alive);
  socket_.async_wait(tls_->writer_awaits() == POLLIN ? Socket::wait_read : Socket::wait_write,
                     [self = shared_from_this(), keep_alive](const boost::system::error_code& ec) {
                       if (ec) return self->after_write(false);
                       self->write_rest(keep_alive);
                     });
}

}  // namespace virga::http
