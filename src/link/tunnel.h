#pragma once
// A channel between the hypervisors of two hosts, for a server that moves while it runs: frames of bytes in both directions,
// through the controllers, since neither host need reach the other. Each direction ends by itself, with a frame that says so,
// so that what was sent before it is never lost. The slower end sets the pace: nothing is kept in between.

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "link/agent.grpc.pb.h"
#include "link/api.h"

namespace virga::link {

/// One end: one thread reads, another writes.
class TunnelEnd {
 public:
  virtual ~TunnelEnd() = default;
  /// False once it is broken.
  virtual bool read(v1::TunnelFrame& frame) = 0;
  virtual bool write(const v1::TunnelFrame& frame) = 0;
  /// Breaks it, from any thread.
  virtual void cancel() = 0;
};

/// A gRPC call of either side.
template <class Context, class Stream>
class CallEnd final : public TunnelEnd {
 public:
  CallEnd(Context& context, Stream& stream) : context_(context), stream_(stream) {}
  bool read(v1::TunnelFrame& frame) override { return stream_.Read(&frame); }
  bool write(const v1::TunnelFrame& frame) override { return stream_.Write(frame); }
  void cancel() override { context_.TryCancel(); }

 private:
  Context& context_;
  Stream& stream_;
};

/// A connected socket, which stays the caller's.
class SocketEnd final : public TunnelEnd {
 public:
  explicit SocketEnd(int socket);
  bool read(v1::TunnelFrame& frame) override;
  bool write(const v1::TunnelFrame& frame) override;
  void cancel() override;

 private:
  const int socket_;
  std::string buffer_;
};

/// Passes frames on until both directions have ended (true) or one end broke (false; then the other is cancelled).
bool pump(TunnelEnd& a, TunnelEnd& b);

/// Where a controller has the two calls of one tunnel meet. Thread-safe.
class TunnelCall {
 public:
  explicit TunnelCall(HostId to) : to_(std::move(to)) {}
  const HostId& to() const { return to_; }

  // The opening side, in this order. Throws the other side's Fault, or Fault(unavailable).
  TunnelEnd& wait_open(std::chrono::milliseconds timeout);
  void over();

  /// The answering side: returns when it is over.
  void run(TunnelEnd& end);
  void refuse(Fault cause);
  void cancel(const std::string& why);

 private:
  const HostId to_;
  std::mutex mutex_;
  std::condition_variable changed_;
  TunnelEnd* end_ = nullptr;
  bool over_ = false;
  std::optional<Fault> refused_;
};

}  // namespace virga::link
