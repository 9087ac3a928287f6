#pragma once
// From rows to what an agent is told: the desired servers of a host.

#include "compute/core.h"
#include "compute/server_table.h"

namespace virga::compute {

/// What a server boots from, fixed when it is created: the image may be changed or deleted later.
struct BootPlan {
  std::optional<link::ImageRef> image, kernel, ramdisk;
  std::string command_line;
};
std::string to_text(const BootPlan& plan);
BootPlan boot_plan(const std::string& text);

constexpr std::string_view kDefaultCommandLine =
    "root=/dev/vda1 console=tty0 console=ttyS0 quiet net.ifnames=0";

std::vector<link::DesiredServer> desired_servers(Core& core, db::Tx& tx, const std::vector<ServerRow>& rows);
/// All of a host's servers, tombstones included.
link::Assignment full_assignment(Core& core, db::Tx& tx, const HostId& host);

}  // namespace virga::compute
