#pragma once
// What a WebSocket runs over: a socket, or TLS over it. Asio's stream concepts (asynchronous, and synchronous
// for the client's handshake). Included only by websocket*.cpp.

#include <poll.h>

#include <boost/asio/compose.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include "http/io_thread.h"
#include "http/tls.h"
#include "http/wire.h"

namespace virga::http {

class Transport {
 public:
  using executor_type = Socket::executor_type;
  using lowest_layer_type = Socket;
  explicit Transport(Socket socket, std::unique_ptr<TlsStream> tls = nullptr)
      : socket_(std::move(socket)), tls_(std::move(tls)) {}
  executor_type get_executor() { return socket_.get_executor(); }
  Socket& socket() { return socket_; }
  TlsStream* tls() { return tls_.get(); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return net::async_compose<Token, void(boost::system::error_code, size_t)>(
        Operation<Buffers, true>{*this, buffers}, token, socket_);
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return net::async_compose<Token, void(boost::system::error_code, size_t)>(
        Operation<Buffers, false>{*this, buffers}, token, socket_);
  }
  template <class Buffers>
  size_t read_some(const Buffers& buffers, boost::system::error_code& ec) {
    return blocking(tls_ ? 0 : socket_.read_some(buffers, ec), buffers, true, ec);
  }
  template <class Buffers>
  size_t write_some(const Buffers& buffers, boost::system::error_code& ec) {
    return blocking(tls_ ? 0 : socket_.write_some(buffers, ec), buffers, false, ec);
  }
  template <class Buffers>
  size_t read_some(const Buffers& buffers) {
    return or_throw([&](boost::system::error_code& ec) { return read_some(buffers, ec); });
  }
  template <class Buffers>
  size_t write_some(const Buffers& buffers) {
    return or_throw([&](boost::system::error_code& ec) { return write_some(buffers, ec); });
  }

 private:
  /// The first of the buffers that holds anything. One is enough: "some" bytes are asked for.
  template <class Buffers>
  static net::mutable_buffer first_of(const Buffers& buffers) {
    for (auto it = net::buffer_sequence_begin(buffers); it != net::buffer_sequence_end(buffers); ++it)
      if (net::const_buffer one(*it); one.size() > 0) return {const_cast<void*>(one.data()), one.size()};
    return {};
  }
  /// Once over TLS: true with the outcome, or false if the descriptor must be waited for.
  bool sealed_once(net::mutable_buffer buffer, bool reads, boost::system::error_code& ec, size_t& count) {
    const std::span<char> bytes(static_cast<char*>(buffer.data()), buffer.size());
    if (bytes.empty()) return count = 0, true;
    const ssize_t done = reads ? tls_->receive(bytes) : tls_->send({bytes.data(), bytes.size()});
    if (reads ? done < 0 && errno == EAGAIN : done == 0) return false;
    count = done > 0 ? static_cast<size_t>(done) : 0;
    if (reads && done == 0) ec = net::error::eof;
    if (done < 0) ec = net::error::connection_reset;
    return true;
  }
  short awaited(bool reads) const { return reads ? tls_->reader_awaits() : tls_->writer_awaits(); }

  template <class Buffers>
  size_t blocking(size_t plain, const Buffers& buffers, bool reads, boost::system::error_code& ec) {
    if (!tls_) return plain;
    ec = {};
    size_t count = 0;
    while (!sealed_once(first_of(buffers), reads, ec, count))
      if (!wire::wait_for(socket_.native_handle(), awaited(reads), std::chrono::seconds(30)))
        return ec = net::error::timed_out, 0;
    return count;
  }
  template <class F>
  static size_t or_throw(F&& f) {
    boost::system::error_code ec;
    const size_t count = f(ec);
    if (ec) throw boost::system::system_error(ec);
    return count;
  }

  template <class Buffers, bool kReads>
  struct Operation {
    Transport& transport;
    Buffers buffers;
    bool begun = false;

    template <class Self>
    void operator()(Self& self, boost::system::error_code ec = {}, size_t count = 0) {
      if (!transport.tls_) return plain(self, ec, count);
      if (ec) return self.complete(ec, 0);
      // Not at once, even if there is something: who begins an operation is never called back from within it.
      if (!std::exchange(begun, true)) {
        if (kReads && transport.tls_->holds_input())
          return net::post(transport.get_executor(), std::move(self));
        return wait(self, kReads ? POLLIN : POLLOUT);
      }
      if (!transport.sealed_once(first_of(buffers), kReads, ec, count))
        return wait(self, transport.awaited(kReads));
      self.complete(ec, count);
    }
    template <class Self>
    void plain(Self& self, boost::system::error_code ec, size_t count) {
      if (std::exchange(begun, true)) return self.complete(ec, count);
      Socket& socket = transport.socket_;
      const Buffers what = buffers;  // before `self`, which holds us, moves
      if constexpr (kReads)
        socket.async_read_some(what, std::move(self));
      else
        socket.async_write_some(what, std::move(self));
    }
    template <class Self>
    void wait(Self& self, short events) {
      transport.socket_.async_wait(events == POLLOUT ? Socket::wait_write : Socket::wait_read,
                                   std::move(self));
    }
  };

  Socket socket_;
  std::unique_ptr<TlsStream> tls_;
};

// How Beast closes a transport whose peer is silent, and how it ends one in peace (found by argument-dependent look-up).
inline void beast_close_socket(Transport& transport) {
  boost::system::error_code ignored;
  transport.socket().close(ignored);
}
inline void teardown(boost::beast::role_type role, Transport& transport, boost::system::error_code& ec) {
  if (transport.tls()) transport.tls()->say_goodbye();
  boost::beast::websocket::teardown(role, transport.socket(), ec);
}
template <class Handler>
void async_teardown(boost::beast::role_type role, Transport& transport, Handler&& handler) {
  if (transport.tls()) transport.tls()->say_goodbye();
  boost::beast::websocket::async_teardown(role, transport.socket(), std::forward<Handler>(handler));
}

}  // namespace virga::http
