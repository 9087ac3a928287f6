#include "compute/consoles.h"

#include "base/crypto.h"
#include "base/log.h"
#include "compute/materialise.h"
#include "compute/novnc.h"
#include "compute/servers.h"

namespace virga::compute {
namespace {

constexpr std::chrono::seconds kTokenLifetime{600};

std::string digest_of(std::string_view token) {
  return to_hex(sha256(token));
}

std::string console_base(const Core& core, const api::Call& call) {
  return core.options.console_base_url.empty() ? call.cloud_url + "/console" : core.options.console_base_url;
}

/// "https://host:port/x" -> "host:port"
std::string authority(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  return std::string(url.substr(0, url.find('/')));
}

/// Bytes between one WebSocket and one agent stream. What the guest sends before the browser is attached
/// waits here.
class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  explicit Bridge(std::shared_ptr<link::ByteStream> stream) : stream_(std::move(stream)) {}

  void listen() {
    stream_->on_bytes([self = shared_from_this()](std::string_view bytes) { self->from_guest(bytes); });
  }

  void attach(std::shared_ptr<http::WebSocket> socket) {
    socket->on_message = [self = shared_from_this()](std::string_view bytes) {
      if (!self->stream_->write(bytes)) self->close();
    };
    socket->on_close = [self = shared_from_this()] { self->close(); };
    std::lock_guard lock(mutex_);
    socket_ = std::move(socket);
    if (!early_.empty()) socket_->send(early_, true);
    early_.clear();
    if (closed_) socket_->close();
  }

  void close() {
    std::shared_ptr<http::WebSocket> socket;
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(closed_, true)) return;
      socket = std::move(socket_);
    }
    stream_->close();
    if (socket) socket->close();
  }

 private:
  void from_guest(std::string_view bytes) {
    if (bytes.empty()) return close();
    std::shared_ptr<http::WebSocket> socket;
    {
      std::lock_guard lock(mutex_);
      socket = socket_;
      if (!socket) {
        if (early_.size() < (1 << 20)) early_ += bytes;
        return;
      }
    }
    if (!socket->send(bytes, true)) close();
  }

  std::mutex mutex_;
  std::shared_ptr<link::ByteStream> stream_;
  std::shared_ptr<http::WebSocket> socket_;
  std::string early_;
  bool closed_ = false;
};

struct Ticket {
  std::string server, host, kind;
};

/// Takes the token: whoever deletes the row has it, so it serves once.
std::optional<Ticket> take_ticket(Core& core, const std::string& token) {
  if (token.empty()) return std::nullopt;
  return core.database.write([&](db::Tx& tx) -> std::optional<Ticket> {
    const auto row =
        tx.first("SELECT server_id, host_id, kind FROM console_tokens WHERE digest = ? AND expires_at > ?",
                 digest_of(token), core.clock.now());
    if (!row || tx.exec("DELETE FROM console_tokens WHERE digest = ?", digest_of(token)) == 0)
      return std::nullopt;
    return Ticket{row->text(0), row->text(1), row->text(2)};
  });
}

std::string token_of(const http::Request& request) {
  if (auto token = request.query_value("token")) return *token;
  // noVNC before 1.1 sends it as a cookie.
  const std::string_view cookies = request.headers.get("Cookie");
  const size_t at = cookies.find("token=");
  if (at == std::string_view::npos) return {};
  return std::string(cookies.substr(at + 6, cookies.find(';', at) == std::string_view::npos
                                                ? std::string_view::npos
                                                : cookies.find(';', at) - at - 6));
}

void check_origin(const Core& core, const http::Request& request) {
  const std::string origin(request.headers.get("Origin"));
  if (origin.empty()) return;  // not a browser
  const std::string from = authority(origin);
  if (from == request.headers.get("Host")) return;
  if (!core.options.console_base_url.empty() && from == authority(core.options.console_base_url)) return;
  throw Fault(FaultKind::forbidden, fmt::format("Origin header '{}' does not match this host.", origin));
}

http::Response upgrade(std::string_view protocols,
                       std::function<void(std::shared_ptr<http::WebSocket>)> then) {
  http::Response response;
  response.status = 101;
  if (protocols.find("binary") != std::string_view::npos) response.websocket_protocol = "binary";
  response.websocket = std::move(then);
  return response;
}

http::Response connect(Core& core, api::Call& call) {
  const auto protocols = call.request.headers.get("Sec-WebSocket-Protocol");
  if (!call.request.headers.has("Upgrade"))
    throw Fault(FaultKind::bad_request, "This is a WebSocket; open it as one.");
  check_origin(core, call.request);
  const auto ticket = take_ticket(core, token_of(call.request));
  // As nova's proxy does: the handshake succeeds and the connection ends, which every client reports
  // properly.
  if (!ticket) return upgrade(protocols, [](std::shared_ptr<http::WebSocket> socket) { socket->close(); });
  auto* hub = core.hub.load();
  if (!hub) throw Fault(FaultKind::unavailable, "No agents are served by this controller.");
  auto bridge = std::make_shared<Bridge>(hub->open_console(
      HostId(ticket->host), ServerId(ticket->server),
      ticket->kind == "serial" ? link::AgentHub::Console::serial : link::AgentHub::Console::vnc));
  bridge->listen();
  return upgrade(protocols,
                 [bridge](std::shared_ptr<http::WebSocket> socket) { bridge->attach(std::move(socket)); });
}

}  // namespace

std::string make_console(Core& core, const api::Call& call, const ServerRow& row, const std::string& type) {
  const bool on = row.power_state == nova_power_state(link::Power::running) || row.power_state == nova_power_state(link::Power::paused);
  if (row.host_id.empty() || !on)
    throw not_ready(row);
  const std::string token = base64url_encode(random_bytes(32), false);
  core.database.write([&](db::Tx& tx) {
    tx.exec("DELETE FROM console_tokens WHERE expires_at < ?", core.clock.now());
    tx.exec(
        "INSERT INTO console_tokens (digest, server_id, host_id, kind, expires_at) VALUES (?, ?, ?, ?, ?)",
        digest_of(token), row.id, row.host_id, type == "serial" ? "serial" : "vnc",
        core.clock.now() + kTokenLifetime);
  });
  const std::string base = console_base(core, call);
  if (type == "serial") {
    const std::string scheme = base.rfind("https://", 0) == 0 ? "wss://" : "ws://";
    const size_t at = base.find("://");
    return scheme + base.substr(at + 3) + "/?token=" + token;
  }
  // noVNC puts `path` behind the host, so it names the service's folder too.
  const size_t slash = base.find('/', base.find("://") + 3);
  const std::string folder = slash == std::string::npos ? "" : base.substr(slash + 1) + "/";
  return base + "/vnc_lite.html?path=" + http::percent_encode(folder + "?token=" + token);
}

void add_console_routes(api::Service& service, Core& core) {
  for (const char* path : {"", "/", "/websockify"})
    service.routes.push_back({"GET", path, "", [&core](api::Call& call) { return connect(core, call); }});
  service.routes.push_back(
      {"GET", "/{file...}", "", [&core](api::Call& call) { return novnc_file(core, call, call.param("file")); }});
}

}  // namespace virga::compute
