#pragma once
// Compute hosts as operators see them: services, hypervisors, availability zones.

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

struct HostRow {
  std::string id, hostname, zone;
  bool enabled = true, forced_down = false;
  std::optional<std::string> disabled_reason;
  std::string address, chassis, hypervisor, virt_type, cpu_model, cpu_arch, last_seen;
  int64_t number = 0, hypervisor_version = 0, vcpus = 0, memory_mb = 0, disk_gb = 0;
  // What placement has given away here, and servers.
  int64_t vcpus_used = 0, memory_used = 0, disk_used = 0, servers = 0;
};
std::vector<HostRow> all_hosts(db::Tx& tx);
/// The host's latest sign of life, of those that this controller heard and the one in its row: database text.
std::string last_seen(const Core& core, const HostId& host, const std::string& in_row);
void add_host_routes(Routes& routes, Core& core);
/// Inserts or refreshes a host's row and its resource provider.
void register_host(Core& core, db::Tx& tx, const link::HostFacts& facts);

}  // namespace virga::compute
