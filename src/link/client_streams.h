#pragma once
// What an agent opens because a controller asked it to: the host's end of a console, and of a tunnel. A thread each.

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "link/agent.grpc.pb.h"
#include "link/convert.h"
#include "link/tunnel.h"

namespace virga::link {

/// One console: pumps bytes between the local stream and the call until either ends.
class ConsolePump {
 public:
  ConsolePump(v1::AgentLink::Stub& stub, const std::string& session, uint64_t request,
              std::shared_ptr<ByteStream> local)
      : local_(std::move(local)) {
    context_.AddMetadata(kSessionKey, session);
    stream_ = stub.Console(&context_);
    v1::ConsoleFrame hello;
    hello.set_request(request);
    stream_->Write(hello);
    thread_ = std::thread([this] { run(); });
  }
  ~ConsolePump() {
    context_.TryCancel();
    thread_.join();
  }
  bool done() const { return done_; }

 private:
  void run() {
    local_->on_bytes([this](std::string_view bytes) { send(bytes); });
    v1::ConsoleFrame frame;
    while (stream_->Read(&frame))
      if (!local_->write(frame.bytes())) break;
    context_.TryCancel();
    local_->close();
    local_.reset();  // its destructor ends its callbacks
    stream_->Finish();
    done_ = true;
  }
  void send(std::string_view bytes) {
    std::lock_guard lock(write_mutex_);
    if (bytes.empty()) return context_.TryCancel();
    v1::ConsoleFrame frame;
    frame.set_bytes(bytes.data(), bytes.size());
    if (!stream_->Write(frame)) context_.TryCancel();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ConsoleFrame, v1::ConsoleFrame>> stream_;
  std::shared_ptr<ByteStream> local_;
  std::mutex write_mutex_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

/// One channel of a server that comes here: the answering end of a tunnel.
class TunnelAnswer {
 public:
  TunnelAnswer(std::shared_ptr<v1::AgentLink::Stub> stub, const std::string& session, uint64_t request, int socket)
      : stub_(std::move(stub)), socket_(socket) {
    context_.AddMetadata(kSessionKey, session);
    thread_ = std::thread([this, request] { run(request); });
  }
  ~TunnelAnswer() {
    context_.TryCancel();
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  bool done() const { return done_; }

 private:
  void run(uint64_t request) {
    const auto stream = stub_->AnswerTunnel(&context_);
    v1::TunnelFrame hello;
    hello.set_request(request);
    stream->Write(hello);
    SocketEnd here(socket_);
    CallEnd there(context_, *stream);
    pump(here, there);
    here.cancel();
    stream->Finish();
    done_ = true;
  }

  const std::shared_ptr<v1::AgentLink::Stub> stub_;
  const int socket_;
  grpc::ClientContext context_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace virga::link
