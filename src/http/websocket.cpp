#include <unistd.h>

#include "base/log.h"
#include "http/session.h"
#include "http/websocket_connection.h"

namespace virga::http {
namespace {

namespace bhttp = beast::http;

bhttp::request<bhttp::empty_body> handshake_request(const Headers& fields) {
  bhttp::request<bhttp::empty_body> request(bhttp::verb::get, "/", 11);
  for (const auto& [name, value] : fields.all()) request.insert(name, value);
  return request;
}

void accept(const std::shared_ptr<WebSocketConnection>& connection, const Headers& fields, Response response) {
  auto timeout = beast::websocket::stream_base::timeout::suggested(beast::role_type::server);
  timeout.idle_timeout = std::chrono::seconds(120);
  timeout.keep_alive_pings = true;
  timeout.handshake_timeout = std::chrono::seconds(5);  // the request is here already: how long we wait for the peer's goodbye
  connection->stream().set_option(timeout);
  connection->stream().set_option(beast::websocket::stream_base::decorator(
      [protocol = response.websocket_protocol](beast::websocket::response_type& answer) {
        answer.set(bhttp::field::server, "virga");
        if (!protocol.empty()) answer.set(bhttp::field::sec_websocket_protocol, protocol);
      }));
  auto request = std::make_shared<bhttp::request<bhttp::empty_body>>(handshake_request(fields));
  connection->stream().async_accept(
      *request, [connection, request, opened = std::move(response.websocket)](const boost::system::error_code& ec) {
        if (ec) return connection->fail();
        try {
          opened(connection);
        } catch (const std::exception& error) {
          log::error("http: WebSocket handler failed: {}", error.what());
          return connection->fail();
        }
        connection->run();
      });
}

}  // namespace

void start_websocket(std::shared_ptr<IoThread> io, int fd, int family, std::unique_ptr<TlsStream> tls,
                     const Headers& request, Response response) {
  bool posted = io->post([io, fd, family, tls = std::move(tls), request, response = std::move(response)]() mutable {
    auto connection = std::make_shared<WebSocketConnection>(
        io, Socket(io->context(), net::generic::stream_protocol(family, 0), fd), std::move(tls));
    io->add(connection);
    accept(connection, request, std::move(response));
  });
  if (!posted) ::close(fd);
}

}  // namespace virga::http
