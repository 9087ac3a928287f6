#pragma once
// What all services' APIs have in common around the dispatcher's work: ids, logs, metrics, rate limits, CORS,
// gzip. The dispatcher asks `begin` for an Answering, a responder around the server's own, so that answers
// which handlers put off (Call::defer) get the same treatment.

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/cors.h"
#include "api/fault_body.h"
#include "api/observer.h"
#include "api/rate_limiter.h"
#include "api/version.h"
#include "http/api.h"

namespace virga::api {

struct ConventionOptions {
  std::vector<std::string> cors_allowed_origins;
  bool compression = true;
  int rate_limit = 0;        ///< requests a second of one user, or of one address without a token; 0 = none
  int rate_limit_burst = 0;  ///< 0 = twice rate_limit
  std::vector<Observer*> observers;  ///< must outlive the dispatcher
};

class Answering;

class Conventions {
 public:
  explicit Conventions(ConventionOptions options);
  /// Before the server starts.
  void mounted(const Service& service) const;
  /// The request's facts are known from here on; `service` may be null. `responder` null: for `refused` only.
  std::shared_ptr<Answering> begin(const http::Request& request, const Service* service,
                                   std::shared_ptr<http::Responder> responder) const;
  /// The route is found; `values` are its path parameters'.
  void routed(RequestFacts& facts, const Route& route, const std::vector<std::string>& values,
              const http::Request& request) const;
  /// Throws Fault(unsupported_media) if the body is compressed.
  void check_encoding(const http::Request& request) const;
  /// Takes one request of the caller's bucket, or of the client's address. Throws Fault(too_many_requests).
  void limit(RequestFacts& facts) const;
  /// The answer to OPTIONS, which needs no token. `allow`: the methods of that path, "" if unknown.
  http::Response options_answer(const http::Request& request, const std::string& allow) const;

 private:
  friend class Answering;
  ConventionOptions options_;
  Cors cors_;
  std::unique_ptr<RateLimiter> limiter_;
};

/// The responder of one request: completes the answer, tells the observers, hands it on.
class Answering final : public http::Responder, public std::enable_shared_from_this<Answering> {
 public:
  Answering(const Conventions& conventions, std::shared_ptr<http::Responder> inner);
  ~Answering() override;  ///< unanswered: 500, in the service's format
  void send(http::Response response) override;
  bool gone() const override { return inner_ && inner_->gone(); }
  /// What `send` would hand on, for an answer that the server itself gives.
  http::Response complete(http::Response response);

  FaultStyle style() const;
  RequestFacts facts;
  Version version;  ///< negotiated; {} = none, the service's oldest is told

 private:
  friend class Conventions;
  void add_headers(http::Response& response) const;
  void finish(int status, uint64_t bytes);

  const Conventions& conventions_;
  const std::shared_ptr<http::Responder> inner_;
  std::string origin_;
  bool gzip_ = false, preflight_ = false;
  std::atomic<bool> answered_{false};
};

}  // namespace virga::api
