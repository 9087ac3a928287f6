#include "nats/protocol.h"

#include <fmt/format.h>

#include <charconv>

#include "base/fault.h"
#include "base/text.h"

namespace virga::nats {
namespace {

Fault malformed(std::string_view what) { return Fault(FaultKind::bad_request, fmt::format("the NATS server sent {}", what)); }

/// Without regard to case, as the protocol has it.
bool is_word(std::string_view line, std::string_view word) {
  if (line.size() < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i)
    if ((line[i] & ~0x20) != (word[i] & ~0x20)) return false;
  return line.size() == word.size() || line[word.size()] == ' ' || line[word.size()] == '\t';
}

std::string_view behind(std::string_view line, size_t word) {
  line.remove_prefix(word);
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  return line;
}

}  // namespace

void Parser::feed(std::string_view bytes, const std::function<void(const ServerMessage&)>& take) {
  if (held_.empty()) {
    while (take_one(bytes, take)) {
    }
    held_ = bytes;
    return;
  }
  held_ += bytes;
  std::string whole = std::move(held_);
  held_.clear();
  std::string_view rest = whole;
  while (take_one(rest, take)) {
  }
  held_ = rest;
}

bool Parser::take_one(std::string_view& rest, const std::function<void(const ServerMessage&)>& take) {
  const size_t end = rest.find("\r\n");
  if (end == rest.npos ? rest.size() > kMaxLine + 1 : end > kMaxLine) throw malformed("a line without an end");
  if (end == rest.npos) return false;
  const std::string_view line = rest.substr(0, end);
  using Kind = ServerMessage::Kind;
  if (is_word(line, "MSG")) {
    const auto words = split_words(behind(line, 3), ' ');  // subject, sid, [reply], size
    size_t size = 0;
    if (words.size() < 3 || words.size() > 4) throw malformed("a message without a subject or size");
    const std::string& last = words.back();
    const auto [at, error] = std::from_chars(last.data(), last.data() + last.size(), size);
    if (error != std::errc() || at != last.data() + last.size() || size > kMaxBody) throw malformed("a message of no size, or too large");
    const size_t whole = end + 2 + size + 2;
    if (rest.size() < whole) return false;
    if (rest.substr(whole - 2, 2) != "\r\n") throw malformed("a message that is longer than it says");
    take({Kind::message, words.front(), rest.substr(end + 2, size)});
    rest.remove_prefix(whole);
    return true;
  }
  if (is_word(line, "INFO")) take({Kind::info, {}, behind(line, 4)});
  else if (is_word(line, "PING")) take({Kind::ping, {}, {}});
  else if (is_word(line, "PONG")) take({Kind::pong, {}, {}});
  else if (is_word(line, "+OK")) take({Kind::ok, {}, {}});
  else if (is_word(line, "-ERR")) take({Kind::error, {}, behind(line, 4)});
  else throw malformed("what is no message of NATS");
  rest.remove_prefix(end + 2);
  return true;
}

}  // namespace virga::nats
