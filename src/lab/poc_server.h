#pragma once
// The first server of the proof of concept's cloud (lab/poc.h), on the compute host, asked for over the API like any other.

#include <functional>
#include <string>

#include "cloud/bring_up.h"
#include "cloud/rest_client.h"

namespace virga::lab {

struct FirstServer {
  std::string id, floating_ip;
  std::string console;  ///< its last lines
};

/// Boots the server "first" in project demo on that host unless it is there, and waits until its console has a login prompt.
/// To be called in the machines' network namespace. Throws Fault with the server's own fault if it fails.
FirstServer boot_first_server(const cloud::Credentials& admin, const std::string& host, std::chrono::seconds deadline,
                              const cloud::StepDone& done);

}  // namespace virga::lab
