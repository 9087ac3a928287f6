#pragma once
// The controller's side of the agents: who connects, what they are told, what they saw.

#include <thread>

#include "compute/core.h"

namespace virga::compute {

class Agents {
 public:
  explicit Agents(Core& core) : core_(core) {}

  void admit(const link::HostFacts& facts, const std::string& certificate);
  link::Assignment connect(const link::HostFacts& facts);
  void heartbeat(const HostId& host, const std::vector<std::string>& problems) {
    core_.liveness.beat(host, core_.clock.now(), &problems);
  }
  std::vector<Problem> problems() const;
  void disconnected(const HostId& host) { core_.liveness.disconnected(host); }
  void observe(const HostId& host, bool full, const std::vector<link::ObservedServer>& servers,
               const std::vector<link::ActionReport>& actions);
  std::unique_ptr<link::ByteSource> open_image(const HostId& host, const ImageId& image);
  HostId disk_source(const HostId& host, const ServerId& server, int64_t disk);
  link::MetadataReply metadata(const HostId& host, const link::MetadataRequest& request);

  /// Settles servers whose ports changed.
  void settle_servers(const std::vector<ServerId>& servers);
  /// Writes what the heartbeats said, all hosts in one transaction.
  void persist_seen();

 private:
  Core& core_;
};

}  // namespace virga::compute
