// What our own layers cost, for a load generator (bench/run_http). api_bench MODE PORT, MODE one of
//   http    the HTTP server alone, answering `{}`; it holds requests for /hold
//   open    through the dispatcher, a route that needs no token
//   token   through the dispatcher, token check and policy; prints "token TEXT"
// The dispatcher has what it has in `serve` by default: access log, audit log, metrics.
// Prints "ready" when it answers; stops at SIGTERM.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "api/access_log.h"
#include "api/audit_log.h"
#include "api/metrics.h"
#include "base/log.h"
#include "identity/api.h"

namespace {

using namespace virga;

class Plain final : public http::Handler {
 public:
  http::BodyMode body_mode(const http::Request&) override { return http::BodyMode::buffered; }
  void handle(http::Request request, std::shared_ptr<http::Responder> responder) override {
    if (request.path == "/hold") {  // a long poll: answered when the server ends
      const std::lock_guard lock(mutex_);
      held_.push_back(std::move(responder));
      return;
    }
    http::Response response;
    response.headers.set("Content-Type", "application/json");
    response.body = "{}";
    responder->send(std::move(response));
  }

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<http::Responder>> held_;
};

/// Identity and one service with a trivial route, on a database in `dir`.
class Cloud {
 public:
  explicit Cloud(const std::string& dir) : database_(db::open({.url = "sqlite://" + dir + "/virga.db"})) {
    database_->migrate();
    identity_ = identity::make_identity({.master_key_file = dir + "/master.key", .bcrypt_cost = 4}, *database_, policy_, clock_);
    identity_->bootstrap({.admin_password = "secret"});
    identity_->set_catalog({&identity_->service()});
    const auto answer = [](api::Call&) { return api::reply_text(200, "{}"); };
    service_.name = service_.type = "bench";
    service_.prefix = "/bench";
    static constexpr api::RuleDefault kRules[] = {{"bench:get", "role:admin or role:reader"}};
    service_.rules = kRules;
    service_.routes.push_back({"GET", "/open", "", answer});
    service_.routes.push_back({"GET", "/token", "bench:get", answer});
    access_file_ = std::make_unique<api::JsonLog>(api::JsonLog::Options{.path = dir + "/access.log"});
    audit_file_ = std::make_unique<api::JsonLog>(api::JsonLog::Options{.path = dir + "/audit.log"});
    access_ = std::make_unique<api::AccessLog>(*access_file_);
    audit_ = std::make_unique<api::AuditLog>(*audit_file_);
    api::DispatcherOptions options;
    options.conventions.observers = {&metrics_, audit_.get(), access_.get()};
    dispatcher_ = std::make_unique<api::Dispatcher>(std::move(options), policy_, *identity_);
    dispatcher_->mount(identity_->service());
    dispatcher_->mount(service_);
  }
  http::Handler& handler() { return *dispatcher_; }

 private:
  SystemClock clock_;
  std::unique_ptr<db::Database> database_;
  api::Policy policy_;
  std::unique_ptr<identity::Identity> identity_;
  api::Service service_;
  api::Metrics metrics_{"bench"};
  std::unique_ptr<api::JsonLog> access_file_, audit_file_;
  std::unique_ptr<api::AccessLog> access_;
  std::unique_ptr<api::AuditLog> audit_;
  std::unique_ptr<api::Dispatcher> dispatcher_;
};

void print_token(const std::string& port) {
  http::ClientRequest request{.method = "POST", .url = "http://127.0.0.1:" + port + "/identity/v3/auth/tokens"};
  request.headers.set("Content-Type", "application/json");
  request.body =
      R"({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "secret"}}},
          "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})";
  std::printf("token %s\n", std::string(http::fetch(request).headers.get("X-Subject-Token")).c_str());
}

void serve(const std::string& mode, const std::string& port, const std::string& dir, const sigset_t& stop) {
  Plain plain;
  std::unique_ptr<Cloud> cloud;
  if (mode != "http") cloud = std::make_unique<Cloud>(dir);
  auto server = http::make_server({}, cloud ? cloud->handler() : plain);
  server->listen(http::listen_tcp("127.0.0.1", static_cast<uint16_t>(std::atoi(port.c_str()))));
  server->start();
  if (cloud) print_token(port);
  std::printf("ready\n");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop, &signal);
  server->stop();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: api_bench http|open|token PORT\n"), 2;
  char directory[] = "/tmp/virga-bench-XXXXXX";
  if (!::mkdtemp(directory)) return 1;
  sigset_t stop;
  sigemptyset(&stop);
  for (int s : {SIGINT, SIGTERM}) sigaddset(&stop, s);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  serve(argv[1], argv[2], directory, stop);
  std::filesystem::remove_all(directory);
}
