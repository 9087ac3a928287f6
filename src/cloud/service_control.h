#pragma once
// Control of single services inside `serve`, over a unix socket that only root reaches: GET / lists them and what keeps hosts from their work,
// GET /metrics is Prometheus' page, and POST /NAME/start or /NAME/stop switches one. A stopped service answers 503 with Retry-After; its queued work waits
// in the database. What is stopped is remembered across restarts.

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "api/metrics.h"
#include "api/service.h"
#include "http/api.h"

namespace virga::cloud {

class ServiceControl final : public http::Handler {
 public:
  /// Something else that can be asked for, as "POST /NAME/VERB": its value is the answer. May take long, and may throw Fault.
  using Action = std::function<json::value(const http::Request&)>;
  void add(const std::string& request, Action action) { actions_[request] = std::move(action); }  ///< before serving
  /// `memory` is the file that names the stopped services, one a line. `problems` gives what else to show.
  ServiceControl(std::vector<api::Service*> services, std::string memory, std::function<json::array()> problems,
                 const api::Metrics& metrics);
  http::BodyMode body_mode(const http::Request&) override { return http::BodyMode::buffered; }
  void handle(http::Request request, std::shared_ptr<http::Responder> responder) override;

 private:
  http::Response answer(const http::Request& request);
  void remember();

  std::map<std::string, Action> actions_;
  std::vector<api::Service*> services_;
  std::string memory_;
  std::function<json::array()> problems_;
  const api::Metrics& metrics_;
  std::mutex mutex_;
};

}  // namespace virga::cloud
