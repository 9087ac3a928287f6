#pragma once
// TLS over a descriptor that never blocks: what wire.h is for plain bytes. OpenSSL is seen only in tls.cpp.

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

struct ssl_st;
struct ssl_ctx_st;

namespace virga::http {

/// One end of a connection. No call waits. Thread-safe: one thread may read while another writes.
class TlsStream {
 public:
  enum class Step { done, read, write };  ///< finished, or what the descriptor must be ready for first

  /// The server's end. The descriptor must outlive this.
  static std::unique_ptr<TlsStream> accept(ssl_ctx_st* context, int fd);
  /// The client's end: the peer must show a certificate for `host` (a name or an address).
  static std::unique_ptr<TlsStream> connect(ssl_ctx_st* context, int fd, const std::string& host);
  /// The client's end to whoever answers: only to see what certificate it shows.
  static std::unique_ptr<TlsStream> connect_unverified(ssl_ctx_st* context, int fd);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  /// Call again when the descriptor is ready. Throws Fault(unavailable) that says why there is no connection.
  Step handshake();
  /// Bytes sent, 0 if it must wait, -1 if the connection is dead. What was not sent must be given again.
  ssize_t send(std::string_view bytes);
  /// Bytes, 0 at the end, -1 with errno: EAGAIN if it must wait.
  ssize_t receive(std::span<char> into);
  /// True if receive() might give bytes although the descriptor has none.
  bool holds_input();
  /// True if a byte of content can be received now (and not only TLS's own messages).
  bool has_content();
  /// POLLIN or POLLOUT: what receive(), and what send() waits for. Each is its caller's own thread's.
  short reader_awaits() const { return reader_awaits_; }
  short writer_awaits() const { return writer_awaits_; }
  /// What the peer showed, PEM. Throws Fault(unavailable) if it showed none.
  std::string peer_certificate();
  /// Tells the peer that nothing more will come.
  void say_goodbye();

 private:
  explicit TlsStream(ssl_ctx_st* context, int fd);
  ssize_t outcome(int rc, ssize_t at_end, std::atomic<short>& awaits);

  std::mutex mutex_;
  ssl_st* ssl_;
  std::atomic<short> reader_awaits_, writer_awaits_;
  bool dead_ = false;
};

/// A client's settings: TLS 1.2 at least, and whom it trusts. `ca_file` "": whom the system trusts. Throws
/// Fault(bad_request) if the file holds no certificate.
std::shared_ptr<ssl_ctx_st> client_context(const std::string& ca_file);
/// One that trusts nobody, for connect_unverified.
std::shared_ptr<ssl_ctx_st> suspicious_context();

/// Waits through a handshake. Throws Fault(unavailable).
void shake_hands(TlsStream& tls, int fd, const std::string& peer, std::chrono::milliseconds timeout);

}  // namespace virga::http
