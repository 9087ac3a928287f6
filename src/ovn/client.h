#pragma once
// An OVSDB client (RFC 7047): JSON-RPC over a stream socket, a replica of chosen tables, automatic
// reconnection.
//
// One reader thread owns the socket and is the only writer of the replica. Everything else may be called from
// any thread. Listeners run on the reader thread: they must be quick, and must not call the client.
//
// The peer is never trusted: message size and depth are bounded, and anything malformed drops the connection.
// An idle connection is probed, so that a hung server is noticed. When transact() returns, the replica
// already holds its effects: the server sends a client its updates before the answer that caused them.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fault.h"
#include "base/json.h"
#include "ovn/replica.h"

namespace virga::ovn {

struct ClientOptions {
  std::string remote;    ///< "unix:/path", "tcp:127.0.0.1:6641"; several, comma-separated, are tried in turn
  std::string database;  ///< "OVN_Northbound"
  std::vector<Monitor> monitors;
  Replica::Listener on_change;  ///< each row's change, initial content included
  std::function<void(bool ready)> on_state;
  size_t max_message = 256 << 20;
  std::chrono::milliseconds probe{5000};  ///< silence after which the peer is probed; twice that drops it
  std::chrono::milliseconds reconnect_max{2000};  ///< back-off grows from 50 ms to this
};

class Client {
 public:
  explicit Client(ClientOptions options);  ///< connects in the background
  ~Client();

  /// Connected, and the replica is complete.
  bool ready() const;
  bool wait_ready(std::chrono::milliseconds timeout) const;
  /// As wait_ready, and throws Fault(unavailable) with the last cause.
  void require_ready(std::chrono::milliseconds timeout) const;

  /// Runs the operations in one transaction and returns one result for each. Throws Fault(unavailable) if not
  /// connected, or cut off before the answer (it may have been applied: look at the replica, and repeat);
  /// Fault(timeout) after `deadline`; and what the server refused as described at fault_of().
  json::array transact(json::array operations, std::chrono::milliseconds deadline = std::chrono::seconds(10));

  /// Runs `f` with the replica locked.
  void read(const std::function<void(const Replica&)>& f) const;
  /// Waits until `condition` holds, looking again after each update. False after `timeout`.
  bool wait_for(std::chrono::milliseconds timeout,
                const std::function<bool(const Replica&)>& condition) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The error of a transaction's results, if any. Lost races and broken constraints are Fault(conflict), a
/// full or failing disk is unavailable, a missing permission forbidden, the rest internal; Fault::type is
/// OVSDB's own word
/// ("constraint violation"), the message names the operation.
std::optional<Fault> fault_of(const json::array& operations, const json::array& results);

}  // namespace virga::ovn
