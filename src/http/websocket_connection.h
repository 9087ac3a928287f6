#pragma once
// One WebSocket, either end: a send queue with back-pressure over Beast's stream. Included only by websocket*.cpp.

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <condition_variable>
#include <deque>

#include "http/api.h"
#include "http/io_thread.h"
#include "http/transport.h"

namespace virga::http {

namespace beast = boost::beast;

class WebSocketConnection final : public WebSocket, public Swept, public std::enable_shared_from_this<WebSocketConnection> {
 public:
  using Stream = beast::websocket::stream<Transport>;
  WebSocketConnection(std::shared_ptr<IoThread> io, Socket socket, std::unique_ptr<TlsStream> tls = nullptr)
      : io_(std::move(io)), stream_(std::move(socket), std::move(tls)) {
    stream_.read_message_max(16 << 20);
  }
  ~WebSocketConnection() override { io_->remove(this); }
  Stream& stream() { return stream_; }

  bool send(std::string_view bytes, bool binary) override {
    std::unique_lock lock(mutex_);
    if (!io_->is_current())
      room_.wait(lock, [&] { return closed_ || queued_ <= kHigh; });
    else if (queued_ > kMost)
      begin_close();
    if (closed_) return false;
    queued_ += bytes.size();
    queue_.push_back({std::string(bytes), binary});
    if (queue_.size() > 1) return true;
    return io_->post([self = shared_from_this()] { self->write(); });
  }
  void close() override {
    std::lock_guard lock(mutex_);
    begin_close();
  }
  void sweep(int64_t) override {}
  void close_if_idle() override { close(); }
  void thread_ended() override { finish(); }  // a read that waits for ever would keep us, and we the thread

  /// After the handshake, on the io thread.
  void run() {
    open_ = true;
    read();
  }
  void fail() { finish(); }

 private:
  static constexpr size_t kHigh = 1 << 20, kMost = 16 << 20;
  struct Message {
    std::string bytes;
    bool binary;
  };

  void begin_close() {
    if (std::exchange(closed_, true)) return;
    room_.notify_all();
    io_->post([self = shared_from_this()] {
      if (self->queue_empty()) self->say_goodbye();
    });
  }
  bool queue_empty() {
    std::lock_guard lock(mutex_);
    return queue_.empty();
  }
  void say_goodbye() {
    if (!open_ || std::exchange(closing_, true)) return;
    // Without a code: a client that counts bytes of any frame as data (Tempest's) sees that there are none.
    stream_.async_close(beast::websocket::close_reason(),
                        [self = shared_from_this()](const boost::system::error_code&) { self->finish(); });
  }
  void read() {
    stream_.async_read(buffer_, [self = shared_from_this()](const boost::system::error_code& ec, size_t) {
      if (ec) return self->finish();
      auto data = self->buffer_.cdata();
      if (self->on_message) self->on_message({static_cast<const char*>(data.data()), data.size()});
      self->buffer_.consume(self->buffer_.size());
      self->read();
    });
  }
  void write() {
    std::string_view bytes;
    {
      std::lock_guard lock(mutex_);
      if (queue_.empty() || closing_) return;
      stream_.binary(queue_.front().binary);
      bytes = queue_.front().bytes;  // stays put until it is sent
    }
    stream_.async_write(net::buffer(bytes), [self = shared_from_this()](const boost::system::error_code& ec, size_t) {
      if (ec) return self->finish();
      self->written();
    });
  }
  void written() {
    bool more, ending;
    {
      std::lock_guard lock(mutex_);
      queued_ -= queue_.front().bytes.size();
      queue_.pop_front();
      more = !queue_.empty();
      ending = closed_;
      if (queued_ <= kHigh) room_.notify_all();
    }
    if (more)
      write();
    else if (ending)
      say_goodbye();
  }
  void finish() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      if (std::exchange(finished_, true)) return;
      room_.notify_all();
    }
    boost::system::error_code ec;
    stream_.next_layer().socket().close(ec);
    if (on_close) on_close();
    // The callbacks may hold us.
    on_message = nullptr;
    on_close = nullptr;
  }

  const std::shared_ptr<IoThread> io_;
  Stream stream_;
  beast::flat_buffer buffer_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::deque<Message> queue_;
  size_t queued_ = 0;
  bool closed_ = false, finished_ = false, closing_ = false, open_ = false;
};

}  // namespace virga::http
