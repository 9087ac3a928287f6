#pragma once
// How commands reach the cloud they stand beside.

#include <string>

#include "base/config.h"
#include "cloud/rest_client.h"
#include "cloud/serve_client.h"

namespace virga::cli {

/// This program's file.
std::string own_program();
using cloud::ask_serve;
using cloud::ask_serve_text;
/// The user of the environment (keystonerc), or else the administrator with the password of this host's cloud.
cloud::RestClient cloud_client(const Config& config);
/// Always the administrator.
cloud::RestClient admin_client(const Config& config);
/// The administrator, in a microversion of the Compute API in which services have ids, not numbers.
cloud::RestClient compute_client(const Config& config);
/// A host's nova-compute. Throws Fault(not_found).
json::object service_of(cloud::RestClient& compute, const std::string& host);
/// A server's id from its id or name. Throws Fault(not_found), or Fault(conflict) if the name is not unique.
std::string server_id(cloud::RestClient& client, const std::string& name_or_id);
/// Where a server's port `port` is reached from inside the data plane's namespace: its floating IP, else Fault(conflict).
std::string server_address(cloud::RestClient& client, const std::string& server);

}  // namespace virga::cli
