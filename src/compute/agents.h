#pragma once
// The controller's side of the agents: who connects, what they are told, what they saw.

#include <map>
#include <set>
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
  void disconnected(const HostId& host);
  void observe(const HostId& host, bool full, const std::vector<link::ObservedServer>& servers,
               const std::vector<link::ActionReport>& actions);
  std::unique_ptr<link::ByteSource> open_image(const HostId& host, const ImageId& image, uint64_t from);
  HostId disk_source(const HostId& host, const ServerId& server, int64_t disk);
  HostId tunnel_end(const HostId& from, const ServerId& server);
  std::unique_ptr<link::ByteSource> open_upload(const std::string& upload);
  link::MetadataReply metadata(const HostId& host, const link::MetadataRequest& request);

  // elsewhere.cpp: several controllers
  void look_again(const std::string& what, const std::string& id);
  void look_around();
  std::string controller_of(const HostId& host) const;

  /// Settles servers whose ports changed.
  void settle_servers(const std::vector<ServerId>& servers);
  /// Writes what the heartbeats said, all hosts in one transaction.
  void persist_seen();

 private:
  /// Whom to tell after the commit.
  struct After {
    std::vector<ServerId> again;
    std::set<HostId> left;  ///< hosts that have something to remove
  };
  void take_report(db::Tx& tx, const HostId& host, const link::ActionReport& report, After& after);
  void take_observation(db::Tx& tx, const HostId& host, const link::ObservedServer& seen, After& after);
  void look_at_hosts();
  void look_at_servers();

  Core& core_;
  std::map<HostId, std::string> others_sent_;  ///< the newest of what push_others sent each host; look_around()'s
};

}  // namespace virga::compute
