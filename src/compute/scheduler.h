#pragma once
// Which host takes a server: filters and one weight (most free RAM) over placement's candidates. Pure, so
// that "why not that host" is an answer and not a guess: each refusal keeps its reason.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "placement/api.h"

namespace virga::compute {

struct HostState {
  std::string id, hostname, zone, disabled_reason;
  bool enabled = true, up = true, forced_down = false;
};

struct Ask {
  std::string zone;                   ///< "" = any
  std::string host;                   ///< forced host name, or ""
  std::set<std::string> only_hosts;   ///< host ids; empty = any (same_host, affinity)
  std::set<std::string> never_hosts;  ///< host ids (different_host, anti-affinity)
};

struct Choice {
  std::optional<size_t> candidate;  ///< index into candidates
  struct Refusal {
    std::string hostname, reason;
  };
  std::vector<Refusal> refusals;
  /// "No valid host was found. node-1: …; node-2: …"
  std::string message() const;
};

Choice choose(const std::vector<placement::Candidate>& candidates, const std::vector<HostState>& hosts,
              const Ask& ask);

}  // namespace virga::compute
