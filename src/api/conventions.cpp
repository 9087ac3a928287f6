#include "api/conventions.h"

#include <fmt/format.h>

#include <cmath>

#include "api/compression.h"
#include "api/request_id.h"
#include "api/service.h"
#include "base/ids.h"
#include "base/log.h"

namespace virga::api {

Conventions::Conventions(ConventionOptions options)
    : options_(std::move(options)), cors_(options_.cors_allowed_origins) {
  if (options_.rate_limit > 0)
    limiter_ = std::make_unique<RateLimiter>(options_.rate_limit, options_.rate_limit_burst);
}

void Conventions::mounted(const Service& service) const {
  for (Observer* o : options_.observers) o->mounted(service);
}

std::shared_ptr<Answering> Conventions::begin(const http::Request& request, const Service* service,
                                              std::shared_ptr<http::Responder> responder) const {
  auto answering = std::make_shared<Answering>(*this, std::move(responder));
  RequestFacts& facts = answering->facts;
  facts.began = std::chrono::steady_clock::now();
  facts.at = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  facts.request_id = "req-" + new_uuid();
  if (const std::string_view given = request.headers.get("X-Openstack-Request-Id");
      is_global_request_id(given))
    facts.global_request_id = given;
  facts.client = request.remote_address;
  facts.method = request.method;
  facts.path = request.target.substr(0, request.target.find_first_of("?#"));
  facts.agent = request.headers.get("User-Agent");
  facts.service = service;
  if (!options_.cors_allowed_origins.empty()) answering->origin_ = request.headers.get("Origin");
  answering->preflight_ = request.method == "OPTIONS";
  const bool reads = request.method == "GET" || request.method == "HEAD";
  answering->gzip_ = options_.compression && reads && !may_hold_secrets(request.path) &&
                     accepts_gzip(request.headers.get("Accept-Encoding"));
  for (Observer* o : options_.observers) o->began(facts);
  return answering;
}

void Conventions::routed(RequestFacts& facts, const Route& route, const std::vector<std::string>& values,
                         const http::Request& request) const {
  facts.route = &route;
  if (options_.observers.empty()) return;
  if (facts.method != "GET" && facts.method != "HEAD") facts.values = values;
  for (Observer* o : options_.observers) o->routed(facts, request);
}

void Conventions::check_encoding(const http::Request& request) const {
  const std::string_view encoding = request.headers.get("Content-Encoding");
  if (!encoding.empty() && encoding != "identity")
    throw Fault(FaultKind::unsupported_media,
                fmt::format("The request's body is encoded ({}), which no service here takes.",
                            encoding.substr(0, 32)),
                "Send it as it is.");
}

void Conventions::limit(RequestFacts& facts) const {
  if (!limiter_) return;
  const auto wait =
      limiter_->take(facts.caller ? "user " + facts.caller->user_id : anonymous_key(facts.client));
  if (wait.count() == 0) return;
  facts.limited = true;
  Fault fault(FaultKind::too_many_requests, "This request was rate-limited.",
              fmt::format("A user may send {} requests a second.", options_.rate_limit));
  fault.headers.emplace_back("Retry-After",
                             fmt::to_string(std::chrono::ceil<std::chrono::seconds>(wait).count()));
  throw fault;
}

http::Response Conventions::options_answer(const http::Request& request, const std::string& allow) const {
  http::Response response;
  if (!allow.empty()) response.headers.set("Allow", allow);
  cors_.answer_preflight(request, response);
  return response;
}

// ---- one answer
// -----------------------------------------------------------------------------------------------------

Answering::Answering(const Conventions& conventions, std::shared_ptr<http::Responder> inner)
    : conventions_(conventions), inner_(std::move(inner)) {}

Answering::~Answering() {
  if (answered_ || !inner_) return;
  try {
    send(render_fault(Fault(FaultKind::internal, "The request was not answered.",
                            fmt::format("The log may have the cause under {}.", facts.request_id)),
                      style(), facts.request_id));
  } catch (const std::exception& error) {
    log::error("{}: {}", facts.request_id, error.what());
  }
}

FaultStyle Answering::style() const {
  return facts.service ? facts.service->faults : FaultStyle::nova;
}

void Answering::add_headers(http::Response& response) const {
  response.headers.set("X-Openstack-Request-Id", facts.request_id);
  if (style() == FaultStyle::nova)
    response.headers.set("X-Compute-Request-Id", facts.request_id);  // its older name
  if (style() == FaultStyle::keystone) add_vary(response, "X-Auth-Token");  // keystone says so of every answer
  if (facts.service && facts.service->microversions) {
    const Microversions& m = *facts.service->microversions;
    const std::string used = (version == Version{} ? m.min : version).str();
    response.headers.set("OpenStack-API-Version", fmt::format("{} {}", m.service_type, used));
    add_vary(response, "OpenStack-API-Version");
    if (!m.legacy_header.empty()) {
      response.headers.set(m.legacy_header, used);
      add_vary(response, m.legacy_header);
    }
  }
  if (!preflight_) conventions_.cors_.decorate(origin_, response);
}

http::Response Answering::complete(http::Response response) {
  answered_ = true;
  add_headers(response);
  for (Observer* o : conventions_.options_.observers) o->answered(facts, response);
  if (conventions_.options_.compression && compressible(response)) {
    add_vary(response, "Accept-Encoding");
    if (gzip_) compress(response);
  }
  if (!response.source) {
    finish(response.status, facts.method == "HEAD" ? 0 : response.body.size());
    return response;
  }
  // A streamed answer ends when its source goes.
  struct Stream {
    Stream(std::shared_ptr<Answering> owner, int status, http::BodySource source)
        : owner(std::move(owner)), status(status), source(std::move(source)) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { owner->finish(status, bytes); }
    std::shared_ptr<Answering> owner;
    int status;
    http::BodySource source;
    uint64_t bytes = 0;
  };
  auto stream = std::make_shared<Stream>(shared_from_this(), response.status, std::move(response.source));
  response.source = [stream](std::span<char> into) {
    const size_t n = stream->source(into);
    stream->bytes += n;
    return n;
  };
  return response;
}

void Answering::send(http::Response response) {
  if (answered_.exchange(true))
    return log::error("{} {} {} answered twice", facts.request_id, facts.method, facts.path);
  inner_->send(complete(std::move(response)));
}

void Answering::finish(int status, uint64_t bytes) {
  facts.status = status;
  facts.bytes = bytes;
  facts.duration =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - facts.began);
  for (Observer* o : conventions_.options_.observers) o->finished(facts);
}

}  // namespace virga::api
