#pragma once
// Ports of many servers, as compute shows them and tells agents of them, in a few statements however many there are.

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "network/api.h"

namespace virga::network {

class PortReader {
 public:
  PortReader(db::Tx& tx, const Options& options, PortDetail detail) : tx_(tx), options_(options), detail_(detail) {}
  /// One list for each server, in their order; ports in the order in which they were asked for.
  std::vector<std::vector<PortInfo>> read(const std::vector<ServerId>& servers);

 private:
  struct Address {
    int64_t position;
    std::string subnet, address;
  };
  /// A port while it is read; its `info` is finished when everything else is known.
  struct Found {
    PortInfo info;
    size_t server;
    std::string created_at;
    std::vector<Address> addresses;
  };

  void read_ports(const std::vector<std::string>& servers);
  void read_subnets();
  void read_floating_ips();
  void read_groups();
  void read_metadata_ports();
  void finish(Found& found);
  std::vector<std::string> network_ids() const { return {networks_.begin(), networks_.end()}; }

  db::Tx& tx_;
  const Options& options_;
  const PortDetail detail_;
  std::unordered_map<std::string_view, size_t> server_at_, port_at_;  ///< keys view into ids of the callers and `port_ids_`
  std::vector<Found> found_;
  std::vector<std::string> port_ids_;
  std::set<std::string, std::less<>> networks_, dhcp_;
  std::map<std::string, FixedIp> subnets_;
};

}  // namespace virga::network
