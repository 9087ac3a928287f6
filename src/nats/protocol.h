#pragma once
// What a NATS server sends, taken apart: INFO, MSG, PING, PONG, +OK, -ERR, each a line; MSG with bytes behind it. Any bytes
// may come.

#include <functional>
#include <string>
#include <string_view>

namespace virga::nats {

struct ServerMessage {
  enum class Kind { info, message, ping, pong, ok, error } kind;
  std::string_view subject;  ///< of a message
  std::string_view body;     ///< INFO's JSON, a message's bytes, an error's text; valid during the call
};

class Parser {
 public:
  /// Takes bytes as they come, and calls `take` for each whole message. Throws Fault(bad_request) at anything that no server
  /// says, or that is too large: the connection is of no use then.
  void feed(std::string_view bytes, const std::function<void(const ServerMessage&)>& take);

  static constexpr size_t kMaxLine = 32 << 10, kMaxBody = 64 << 10;

 private:
  /// Takes one message off the front of `rest`; false if it is not whole yet.
  static bool take_one(std::string_view& rest, const std::function<void(const ServerMessage&)>& take);
  std::string held_;  ///< the beginning of one
};

}  // namespace virga::nats
