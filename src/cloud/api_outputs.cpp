#include "cloud/api_outputs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "base/log.h"

namespace virga::cloud {

ApiOutputs::ApiOutputs(const Config& config, const std::optional<Account>& account)
    : config_(config), metrics_(VIRGA_VERSION), endpoint_(metrics_) {
  if (config.api.access_log) {
    access_file_ = open("access.log", account);
    access_ = std::make_unique<api::AccessLog>(*access_file_);
  }
  if (config.api.audit_log) {
    audit_file_ = open("audit.log", account);
    audit_ = std::make_unique<api::AuditLog>(*audit_file_);
  }
  if (config.api.metrics_port > 0) {
    http::ServerOptions small{
        .io_threads = 1, .workers = 1, .queue = 16, .stream_workers = 1, .max_body = 1024};
    server_ = http::make_server(small, endpoint_);
    server_->listen(http::listen_tcp("127.0.0.1", static_cast<uint16_t>(config.api.metrics_port)));
  }
}

ApiOutputs::~ApiOutputs() {
  stop();
}

std::unique_ptr<api::JsonLog> ApiOutputs::open(const char* name, const std::optional<Account>& account) {
  std::filesystem::create_directories(config_.cloud.log_dir);
  auto file =
      std::make_unique<api::JsonLog>(api::JsonLog::Options{.path = config_.cloud.log_dir + "/" + name});
  if (account && geteuid() == 0 && lchown(file->path().c_str(), account->uid, account->gid) != 0)
    throw Fault(FaultKind::internal,
                fmt::format("{} cannot be handed to the control plane's account.", file->path()));
  api::JsonLog* log = file.get();
  metrics_.add(fmt::format("virga_{}_log_lost_lines_total",
                           std::string_view(name).substr(0, std::string_view(name).find('.'))),
               fmt::format("Lines that {} lost to a full buffer or a failed write.", name), "counter",
               [log] { return static_cast<double>(log->lost()); });
  return file;
}

api::ConventionOptions ApiOutputs::conventions() {
  api::ConventionOptions o;
  o.cors_allowed_origins = config_.api.cors_allowed_origins;
  o.compression = config_.api.compression;
  o.rate_limit = config_.api.rate_limit;
  o.rate_limit_burst = config_.api.rate_limit_burst;
  o.observers.push_back(&metrics_);
  if (audit_) o.observers.push_back(audit_.get());
  if (access_) o.observers.push_back(access_.get());
  return o;
}

void ApiOutputs::start() {
  if (server_) server_->start();
}

void ApiOutputs::stop() {
  if (server_) server_->stop();
}

void ApiOutputs::reopen() {
  for (api::JsonLog* log : {access_file_.get(), audit_file_.get()})
    if (log) log->reopen();
}

}  // namespace virga::cloud
