#pragma once
// HTTP/1.1 for the control plane: messages, a server and a small client. Beast is seen only in a few .cpp files
// (session, websocket, client). The server parses the world's bytes, bounded everywhere (header 64 KiB, buffered body `max_body`, slow
// senders cut off), and hands whole requests to a Handler on a bounded pool of worker threads. Handlers are plain
// blocking functions. Three kinds of work never hold a worker: streamed bodies (their own capped pool), deferred
// answers (Responder kept for later), and WebSockets (callbacks, own pool).

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fault.h"

struct ssl_ctx_st;

namespace virga::http {

/// Header fields in order; names compare without case.
class Headers {
 public:
  /// First value, or "" if absent.
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const;
  void set(std::string_view name, std::string_view value);  ///< replaces all of that name
  void add(std::string_view name, std::string_view value);
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// Pulls a request's body from the socket. Blocking; only inside Handler::handle of streamed routes (not after it).
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  /// Bytes read, 0 at the end. Throws Fault(bad_request) if the peer went away or the chunking is broken.
  virtual size_t read(std::span<char> buffer) = 0;
};

struct Request {
  std::string method;  ///< "GET"
  std::string target;  ///< as sent: "/v3/users?name=a%20b"
  std::string path;    ///< percent-decoded path: "/v3/users"
  std::vector<std::pair<std::string, std::string>> query;  ///< decoded, in order
  Headers headers;
  std::string body;                    ///< empty on streamed routes
  BodyReader* stream = nullptr;        ///< set on streamed routes
  std::optional<uint64_t> content_length;
  std::string remote_address;          ///< peer's address, or "unix"
  bool tls = false;

  /// First query value of that name, or nullopt.
  std::optional<std::string> query_value(std::string_view name) const;
};

/// Produces a streamed response body. Called on the stream pool; returns bytes written, 0 at the end; throws to abort
/// the connection (the client then sees a short body).
using BodySource = std::function<size_t(std::span<char>)>;

/// One WebSocket connection after the handshake. Thread-safe.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  /// Queues a message. Blocks (back-pressure) while more than 1 MiB is queued, except when called from on_message,
  /// which must not block: there it closes the connection above 16 MiB. Returns false once closed.
  virtual bool send(std::string_view bytes, bool binary) = 0;
  virtual void close() = 0;
  /// Called for each message and once at the end, from I/O threads; must not block for long. Set before `accept` returns.
  std::function<void(std::string_view bytes)> on_message;
  std::function<void()> on_close;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  BodySource source;                       ///< if set, streams; `source_length` gives Content-Length, else chunked
  std::optional<uint64_t> source_length;
  /// If set, the connection becomes a WebSocket (status must be 101): called with it once the handshake is done.
  std::function<void(std::shared_ptr<WebSocket>)> websocket;
  std::string websocket_protocol;          ///< chosen subprotocol ("binary"), or ""
};

/// Answers one request, once, from any thread. Destroyed unanswered, it answers 500.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void send(Response response) = 0;
  /// True once the peer is seen to have left: a long poll need not be kept for it. Sending is still safe.
  virtual bool gone() const = 0;
};

/// What the server asks before it reads a body, from an I/O thread, so quick: whether this request's body is streamed.
enum class BodyMode { buffered, streamed };

class Handler {
 public:
  virtual ~Handler() = default;
  /// Head only (no body yet). Default: buffered.
  virtual BodyMode body_mode(const Request& head) = 0;
  /// On a worker (buffered) or stream (streamed) thread. Keeps the responder to answer later, or answers at once.
  virtual void handle(Request request, std::shared_ptr<Responder> responder) = 0;
  /// The answer to a request that the server refuses before it comes to `handle` (body too large or malformed: 4xx; no
  /// worker free: 503). From an I/O thread, so quick. Default: a small plain JSON body.
  virtual Response refused(const Request& head, int status, std::string_view message);
};

