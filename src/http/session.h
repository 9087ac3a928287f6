#pragma once
// One client connection. Input is read and parsed on its I/O thread; a complete request goes to a worker, whose answer
// is written from whichever thread gives it, straight to the socket. While a *turn* (request to answer) is open, the
// I/O thread only gathers input, so pipelined requests are answered in order. The descriptor lives as long as the
// session, and the session as long as anyone may answer it: a client that leaves can never make a late answer unsafe.

#include <atomic>

#include "http/api.h"
#include "http/io_thread.h"
#include "http/tls.h"
#include "http/wire.h"
#include "http/worker_pool.h"

namespace virga::http {

class RequestParser;
class Exchange;

/// What all sessions of one server share.
struct Shared {
  Shared(ServerOptions options, Handler& handler);
  ServerOptions options;
  Handler& handler;
  WorkerPool workers;
  WorkerPool streams;
  std::atomic<bool> stopping{false};
  std::atomic<int> open_turns{0};
  /// WebSockets live on a thread of their own, so that a slow console never delays a request.
  std::shared_ptr<IoThread> websocket_thread();

 private:
  std::mutex mutex_;
  std::shared_ptr<IoThread> websockets_;
};

/// What an answer must know of its request.
struct Turn {
  bool head = false;
  bool http10 = false;
  bool keep_alive = true;
  bool streamed = false;
  std::optional<Headers> upgrade;  ///< the request's fields if it asks for an upgrade
};

class Session final : public Swept, public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<Shared> shared, std::shared_ptr<IoThread> io, Socket socket, std::string remote,
          std::unique_ptr<TlsStream> tls);
  ~Session() override;
  void start();
  void sweep(int64_t now_ms) override;
  void close() override;
  void close_if_idle() override;
  void thread_ended() override { close(); }

  // From any thread, once per turn.
  void answer(const Turn& turn, Response response);
  bool gone() const { return gone_; }
  Handler& shared_handler() { return shared_->handler; }

  // On a stream worker, inside a streamed request's turn.
  size_t read_body(std::span<char> into);
  void handler_returned();
  void send_stream(const BodySource& source, bool chunked, bool keep_alive, const std::string& head);

 private:
  enum class Phase { handshake, idle, header, body, busy, lingering };
  void arm_read();
  void on_read(const boost::system::error_code& ec, size_t count);
  void start_tls();
  void shake_hands(const boost::system::error_code& ec);
  void await(short events, void (Session::*then)(const boost::system::error_code&));
  void arm_tls_read();
  void read_sealed(const boost::system::error_code& ec);
  void write_rest_sealed(std::string_view head, std::string_view body, bool keep_alive);
  void process();
  bool begin_request();
  bool parse();
  bool header_done();
  std::optional<BodyMode> body_mode_of(const Request& request);
  bool turn_open();
  void start_streamed();
  void dispatch(bool streamed);
  void refuse(int status, std::string_view message);
  Response refusal_of(const Request& request, int status, std::string_view message);
  void open_turn(int parts);
  void part_done();
  void resume();
  void linger();
  void upgrade();
  void write_rest(bool keep_alive);
  void after_write(bool keep_alive);
  void answer_plain(const Turn& turn, Response response, bool keep_alive);
  void answer_stream(const Turn& turn, Response response, bool keep_alive);
  void answer_websocket(const Turn& turn, Response response);
  wire::Channel channel() { return {fd(), tls_.get()}; }
  int fd() { return socket_.native_handle(); }
  void set_deadline(std::chrono::milliseconds from_now) { deadline_ = now_ms() + from_now.count(); }

  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<IoThread> io_;
  Socket socket_;
  const std::string remote_;
  std::unique_ptr<TlsStream> tls_;  // null: plain HTTP

  // Input: the I/O thread's, or the stream worker's during a streamed turn.
  std::vector<char> in_;
  size_t begin_ = 0, end_ = 0;
  size_t header_bytes_ = 0;
  std::unique_ptr<RequestParser> parser_;
  std::shared_ptr<Exchange> exchange_;
  std::atomic<bool> closed_{false};
  bool read_armed_ = false, eof_ = false, upgrading_ = false, stream_waits_ = false, continue_due_ = false;
  size_t lingered_ = 0;

  // Output of the open turn.
  std::string out_, out_body_;
  size_t written_ = 0;
  std::optional<Turn> upgrade_turn_;
  Response upgrade_response_;

  std::mutex mutex_;
  bool busy_ = false;           // a turn is open, or resume() is due
  bool input_waiting_ = false;  // something came meanwhile
  std::atomic<Phase> phase_{Phase::idle};
  std::atomic<int64_t> deadline_{0};
  std::atomic<int> parts_{0};
  std::atomic<bool> close_after_{false}, gone_{false}, body_done_{true};
};

/// The responder of one request, and the task that runs its handler.
class Exchange final : public Responder, public Task, public std::enable_shared_from_this<Exchange> {
 public:
  explicit Exchange(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  ~Exchange() override;
  void run() override;
  void send(Response response) override;
  bool gone() const override { return session_->gone(); }

  Request request;
  Turn turn;
  bool dispatched = false;

 private:
  std::shared_ptr<Session> session_;
  std::atomic<bool> answered_{false};
};

/// Takes over the descriptor after a handshake that `request` asked for.
void start_websocket(std::shared_ptr<IoThread> io, int fd, int family, std::unique_ptr<TlsStream> tls,
                     const Headers& request, Response response);

}  // namespace virga::http
