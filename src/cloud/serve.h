#pragma once
// The control plane as one process: opens the database, wires the services by constructor, serves the API and the
// agent link until SIGTERM. Nothing else knows how the services fit together.

#include <vector>

#include "base/config.h"
#include "base/json.h"

namespace virga::cloud {

/// Runs until SIGTERM or SIGINT; returns the exit code. `listeners` are the API's listening sockets (see
/// open_api_listeners), and with them it gives up root; when empty it listens on the configured address itself and keeps
/// the account it was started with.
int run_serve(const Config& config, std::vector<int> listeners);

/// Every route of every service, as the dispatcher has it, in order: service, method, path, min and max microversion
/// ("" = no bound), policy. Built over an empty database in a directory of its own that is removed again.
json::array list_routes(Config config);
/// The policy rules that this configuration gives (see policy_report.h). Throws Fault if its policy file has a mistake.
json::array list_configured_rules(Config config);
/// docs/policy-matrix.md.
std::string list_policy_matrix(Config config);

/// Where things stand under the configured directories; one place, so that both roles agree.
struct Paths {
  explicit Paths(const Config& config);
  std::string database_url;
  std::string control;                       ///< all that `serve` owns: database, master key, images
  std::string images;                        ///< under control
  std::string token_keys, credential_keys;   ///< of earlier versions: taken into the database when they are found
  std::string tls;                           ///< the API's certificate, and our CA (tls.h)
  std::string secrets;                       ///< root's: passwords, the demo's key
  std::string agent_state, instances, image_cache;
  std::string agent_status;                  ///< what the agent says of itself, JSON
  std::string host_identity;                 ///< of an enrolled host: its certificate, the CA's
  std::string master_key;                    ///< opens what lies sealed in the database; the same on each controller
  std::string southbound_tls;                ///< certificate and key of OVN's southbound database, and hosts' CA
  std::string controller_id;                 ///< of this one among several
  std::string nats_settings;                 ///< of the NATS server here
  std::string guest;                         ///< the tiny guest's files
  std::string link_socket;                   ///< agent link, unix
  std::string serve_control;                 ///< control of single services, unix (HTTP)
  std::string northbound, southbound;        ///< "unix:…"
};

/// The administrator's and demo user's passwords: configured, or made once and kept in `Paths::secrets` (mode 0600).
struct Passwords {
  std::string admin, demo;
};
Passwords passwords(const Config& config);

}  // namespace virga::cloud
