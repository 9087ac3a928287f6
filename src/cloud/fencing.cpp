#include "cloud/fencing.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "cloud/serve_client.h"

namespace virga::cloud {
namespace {

constexpr auto kEvery = std::chrono::seconds(2), kPatience = std::chrono::seconds(30);
constexpr const char* kLostHosts = "/lost-hosts";

}  // namespace

void fence(const Config& config, const std::string& name, const std::string& address) {
  Command command;
  command.argv = {config.ha.fence_command, name, address};
  command.timeout = std::chrono::seconds(60);
  const Outcome outcome = run(command);
  if (!outcome.ok())
    throw Fault(FaultKind::conflict,
                fmt::format("{} did not fence {}: {}", config.ha.fence_command, name, outcome.err.empty() ? outcome.out : outcome.err),
                "As long as nobody knows that the host is off, its servers are not started elsewhere.");
}

Fencing::Fencing(const Config& config) : config_(config) {
  if (config.has_control() && !config.ha.fence_command.empty()) thread_ = std::thread([this] { run(); });
}

Fencing::~Fencing() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Fencing::run() {
  std::unique_lock lock(mutex_);
  std::string said;
  while (!changed_.wait_for(lock, kEvery, [this] { return ending_; })) {
    lock.unlock();
    try {
      look();
      said.clear();
    } catch (const Fault& fault) {
      if (fault.message != said && fault.kind != FaultKind::unavailable) log::error("{} {}", fault.message, fault.hint);
      said = fault.message;
    }
    lock.lock();
  }
}

void Fencing::look() {
  const json::value answer = ask_serve(config_, "GET", kLostHosts);
  for (const auto& entry : answer.at("hosts").as_array()) {
    const json::object& host = entry.as_object();
    const std::string name = find_string(host, "name");
    if (!find_bool(host, "fenced")) {
      log::warn("the host {} is lost, with {} servers; it is being fenced", name, find_int(host, "servers"));
      fence(config_, name, find_string(host, "address"));
    }
    const json::value done = ask_serve(config_, "POST", kLostHosts, kPatience, json::serialize(json::object{{"id", find_string(host, "id")}}));
    if (const int64_t moved = find_int(done.as_object(), "moved"); moved > 0)
      log::info("the host {} is off; {} of its servers are built again elsewhere", name, moved);
  }
}

}  // namespace virga::cloud
