#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/url.hpp>

#include "http/websocket_connection.h"

namespace virga::http {
namespace {

class BlockingWebSocket final : public WebSocketClient {
 public:
  BlockingWebSocket(std::shared_ptr<IoThread> io, std::shared_ptr<WebSocketConnection> connection)
      : io_(std::move(io)), connection_(std::move(connection)), inbox_(std::make_shared<Inbox>()) {
    connection_->on_message = [inbox = inbox_](std::string_view bytes) { inbox->put(bytes); };
    connection_->on_close = [inbox = inbox_] { inbox->end(); };
    io_->add(connection_);
    io_->post([connection = connection_] { connection->run(); });
    io_->start();
  }
  ~BlockingWebSocket() override {
    inbox_->end();
    connection_->close();
    io_->stop();
  }
  void send(std::string_view bytes, bool binary) override {
    if (!connection_->send(bytes, binary)) throw Fault(FaultKind::unavailable, "The WebSocket is closed.");
  }
  std::optional<std::string> receive(std::chrono::milliseconds timeout) override { return inbox_->take(timeout); }
  bool closed() const override { return inbox_->drained(); }

 private:
  /// Full, it holds the I/O thread, and with it the sender.
  struct Inbox {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> messages;
    bool ended = false;
    void put(std::string_view bytes) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return ended || messages.size() < 64; });
      messages.emplace_back(bytes);
      changed.notify_all();
    }
    void end() {
      std::lock_guard lock(mutex);
      ended = true;
      changed.notify_all();
    }
    std::optional<std::string> take(std::chrono::milliseconds timeout) {
      std::unique_lock lock(mutex);
      if (!changed.wait_for(lock, timeout, [&] { return ended || !messages.empty(); }) || messages.empty()) return {};
      std::string first = std::move(messages.front());
      messages.pop_front();
      changed.notify_all();
      return first;
    }
    bool drained() {
      std::lock_guard lock(mutex);
      return ended && messages.empty();
    }
  };

  std::shared_ptr<IoThread> io_;
  std::shared_ptr<WebSocketConnection> connection_;
  std::shared_ptr<Inbox> inbox_;
};

}  // namespace

std::unique_ptr<WebSocketClient> connect_websocket(const std::string& url, const Headers& headers,
                                                   const std::string& subprotocol, const std::string& ca_file) {
  auto parsed = boost::urls::parse_uri(url);
  const std::string scheme = parsed ? std::string(parsed->scheme()) : "";
  const bool secure = scheme == "wss" || scheme == "https";
  if (!secure && scheme != "ws" && scheme != "http")
    throw Fault(FaultKind::bad_request, fmt::format("Bad URL {}.", url), "Write ws://host:port/path.");
  std::string path(parsed->encoded_resource());
  if (path.empty() || path[0] != '/') path.insert(0, "/");
  auto io = std::make_shared<IoThread>();
  try {
    net::ip::tcp::resolver resolver(io->context());
    net::ip::tcp::socket socket(io->context());
    std::string port = parsed->has_port() ? std::string(parsed->port()) : secure ? "443" : "80";
    net::connect(socket, resolver.resolve(std::string(parsed->host_address()), port));
    socket.set_option(net::ip::tcp::no_delay(true));
    std::unique_ptr<TlsStream> tls;
    if (secure) {
      tls = TlsStream::connect(client_context(ca_file).get(), socket.native_handle(), std::string(parsed->host_address()));
      shake_hands(*tls, socket.native_handle(), std::string(parsed->encoded_host_and_port()), std::chrono::seconds(30));
    }
    auto connection = std::make_shared<WebSocketConnection>(io, Socket(std::move(socket)), std::move(tls));
    connection->stream().set_option(beast::websocket::stream_base::decorator(
        [headers, subprotocol](beast::websocket::request_type& request) {
          for (const auto& [name, value] : headers.all()) request.set(name, value);
          if (!subprotocol.empty()) request.set(beast::http::field::sec_websocket_protocol, subprotocol);
        }));
    beast::websocket::response_type answer;
    boost::system::error_code ec;
    connection->stream().handshake(answer, std::string(parsed->encoded_host_and_port()), path, ec);
    if (ec == beast::websocket::error::upgrade_declined)
      throw Fault(answer.result_int() == 403 ? FaultKind::forbidden : FaultKind::bad_request,
                  fmt::format("The server refused the WebSocket with status {}.", answer.result_int()));
    if (ec) throw boost::system::system_error(ec);
    return std::make_unique<BlockingWebSocket>(io, connection);
  } catch (const boost::system::system_error& error) {
    throw Fault(FaultKind::unavailable, fmt::format("{}: {}.", url, error.code().message()), "Is the service running?");
  }
}

}  // namespace virga::http
