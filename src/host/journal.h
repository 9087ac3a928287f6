#pragma once
// What the agent must remember across a crash and cannot read from the hypervisor: the highest cloud epoch
// and fence it accepted, which generation of each server it applied, which actions it did. One append-only
// file, read at start.
//
// Fences and epochs are on disk before anything acts on them (one fsync for a whole batch). The rest is
// written without fsync: losing it in a power cut only repeats idempotent work.
//
// Thread-safe.

#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "link/api.h"

namespace virga::host {

class Journal {
 public:
  /// Opens or creates `path`. Throws Fault(internal) if it cannot be written.
  explicit Journal(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  int64_t epoch() const;
  int64_t fence(const ServerId& server) const;
  int64_t applied(const ServerId& server) const;
  std::map<ServerId, int64_t> all_applied() const;
  std::optional<link::ActionReport> done(const OperationId& operation) const;

  /// Durable when it returns. Values below the known ones change nothing.
  void raise(int64_t epoch, const std::vector<std::pair<ServerId, int64_t>>& fences);
  void set_applied(const ServerId& server, int64_t generation);
  /// `durable`: on disk when it returns, as is all before it.
  void set_done(const link::ActionReport& report, bool durable = false);

 private:
  struct Server {
    int64_t fence = 0, applied = 0;
  };
  void load(const std::string& text);
  std::string compacted() const;
  void append(const std::string& lines, bool sync);
  void remember(link::ActionReport report);

  mutable std::mutex mutex_;
  int fd_ = -1;
  int64_t epoch_ = 0;
  std::map<std::string, Server> servers_;
  std::map<std::string, link::ActionReport> done_;
  std::deque<std::string> done_order_;
};

}  // namespace virga::host
