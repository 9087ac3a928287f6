#pragma once
// Consoles of this host's servers. QEMU's serial socket takes one client, so each open one is multiplexed:
// one connection, its recent output kept, any number of viewers. VNC sockets take many clients: one
// connection a viewer.
//
// A thread per open serial console and per viewer; none when nobody looks. Thread-safe.

#include "link/api.h"

namespace virga::host {

class SerialMux;

class Consoles {
 public:
  Consoles();
  ~Consoles();
  /// Throws Fault(conflict) if nothing listens on the socket (the server is not running).
  std::shared_ptr<link::ByteStream> open_serial(const ServerId& server, const std::string& socket);
  std::shared_ptr<link::ByteStream> open_vnc(const std::string& socket);

 private:
  std::mutex mutex_;
  std::map<ServerId, std::weak_ptr<SerialMux>> serial_;
};

/// The last `max_bytes` of a log that libvirt may rotate ("console.log.0" is the older part). "" if there is
/// none yet.
std::string read_tail(const std::string& path, size_t max_bytes);

}  // namespace virga::host
