#pragma once
// What Prometheus reads (text exposition format 0.0.4): requests per service, method, route and status code,
// a histogram of their duration per route, requests in flight and rate-limited ones, and the process's
// memory, descriptors, CPU time and start. Counters are allotted when a service is mounted, so a request only
// adds to a few atomic numbers: no lock, no look-up by name. Labels come from our tables, never from a
// client, so that their number is bounded. Thread-safe.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/observer.h"

namespace virga::api {

class Metrics final : public Observer {
 public:
  /// `version` is the program's, for virga_build_info.
  explicit Metrics(std::string version);
  ~Metrics() override;

  void mounted(const Service& service) override;
  void began(const RequestFacts&) override { in_flight_.fetch_add(1, std::memory_order_relaxed); }
  void finished(const RequestFacts& facts) override;

  /// Another number, asked for at each reading. `type` is "counter" or "gauge". Before the server starts.
  void add(std::string name, std::string help, std::string type, std::function<double()> value);

  /// The whole page.
  std::string text() const;

 private:
  struct Counters;
  struct Mounted;
  struct Extra {
    std::string name, help, type;
    std::function<double()> value;
  };
  Counters& counters_of(const RequestFacts& facts) const;
  void write_requests(std::string& out) const;
  void write_durations(std::string& out) const;

  const std::string version_;
  std::vector<std::unique_ptr<Mounted>> mounted_;
  std::unique_ptr<Counters> elsewhere_;  ///< of paths that no service has
  std::vector<Extra> extra_;
  std::atomic<int64_t> in_flight_{0};
  std::atomic<uint64_t> limited_{0};
};

/// GET /metrics, for a server of its own on a loopback address.
class MetricsEndpoint final : public http::Handler {
 public:
  /// `metrics` must outlive it.
  explicit MetricsEndpoint(const Metrics& metrics) : metrics_(metrics) {}
  http::BodyMode body_mode(const http::Request&) override { return http::BodyMode::buffered; }
  void handle(http::Request request, std::shared_ptr<http::Responder> responder) override;

 private:
  const Metrics& metrics_;
};

/// The answer with the page.
http::Response metrics_page(const Metrics& metrics);

}  // namespace virga::api
