#pragma once
// Which host takes a server. Pure, so that "why not that host" is an answer and not a guess.
//
// Filters, in this order, the first that refuses gives the reason: the host is one, enabled, not forced down,
// up; the host asked for; the zone; scheduler hints and the server group; whether it can take a running guest; aggregate_instance_extra_specs:KEY
// of the flavor against the metadata of the host's aggregates; filter_tenant_id of its aggregates; last what
// placement says it lacks (room, traits).
//
// Weights, of those that pass: first what a soft group wishes (soft-affinity: most members,
// soft-anti-affinity: fewest). Then the sum of three shares, each a host's free VCPU, MEMORY_MB or DISK_GB by
// the most that any of them has free; the highest sum wins, so that servers spread evenly. Of equals, any.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "compute/aggregates.h"
#include "placement/api.h"

namespace virga::compute {

struct HostState {
  std::string id, hostname, zone, disabled_reason, virt_type;
  bool enabled = true, up = true, forced_down = false;
  int64_t link_minor = 0;  ///< of its agent, see link::kLinkMinor
  std::vector<const Aggregate*> aggregates = {};  ///< that it is in; they outlive the choice
};
using HostStates = std::unordered_map<std::string, HostState>;  ///< by id

struct Ask {
  std::string zone;                                 ///< "" = any
  std::string host;                                 ///< forced host name, or ""
  std::optional<std::set<std::string>> only_hosts;  ///< host ids (same_host, affinity); none = any
  std::set<std::string> never_hosts;                ///< host ids (different_host, anti-affinity)
  std::string project_id;
  /// For a server that moves as it runs: what its guest runs under now, and what the host's agent must know.
  std::string virt_type;
  int64_t least_link_minor = 0;
  std::map<std::string, std::string>
      extra_specs;  ///< of the scope aggregate_instance_extra_specs, without it
  enum class Wish { none, together, apart } wish = Wish::none;
  std::map<std::string, int64_t> members;  ///< of a soft group: how many by host id
};

/// Metadata values of the aggregate's key, which may list several with commas; true if one is what is asked.
bool aggregate_matches(const Aggregate& aggregate, const std::string& key, std::string_view asked);
/// True if the aggregate is kept for projects (filter_tenant_id).
bool is_kept(const Aggregate& aggregate);
/// True if it is kept for this project among others.
bool is_kept_for(const Aggregate& aggregate, const std::string& project);

struct Choice {
  std::optional<size_t> candidate;  ///< index into candidates
  std::vector<size_t> passing;      ///< that the filters let through
  struct Refusal {
    std::string hostname, reason;
    std::string kind;  ///< equal for equal causes: what hosts are counted together by
    std::vector<placement::Shortage> shortages;  ///< that made the reason, if placement did
  };
  std::vector<Refusal> refusals;

  /// Hosts with one cause.
  struct Group {
    std::vector<std::string> hosts;  ///< the first few names
    size_t count = 0;
    std::string reason;
    std::string text() const;  ///< "node-1: …", or "997 hosts (node-1, node-2, node-3, …): …"
  };
  /// Refusals with few hosts one by one, equal causes of many together; most hosts first, at most `limit`
  /// groups.
  std::vector<Group> groups(size_t limit) const;
  /// "No valid host was found. node-1: …; 997 hosts (node-2, node-3, node-4, …): MEMORY_MB: …".
  std::string message() const;
};

/// Who may take it, and why the others may not. Needs no rooms.
Choice filter(const std::vector<placement::Candidate>& candidates, const HostStates& hosts, const Ask& ask);
/// The best of those, by their rooms: several, if they are equal.
std::vector<size_t> weigh(const std::vector<placement::Candidate>& candidates, const std::vector<size_t>& passing,
                          const Ask& ask);
/// Both; of equals the first.
Choice choose(const std::vector<placement::Candidate>& candidates, const HostStates& hosts, const Ask& ask);

}  // namespace virga::compute
