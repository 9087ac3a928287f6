#include "cloud/database_wait.h"

#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <optional>

#include "api/fault_body.h"
#include "base/fault.h"
#include "base/log.h"
#include "db/api.h"

namespace virga::cloud {
namespace {

/// Why the database does not answer.
std::optional<Fault> database_fault(const std::string& url) {
  try {
    db::open({url, 1})->schema_version();
    return std::nullopt;
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::unavailable) throw;
    return fault;
  }
}

class Refusal final : public http::Handler {
 public:
  explicit Refusal(Fault fault) : fault_(std::move(fault)) {}
  void because(const Fault& fault) {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
  }
  http::BodyMode body_mode(const http::Request&) override { return http::BodyMode::buffered; }
  void handle(http::Request request, std::shared_ptr<http::Responder> responder) override {
    const std::lock_guard lock(mutex_);
    responder->send(api::render_fault(fault_, style_of(request.path), ""));
  }

 private:
  static api::FaultStyle style_of(const std::string& path) {
    using enum api::FaultStyle;
    for (const auto& [prefix, style] : {std::pair{"/compute", nova}, {"/network", neutron}, {"/image", glance}, {"/placement", placement}})
      if (path.starts_with(prefix)) return style;
    return keystone;
  }

  std::mutex mutex_;
  Fault fault_;
};

int asked_to_end() {
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  sigdelset(&blocked, SIGHUP);
  sigdelset(&blocked, SIGPIPE);
  constexpr timespec kAskEvery{1, 0};
  return std::max(0, sigtimedwait(&blocked, nullptr, &kAskEvery));
}

}  // namespace

int wait_for_database(const std::string& url, const http::ServerOptions& api, const std::vector<int>& listeners, int control_socket) {
  auto fault = database_fault(url);
  if (!fault) return 0;
  Refusal refusal(*fault);
  const auto server = http::make_server(api, refusal), control = http::make_server({}, refusal);
  for (const int fd : listeners) server->listen(::dup(fd));
  control->listen(::dup(control_socket));
  server->start();
  control->start();
  int received = 0;
  for (std::string said; fault && received == 0;) {
    refusal.because(*fault);
    if (fault->message != said) log::warn("waiting for the database: {} {}", fault->message, fault->hint);
    said = fault->message;
    received = asked_to_end();
    if (received == 0) fault = database_fault(url);
  }
  server->stop();
  control->stop();
  if (received == 0) log::info("the database answers");
  return received;
}

}  // namespace virga::cloud
