#pragma once
// A domain that moves to another host while it runs: libvirt's own migration between the two daemons ("peer to peer"), whose
// way between the hosts is ours: three sockets on this host, see host::MigrationPath. Root disks are copied as overlays, since
// both hosts have their base image.

#include "libvirt/connection.h"
#include "host/hypervisor.h"

namespace virga::libvirt {

/// Blocks until it is over. Throws Fault.
void migrate(virDomainPtr domain, const host::MigrationPath& path);
/// Nothing if it does not leave this host now.
std::optional<MigrationProgress> leaving_progress(virDomainPtr domain);
bool is_leaving(virDomainPtr domain);

}  // namespace virga::libvirt
