#pragma once
// The controller's end of one agent's Control stream: a gRPC reactor, so an idle agent costs no thread.
//
// Life: created by the call, kept alive by `self_` until gRPC's OnDone. One message is read at a time and
// handled on the pool before the next is read: that keeps an agent's messages in order, and a flooding agent
// only slows itself.

#include <grpcpp/grpcpp.h>

#include <deque>

#include "link/agent.grpc.pb.h"
#include "link/convert.h"
#include "link/pool.h"

namespace virga::link {

class ControlStream;

/// What a stream tells the hub.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual void hello(const std::shared_ptr<ControlStream>& stream, const HostFacts& facts) = 0;
  virtual void message(ControlStream& stream, const v1::AgentMessage& message) = 0;
  /// On gRPC's thread: most of what idle agents say is this, and handing it to another thread costs more than it does.
  virtual void heartbeat(ControlStream& stream, const v1::Heartbeat& heartbeat) noexcept = 0;
  virtual void observed(ControlStream& stream, const Observation& observation) = 0;
  virtual void closed(ControlStream& stream) = 0;
};

class ControlStream final : public grpc::ServerBidiReactor<v1::AgentMessage, v1::ControllerMessage> {
 public:
  /// `certificate`: the peer's, PEM, or "" if it came over the unix socket.
  ControlStream(StreamOwner& owner, Pool& pool, std::string certificate)
      : owner_(owner), pool_(pool), certificate_(std::move(certificate)) {}
  /// Arms the first read; `self` keeps the stream alive until gRPC is done with it.
  void begin(std::shared_ptr<ControlStream> self);

  /// Queues; an agent that does not read is cut off rather than buffered for ever (it reconnects and gets all
  /// anew).
  bool send(v1::ControllerMessage message);
  /// Like send, but held back until release(): changes that race the first full assignment must follow it.
  bool send_after_welcome(v1::ControllerMessage message);
  void release();
  void finish(const grpc::Status& status);

  const HostId& host() const { return host_; }
  const std::string& session() const { return session_; }
  const std::string& certificate() const { return certificate_; }
  void bind(HostId host, std::string session) { host_ = std::move(host), session_ = std::move(session); }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { finish(grpc::Status::CANCELLED); }
  void OnDone() override;
  void handle(const std::shared_ptr<ControlStream>& self);
  void handle_hello(const std::shared_ptr<ControlStream>& self);
  void handled();
  void read_next();
  void write_next();

  StreamOwner& owner_;
  Pool& pool_;
  const std::string certificate_;
  std::shared_ptr<ControlStream> self_;  ///< gRPC's reactions only: OnDone may run beside a message being handled
  // Recursive: gRPC may call a reaction from inside StartRead, StartWrite or Finish.
  std::recursive_mutex mutex_;
  std::deque<v1::ControllerMessage> out_, held_;
  size_t out_bytes_ = 0;
  bool writing_ = false, finished_ = false, welcomed_ = false;
  bool handling_ = false, done_ = false;
  bool greeted_ = false;  // of whoever has the message that was read, as are the next two
  v1::AgentMessage in_;
  std::unique_ptr<Observation> partial_;
  size_t partial_bytes_ = 0;
  HostId host_;
  std::string session_;
};

}  // namespace virga::link
