// One thread: connects, reads, writes, and connects again. The socket never blocks, so that publish() and the end are noticed
// at once.

#include <fmt/format.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <span>
#include <mutex>
#include <random>
#include <thread>

#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope_exit.h"
#include "nats/api.h"
#include "nats/protocol.h"
#include "nats/url.h"

namespace virga::nats {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
constexpr auto kMinPause = 50ms;
constexpr auto kMaxPause = 2000ms;
constexpr auto kBegin = 5000ms;  ///< from connect to the first PONG
constexpr auto kPingEvery = 5000ms;
constexpr auto kSilence = 15000ms;
constexpr size_t kMaxQueued = 1 << 20;

Fault lost(std::string why) { return Fault(FaultKind::unavailable, std::move(why)); }

struct Free {
  void operator()(SSL* s) const { SSL_free(s); }
  void operator()(SSL_CTX* c) const { SSL_CTX_free(c); }
};

std::string last_tls_error() {
  const unsigned long code = ERR_get_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  return reason ? reason : "the connection was closed";
}

/// Bytes to and from the server, over TCP and then over TLS.
class Wire {
 public:
  Wire(const Url& url, const Options& options, int wake, const std::atomic<bool>& stopping, Clock::time_point deadline)
      : options_(options), wake_(wake), stopping_(stopping), deadline_(deadline) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found) != 0) throw lost(fmt::format("{} is not known", url.host));
    const ScopeExit free_found([&] { freeaddrinfo(found); });
    fd_ = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) throw lost("no socket");
    const ScopeExit close_failed([&] {
      if (!connected_) close(fd_);
    });
    if (::connect(fd_, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS) throw lost(strerror(errno));
    wait(POLLOUT);
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) throw lost(strerror(error));
    connected_ = true;
  }
  ~Wire() {
    ssl_.reset();
    close(fd_);
  }
  Wire(const Wire&) = delete;

  void start_tls(const Url& url) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    const bool ok = options_.ca_file.empty() ? SSL_CTX_set_default_verify_paths(context_.get()) == 1
                                             : SSL_CTX_load_verify_locations(context_.get(), options_.ca_file.c_str(), nullptr) == 1;
    const std::string& own = options_.certificate_file;
    if (!ok || (!own.empty() && (SSL_CTX_use_certificate_chain_file(context_.get(), own.c_str()) != 1 ||
                                 SSL_CTX_use_PrivateKey_file(context_.get(), own.c_str(), SSL_FILETYPE_PEM) != 1)))
      throw lost(fmt::format("certificates cannot be used: {}", last_tls_error()));
    ssl_.reset(SSL_new(context_.get()));
    const std::string& name = options_.server_name.empty() ? url.host : options_.server_name;
    SSL_set1_host(ssl_.get(), name.c_str());
    if (options_.server_name.empty()) X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str());
    SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
    SSL_set_fd(ssl_.get(), fd_);
    for (;;) {
      ERR_clear_error();
      const int rc = SSL_connect(ssl_.get());
      if (rc == 1) return;
      wait(wanted(rc));
    }
  }

  /// Bytes that are there; 0 if none.
  size_t receive(std::span<char> into) {
    if (!ssl_) {
      const ssize_t n = recv(fd_, into.data(), into.size(), 0);
      if (n > 0) return static_cast<size_t>(n);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
      throw lost(n == 0 ? "the server closed the connection" : strerror(errno));
    }
    ERR_clear_error();
    const int n = SSL_read(ssl_.get(), into.data(), static_cast<int>(into.size()));
    if (n > 0) return static_cast<size_t>(n);
    wanted(n);
    return 0;
  }
  /// Bytes taken; 0 if it must wait.
  size_t send(std::string_view bytes) {
    if (!ssl_) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n >= 0) return static_cast<size_t>(n);
      if (errno == EAGAIN || errno == EINTR) return 0;
      throw lost(strerror(errno));
    }
    ERR_clear_error();
    const int n = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (n > 0) return static_cast<size_t>(n);
    wanted(n);
    return 0;
  }
  int fd() const { return fd_; }
  bool holds_input() const { return ssl_ && SSL_pending(ssl_.get()) > 0; }

 private:
  short wanted(int rc) {
    switch (SSL_get_error(ssl_.get(), rc)) {
      case SSL_ERROR_WANT_READ: return POLLIN;
      case SSL_ERROR_WANT_WRITE: return POLLOUT;
      default: throw lost(fmt::format("TLS: {}", last_tls_error()));
    }
  }
  /// During the beginning only.
  void wait(short events) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    pollfd fds[] = {{fd_, events, 0}, {wake_, POLLIN, 0}};
    if (left <= 0 || poll(fds, 2, static_cast<int>(left)) == 0) throw lost("it does not answer");
    if (stopping_) throw lost("the end");
    uint64_t count;
    while (fds[1].revents && ::read(wake_, &count, sizeof count) > 0) {
    }
  }

  const Options& options_;
  const int wake_;
  const std::atomic<bool>& stopping_;
  const Clock::time_point deadline_;
  int fd_ = -1;
  bool connected_ = false;
  std::unique_ptr<SSL_CTX, Free> context_;
  std::unique_ptr<SSL, Free> ssl_;
};

