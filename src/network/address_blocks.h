#pragma once
// Addresses that this controller may try without asking for them: a subnet's cursor passed over them when it was moved. Hints
// only: that an address belongs to one port at most is held by the primary key of network_addresses. Thread-safe.

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "network/address.h"

namespace virga::network {

class AddressBlocks {
 public:
  /// The next of the subnet's block, which nobody else gets from here; nothing if there is none left.
  std::optional<Ip> next(const std::string& subnet);
  /// `next` to `last`, both included.
  void put(const std::string& subnet, Ip next, Ip last);
  void forget(const std::string& subnet);

 private:
  struct Block {
    Ip next, last;
  };
  std::mutex mutex_;
  std::map<std::string, Block> blocks_;
};

}  // namespace virga::network
