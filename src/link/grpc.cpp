#include "link/grpc.h"

#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include <string_view>

#include "base/log.h"

namespace virga::link {
namespace {

constexpr int kLines = 5;
constexpr auto kSpan = std::chrono::minutes(1);

void write(gpr_log_func_args* line) {
  static LogGate gate(kLines, kSpan);  // gRPC's hook is a plain function of the whole process
  std::string_view file = line->file;
  file.remove_prefix(file.rfind('/') + 1);  // npos + 1 is 0
  const auto place = fmt::format("{}:{}", file, line->line);
  const auto held = gate.pass(place);
  if (!held) return;
  const auto more = *held ? fmt::format(" ({} more lines of this kind before it)", *held) : "";
  log::warn("gRPC, {}: {}{}", place, line->message, more);
}

}  // namespace

std::optional<uint64_t> LogGate::pass(const std::string& place, Clock::time_point now) {
  std::lock_guard lock(mutex_);
  auto& at = places_.try_emplace(place, Place{.since = now}).first->second;
  if (now - at.since >= span_) at.since = now, at.passed = 0;
  if (at.passed == limit_) {
    ++at.held;
    return std::nullopt;
  }
  ++at.passed;
  return std::exchange(at.held, 0);
}

void prepare_grpc() {
  static const bool ready = [] {
    // Debian builds Abseil with its debug checks, so each of gRPC's locks would be searched for cycles under one lock of
    // the whole process: with a thousand agents connections were made slower than they were given up.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    gpr_set_log_function(write);
    grpc_init();
    return true;
  }();
  (void)ready;
}

}  // namespace virga::link
