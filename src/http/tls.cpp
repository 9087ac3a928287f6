#include "http/tls.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/certificate.h"
#include "http/api.h"
#include "http/wire.h"

namespace virga::http {
namespace {

/// OpenSSL's own sockets would raise SIGPIPE, and block if their descriptor does.
struct Pipe {
  int fd;
  bool ended = false;
};

int pipe_write(BIO* bio, const char* bytes, int count) {
  BIO_clear_retry_flags(bio);
  ssize_t sent;
  do
    sent = ::send(static_cast<Pipe*>(BIO_get_data(bio))->fd, bytes, static_cast<size_t>(count),
                  MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int pipe_read(BIO* bio, char* into, int count) {
  BIO_clear_retry_flags(bio);
  auto* pipe = static_cast<Pipe*>(BIO_get_data(bio));
  ssize_t got;
  do got = ::recv(pipe->fd, into, static_cast<size_t>(count), MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  if (got == 0) pipe->ended = true;
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long pipe_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF) return static_cast<Pipe*>(BIO_get_data(bio))->ended;
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

int pipe_free(BIO* bio) {
  delete static_cast<Pipe*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
  return 1;
}

BIO* new_pipe(int fd) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_write(m, pipe_write);
    BIO_meth_set_read(m, pipe_read);
    BIO_meth_set_ctrl(m, pipe_control);
    BIO_meth_set_destroy(m, pipe_free);
    return m;
  }();
  BIO* bio = BIO_new(method);
  BIO_set_data(bio, new Pipe{fd});
  BIO_set_init(bio, 1);
  return bio;
}

std::string last_error() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return reason ? reason : "the connection was closed";
}

/// What both ends hold to: TLS 1.2 with forward secrecy and authenticated encryption, or 1.3; no
/// renegotiation (which a peer could make us pay for), no compression. A peer that ends without a goodbye is
/// at its end: HTTP has its own framing.
std::shared_ptr<SSL_CTX> new_context(const SSL_METHOD* method) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(method), SSL_CTX_free);
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
    throw Fault(FaultKind::internal, "OpenSSL gave no TLS context.");
  SSL_CTX_set_options(context.get(),
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context.get(), 1);
  return context;
}

std::shared_ptr<SSL_CTX> server_context(const std::string& certificate, const std::string& key) {
  const auto chain = read_certificates(certificate, "the certificate");
  const auto private_key = read_private_key(key, "the key");
  check_pair(chain, private_key);
  auto context = new_context(TLS_server_method());
  bool ok = SSL_CTX_use_certificate(context.get(), chain.front().get()) == 1 &&
            SSL_CTX_use_PrivateKey(context.get(), private_key.get()) == 1;
  for (size_t i = 1; ok && i < chain.size(); ++i)
    ok = SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) == 1;
  if (!ok)
    throw Fault(FaultKind::bad_request, "OpenSSL does not take the certificate: " + last_error() + ".");
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);  // tickets do it without our memory
  return context;
}

}  // namespace

TlsStream::TlsStream(ssl_ctx_st* context, int fd)
    : ssl_(SSL_new(context)), reader_awaits_(POLLIN), writer_awaits_(POLLOUT) {
  if (!ssl_) throw Fault(FaultKind::internal, "OpenSSL gave no TLS connection.");
  BIO* pipe = new_pipe(fd);
  SSL_set_bio(ssl_, pipe, pipe);
}

TlsStream::~TlsStream() {
  SSL_free(ssl_);
}

std::unique_ptr<TlsStream> TlsStream::accept(ssl_ctx_st* context, int fd) {
  std::unique_ptr<TlsStream> stream(new TlsStream(context, fd));
  SSL_set_accept_state(stream->ssl_);
  return stream;
}

std::unique_ptr<TlsStream> TlsStream::connect(ssl_ctx_st* context, int fd, const std::string& host) {
  std::unique_ptr<TlsStream> stream(new TlsStream(context, fd));
  SSL_set_connect_state(stream->ssl_);
  in6_addr address;
  const bool numeric =
      ::inet_pton(AF_INET, host.c_str(), &address) == 1 || ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
  const bool ok = numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(stream->ssl_), host.c_str()) == 1
                          : SSL_set1_host(stream->ssl_, host.c_str()) == 1 &&
                                SSL_set_tlsext_host_name(stream->ssl_, host.c_str()) == 1;
  if (!ok) throw Fault(FaultKind::bad_request, "Bad host " + host + ".");
  SSL_set_verify(stream->ssl_, SSL_VERIFY_PEER, nullptr);
  return stream;
}

std::unique_ptr<TlsStream> TlsStream::connect_unverified(ssl_ctx_st* context, int fd) {
  std::unique_ptr<TlsStream> stream(new TlsStream(context, fd));
  SSL_set_connect_state(stream->ssl_);
  SSL_set_verify(stream->ssl_, SSL_VERIFY_NONE, nullptr);
  return stream;
}

