#pragma once
// A server's disk on its way from the host that has it to the host it moves to: through the controller, piece by piece,
// since neither host need reach the other. At most a few pieces wait in memory; the slower end sets the pace.

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

#include "link/agent.grpc.pb.h"
#include "link/api.h"

namespace virga::link {

/// The controller's part: one call puts pieces, another takes them. Thread-safe.
class DiskTransfer {
 public:
  explicit DiskTransfer(HostId from) : from_(std::move(from)) {}
  const HostId& from() const { return from_; }

  /// The next piece; nothing after the last. Throws the sender's Fault, or Fault(unavailable) if it broke off.
  std::optional<v1::DiskPiece> take();
  /// Waits for room. False if nobody takes it any more.
  bool put(v1::DiskPiece piece);
  /// The sender has no more.
  void ended();
  void break_off(const std::string& why);

 private:
  const HostId from_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::DiskPiece> pieces_;
  bool begun_ = false, ended_ = false;
  std::string broken_;
};

/// The sending agent's part. A disk that cannot be opened, or read to its end, is told as the cause.
void send_disk(grpc::ClientWriter<v1::DiskPiece>& out, uint64_t request, const std::function<AgentSide::Disk()>& open);
/// The receiving agent's part, to the end of the call. Throws Fault if the disk does not come whole.
void receive_disk(grpc::ClientContext& context, grpc::ClientReader<v1::DiskPiece>& in,
                  const std::function<void(std::string_view)>& sink);

}  // namespace virga::link
