// A request's answer, from whichever thread: the handler's run, and streamed bodies.
#include <poll.h>

#include "base/log.h"
#include "http/request_parser.h"
#include "http/response_head.h"
#include "http/session.h"
#include "http/wire.h"

namespace virga::http {
namespace {

class SessionBody final : public BodyReader {
 public:
  explicit SessionBody(Session& session) : session_(session) {}
  size_t read(std::span<char> buffer) override { return session_.read_body(buffer); }

 private:
  Session& session_;
};

class StreamTask final : public Task {
 public:
  StreamTask(std::shared_ptr<Session> session, BodySource source, bool chunked, bool keep_alive, std::string head)
      : session_(std::move(session)),
        source_(std::move(source)),
        head_(std::move(head)),
        chunked_(chunked),
        keep_alive_(keep_alive) {}
  void run() override { session_->send_stream(source_, chunked_, keep_alive_, head_); }

 private:
  std::shared_ptr<Session> session_;
  BodySource source_;
  std::string head_;
  bool chunked_, keep_alive_;
};

}  // namespace

Exchange::~Exchange() {
  if (dispatched && !answered_.exchange(true)) session_->answer(turn, refusal(500, "The request was not answered."));
}

void Exchange::send(Response response) {
  if (answered_.exchange(true)) return log::error("http: {} answered twice", request.target);
  session_->answer(turn, std::move(response));
}

void Exchange::run() {
  SessionBody body(*session_);
  if (turn.streamed) request.stream = &body;
  Response failure;
  try {
    session_->shared_handler().handle(std::move(request), shared_from_this());
  } catch (const Fault& fault) {
    failure = refusal(fault.status(), fault.message);
  } catch (const std::exception& error) {
    log::error("http: handler failed: {}", error.what());
    failure = refusal(500, "Internal error.");
  }
  if (failure.status >= 300 && !answered_.exchange(true)) session_->answer(turn, std::move(failure));
  if (turn.streamed) session_->handler_returned();
}

void Session::handler_returned() {
  if (!body_done_) close_after_ = true;
  part_done();
}

void Session::answer_stream(const Turn& turn, Response response, bool keep_alive) {
  Framing framing{response.source_length, false, keep_alive, turn.http10};
  if (!response.source_length) {
    framing.chunked = !turn.http10;
    if (turn.http10) framing.keep_alive = keep_alive = false;
  }
  auto task = std::make_shared<StreamTask>(shared_from_this(), std::move(response.source), framing.chunked, keep_alive,
                                           make_head(response, framing));
  if (shared_->streams.push(task)) return;
  answer_plain(turn, refusal(503, "Too many downloads; try again in a moment."), keep_alive);
}

void Session::send_stream(const BodySource& source, bool chunked, bool keep_alive, const std::string& head) {
  constexpr size_t room = 16;  // for the chunk's size line before, and its end after
  std::vector<char> buffer((256 << 10) + 2 * room);
  const auto timeout = shared_->options.body_timeout;
  bool ok = wire::send_all(channel(), head, timeout);
  try {
    while (ok) {
      size_t count = source({buffer.data() + room, buffer.size() - 2 * room});
      if (count == 0) break;
      std::string_view piece(buffer.data() + room, count);
      if (chunked) {
        std::string size = fmt::format("{:x}\r\n", count);
        std::copy(size.begin(), size.end(), buffer.begin() + static_cast<ptrdiff_t>(room - size.size()));
        buffer[room + count] = '\r';
        buffer[room + count + 1] = '\n';
        piece = {buffer.data() + room - size.size(), size.size() + count + 2};
      }
      ok = wire::send_all(channel(), piece, timeout);
    }
    if (ok && chunked) ok = wire::send_all(channel(), "0\r\n\r\n", timeout);
  } catch (const std::exception& error) {
    log::warn("http: a streamed answer broke off: {}", error.what());
    ok = false;
  }
  after_write(ok && keep_alive);
}

}  // namespace virga::http
