#pragma once
// access.log: each request as one line of JSON: time, ids, client, method, path (no query: it may hold
// secrets), status, bytes, duration, route, user and project. No header, token or body goes in; where a path
// holds a token, its pattern stands instead.

#include "api/json_log.h"
#include "api/observer.h"

namespace virga::api {

class AccessLog final : public Observer {
 public:
  /// `log` must outlive it.
  explicit AccessLog(JsonLog& log) : log_(log) {}
  void finished(const RequestFacts& facts) override;

 private:
  JsonLog& log_;
};

/// The line; apart so that a test and the benchmark can call it.
std::string access_line(const RequestFacts& facts);
/// The path to write: at most 1 KiB, and the route's pattern if a token is part of it. A part longer than any id is cut,
/// since it may be a token in a place where none belongs.
std::string loggable_path(const RequestFacts& facts);

}  // namespace virga::api
