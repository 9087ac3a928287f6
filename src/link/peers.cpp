#include "link/peers.h"

#include <thread>

#include "base/certificate.h"
#include "base/scope_exit.h"
#include "link/control_stream.h"
#include "link/convert.h"
#include "link/image_transfer.h"

namespace virga::link {

namespace {

constexpr char kHost[] = "virga-host", kServer[] = "virga-server", kConsole[] = "virga-console";

/// Hosts have certificates of the same CA, and name themselves in them.
void require_controller(const grpc::ServerContext& context) {
  const std::string pem = certificate_of(context);
  if (!pem.empty()) {
    const auto certificate = read_certificates(pem, "the caller's certificate").front();
    if (uris_of(certificate).empty() && covers(certificate, {kControllerName})) return;
  }
  throw Fault(FaultKind::forbidden, "only another controller may ask for that");
}

std::string need(const grpc::ServerContext& context, const char* key) {
  const auto& sent = context.client_metadata();
  const auto it = sent.find(key);
  if (it == sent.end()) throw Fault(FaultKind::bad_request, fmt::format("{} is missing", key));
  return std::string(it->second.data(), it->second.size());
}

template <class F>
grpc::Status answer(F&& f) try {
  f();
  return grpc::Status::OK;
} catch (const Fault& fault) {
  return to_status(fault);
} catch (const std::exception& e) {
  return {grpc::INTERNAL, e.what()};
}

/// A console at another controller. Its thread ends when either side closes.
class FarConsole final : public ByteStream {
 public:
  FarConsole(const std::shared_ptr<grpc::Channel>& channel, const HostId& host, const ServerId& server, AgentHub::Console kind)
      : call_(std::make_shared<Call>()) {
    call_->stub = v1::ControllerLink::NewStub(channel);
    call_->context.AddMetadata(kHost, host.str());
    call_->context.AddMetadata(kServer, server.str());
    call_->context.AddMetadata(kConsole, kind == AgentHub::Console::vnc ? "vnc" : "serial");
    call_->stream = call_->stub->Console(&call_->context);
    v1::ConsoleFrame opened;
    if (!call_->stream->Read(&opened)) throw to_fault(call_->stream->Finish(), "the controller of the host has no console");
  }
  ~FarConsole() override {
    call_->context.TryCancel();
    if (!thread_.joinable()) {
      call_->stream->Finish();
    } else if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();  // it drops this in its last callback
    } else {
      thread_.join();
    }
  }

  bool write(std::string_view bytes) override {
    v1::ConsoleFrame frame;
    frame.set_bytes(bytes.data(), bytes.size());
    const std::lock_guard lock(call_->writing);
    return call_->stream->Write(frame);
  }
  void close() override { call_->context.TryCancel(); }
  void on_bytes(std::function<void(std::string_view)> receive) override {
    thread_ = std::thread([call = call_, receive = std::move(receive)] {
      v1::ConsoleFrame frame;
      while (call->stream->Read(&frame))
        if (!frame.bytes().empty()) receive(frame.bytes());
      call->context.TryCancel();
      call->stream->Finish();
      receive({});
    });
  }

 private:
  struct Call {
    std::unique_ptr<v1::ControllerLink::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::ConsoleFrame, v1::ConsoleFrame>> stream;
    std::mutex writing;
  };
  std::shared_ptr<Call> call_;
  std::thread thread_;
};

}  // namespace

// ---- answering ----

void PeerService::stop() {
  stopping_ = true;
  const std::lock_guard lock(mutex_);
  for (auto* context : open_) context->TryCancel();
}

grpc::Status PeerService::Console(grpc::ServerContext* context,
                                  grpc::ServerReaderWriter<v1::ConsoleFrame, v1::ConsoleFrame>* stream) {
  return answer([&] {
    require_controller(*context);
    const auto kind = need(*context, kConsole) == "vnc" ? AgentHub::Console::vnc : AgentHub::Console::serial;
    auto local = hosts_.open_console_here(HostId(need(*context, kHost)), ServerId(need(*context, kServer)), kind);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      open_.insert(context);
    }
    const ScopeExit forget([&] {
      const std::lock_guard lock(mutex_);
      open_.erase(context);
    });
    // The guest's bytes may come until its end of the console is gone, which is later than this call.
    struct Viewer {
      std::mutex mutex;
      grpc::ServerContext* context;
      grpc::ServerReaderWriter<v1::ConsoleFrame, v1::ConsoleFrame>* stream;
    };
    const auto viewer = std::make_shared<Viewer>();
    viewer->context = context;
    viewer->stream = stream;
    if (!stream->Write(v1::ConsoleFrame())) return;
    local->on_bytes([viewer](std::string_view bytes) {
      const std::lock_guard lock(viewer->mutex);
      if (!viewer->stream) return;
      v1::ConsoleFrame frame;
      frame.set_bytes(bytes.data(), bytes.size());
      if (bytes.empty() || !viewer->stream->Write(frame)) viewer->context->TryCancel();
    });
    v1::ConsoleFrame frame;
    while (stream->Read(&frame))
      if (!local->write(frame.bytes())) break;
    local->close();
    const std::lock_guard lock(viewer->mutex);
    viewer->stream = nullptr;
  });
}

