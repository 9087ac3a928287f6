#pragma once
// What `packstack --allinone` provisions, through the REST APIs like any client: projects, users, flavors, networks,
// the tiny image, a security group that lets ping and SSH in, and a demo server with a floating IP. Every step looks
// first and makes what is missing, so it may run again and again and after a crash.

#include <functional>
#include <string>

#include "base/config.h"
#include "cloud/rest_client.h"

namespace virga::cloud {

struct GuestFiles {
  std::string kernel, initrd, disk;  ///< the tiny guest's files
  std::string ssh_user;
};

struct DemoServer {
  std::string id, name, status, fixed_ip, floating_ip, key_file;
};

/// Says what is being done: one line per step that had something to do.
using Progress = std::function<void(const std::string& line)>;

struct Provisioning {
  Credentials admin, demo;
  std::string key_file;      ///< private SSH key of the demo server, written with mode 0600
  GuestFiles guest;
  std::string cacert;        ///< what the written credentials name as CA; "" = none
};

/// Users, projects, flavors, image, networks.
void provision_cloud(const Config& config, const Provisioning& what, const Progress& progress);
/// The demo server, ACTIVE with a floating IP. Throws Fault with the server's own fault if it fails to start.
DemoServer provision_demo_server(const Config& config, const Provisioning& what, const Progress& progress);

/// Writes keystonerc_admin and keystonerc_demo (as packstack does, mode 0600) and clouds.yaml into `home`. An existing
/// clouds.yaml that is not ours is left alone; returns the paths written.
std::vector<std::string> write_credentials(const Config& config, const Provisioning& what, const std::string& home);

/// Removes what write_credentials wrote, and nothing else.
void remove_credentials(const std::string& home);

}  // namespace virga::cloud