class TcpClient final : public Client {
 public:
  explicit TcpClient(Options options) : options_(std::move(options)), url_(parse_url(options_.url)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (url_.user.empty()) url_.user = options_.user, url_.password = options_.password;
    thread_ = std::thread([this] { run(); });
  }
  ~TcpClient() override {
    stopping_ = true;
    wake();
    thread_.join();
    close(wake_);
  }

  void publish(std::string_view text) override {
    {
      const std::lock_guard lock(mutex_);
      if (!connected_ || out_.size() > kMaxQueued) return;
      out_ += fmt::format("PUB {} {}\r\n{}\r\n", options_.subject, text.size(), text);
    }
    wake();
  }
  bool connected() const override { return connected_; }

 private:
  void wake() {
    const uint64_t one = 1;
    if (::write(wake_, &one, sizeof one) < 0) return;  // it is awake
  }

  void run() {
    auto pause = kMinPause;
    std::minstd_rand random(std::random_device{}());
    std::string said;
    while (!stopping_) {
      try {
        session();
      } catch (const std::exception& e) {
        if (connected_.exchange(false)) said.clear(), pause = kMinPause;
        if (said != e.what()) log::warn("NATS at {}:{}: {}", url_.host, url_.port, e.what());
        said = e.what();
      }
      {
        const std::lock_guard lock(mutex_);
        connected_ = false;
        out_.clear();
      }
      pollfd woken{wake_, POLLIN, 0};
      const auto until = Clock::now() + pause / 2 + std::chrono::milliseconds(random() % static_cast<unsigned>(pause.count()));
      while (!stopping_ && Clock::now() < until) {
        poll(&woken, 1, 20);
        drain();
      }
      pause = std::min<std::chrono::milliseconds>(pause * 2, kMaxPause);
    }
  }

  void drain() {
    uint64_t count;
    while (::read(wake_, &count, sizeof count) > 0) {
    }
  }

  /// INFO, then TLS if either wants it, then who we are, what we hear, and a PING whose PONG says that all was taken.
  void session() {
    const auto deadline = Clock::now() + kBegin;
    Wire wire(url_, options_, wake_, stopping_, deadline);
    bool greeted = false, ready = false;
    Parser parser;
    std::string out;
    auto heard = Clock::now(), pinged = heard;
    std::vector<char> buffer(16 << 10);
    while (!stopping_) {
      const auto now = Clock::now();
      if (!ready && now > deadline) throw lost("it does not answer");
      if (now - heard > kSilence) throw lost("it has fallen silent");
      if (ready && now - pinged > kPingEvery) out += "PING\r\n", pinged = now;
      if (ready) {
        const std::lock_guard lock(mutex_);
        out += out_;
        out_.clear();
      }
      while (!out.empty()) {
        const size_t sent = wire.send(out);
        if (sent == 0) break;
        out.erase(0, sent);
      }
      if (!wire.holds_input()) {
        pollfd fds[] = {{wire.fd(), static_cast<short>(POLLIN | (out.empty() ? 0 : POLLOUT)), 0}, {wake_, POLLIN, 0}};
        poll(fds, 2, 500);
        drain();
      }
      // Before TLS not a byte more than INFO's line may be taken.
      const size_t n = wire.receive({buffer.data(), greeted ? buffer.size() : 1});
      if (n == 0) continue;
      heard = Clock::now();
      bool begin = false;
      parser.feed({buffer.data(), n}, [&](const ServerMessage& message) {
        switch (message.kind) {
          case ServerMessage::Kind::info: begin = !greeted && check_info(message.body); break;
          case ServerMessage::Kind::ping: out += "PONG\r\n"; break;
          case ServerMessage::Kind::pong:
            if (!std::exchange(ready, true)) become_ready();
            break;
          case ServerMessage::Kind::message:
            if (ready) deliver(message.body);
            break;
          case ServerMessage::Kind::error: throw lost(fmt::format("the server refuses: {}", message.body.substr(0, 200)));
          case ServerMessage::Kind::ok: break;
        }
      });
      if (!begin) continue;
      if (url_.tls) wire.start_tls(url_);
      greeted = true;
      out = hello();
    }
  }

  void become_ready() {
    connected_ = true;
    log::info("NATS: connected to {}:{}", url_.host, url_.port);
  }

  void deliver(std::string_view text) try {
    options_.on_message(text);
  } catch (const std::exception& e) {
    log::warn("NATS: what another said could not be looked at: {}", e.what());
  }

  bool check_info(std::string_view text) const {
    const json::value info = parse_json(std::string(text));
    if (!info.is_object()) throw lost("what it says of itself is no JSON object");
    if (find_bool(info.get_object(), "tls_required") && !url_.tls) throw lost("the server wants TLS, and the URL does not: write tls://");
    return true;
  }

  std::string hello() const {
    json::object connect{{"verbose", false}, {"pedantic", false}, {"tls_required", url_.tls}, {"name", options_.name},
                         {"lang", "c++"},    {"version", "1"},    {"protocol", 1},            {"echo", false}};
    if (!url_.user.empty()) connect["user"] = url_.user, connect["pass"] = url_.password;
    return fmt::format("CONNECT {}\r\nSUB {} 1\r\nPING\r\n", json::serialize(connect), options_.subject);
  }

  const Options options_;
  Url url_;
  const int wake_;
  std::atomic<bool> stopping_{false}, connected_{false};
  std::mutex mutex_;
  std::string out_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Client> connect(Options options) { return std::make_unique<TcpClient>(std::move(options)); }

}  // namespace virga::nats
