#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>

#include "base/log.h"
#include "http/session.h"

namespace virga::http {
namespace {

using Acceptor = net::basic_socket_acceptor<net::generic::stream_protocol>;

std::string peer_name(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET)
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  else if (address->sa_family == AF_INET6)
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  else
    return "unix";
  return text;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// One listening socket. Lives on the first I/O thread, hands connections out in turn.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(net::io_context& context, int fd, int family, std::function<void(Socket, std::string)> accepted,
           std::function<net::io_context&()> next_context)
      : acceptor_(context, net::generic::stream_protocol(family, 0), fd),
        retry_(context),
        accepted_(std::move(accepted)),
        next_context_(std::move(next_context)) {}

  void accept() {
    acceptor_.async_accept(next_context_(), peer_, [self = shared_from_this()](boost::system::error_code ec, Socket s) {
      if (ec == net::error::operation_aborted) return;
      if (ec) return self->pause(ec);
      self->accepted_(std::move(s), peer_name(self->peer_.data()));
      self->peer_ = {};
      self->accept();
    });
  }
  void close() {
    boost::system::error_code ec;
    acceptor_.close(ec);
    retry_.cancel();
  }

 private:
  /// Out of descriptors, most likely: spinning would not help.
  void pause(const boost::system::error_code& ec) {
    log::warn("http: accept: {}", ec.message());
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([self = shared_from_this()](const boost::system::error_code& aborted) {
      if (!aborted && self->acceptor_.is_open()) self->accept();
    });
  }

  Acceptor acceptor_;
  net::steady_timer retry_;
  net::generic::stream_protocol::endpoint peer_;
  std::function<void(Socket, std::string)> accepted_;
  std::function<net::io_context&()> next_context_;
};

class AsioServer final : public Server {
 public:
  AsioServer(ServerOptions options, Handler& handler) : shared_(std::make_shared<Shared>(options, handler)) {
    for (int i = 0; i < std::max(1, options.io_threads); ++i) io_.push_back(std::make_shared<IoThread>());
  }
  ~AsioServer() override { stop(std::chrono::milliseconds(2000)); }

  void listen(int fd) override {
    int family = AF_INET;
    socklen_t length = sizeof family;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0)
      throw Fault(FaultKind::internal, "Not a socket to listen on.");
    auto listener = std::make_shared<Listener>(
        io_[0]->context(), fd, family, [this](Socket s, std::string peer) { accepted(std::move(s), std::move(peer)); },
        [this]() -> net::io_context& { return io_[next_ % io_.size()]->context(); });
    io_[0]->post([listener] { listener->accept(); });
    std::lock_guard lock(mutex_);
    listeners_.push_back(listener);
  }

  void start() override {
    raise_descriptor_limit();
    for (auto& io : io_) io->start();
    started_ = true;
  }

  void stop(std::chrono::milliseconds grace) override {
    if (std::exchange(stopped_, true)) return;
    shared_->stopping = true;
    std::vector<std::shared_ptr<Listener>> listeners;
    {
      std::lock_guard lock(mutex_);
      listeners.swap(listeners_);
    }
    io_[0]->post([listeners] {
      for (auto& listener : listeners) listener->close();
    });
    for (auto& io : io_) io->post([io] { io->close_idle(); });
    const auto end = std::chrono::steady_clock::now() + grace;
    while (started_ && shared_->open_turns > 0 && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    // Sockets first: a worker that reads or writes one then ends at once.
    for (auto& io : io_) io->stop();
    shared_->workers.stop();
    shared_->streams.stop();
    shared_->websocket_thread()->stop();
    listeners.clear();
  }

 private:
  void accepted(Socket socket, std::string peer) {
    auto io = io_[next_++ % io_.size()];
    if (peer != "unix") {
      boost::system::error_code ec;
      socket.set_option(net::detail::socket_option::boolean<IPPROTO_TCP, TCP_NODELAY>(true), ec);
    }
    std::unique_ptr<TlsStream> tls;
    if (shared_->options.tls) tls = TlsStream::accept(shared_->options.tls->context().get(), socket.native_handle());
    auto session = std::make_shared<Session>(shared_, io, std::move(socket), std::move(peer), std::move(tls));
    io->add(session);
    io->post([session] { session->start(); });
  }

  std::shared_ptr<Shared> shared_;
  std::vector<std::shared_ptr<IoThread>> io_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  size_t next_ = 0;
  bool started_ = false, stopped_ = false;
};

}  // namespace

std::shared_ptr<IoThread> Shared::websocket_thread() {
  std::lock_guard lock(mutex_);
  if (!websockets_) {
    websockets_ = std::make_shared<IoThread>();
    if (!stopping) websockets_->start();
  }
  return websockets_;
}

std::unique_ptr<Server> make_server(ServerOptions options, Handler& handler) {
  return std::make_unique<AsioServer>(options, handler);
}

}  // namespace virga::http