std::string TlsStream::peer_certificate() {
  std::lock_guard lock(mutex_);
  const std::unique_ptr<X509, decltype(&X509_free)> shown(SSL_get1_peer_certificate(ssl_), X509_free);
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> out(BIO_new(BIO_s_mem()), BIO_free_all);
  if (!shown || PEM_write_bio_X509(out.get(), shown.get()) != 1)
    throw Fault(FaultKind::unavailable, "the server shows no certificate");
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

/// 1 if the call succeeded, `at_end` at the peer's end, 0 with `awaits` set if it must wait, -1 if the
/// connection is dead.
ssize_t TlsStream::outcome(int rc, ssize_t at_end, std::atomic<short>& awaits) {
  if (rc > 0) return 1;
  switch (SSL_get_error(ssl_, rc)) {
    case SSL_ERROR_WANT_READ:
      return awaits = POLLIN, 0;
    case SSL_ERROR_WANT_WRITE:
      return awaits = POLLOUT, 0;
    case SSL_ERROR_ZERO_RETURN:
      return at_end;
    default:
      return dead_ = true, -1;
  }
}

TlsStream::Step TlsStream::handshake() {
  std::lock_guard lock(mutex_);
  ERR_clear_error();
  const ssize_t now = outcome(SSL_do_handshake(ssl_), -1, reader_awaits_);
  if (now > 0) return Step::done;
  if (now == 0) return reader_awaits_ == POLLOUT ? Step::write : Step::read;
  dead_ = true;
  if (const long verdict = SSL_get_verify_result(ssl_); verdict != X509_V_OK) {
    ERR_clear_error();
    throw Fault(FaultKind::unavailable,
                fmt::format("the certificate is not accepted: {}", X509_verify_cert_error_string(verdict)),
                "Name the CA that signed it (OS_CACERT, or --os-cacert), and reach the server by a name that "
                "the certificate has.");
  }
  const unsigned long code = ERR_peek_last_error();
  const bool plain = ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER;
  throw Fault(FaultKind::unavailable, "no TLS connection: " + last_error(),
              plain ? "Does the server speak http instead?" : "Is the service running?");
}

ssize_t TlsStream::send(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (dead_) return -1;
  size_t all = 0;
  while (!bytes.empty()) {  // a record holds 16 KiB
    ERR_clear_error();
    size_t sent = 0;
    const ssize_t now = outcome(SSL_write_ex(ssl_, bytes.data(), bytes.size(), &sent), -1, writer_awaits_);
    if (now < 0) return -1;
    if (now == 0) break;
    bytes.remove_prefix(sent);
    all += sent;
  }
  return static_cast<ssize_t>(all);
}

ssize_t TlsStream::receive(std::span<char> into) {
  std::lock_guard lock(mutex_);
  errno = ECONNRESET;
  if (dead_) return -1;
  ERR_clear_error();
  size_t got = 0;
  constexpr ssize_t kEnd = 2;
  const ssize_t now = outcome(SSL_read_ex(ssl_, into.data(), into.size(), &got), kEnd, reader_awaits_);
  if (now == 1) return static_cast<ssize_t>(got);
  if (now == kEnd) return 0;
  errno = now == 0 ? EAGAIN : ECONNRESET;
  return -1;
}

bool TlsStream::holds_input() {
  std::lock_guard lock(mutex_);
  return SSL_has_pending(ssl_) == 1;
}

bool TlsStream::has_content() {
  std::lock_guard lock(mutex_);
  ERR_clear_error();
  char one;
  size_t got = 0;
  return !dead_ && SSL_peek_ex(ssl_, &one, 1, &got) == 1;
}

void TlsStream::say_goodbye() {
  std::lock_guard lock(mutex_);
  if (dead_ || !SSL_is_init_finished(ssl_)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::shared_ptr<ssl_ctx_st> suspicious_context() {
  return new_context(TLS_client_method());
}

std::shared_ptr<ssl_ctx_st> client_context(const std::string& ca_file) {
  auto context = new_context(TLS_client_method());
  const bool ok = ca_file.empty() ? SSL_CTX_set_default_verify_paths(context.get()) == 1
                                  : SSL_CTX_load_verify_file(context.get(), ca_file.c_str()) == 1;
  if (!ok)
    throw Fault(FaultKind::bad_request,
                fmt::format("{} holds no CA's certificate that can be read: {}.", ca_file, last_error()));
  // The file may be a server's own certificate, of a CA that is not ours to trust for anything else.
  if (!ca_file.empty())
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.get()), X509_V_FLAG_PARTIAL_CHAIN);
  return context;
}

void shake_hands(TlsStream& tls, int fd, const std::string& peer, std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  try {
    for (auto step = tls.handshake(); step != TlsStream::Step::done; step = tls.handshake()) {
      const auto left = std::chrono::duration_cast<wire::Timeout>(end - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !wire::wait_for(fd, step == TlsStream::Step::read ? POLLIN : POLLOUT, left))
        throw Fault(FaultKind::unavailable, "no TLS handshake in time", "Does the server speak https?");
    }
  } catch (const Fault& fault) {
    throw Fault(fault.kind, fmt::format("{}: {}.", peer, fault.message), fault.hint);
  }
}

ServerTls::ServerTls(const std::string& certificate, const std::string& key)
    : context_(server_context(certificate, key)) {}

void ServerTls::replace(const std::string& certificate, const std::string& key) {
  std::atomic_store(&context_, server_context(certificate, key));
}

std::shared_ptr<ssl_ctx_st> ServerTls::context() const {
  return std::atomic_load(&context_);
}

}  // namespace virga::http
