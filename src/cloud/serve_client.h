#pragma once
// Asking `serve` over its control socket, which only root opens: the command line, and the supervisor.

#include <chrono>
#include <string>

#include "base/config.h"
#include "base/json.h"

namespace virga::cloud {

/// Throws Fault(unavailable) if it does not run, and the Fault that it answers with.
json::value ask_serve(const Config& config, const std::string& method, const std::string& path,
                      std::chrono::seconds timeout = std::chrono::seconds(30), const std::string& body = {});
/// The same where the answer is not JSON.
std::string ask_serve_text(const Config& config, const std::string& method, const std::string& path,
                           std::chrono::seconds timeout = std::chrono::seconds(30),
                           const std::string& body = {});

}  // namespace virga::cloud
