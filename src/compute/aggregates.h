#pragma once
// Host aggregates: groups of hosts with metadata, and through their key availability_zone the zones.
//
// A host's zone is the availability_zone of its aggregates (all that have one agree: whatever would make them
// differ is refused), or else kDefaultZone. It is kept in hosts.zone, and in servers.zone of the servers
// there, written by follow_aggregates in the transaction that changed the aggregate; everybody who asks for a
// zone reads these. Placement's aggregates of the same uuids mirror who is a member, for the scheduler's
// search.

#include <map>
#include <string>
#include <vector>

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

inline constexpr std::string_view kDefaultZone = "nova";  ///< of hosts whose aggregates name none
inline constexpr std::string_view kZoneKey = "availability_zone";

struct Aggregate {
  int64_t number = 0;
  std::string uuid, name, created_at;
  std::optional<std::string> updated_at;
  std::map<std::string, std::string> metadata;
  std::vector<std::string> hosts;  ///< names
};

/// The call's id. Throws Fault(bad_request) if it is no number.
std::string aggregate_id(const api::Call& call);
/// Throws Fault(not_found).
Aggregate need_aggregate(db::Tx& tx, const std::string& id);
/// All with their metadata, without their hosts: what the scheduler looks at. One query and one row if there
/// is none.
std::vector<Aggregate> aggregates_without_hosts(db::Tx& tx);
/// Brings the host's zone, that of its servers, and placement's aggregates in line with its aggregates.
void follow_aggregates(Core& core, db::Tx& tx, const std::string& host_id);
void add_aggregate_routes(Routes& routes, Core& core);

}  // namespace virga::compute
