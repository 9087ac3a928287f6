#pragma once
// JSON-RPC over a byte stream: values follow one another without any framing, so the parser itself finds the
// ends.

#include <functional>
#include <string_view>

#include "base/json.h"

namespace virga::ovn {

class JsonStream {
 public:
  /// A message larger than `max_message` bytes or nested deeper than `max_depth` is refused.
  explicit JsonStream(size_t max_message, size_t max_depth = 32);

  /// Takes the next bytes, however they were cut, and hands over each complete message (always an object).
  /// Throws Fault(bad_gateway) on anything else; the stream is then useless.
  void feed(std::string_view bytes, const std::function<void(json::object)>& message);

 private:
  size_t max_message_;
  size_t used_ = 0;  ///< bytes of the message that is being read; 0 between messages
  json::stream_parser parser_;
};

}  // namespace virga::ovn