grpc::Status PeerService::ReadLog(grpc::ServerContext* context, const v1::PeerLogRequest* request, v1::PeerLogReply* reply) {
  return answer([&] {
    require_controller(*context);
    reply->set_bytes(hosts_.console_log_here(HostId(request->host()), ServerId(request->server()), request->max_bytes(),
                                                std::chrono::milliseconds(10'000)));
  });
}

grpc::Status PeerService::FetchUpload(grpc::ServerContext* context, const v1::PeerUploadRequest* request,
                                      grpc::ServerWriter<v1::ImagePiece>* out) {
  return answer([&] {
    require_controller(*context);
    const auto source = controller_.open_upload(request->upload());
    if (!send_image(*source, 0, *out, stopping_)) throw Fault(FaultKind::unavailable, "the transfer was cut off");
  });
}

grpc::Status PeerService::FetchDisk(grpc::ServerContext* context, const v1::PeerDiskRequest* request,
                                    grpc::ServerWriter<v1::DiskPiece>* out) {
  return answer([&] {
    require_controller(*context);
    hosts_.send_disk_here(HostId(request->host()), ServerId(request->server()), request->disk(),
                          [&](const v1::DiskPiece& piece) { return !stopping_ && out->Write(piece); });
  });
}

grpc::Status PeerService::Tunnel(grpc::ServerContext* context,
                                 grpc::ServerReaderWriter<v1::TunnelFrame, v1::TunnelFrame>* stream) {
  return answer([&] {
    require_controller(*context);
    v1::TunnelFrame first;
    if (!stream->Read(&first)) return;
    CallEnd opener(*context, *stream);
    if (!hosts_.tunnel_here(HostId(need(*context, kHost)), ServerId(first.server()), first.channel(), opener))
      throw Fault(FaultKind::unavailable, "the tunnel broke");
  });
}

// ---- asking ----

std::shared_ptr<grpc::Channel> Peers::channel(const std::string& address) {
  const std::lock_guard lock(mutex_);
  auto& channel = channels_[address];
  if (channel) return channel;
  if (credentials_.certificate.empty())
    throw Fault(FaultKind::unavailable, "this controller has no certificate to show to others", "Set hosts.address.");
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetSslTargetNameOverride(kControllerName);
  channel = grpc::CreateCustomChannel(
      address, grpc::SslCredentials({credentials_.ca, credentials_.key, credentials_.certificate}), arguments);
  return channel;
}

std::shared_ptr<ByteStream> Peers::open_console(const std::string& address, const HostId& host, const ServerId& server,
                                                AgentHub::Console kind) {
  return std::make_shared<FarConsole>(channel(address), host, server, kind);
}

std::string Peers::console_log(const std::string& address, const HostId& host, const ServerId& server, size_t max_bytes,
                               std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::PeerLogRequest request;
  request.set_host(host.str());
  request.set_server(server.str());
  request.set_max_bytes(max_bytes);
  v1::PeerLogReply reply;
  const auto status = v1::ControllerLink::NewStub(channel(address))->ReadLog(&context, request, &reply);
  if (!status.ok()) throw to_fault(status, "the controller of the host did not send the console log");
  return reply.bytes();
}

void Peers::fetch_disk(const std::string& address, const HostId& host, const ServerId& server, int64_t disk,
                       const std::function<bool(const v1::DiskPiece&)>& sink) {
  grpc::ClientContext context;
  v1::PeerDiskRequest request;
  request.set_host(host.str());
  request.set_server(server.str());
  request.set_disk(disk);
  const auto stub = v1::ControllerLink::NewStub(channel(address));
  const auto reader = stub->FetchDisk(&context, request);
  v1::DiskPiece piece;
  while (reader->Read(&piece))
    if (!sink(piece)) context.TryCancel();
  const auto status = reader->Finish();
  if (!status.ok()) throw to_fault(status, "the controller of the host that has the disk does not send it");
}

bool Peers::tunnel(const std::string& address, const HostId& host, const ServerId& server, const std::string& channel,
                   TunnelEnd& opener) {
  grpc::ClientContext context;
  context.AddMetadata(kHost, host.str());
  const auto stub = v1::ControllerLink::NewStub(this->channel(address));
  const auto stream = stub->Tunnel(&context);
  v1::TunnelFrame first;
  first.set_server(server.str());
  first.set_channel(channel);
  stream->Write(first);
  CallEnd far(context, *stream);
  const bool whole = pump(opener, far);
  const auto status = stream->Finish();
  if (!status.ok() && status.error_code() != grpc::CANCELLED) throw to_fault(status, "the controller of the host that the server moves to has no tunnel");
  return whole;
}

void Peers::fetch_upload(const std::string& address, const std::string& upload,
                         const std::function<void(std::string_view)>& sink) {
  grpc::ClientContext context;
  v1::PeerUploadRequest request;
  request.set_upload(upload);
  const auto stub = v1::ControllerLink::NewStub(channel(address));
  const auto reader = stub->FetchUpload(&context, request);
  receive_image(context, *reader, [&](uint64_t, std::string_view bytes) { sink(bytes); }, fmt::format("cannot fetch upload {} from {}", upload, address));
}

}  // namespace virga::link
