#include "api/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/process_metrics.h"
#include "api/service.h"

namespace virga::api {
namespace {

// Status codes with a counter of their own; the last stands for all others.
constexpr std::array<int, 34> kCodes{101, 200, 201, 202, 203, 204, 206, 300, 301, 302, 303, 304,
                                     307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
                                     412, 413, 415, 416, 422, 429, 500, 501, 503, 0};
// Upper bounds, µs.
constexpr std::array<int64_t, 15> kBuckets{100,     250,     500,       1'000,     2'500,
                                           5'000,   10'000,  25'000,    50'000,    100'000,
                                           250'000, 500'000, 1'000'000, 2'500'000, 10'000'000};

size_t code_index(int status) {
  const auto found = std::lower_bound(kCodes.begin(), kCodes.end() - 1, status);
  return static_cast<size_t>((found != kCodes.end() - 1 && *found != status ? kCodes.end() - 1 : found) -
                             kCodes.begin());
}

uint64_t load(const std::atomic<uint64_t>& value) {
  return value.load(std::memory_order_relaxed);
}

std::string escaped(std::string_view label) {
  std::string out;
  for (char c : label) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

void head(std::string& out, std::string_view name, std::string_view help, std::string_view type) {
  fmt::format_to(std::back_inserter(out), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
}

}  // namespace

struct Metrics::Counters {
  std::array<std::atomic<uint64_t>, kCodes.size()> codes{};
  std::array<std::atomic<uint64_t>, kBuckets.size() + 1> buckets{};
  std::atomic<uint64_t> sum_us{0};
  std::string labels;  ///< service="…",method="…",route="…"

  uint64_t count() const {
    uint64_t all = 0;
    for (const auto& bucket : buckets) all += load(bucket);
    return all;
  }
};

struct Metrics::Mounted {
  const Service* service;
  std::unique_ptr<Counters[]> routes;  ///< as the service's rows, and one more for what reached none of them
  size_t count;
};

Metrics::Metrics(std::string version)
    : version_(std::move(version)), elsewhere_(std::make_unique<Counters>()) {
  elsewhere_->labels = R"(service="none",method="any",route="none")";
}
Metrics::~Metrics() = default;

void Metrics::mounted(const Service& service) {
  auto m = std::make_unique<Mounted>();
  m->service = &service;
  m->count = service.routes.size() + 1;
  m->routes = std::make_unique<Counters[]>(m->count);
  const std::string name = escaped(service.name);
  for (size_t i = 0; i < service.routes.size(); ++i)
    m->routes[i].labels = fmt::format(R"(service="{}",method="{}",route="{}")", name,
                                      service.routes[i].method.text, escaped(service.routes[i].path.text));
  m->routes[service.routes.size()].labels = fmt::format(R"(service="{}",method="any",route="none")", name);
  mounted_.push_back(std::move(m));
}

Metrics::Counters& Metrics::counters_of(const RequestFacts& facts) const {
  for (const auto& m : mounted_)
    if (m->service == facts.service) {
      const size_t row =
          facts.route ? static_cast<size_t>(facts.route - m->service->routes.data()) : m->count - 1;
      return m->routes[std::min(row, m->count - 1)];
    }
  return *elsewhere_;
}

void Metrics::finished(const RequestFacts& facts) {
  Counters& c = counters_of(facts);
  const auto us = facts.duration.count();
  const auto bucket = std::lower_bound(kBuckets.begin(), kBuckets.end(), us) - kBuckets.begin();
  c.codes[code_index(facts.status)].fetch_add(1, std::memory_order_relaxed);
  c.buckets[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  c.sum_us.fetch_add(static_cast<uint64_t>(us), std::memory_order_relaxed);
  if (facts.limited) limited_.fetch_add(1, std::memory_order_relaxed);
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
}

void Metrics::add(std::string name, std::string help, std::string type, std::function<double()> value) {
  extra_.push_back({std::move(name), std::move(help), std::move(type), std::move(value)});
}

namespace {

template <class Mounted, class Counters, class F>
void each_used(const std::vector<Mounted>& mounted, const Counters& elsewhere, F&& f) {
  for (const auto& m : mounted)
    for (size_t i = 0; i < m->count; ++i)
      if (m->routes[i].count() > 0) f(m->routes[i]);
  if (elsewhere.count() > 0) f(elsewhere);
}

}  // namespace

void Metrics::write_requests(std::string& out) const {
  head(out, "virga_http_requests_total", "Requests answered, by service, method, route and status code.",
       "counter");
  each_used(mounted_, *elsewhere_, [&](const Counters& c) {
    for (size_t i = 0; i < kCodes.size(); ++i)
      if (const uint64_t n = load(c.codes[i]))
        fmt::format_to(std::back_inserter(out), "virga_http_requests_total{{{},code=\"{}\"}} {}\n", c.labels,
                       kCodes[i] ? fmt::to_string(kCodes[i]) : "other", n);
  });
}

void Metrics::write_durations(std::string& out) const {
  const std::string_view name = "virga_http_request_duration_seconds";
  head(out, name, "From the parsed request to the last byte handed to the socket's writer.", "histogram");
  each_used(mounted_, *elsewhere_, [&](const Counters& c) {
    uint64_t all = 0;
    for (size_t i = 0; i < kBuckets.size(); ++i) {
      all += load(c.buckets[i]);
      fmt::format_to(std::back_inserter(out), "{}_bucket{{{},le=\"{}\"}} {}\n", name, c.labels,
                     static_cast<double>(kBuckets[i]) / 1e6, all);
    }
    all += load(c.buckets.back());
    fmt::format_to(std::back_inserter(out),
                   "{0}_bucket{{{1},le=\"+Inf\"}} {2}\n{0}_sum{{{1}}} {3}\n{0}_count{{{1}}} {2}\n", name,
                   c.labels, all, static_cast<double>(load(c.sum_us)) / 1e6);
  });
}

std::string Metrics::text() const {
  std::string out;
  write_requests(out);
  write_durations(out);
  head(out, "virga_http_requests_in_flight", "Requests that are being answered.", "gauge");
  fmt::format_to(std::back_inserter(out), "virga_http_requests_in_flight {}\n",
                 std::max<int64_t>(0, in_flight_.load()));
  head(out, "virga_http_requests_rate_limited_total", "Requests refused by the rate limit (429).", "counter");
  fmt::format_to(std::back_inserter(out), "virga_http_requests_rate_limited_total {}\n", limited_.load());
  for (const Extra& e : extra_) {
    head(out, e.name, e.help, e.type);
    fmt::format_to(std::back_inserter(out), "{} {}\n", e.name, e.value());
  }
  write_process_metrics(out);
  head(out, "virga_build_info", "The program's version.", "gauge");
  fmt::format_to(std::back_inserter(out), "virga_build_info{{version=\"{}\"}} 1\n", escaped(version_));
  return out;
}

http::Response metrics_page(const Metrics& metrics) {
  http::Response response;
  response.headers.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  response.body = metrics.text();
  return response;
}

void MetricsEndpoint::handle(http::Request request, std::shared_ptr<http::Responder> responder) {
  if (request.path == "/metrics" && (request.method == "GET" || request.method == "HEAD"))
    return responder->send(metrics_page(metrics_));
  http::Response response = reply_text(request.path == "/metrics" ? 405 : 404, "");
  response.headers.set("Content-Type", "text/plain; charset=utf-8");
  if (response.status == 405) response.headers.set("Allow", "GET, HEAD");
  response.body = "The metrics stand at /metrics.\n";
  responder->send(std::move(response));
}

}  // namespace virga::api
