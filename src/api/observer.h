#pragma once
// What is known of one request on its way through the dispatcher, and those who look on: access log, audit
// log and metrics (access_log.h, audit_log.h, metrics.h). Observers are called on the request's thread, so
// they must be quick; they are thread-safe, and never throw for what a client sent.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/context.h"
#include "base/clock.h"
#include "http/api.h"

namespace virga::api {

struct Route;
struct Service;

struct RequestFacts {
  std::chrono::steady_clock::time_point began;
  Time at;                        ///< wall clock at the same moment
  std::string request_id;         ///< ours: "req-…"
  std::string global_request_id;  ///< the caller's, if it sent one of oslo.middleware's form; else ""
  std::string client;             ///< peer's address
  std::string method;
  std::string path;   ///< as sent, still percent-encoded, without the query (which may hold secrets)
  std::string agent;  ///< User-Agent
  const Service* service = nullptr;  ///< null: no service has that path
  const Route* route = nullptr;      ///< null: no route, or refused before it was looked for
  std::vector<std::string> values;   ///< of the route's path parameters, in order; kept for changes only
  std::shared_ptr<const Caller> caller;
  std::string audit_note;  ///< the audit log's own: what it must remember of the body
  bool limited = false;    ///< refused by the rate limit
  // Known when it is finished.
  int status = 0;
  uint64_t bytes = 0;  ///< of the body as written
  std::chrono::microseconds duration{0};
};

class Observer {
 public:
  virtual ~Observer() = default;
  /// Before the server starts; the service's routes do not change any more.
  virtual void mounted(const Service&) {}
  virtual void began(const RequestFacts&) {}
  /// The route is known, the handler has not run.
  virtual void routed(RequestFacts&, const http::Request&) {}
  /// The answer as the handler gave it, not yet compressed.
  virtual void answered(const RequestFacts&, const http::Response&) {}
  /// Nothing more will be written. Streamed answers: after their last byte.
  virtual void finished(const RequestFacts&) {}
};

}  // namespace virga::api
