#pragma once
// Beast's HTTP grammar filling our Request directly, piece by piece, without a message in between.

#include <boost/beast/http/basic_parser.hpp>
#include <cstring>

#include <span>

#include "http/api.h"

namespace virga::http {

namespace beast = boost::beast;

class RequestParser final : public beast::http::basic_parser<true> {
 public:
  using error_code = beast::error_code;
  explicit RequestParser(Request& request, size_t max_body) : request_(&request), max_body_(max_body) {
    header_limit(64 << 10);
    body_limit(boost::none);  // ours, since a streamed body has none
  }
  /// Streamed bodies go to `into` from now on; what does not fit waits in the caller's buffer.
  void stream_into(std::span<char> into) {
    streaming_ = true;
    into_ = into;
    filled_ = 0;
  }
  bool http10() const { return http10_; }
  size_t filled() const { return filled_; }
  bool bad_target() const { return bad_target_; }
  bool expects_continue() const { return expects_continue_; }

 private:
  using sv = beast::string_view;
  void on_request_impl(beast::http::verb, sv method, sv target, int version, error_code& ec) override {
    http10_ = version == 10;
    request_->method.assign(method.data(), method.size());
    try {
      virga::http::parse_target({target.data(), target.size()}, *request_);
    } catch (const Fault&) {
      bad_target_ = true;
      ec = beast::http::error::bad_target;
    }
  }
  void on_response_impl(int, sv, int, error_code&) override {}
  void on_field_impl(beast::http::field name, sv text, sv value, error_code& ec) override {
    if (++fields_ > 256) ec = beast::http::error::header_limit;
    if (name == beast::http::field::transfer_encoding) transfer_encoding_ = true;
    if (name == beast::http::field::expect && beast::iequals(value, "100-continue")) expects_continue_ = true;
    request_->headers.add({text.data(), text.size()}, {value.data(), value.size()});
  }
  void on_header_impl(error_code& ec) override {
    // A coding that we cannot undo leaves the body's end unknown: the next request could be smuggled in it.
    if (transfer_encoding_ && !chunked()) ec = beast::http::error::bad_transfer_encoding;
  }
  void on_body_init_impl(const boost::optional<uint64_t>& length, error_code&) override {
    if (!streaming_ && length) request_->body.reserve(std::min<uint64_t>(*length, max_body_));
  }
  size_t on_body_impl(sv body, error_code& ec) override {
    if (!streaming_) {
      if (request_->body.size() + body.size() > max_body_) {
        ec = beast::http::error::body_limit;
        return 0;
      }
      request_->body.append(body.data(), body.size());
      return body.size();
    }
    size_t count = std::min(body.size(), into_.size() - filled_);
    std::memcpy(into_.data() + filled_, body.data(), count);
    filled_ += count;
    // Only if something is left: a body that ends where the buffer does is complete, and nothing more will come.
    if (count < body.size()) ec = beast::http::error::need_buffer;
    return count;
  }
  void on_chunk_header_impl(uint64_t, sv, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, sv body, error_code& ec) override { return on_body_impl(body, ec); }
  void on_finish_impl(error_code&) override {}

  Request* request_;
  const size_t max_body_;
  std::span<char> into_;
  size_t filled_ = 0;
  int fields_ = 0;
  bool http10_ = false, streaming_ = false, bad_target_ = false, expects_continue_ = false, transfer_encoding_ = false;
};

}  // namespace virga::http
