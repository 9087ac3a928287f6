#pragma once
// The bytes before a response's body.

#include <optional>
#include <string>
#include <string_view>

#include "http/api.h"

namespace virga::http {

struct Framing {
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool http10 = false;
};

/// Status line, Date, Server, the response's own fields (its framing fields replaced by ours) and the empty line.
std::string make_head(const Response& response, const Framing& framing);
std::string_view reason_phrase(int status);
/// A small plain JSON body for what the server itself refuses.
Response refusal(int status, std::string_view message);

}  // namespace virga::http
