#pragma once
// Cross-origin requests (the Fetch standard's CORS), as oslo.middleware's cors.py answers them: pages of the
// allowed origins may call the API from a browser. Others get no CORS field, so their browser keeps the
// answer from them.

#include <string>
#include <string_view>
#include <vector>

#include "http/api.h"

namespace virga::api {

class Cors {
 public:
  /// "https://dashboard.example.org", or "*" for any. Empty: off.
  explicit Cors(std::vector<std::string> allowed_origins) : allowed_(std::move(allowed_origins)) {}

  /// The fields of a preflight (OPTIONS) if origin, method and headers are all allowed.
  void answer_preflight(const http::Request& request, http::Response& response) const;
  /// The fields of any other answer. `origin` is the request's Origin, "" if there is none.
  void decorate(std::string_view origin, http::Response& response) const;

 private:
  /// What Access-Control-Allow-Origin says to this origin; "" if it is not allowed.
  std::string_view allow(std::string_view origin) const;

  std::vector<std::string> allowed_;
};

/// Adds a name to the Vary field, unless it is there.
void add_vary(http::Response& response, std::string_view name);

}  // namespace virga::api
