#include "ovn/json_stream.h"

#include <fmt/format.h>

#include "base/fault.h"

namespace virga::ovn {
namespace {

json::parse_options options(size_t max_depth) {
  json::parse_options o;
  o.max_depth = max_depth;
  return o;
}

}  // namespace

JsonStream::JsonStream(size_t max_message, size_t max_depth)
    : max_message_(max_message), parser_(json::storage_ptr(), options(max_depth)) {}

void JsonStream::feed(std::string_view bytes, const std::function<void(json::object)>& message) {
  while (!bytes.empty()) {
    if (used_ == 0) {
      const size_t start = bytes.find_first_not_of(" \t\r\n");
      if (start == std::string_view::npos) return;
      bytes.remove_prefix(start);
      if (bytes[0] != '{')
        throw Fault(FaultKind::bad_gateway, "The OVSDB server sent something that is not JSON-RPC.");
      parser_.reset();
    }
    json::error_code error;
    const auto piece = bytes.substr(0, max_message_ - used_);
    const size_t taken = parser_.write_some(piece.data(), piece.size(), error);
    if (error)
      throw Fault(FaultKind::bad_gateway,
                  fmt::format("The OVSDB server sent bad JSON: {}.", error.message()));
    used_ += taken;
    bytes.remove_prefix(taken);
    if (parser_.done()) {
      used_ = 0;
      message(parser_.release().as_object());
    } else if (used_ >= max_message_) {
      throw Fault(FaultKind::bad_gateway,
                  fmt::format("The OVSDB server sent a message over {} bytes.", max_message_));
    }
  }
}

}  // namespace virga::ovn
