// The blocking client, over plain descriptors, with Beast's grammar for the answer.
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/beast/http/basic_parser.hpp>
#include <boost/url.hpp>
#include <cerrno>
#include <cstring>

#include "base/scope_exit.h"
#include "http/api.h"
#include "http/peer.h"
#include "http/wire.h"

namespace virga::http {
namespace {

namespace beast = boost::beast;

[[noreturn]] void unavailable(const std::string& what, const std::string& cause) {
  throw Fault(FaultKind::unavailable, fmt::format("{}: {}.", what, cause), "Is the service running?");
}

struct Target {
  std::string host, port, path, authority;
  bool tls = false;
};

Target parse_url(const std::string& url) {
  auto parsed = boost::urls::parse_uri(url);
  if (!parsed || (parsed->scheme() != "http" && parsed->scheme() != "https"))
    throw Fault(FaultKind::bad_request, fmt::format("Bad URL {}.", url), "Write http://host:port/path.");
  Target target;
  target.tls = parsed->scheme() == "https";
  target.host = parsed->host_address();
  target.port = parsed->has_port() ? std::string(parsed->port()) : target.tls ? "443" : "80";
  target.authority = std::string(parsed->encoded_host_and_port());
  target.path = std::string(parsed->encoded_resource());
  if (target.path.empty() || target.path[0] != '/') target.path.insert(0, "/");
  target.path.resize(std::min(target.path.size(), target.path.find('#')));
  return target;
}

class ResponseParser final : public beast::http::basic_parser<false> {
 public:
  using error_code = beast::error_code;
  using sv = beast::string_view;
  ResponseParser(Response& response, const std::function<void(std::string_view)>& sink)
      : response_(response), sink_(sink) {
    header_limit(256 << 10);
    body_limit(boost::none);
    eager(true);
  }