/// What a server shows over TLS: certificate and key, which may be replaced while it serves. New connections see the
/// new ones; those that stand go on. Thread-safe.
class ServerTls {
 public:
  /// PEM: the server's certificate, then those it rests on; its key. Throws Fault(bad_request) that says what is wrong.
  ServerTls(const std::string& certificate, const std::string& key);
  /// Throws the same, and then nothing has changed.
  void replace(const std::string& certificate, const std::string& key);
  std::shared_ptr<ssl_ctx_st> context() const;

 private:
  std::shared_ptr<ssl_ctx_st> context_;
};

struct ServerOptions {
  int io_threads = 2;
  int workers = 64;              ///< threads that run handlers
  size_t queue = 4096;           ///< requests that may wait for a worker; beyond it 503 with Retry-After
  int stream_workers = 32;       ///< at most as many streamed uploads and downloads at once; more wait
  size_t max_body = 1 << 20;     ///< buffered body, bytes (413 above)
  std::chrono::seconds header_timeout{10};   ///< whole header must be there, and TLS's handshake before it (slowloris)
  std::chrono::seconds body_timeout{30};     ///< between two pieces of a body
  std::chrono::seconds idle_timeout{75};     ///< keep-alive
  std::shared_ptr<ServerTls> tls;            ///< null: plain HTTP. With it plain HTTP is answered 400, and how to do better
};

class Server {
 public:
  virtual ~Server() = default;
  /// Serves on a listening socket that the caller made (bound, listening; any namespace; TCP or unix). May be called
  /// for several sockets, before or after start. Takes the descriptor.
  virtual void listen(int fd) = 0;
  /// Returns at once; serves until stop() or destruction.
  virtual void start() = 0;
  /// Stops accepting, lets running handlers finish (at most `grace`), closes everything.
  virtual void stop(std::chrono::milliseconds grace = std::chrono::milliseconds(2000)) = 0;
};
/// `handler` must outlive the server.
std::unique_ptr<Server> make_server(ServerOptions options, Handler& handler);

/// A listening TCP socket on address:port in this thread's network namespace. Throws Fault(conflict) "port in use".
int listen_tcp(const std::string& address, uint16_t port);
int listen_unix(const std::string& path, mode_t mode = 0660);

// ---- client -----------------------------------------------------------------------------------------------------

/// One blocking request over a fresh connection to http(s)://host:port (or a unix socket). For the command line, the
/// provisioning and tests.
struct ClientRequest {
  std::string method = "GET";
  std::string url;               ///< http://127.0.0.1:5000/identity/v3
  Headers headers;
  std::string body;
  std::function<size_t(std::span<char>)> source;  ///< streamed upload (chunked) instead of body
  std::function<void(std::string_view)> sink;     ///< streamed download instead of Response::body
  std::string ca_file;           ///< PEM: whom https trusts; "": whom the system trusts
  std::string unix_socket;       ///< connect here instead of the URL's host
  std::chrono::milliseconds timeout{30'000};  ///< to connect, and then without any byte moving
};
/// Throws Fault(unavailable) if nothing answers, or the certificate does not prove that it is the URL's host.
Response fetch(const ClientRequest& request);

/// A blocking WebSocket client (consoles from the command line, tests).
class WebSocketClient {
 public:
  virtual ~WebSocketClient() = default;
  virtual void send(std::string_view bytes, bool binary) = 0;
  /// Next message; nullopt when the peer closed or `timeout` passed (then `closed()` tells which).
  virtual std::optional<std::string> receive(std::chrono::milliseconds timeout) = 0;
  virtual bool closed() const = 0;
};
/// ws:// or wss:// (http:// or https://).
std::unique_ptr<WebSocketClient> connect_websocket(const std::string& url, const Headers& headers,
                                                   const std::string& subprotocol = "binary",
                                                   const std::string& ca_file = "");

/// Splits a request target into Request::target, path and query. Throws Fault(bad_request) on anything malformed.
void parse_target(std::string_view target, Request& into);
/// Percent-decodes; throws Fault(bad_request) on broken escapes.
std::string percent_decode(std::string_view text, bool plus_is_space = false);
std::string percent_encode(std::string_view text);

}  // namespace virga::http
