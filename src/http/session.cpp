#include "http/session.h"

#include <sys/socket.h>

#include "base/log.h"
#include "http/request_parser.h"
#include "http/response_head.h"
#include "http/wire.h"

namespace virga::http {
namespace {
constexpr size_t kSmallBuffer = 4 << 10;    // what an idle connection costs
constexpr size_t kBigBuffer = 64 << 10;     // a header must fit
constexpr size_t kLingerBytes = 16 << 20;   // thrown away after a refusal, so that the client can read our answer
}  // namespace

Shared::Shared(ServerOptions o, Handler& h)
    : options(o),
      handler(h),
      workers("http-worker", static_cast<size_t>(o.workers), o.queue),
      streams("http-stream", static_cast<size_t>(o.stream_workers), o.queue) {}

Session::Session(std::shared_ptr<Shared> shared, std::shared_ptr<IoThread> io, Socket socket, std::string remote,
                 std::unique_ptr<TlsStream> tls)
    : shared_(std::move(shared)),
      io_(std::move(io)),
      socket_(std::move(socket)),
      remote_(std::move(remote)),
      tls_(std::move(tls)) {}

Session::~Session() { io_->remove(this); }

void Session::start() {
  if (tls_) return start_tls();
  set_deadline(shared_->options.idle_timeout);
  arm_read();
}

void Session::close() {
  if (closed_) return;
  closed_ = true;
  gone_ = true;
  if (!stream_waits_) exchange_.reset();  // half a request refers to us
  if (tls_) tls_->say_goodbye();
  // Only shut down: a worker may be writing to this descriptor. It is closed with the session.
  if (socket_.is_open()) ::shutdown(fd(), SHUT_RDWR);
}

void Session::close_if_idle() {
  std::lock_guard lock(mutex_);
  if (!busy_) close();
}

void Session::sweep(int64_t now) {
  int64_t deadline = deadline_;
  if (deadline == 0 || now < deadline || closed_) return;
  deadline_ = 0;
  if (phase_ == Phase::header || phase_ == Phase::body)
    refuse(408, "The request did not arrive in time.");
  else
    close();
}

void Session::arm_read() {
  if (read_armed_ || closed_ || eof_) return;
  if (begin_ == end_) begin_ = end_ = 0;
  size_t wanted = phase_ == Phase::body ? kBigBuffer : kSmallBuffer;
  if (begin_ == end_ && in_.size() != wanted) {
    in_.resize(wanted);
    in_.shrink_to_fit();
  } else if (end_ == in_.size()) {
    std::copy(in_.begin() + static_cast<ptrdiff_t>(begin_), in_.begin() + static_cast<ptrdiff_t>(end_), in_.begin());
    end_ -= begin_;
    begin_ = 0;
    if (end_ == in_.size()) in_.resize(std::min(in_.size() * 2, 2 * kBigBuffer));
  }
  if (end_ == in_.size()) return;  // full: the open turn's end reads on
  read_armed_ = true;
  if (tls_) return arm_tls_read();
  socket_.async_read_some(net::buffer(in_.data() + end_, in_.size() - end_),
                          [self = shared_from_this()](const boost::system::error_code& ec, size_t count) {
                            self->on_read(ec, count);
                          });
}

void Session::on_read(const boost::system::error_code& ec, size_t count) {
  read_armed_ = false;
  if (stream_waits_ || upgrading_) {
    end_ += count;
    if (upgrading_) return upgrade();
    stream_waits_ = false;
    return dispatch(true);
  }
  if (ec) eof_ = true;
  if (phase_ == Phase::lingering) {
    begin_ = end_ = 0;
    lingered_ += count;
    if (eof_ || lingered_ > kLingerBytes) return close();
    return arm_read();
  }
  end_ += count;
  {
    std::lock_guard lock(mutex_);
    if (eof_) gone_ = true;
    if (busy_) {
      input_waiting_ = true;
      if (!eof_) arm_read();
      return;
    }
  }
  if (eof_) return close();
  process();
}

void Session::process() {
  while (!closed_ && begin_ < end_) {
    if (!exchange_ && !begin_request()) break;
    if (!parse()) return;
    if (turn_open()) return arm_read();
  }
  if (eof_ && !turn_open()) return close();
  arm_read();
}

/// Whether an answer is still due; then its end will look at the input that is left.
bool Session::turn_open() {
  std::lock_guard lock(mutex_);
  if (busy_ && begin_ < end_) input_waiting_ = true;
  return busy_;
}

/// False if there is nothing but line breaks (which clients may send between requests).
bool Session::begin_request() {
  while (begin_ < end_ && (in_[begin_] == '\r' || in_[begin_] == '\n')) ++begin_;
  if (begin_ == end_) return false;
  exchange_ = std::make_shared<Exchange>(shared_from_this());
  exchange_->request.remote_address = remote_;
  exchange_->request.tls = tls_ != nullptr;
  parser_ = std::make_unique<RequestParser>(exchange_->request, shared_->options.max_body);
  header_bytes_ = 0;
  phase_ = Phase::header;
  set_deadline(shared_->options.header_timeout);
  return true;
}

/// One step of the parser. False if the connection was refused.
bool Session::parse() {
  boost::system::error_code ec;
  bool in_header = !parser_->is_header_done();
  size_t used = parser_->put(net::const_buffer(in_.data() + begin_, end_ - begin_), ec);
  begin_ += used;
  if (in_header) header_bytes_ += used;
  using E = beast::http::error;
  if (ec == E::header_limit || (in_header && header_bytes_ + (parser_->is_header_done() ? 0 : end_ - begin_) > kBigBuffer))
    return refuse(431, "The request's header is larger than 64 KiB."), false;
  if (ec == E::body_limit) return refuse(413, "The request's body is too large."), false;
  if (ec == E::bad_version) return refuse(400, "This is not HTTP/1.1."), false;
  if (ec && ec != E::need_more) return refuse(400, "Malformed request: " + ec.message() + "."), false;
  if (in_header && parser_->is_header_done()) return header_done();
  if (parser_->is_done()) return dispatch(false), true;
  if (phase_ == Phase::body) set_deadline(shared_->options.body_timeout);
  // Nothing parsed from a full buffer: an endless chunk header.
  if (used == 0 && end_ - begin_ > kBigBuffer) return refuse(400, "Malformed request: endless line."), false;
  if (ec == E::need_more || begin_ == end_) arm_read();
  return ec != E::need_more;
}

bool Session::header_done() {
  Turn& turn = exchange_->turn;
  Request& request = exchange_->request;
  turn.head = request.method == "HEAD";
  turn.http10 = parser_->http10();
  turn.keep_alive = parser_->keep_alive();
  if (parser_->upgrade()) turn.upgrade = request.headers;
  if (auto length = parser_->content_length()) request.content_length = *length;
  continue_due_ = parser_->expects_continue() && !parser_->is_done() && !turn.http10;
  const auto mode = body_mode_of(request);
  if (!mode) return refuse(500, "Internal error."), false;
  if (*mode == BodyMode::streamed) {
    start_streamed();
    return false;
  }
  if (request.content_length.value_or(0) > shared_->options.max_body)
    return refuse(413, "The request's body is too large."), false;
  if (parser_->is_done()) return dispatch(false), true;
  phase_ = Phase::body;
  set_deadline(shared_->options.body_timeout);
  parser_->eager(true);
  if (std::exchange(continue_due_, false)) wire::send_now(channel(), "HTTP/1.1 100 Continue\r\n\r\n", {});
  return true;
}

/// Nothing if the handler failed: on an I/O thread that would otherwise take all its connections down.
std::optional<BodyMode> Session::body_mode_of(const Request& request) {
  try {
    return shared_->handler.body_mode(request);
  } catch (const std::exception& error) {
    log::error("http: {} {}: {}", request.method, request.path, error.what());
    return std::nullopt;
  }
}

/// From here the stream worker reads the descriptor, so a read that we still have out must come back first.
void Session::start_streamed() {
  if (!read_armed_) return dispatch(true);
  stream_waits_ = true;
  boost::system::error_code ec;
  socket_.cancel(ec);
}

void Session::open_turn(int parts) {
  ++shared_->open_turns;
  std::lock_guard lock(mutex_);
  busy_ = true;
  input_waiting_ = false;
  parts_ = parts;
  phase_ = Phase::busy;
  deadline_ = 0;
}

void Session::dispatch(bool streamed) {
  body_done_ = !streamed || parser_->is_done();
  auto exchange = std::move(exchange_);
  if (!streamed) parser_.reset();
  exchange->turn.streamed = streamed;
  exchange->dispatched = true;
  open_turn(streamed ? 2 : 1);
  WorkerPool& pool = streamed ? shared_->streams : shared_->workers;
  if (pool.push(exchange)) return;
  exchange->send(refusal_of(exchange->request, 503, "The server is overloaded; try again in a moment."));
  if (streamed) handler_returned();
}

/// Answers before any handler saw the request, then closes.
void Session::refuse(int status, std::string_view message) {
  Turn turn;
  turn.keep_alive = false;
  if (exchange_) turn.head = exchange_->request.method == "HEAD";
  // Without a whole header nobody can say whose request it is.
  Response response = exchange_ && parser_ && parser_->is_header_done() ? refusal_of(exchange_->request, status, message)
                                                                        : refusal(status, message);
  exchange_.reset();
  parser_.reset();
  body_done_ = true;
  open_turn(1);
  answer(turn, std::move(response));
}

/// In the handler's words, which knows whose format it is.
Response Session::refusal_of(const Request& request, int status, std::string_view message) {
  try {
    return shared_->handler.refused(request, status, message);
  } catch (const std::exception& error) {
    log::error("http: {} {}: {}", request.method, request.path, error.what());
    return refusal(status, message);
  }
}

/// If there is more to do, the session stays busy until resume() does it: a read that came in between would begin the
/// next request, and resume() then take the input, or the parser, from under that one's stream worker.
void Session::part_done() {
  if (--parts_ > 0) return;
  --shared_->open_turns;
  bool go_on;
  {
    std::lock_guard lock(mutex_);
    if (shared_->stopping) close_after_ = true;
    go_on = input_waiting_ || close_after_ || parser_;
    busy_ = go_on;
    phase_ = Phase::idle;
    set_deadline(shared_->options.idle_timeout);
  }
  if (go_on) io_->post([self = shared_from_this()] { self->resume(); });
}

void Session::resume() {
  if (closed_) return;
  parser_.reset();
  {
    std::lock_guard lock(mutex_);
    busy_ = false;
  }
  if (close_after_ || shared_->stopping) return linger();
  if (eof_ && begin_ == end_) return close();
  process();
}

/// Closing with unread input would reset the connection and take our answer with it, so read on for a moment.
void Session::linger() {
  phase_ = Phase::lingering;
  body_done_ = true;
  begin_ = end_ = 0;
  if (eof_) return close();
  if (tls_) tls_->say_goodbye();
  ::shutdown(fd(), SHUT_WR);
  set_deadline(std::chrono::seconds(2));
  arm_read();
}

void Session::upgrade() {
  upgrading_ = false;
  if (begin_ != end_ || eof_ || !upgrade_turn_) return close();
  int family = socket_.local_endpoint().protocol().family();
  boost::system::error_code ec;
  int fd = socket_.release(ec);
  closed_ = true;
  deadline_ = 0;
  --shared_->open_turns;
  if (ec) return;
  start_websocket(shared_->websocket_thread(), fd, family, std::move(tls_), *upgrade_turn_->upgrade,
                  std::move(upgrade_response_));
}

void Session::answer_websocket(const Turn& turn, Response response) {
  if (!turn.upgrade || response.status != 101)
    return answer(turn, refusal(400, "This address speaks WebSocket only."));
  upgrade_turn_ = turn;
  upgrade_response_ = std::move(response);
  io_->post([self = shared_from_this()] {
    self->upgrading_ = true;
    boost::system::error_code ec;
    if (self->read_armed_)
      self->socket_.cancel(ec);  // on_read goes on
    else
      self->upgrade();
  });
}

void Session::write_rest(bool keep_alive) {
  if (closed_) return after_write(false);
  set_deadline(shared_->options.body_timeout);
  std::string_view head = std::string_view(out_), body = out_body_;
  head.remove_prefix(std::min(written_, head.size()));
  if (written_ > out_.size()) body.remove_prefix(written_ - out_.size());
  if (head.empty() && body.empty()) return after_write(keep_alive);
  if (tls_) return write_rest_sealed(head, body, keep_alive);
  socket_.async_write_some(std::array<net::const_buffer, 2>{net::buffer(head), net::buffer(body)},
                           [self = shared_from_this(), keep_alive](const boost::system::error_code& ec, size_t count) {
                             if (ec) return self->after_write(false);
                             self->written_ += count;
                             self->write_rest(keep_alive);
                           });
}

void Session::after_write(bool keep_alive) {
  out_ = {};
  out_body_ = {};
  if (!keep_alive) close_after_ = true;
  part_done();
}

void Session::answer_plain(const Turn& turn, Response response, bool keep_alive) {
  Framing framing{response.body.size(), false, keep_alive, turn.http10};
  if (turn.head && response.source_length) framing.content_length = response.source_length;
  if (response.status == 204 || response.status == 304 || response.status < 200) framing.content_length.reset();
  if (!framing.content_length || turn.head) response.body.clear();
  std::string head = make_head(response, framing);
  if (response.body.size() <= 4096) {
    head += response.body;
    response.body.clear();
  }
  ssize_t sent = wire::send_now(channel(), head, response.body);
  if (sent < 0 || static_cast<size_t>(sent) == head.size() + response.body.size())
    return after_write(keep_alive && sent >= 0);
  out_ = std::move(head);
  out_body_ = std::move(response.body);
  written_ = static_cast<size_t>(sent);
  if (!io_->post([self = shared_from_this(), keep_alive] { self->write_rest(keep_alive); })) part_done();
}

void Session::answer(const Turn& turn, Response response) {
  if (response.websocket) return answer_websocket(turn, std::move(response));
  // An unread body would be taken for the next request.
  bool keep_alive = turn.keep_alive && body_done_ && !shared_->stopping;
  if (response.source && !turn.head)
    answer_stream(turn, std::move(response), keep_alive);
  else
    answer_plain(turn, std::move(response), keep_alive);
}

size_t Session::read_body(std::span<char> into) {
  if (body_done_ || into.empty()) return 0;
  if (std::exchange(continue_due_, false) &&
      !wire::send_all(channel(), "HTTP/1.1 100 Continue\r\n\r\n", shared_->options.body_timeout))
    throw Fault(FaultKind::bad_request, "The client went away.");
  parser_->eager(true);
  parser_->stream_into(into);
  for (;;) {
    boost::system::error_code ec;
    if (begin_ < end_) begin_ += parser_->put(net::const_buffer(in_.data() + begin_, end_ - begin_), ec);
    if (ec && ec != beast::http::error::need_more && ec != beast::http::error::need_buffer)
      throw Fault(FaultKind::bad_request, "Malformed request body: " + ec.message() + ".");
    if (parser_->is_done()) body_done_ = true;
    if (parser_->filled() > 0 || body_done_) return parser_->filled();
    if (begin_ > 0) {
      std::copy(in_.begin() + static_cast<ptrdiff_t>(begin_), in_.begin() + static_cast<ptrdiff_t>(end_), in_.begin());
      end_ -= begin_;
      begin_ = 0;
    }
    if (in_.size() < 4 * kBigBuffer) in_.resize(4 * kBigBuffer);
    if (end_ == in_.size()) throw Fault(FaultKind::bad_request, "Malformed request body: endless line.");
    ssize_t got = wire::receive(channel(), {in_.data() + end_, in_.size() - end_}, shared_->options.body_timeout);
    if (got <= 0)
      throw Fault(FaultKind::bad_request, "The request's body ended early.", "Send the whole body, without long pauses.");
    end_ += static_cast<size_t>(got);
  }
}

}  // namespace virga::http
