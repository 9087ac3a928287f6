#pragma once
// One console on the controller's side: a caller waits for the agent to open the stream, then both ends pass
// bytes. The far end's bytes are delivered on the gRPC call's own thread, so a slow viewer holds back only
// its console.

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>

#include "link/agent.grpc.pb.h"
#include "link/api.h"

namespace virga::link {

using ConsoleServerStream = grpc::ServerReaderWriter<v1::ConsoleFrame, v1::ConsoleFrame>;

class ConsoleCall final : public std::enable_shared_from_this<ConsoleCall> {
 public:
  explicit ConsoleCall(HostId host) : host_(std::move(host)) {}
  const HostId& host() const { return host_; }

  /// The caller's end. Throws Fault(conflict) if the agent refuses, Fault(unavailable) if it does not answer.
  std::shared_ptr<ByteStream> wait_open(std::chrono::milliseconds timeout);
  void refuse(Fault cause);
  void cancel(const std::string& why);

  /// The agent's end: passes bytes until one side closes. On the gRPC call's thread.
  void run(grpc::ServerContext& context, ConsoleServerStream& stream);

 private:
  friend class CallerEnd;
  bool write(std::string_view bytes);
  void close();
  void receive(std::function<void(std::string_view)> callback);
  void pump(ConsoleServerStream& stream);
  std::function<void(std::string_view)> wait_receiver();

  const HostId host_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false, closed_ = false;
  std::optional<Fault> refused_;
  grpc::ServerContext* context_ = nullptr;  // while run() is on
  std::deque<std::string> out_;
  size_t out_bytes_ = 0;
  std::function<void(std::string_view)> receiver_;
};

}  // namespace virga::link
