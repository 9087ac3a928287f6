#pragma once
// The metadata service: http://169.254.169.254 as seen by guests. Networks may use the same addresses, so
// each has a network namespace of its own, plugged into br-int as the network's metadata port (an OVN
// localport); a listener opened in there tells by (network, source address) which server asks, and the
// controller answers. What a guest writes into X-Forwarded-For is not looked at.
//
// What was here before it began is looked at as well: namespaces of an agent that was killed, and ports of
// br-int whose device is gone (a power failure takes guests and namespaces, and leaves Open vSwitch's
// database).
//
// One thread makes and removes namespaces; each network has a small HTTP server. Thread-safe.

#include <condition_variable>
#include <thread>

#include "link/api.h"

namespace virga::ovn {
class LocalSwitch;
}

namespace virga::host {

struct MetadataNetwork {
  NetworkId network;
  PortId port;
  std::string mac, cidr;
  friend bool operator==(const MetadataNetwork&, const MetadataNetwork&) = default;
};

class NetworkEndpoint;

class MetadataService {
 public:
  using Ask = std::function<link::MetadataReply(const link::MetadataRequest&)>;
  struct Options {
    std::string ovsdb;   ///< "unix:/run/openvswitch/db.sock"
    std::string bridge;  ///< "br-int"
    std::string tag;     ///< tells this agent's namespaces from another's on the same machine
  };
  MetadataService(Options options, Ask ask);
  /// Removes what it made.
  ~MetadataService();
  /// The networks that have servers here; others are taken down.
  void want(std::vector<MetadataNetwork> networks);
  std::string namespace_of(const NetworkId& network) const;

 private:
  void run();
  bool sync(const std::vector<MetadataNetwork>& wanted);
  void remove_leftovers(const std::vector<MetadataNetwork>& wanted);
  void remove_dead_ports();

  const Options options_;
  const Ask ask_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<MetadataNetwork> wanted_;
  bool dirty_ = false, stopping_ = false;
  std::unique_ptr<ovn::LocalSwitch> switch_;
  std::map<NetworkId, std::unique_ptr<NetworkEndpoint>> endpoints_;  // the thread's
  std::thread thread_;
};

/// The name is one that libvirt's driver or a metadata service gives to a port of br-int.
bool is_our_port(const std::string& name);

/// Answers a guest's requests of one network; public for tests. `ask` is called from its workers.
class MetadataCache {
 public:
  explicit MetadataCache(MetadataService::Ask ask) : ask_(std::move(ask)) {}
  /// A repeated GET within `kKeep` is answered from here: cloud-init asks for dozens of paths, some twice.
  link::MetadataReply get(const link::MetadataRequest& request);

 private:
  static constexpr std::chrono::seconds kKeep{2};
  static constexpr size_t kMax = 1000;
  struct Entry {
    link::MetadataReply reply;
    std::chrono::steady_clock::time_point until;
  };
  const MetadataService::Ask ask_;
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace virga::host
