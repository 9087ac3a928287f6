// Header fields that our conventions read: Accept-Encoding, ids, CORS; and what of them goes into logs.
#include <cstdlib>
#include <string>
#include <string_view>

#include "api/compression.h"
#include "api/cors.h"
#include "api/json_log.h"
#include "api/rate_limiter.h"
#include "api/request_id.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace virga;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Nothing but these names asks for it.
  if (api::accepts_gzip(text) && text.find_first_of("zZ*") == std::string_view::npos) std::abort();
  if (api::is_global_request_id(text) &&
      text.find_first_not_of("req-0123456789abcdf") != std::string_view::npos)
    std::abort();
  api::anonymous_key(text.substr(0, 64));

  std::string line;
  api::append_foreign_text(line, text);
  json::error_code error;
  if (!json::parse(line, error).is_string() || error || line.find('\n') != std::string::npos) std::abort();

  const api::Cors cors({"https://a.example"});
  const size_t half = size / 2;
  for (std::string_view origin : {std::string_view("https://a.example"), text.substr(0, half)}) {
    http::Request request;
    request.headers.set("Origin", origin);
    request.headers.set("Access-Control-Request-Method", "GET");
    request.headers.set("Access-Control-Request-Headers", text.substr(half));
    http::Response response;
    cors.answer_preflight(request, response);
    const std::string_view allowed = response.headers.get("Access-Control-Allow-Origin");
    if (!allowed.empty() && (allowed != "https://a.example" || origin != allowed)) std::abort();
  }

  http::Response response;
  response.headers.set("Vary", text);
  api::add_vary(response, "Origin");
  api::add_vary(response, "Origin");
  if (size < 2048) {
    response.body = std::string(text);
    api::compress(response);
  }
  return 0;
}
