#pragma once
// noVNC, the browser's side of a VNC console. Debian's package of it is 250 KB of scripts, but brings node.js and numpy
// along for a proxy of its own, which nobody needs here. So `virga up` fetches the package without installing it.

#include <string>
#include <vector>

#include "base/config.h"

namespace virga::cloud {

/// Where noVNC may stand: an installed package first.
std::vector<std::string> novnc_folders(const Config& config);
/// Fetches it unless it is there. Throws Fault.
void fetch_novnc(const Config& config);

}  // namespace virga::cloud
