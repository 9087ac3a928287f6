// What any client may send: targets, escapes, and whole requests through our end of Beast's grammar. A request must
// mean the same however the network cuts it, or a proxy in front and we could disagree where it ends.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/request_parser.h"

namespace {

using namespace virga;

void check_target(std::string_view text) {
  http::Request request;
  try {
    http::parse_target(text, request);
    if (request.path.empty() || request.path.find('\0') != std::string::npos) abort();
    if (request.path[0] != '/' && request.path != "*" && text[0] != '%') abort();
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::bad_request) abort();
  }
  if (http::percent_decode(http::percent_encode(text)) != text) abort();
}

struct Outcome {
  http::Request request;
  bool done = false, failed = false;
};

/// Feeds pieces of `piece` bytes the way a session does: what the parser leaves stays in front.
Outcome parse(std::string_view bytes, size_t piece) {
  Outcome out;
  http::RequestParser parser(out.request, 4096);
  parser.eager(true);
  std::string waiting;
  for (size_t at = 0; at < bytes.size() && !parser.is_done() && !out.failed;) {
    const std::string_view next = bytes.substr(at, piece);
    at += next.size();
    waiting += next;
    boost::system::error_code ec;
    waiting.erase(0, parser.put(boost::asio::const_buffer(waiting.data(), waiting.size()), ec));
    out.failed = ec && ec != boost::beast::http::error::need_more;
  }
  out.done = parser.is_done();
  return out;
}

void check_request(std::string_view bytes, size_t piece) {
  const Outcome whole = parse(bytes, bytes.size());
  const Outcome cut = parse(bytes, piece);
  if (whole.request.body.size() > 4096) abort();
  if (!whole.done || !cut.done) {
    if (whole.done && !cut.done) abort();
    return;
  }
  if (whole.request.method != cut.request.method || whole.request.target != cut.request.target ||
      whole.request.body != cut.request.body || whole.request.headers.all() != cut.request.headers.all())
    abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_target(bytes);
  check_request(bytes, data[0] % 64 + 1);
  return 0;
}
