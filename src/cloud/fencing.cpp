#include "cloud/fencing.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "cloud/serve_client.h"

namespace virga::cloud {
namespace {

constexpr auto kEvery = std::chrono::seconds(2), kPatience = std::chrono::seconds(30);
constexpr auto kFirstPause = std::chrono::seconds(5), kLongestPause = std::chrono::seconds(60);  // after a program that failed
constexpr const char* kLostHosts = "/lost-hosts";

std::filesystem::file_time_type written_at(const std::string& path) {
  std::error_code none;  // then it is the earliest time
  return path.empty() ? std::filesystem::file_time_type{} : std::filesystem::last_write_time(path, none);
}

}  // namespace

void fence(const Config& config, const std::string& name, const std::string& address) {
  Command command;
  command.argv = {config.ha.fence_command, name, address};
  command.timeout = std::chrono::seconds(60);
  const Outcome outcome = run(command);
  const std::string how = outcome.timed_out ? "it did not end within a minute" : fmt::format("exit code {}", outcome.exit_code);
  if (!outcome.ok())
    throw Fault(FaultKind::conflict, fmt::format("{} did not fence {} ({}): {}", config.ha.fence_command, name, how, outcome.err.empty() ? outcome.out : outcome.err),
                "As long as nobody knows that the host is off, its servers are not started elsewhere.");
}

Fencing::Fencing(Config config, std::string config_path) : config_(std::move(config)), config_path_(std::move(config_path)), read_at_(written_at(config_path_)) {
  if (config_.has_control()) thread_ = std::thread([this] { run(); });
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
      read_again();
      if (!config_.ha.fence_command.empty()) look();
      said.clear();
    } catch (const Fault& fault) {
      if (fault.message != said && fault.kind != FaultKind::unavailable) log::error("{} {}", fault.message, fault.hint);
      said = fault.message;
    }
    lock.lock();
  }
}

void Fencing::read_again() {
  const auto now = written_at(config_path_);
  if (now == read_at_) return;
  read_at_ = now;
  config_.ha.fence_command = load_config(config_path_).ha.fence_command;
}

bool Fencing::is_off(const std::string& name, const std::string& address, int64_t servers) {
  const auto failed = failures_.find(name);
  if (failed == failures_.end()) log::warn("the host {} is lost, with {} servers; it is being fenced", name, servers);
  else if (std::chrono::steady_clock::now() < failed->second.again) return false;
  try {
    fence(config_, name, address);
    failures_.erase(name);
    return true;
  } catch (const Fault& fault) {
    Failure& failure = failures_[name];
    const auto pause = std::min<std::chrono::seconds>(kFirstPause * (1 << std::min(failure.times++, 5)), kLongestPause);
    failure.again = std::chrono::steady_clock::now() + pause;
    log::error("{} {} It is tried again in {} s.", fault.message, fault.hint, pause.count());
    return false;
  }
}

void Fencing::look() {
  const json::value answer = ask_serve(config_, "GET", kLostHosts);
  std::set<std::string> lost;
  for (const auto& entry : answer.at("hosts").as_array()) lost.insert(str(entry.at("name")));
  std::erase_if(failures_, [&](const auto& failure) { return !lost.contains(failure.first); });
  for (const auto& entry : answer.at("hosts").as_array()) {
    const json::object& host = entry.as_object();
    const std::string name = find_string(host, "name");
    if (!find_bool(host, "fenced") && !is_off(name, find_string(host, "address"), find_int(host, "servers"))) continue;
    const json::value done = ask_serve(config_, "POST", kLostHosts, kPatience, json::serialize(json::object{{"id", find_string(host, "id")}}));
    if (const int64_t moved = find_int(done.as_object(), "moved"); moved > 0)
      log::info("the host {} is off; {} of its servers are built again elsewhere", name, moved);
  }
}

}  // namespace virga::cloud
