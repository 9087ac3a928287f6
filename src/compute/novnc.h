#pragma once
// The console's page and its scripts: noVNC, from a folder where it was installed, or a page that says how to get it.

#include "compute/core.h"

namespace virga::compute {

/// Answers GET /console/{file}. Only files of the kinds that a browser loads, from the first folder that has it.
http::Response novnc_file(const Core& core, const api::Call& call, const std::string& file);

}  // namespace virga::compute
