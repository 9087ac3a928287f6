#pragma once
// What another host's libvirt may say to ours while a server comes: its migration and nothing else. libvirt itself would let
// whoever may speak to it do anything.
//
// The calls are those of libvirt's remote protocol (src/remote/remote_protocol.x, src/rpc/virnetprotocol.x of libvirt): one of a
// short list, and "prepare" only for the server's domain as it was described (migration_xml.h), with flags that leave nothing
// behind. Anything else ends the connection.

#include <string>
#include <string_view>

namespace virga::libvirt {

/// What may come in.
struct Expected {
  std::string name;         ///< the domain's
  std::string description;  ///< its XML, see migration_xml.h
  std::string memory_uri, disk_uri;  ///< where its QEMU is to listen
};

/// A socket that behaves as the daemon's at `daemon_socket` for that domain; the caller's to close. Its two threads end with it.
/// Throws Fault(unavailable) if the daemon does not listen.
int open_gate(const std::string& daemon_socket, Expected expected);

/// Judges a stream of calls, piece by piece. Not thread-safe.
class GateKeeper {
 public:
  explicit GateKeeper(Expected expected) : expected_(std::move(expected)) {}
  /// Returns those bytes of whole calls that may pass. Throws Fault(forbidden) at the first that may not.
  std::string pass(std::string_view bytes);

 private:
  void check(std::string_view message) const;
  void check_prepare(std::string_view arguments) const;
  void check_finish(std::string_view arguments) const;

  const Expected expected_;
  std::string waiting_;
};

}  // namespace virga::libvirt
