#pragma once
// gRPC as this process has it: ready until the end, and its lines in our log. By itself it writes each failed handshake
// to standard error, so that whoever reaches the agents' port could fill the disk; of lines from one place of its code
// only a few in a time are let through.

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace virga::link {

/// Lets `limit` lines of a place through in each span of `span`, and counts the others. Thread-safe. Places
/// are few: they are in a program's code, not in what it is sent.
class LogGate {
 public:
  using Clock = std::chrono::steady_clock;
  LogGate(int limit, Clock::duration span) : limit_(limit), span_(span) {}

  /// Nothing: the line is not written. Else how many of this place were kept back before it.
  std::optional<uint64_t> pass(const std::string& place, Clock::time_point now = Clock::now());

 private:
  struct Place {
    Clock::time_point since;
    int passed = 0;
    uint64_t held = 0;
  };
  const int limit_;
  const Clock::duration span_;
  std::mutex mutex_;
  std::map<std::string, Place> places_;
};

/// Before anything else of gRPC in this process; may be called again. From then on its lines go into our log, as warnings,
/// and it stays ready until the process ends: its own end, once nobody uses it, waits up to ten seconds for a thread of
/// its own that polls (gRPC 1.51, "backup poller"), which made `serve` slow to stop.
void prepare_grpc();

}  // namespace virga::link
