#pragma once
// What the API tells operators: access.log and audit.log in log_dir, and Prometheus' metrics. Made before
// `serve` gives up root, since log_dir is root's; the files are then the account's, which may write but
// neither rename nor replace them. Rotation renames a file, makes a new one with the same owner (logrotate's
// `create`), and sends SIGHUP.

#include <memory>
#include <optional>

#include "api/access_log.h"
#include "api/audit_log.h"
#include "api/conventions.h"
#include "api/metrics.h"
#include "base/config.h"
#include "cloud/privileges.h"
#include "http/api.h"

namespace virga::cloud {

class ApiOutputs {
 public:
  /// Opens files and port as [api] says, and hands the files to the account, if there is one. Throws Fault.
  ApiOutputs(const Config& config, const std::optional<Account>& account);
  ~ApiOutputs();

  /// For the dispatcher, before services are mounted.
  api::ConventionOptions conventions();
  const api::Metrics& metrics() const { return metrics_; }
  /// Serves the metrics; threads start here.
  void start();
  void stop();
  /// Opens the log files anew. Any thread.
  void reopen();

 private:
  std::unique_ptr<api::JsonLog> open(const char* name, const std::optional<Account>& account);

  const Config& config_;
  std::unique_ptr<api::JsonLog> access_file_, audit_file_;
  std::unique_ptr<api::AccessLog> access_;
  std::unique_ptr<api::AuditLog> audit_;
  api::Metrics metrics_;
  api::MetricsEndpoint endpoint_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace virga::cloud