 private:
  void on_request_impl(beast::http::verb, sv, sv, int, error_code&) override {}
  void on_response_impl(int code, sv, int, error_code&) override { response_.status = code; }
  void on_field_impl(beast::http::field, sv name, sv value, error_code&) override {
    response_.headers.add({name.data(), name.size()}, {value.data(), value.size()});
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(sv body, error_code&) override {
    if (sink_)
      sink_({body.data(), body.size()});
    else
      response_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(uint64_t, sv, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, sv body, error_code& ec) override { return on_body_impl(body, ec); }
  void on_finish_impl(error_code&) override {}

  Response& response_;
  const std::function<void(std::string_view)>& sink_;
};

int connect_to(const sockaddr* address, socklen_t length, wire::Timeout timeout) {
  int fd = ::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  int error = 0;
  socklen_t size = sizeof error;
  if (::connect(fd, address, length) != 0) {
    error = errno;
    if (error == EINPROGRESS) {
      error = ETIMEDOUT;
      if (wire::wait_for(fd, POLLOUT, timeout)) ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error == 0) return fd;
  ::close(fd);
  errno = error;
  return -1;
}

int connect_unix(const std::string& path, wire::Timeout timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Fault(FaultKind::bad_request, "The socket path is too long.");
  std::memcpy(address.sun_path, path.data(), path.size());
  int fd = connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address, timeout);
  if (fd < 0) unavailable(path, std::strerror(errno));
  return fd;
}

int connect_tcp(const Target& target, wire::Timeout timeout) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int rc = ::getaddrinfo(target.host.c_str(), target.port.c_str(), &hints, &found); rc != 0)
    unavailable(target.authority, ::gai_strerror(rc));
  ScopeExit freeing([found] { ::freeaddrinfo(found); });
  for (addrinfo* one = found; one; one = one->ai_next) {
    int fd = connect_to(one->ai_addr, one->ai_addrlen, timeout);
    if (fd < 0) continue;
    int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }
  unavailable(target.authority, std::strerror(errno));
}

std::string make_request_head(const ClientRequest& request, const Target& target) {
  for (const auto& [name, value] : request.headers.all())
    if ((name + value).find_first_of("\r\n") != std::string::npos)
      throw Fault(FaultKind::bad_request, "A request header contains a line break.");
  std::string head = fmt::format("{} {} HTTP/1.1\r\n", request.method, target.path);
  if (!request.headers.has("Host")) head += fmt::format("Host: {}\r\n", target.authority);
  for (const auto& [name, value] : request.headers.all()) head += fmt::format("{}: {}\r\n", name, value);
  if (request.source)
    head += "Transfer-Encoding: chunked\r\n";
  else if (!request.body.empty() || request.method == "POST" || request.method == "PUT" || request.method == "PATCH")
    head += fmt::format("Content-Length: {}\r\n", request.body.size());
  return head + "Connection: close\r\n\r\n";
}

/// Stops early if the server answers before it has the whole body: that answer is then the result.
bool send_source(wire::Channel to, const ClientRequest& request) {
  std::string buffer(256 << 10, '\0');
  for (;;) {
    size_t count = request.source(std::span<char>(buffer));
    if (count == 0) return wire::send_all(to, "0\r\n\r\n", request.timeout);
    if (!wire::send_all(to, fmt::format("{:x}\r\n", count), request.timeout)) return false;
    if (!wire::send_all(to, {buffer.data(), count}, request.timeout)) return false;
    if (!wire::send_all(to, "\r\n", request.timeout)) return false;
    if (wire::is_readable(to)) return false;
  }
}

Response receive_response(wire::Channel from, const ClientRequest& request, const std::string& what) {
  for (;;) {  // once more for each 1xx answer
    Response response;
    ResponseParser parser(response, request.sink);
    if (request.method == "HEAD") parser.skip(true);
    std::string buffer(64 << 10, '\0');
    size_t end = 0;
    while (!parser.is_done()) {
      if (end == buffer.size()) buffer.resize(buffer.size() * 2);
      ssize_t got = wire::receive(from, {buffer.data() + end, buffer.size() - end}, request.timeout);
      if (got < 0) unavailable(what, std::strerror(errno));
      boost::system::error_code ec;
      if (got == 0) {
        if (parser.got_some()) parser.put_eof(ec);
        if (!parser.is_done()) unavailable(what, "the answer ended early");
        break;
      }
      end += static_cast<size_t>(got);
      size_t used = parser.put(boost::asio::const_buffer(buffer.data(), end), ec);
      if (ec && ec != beast::http::error::need_more) unavailable(what, "bad answer: " + ec.message());
      buffer.erase(0, used);
      buffer.resize(std::max<size_t>(buffer.size(), 64 << 10));
      end -= used;
    }
    if (response.status >= 200) return response;
  }
}

}  // namespace

Response fetch(const ClientRequest& request) {
  const Target target = parse_url(request.url);
  // Before the connection: the system's certificates take a while to read, and the server's clock would run meanwhile.
  const bool secure = target.tls && request.unix_socket.empty();
  const auto trust = secure ? client_context(request.ca_file) : nullptr;
  int fd = request.unix_socket.empty() ? connect_tcp(target, request.timeout)
                                       : connect_unix(request.unix_socket, request.timeout);
  ScopeExit closing([fd] { ::close(fd); });
  const std::string what = request.unix_socket.empty() ? target.authority : request.unix_socket;
  std::unique_ptr<TlsStream> tls;
  if (secure) {
    tls = TlsStream::connect(trust.get(), fd, target.host);
    shake_hands(*tls, fd, target.authority, request.timeout);
  }
  const wire::Channel to{fd, tls.get()};
  std::string head = make_request_head(request, target);
  if (!request.source && request.body.size() <= 4096) head += request.body;
  bool sent = wire::send_all(to, head, request.timeout);
  if (sent && request.source)
    send_source(to, request);
  else if (sent && request.body.size() > 4096)
    wire::send_all(to, request.body, request.timeout);
  // A server that refuses early may have reset the rest of our body; its answer is still there to read.
  return receive_response(to, request, what);
}

std::string shown_certificate(const std::string& url, std::chrono::milliseconds timeout) {
  const Target target = parse_url(url);
  if (!target.tls) throw Fault(FaultKind::bad_request, fmt::format("{} is no URL of https.", url));
  const auto trust = suspicious_context();
  const int fd = connect_tcp(target, timeout);
  const ScopeExit closing([fd] { ::close(fd); });
  const auto tls = TlsStream::connect_unverified(trust.get(), fd);
  shake_hands(*tls, fd, target.authority, timeout);
  return tls->peer_certificate();
}

}  // namespace virga::http
