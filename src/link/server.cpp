// The controller's side: one gRPC server, a ControlStream per agent, plain blocking calls for images,
// consoles and metadata (each holds one of gRPC's bounded threads).

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>

#include "base/crypto.h"
#include "base/log.h"
#include "base/scope_exit.h"
#include "link/control_stream.h"
#include "link/disk_transfer.h"
#include "link/grpc.h"
#include "link/image_transfer.h"
#include "link/peers.h"
#include "link/server_console.h"
#include "link/status.h"
#include "link/tunnel.h"

namespace virga::link {
namespace {

constexpr int kMaxThreads = 512;  // images, consoles and metadata requests at once

/// Only who has a certificate of the CA comes as far as a call.
std::shared_ptr<grpc::ServerCredentials> mutual(const Credentials& c) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = c.ca;
  options.pem_key_cert_pairs.push_back({c.key, c.certificate});
  return grpc::SslServerCredentials(options);
}

using TunnelStream = grpc::ServerReaderWriter<v1::TunnelFrame, v1::TunnelFrame>;

/// Control as a reactor, the rest synchronous.
using Service = v1::AgentLink::WithCallbackMethod_Control<v1::AgentLink::Service>;

class Hub final : public AgentHub, public StreamOwner, public Service, public HostsHere {
 public:
  Hub(const ServeOptions& options, Controller& controller)
      : options_(options), controller_(controller), pool_(4), peer_service_(*this, controller), peers_(options.credentials) {
    const std::string& unix_socket = options.unix_socket;
    ::unlink(unix_socket.c_str());
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + unix_socket, grpc::InsecureServerCredentials());
    int port = 0;
    if (!options.address.empty()) builder.AddListeningPort(options.address, mutual(options.credentials), &port);
    // A host whose power is cut says no goodbye. Agents speak every 5 s: only of one that does not is it asked whether it is
    // there. Nor is the way's bandwidth probed at each of their words: with a thousand agents these were most of the traffic.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
    builder.RegisterService(static_cast<Service*>(this));
    builder.RegisterService(&peer_service_);
    builder.SetMaxReceiveMessageSize(kMaxMessage);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::CQ_TIMEOUT_MSEC,
                                500);  // bounds shutdown
    builder.SetResourceQuota(grpc::ResourceQuota("agent-link").SetMaxThreads(kMaxThreads));
    server_ = builder.BuildAndStart();
    if (!server_ || (!options.address.empty() && port == 0))
      throw Fault(
          FaultKind::conflict, fmt::format("cannot listen for agents on {} {}", unix_socket, options.address),
          "Check that the folder exists and is writable, that the address is this machine's, and that no other controller "
          "uses socket or port.");
    ::chmod(unix_socket.c_str(), 0600);
  }

  ~Hub() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      for (auto& [id, call] : consoles_) call->cancel("the controller stops");
      for (auto& [id, disk] : disks_) disk->break_off("the controller stops");
      for (auto& [id, tunnel] : tunnels_) tunnel->cancel("the controller stops");
    }
    peer_service_.stop();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    server_->Wait();
    pool_.stop();
  }

  // ---- AgentHub ----

  bool connected(const HostId& host) const override {
    std::lock_guard lock(mutex_);
    auto it = hosts_.find(host);
    return it != hosts_.end() && it->second.ready;
  }

  bool push(const HostId& host, const Assignment& change) override {
    auto stream = find(host);
    if (!stream) return false;
    for (auto& part : to_wire(change)) {
      v1::ControllerMessage message;
      *message.mutable_assignment() = std::move(part);
      if (!stream->send_after_welcome(std::move(message))) return false;
    }
    return true;
  }

  void tell_controllers() override {
    if (!options_.controllers) return;
    auto all = options_.controllers();
    std::vector<std::shared_ptr<ControlStream>> streams;
    {
      std::lock_guard lock(mutex_);
      if (all == told_) return;
      told_ = all;
      for (const auto& [id, host] : hosts_) streams.push_back(host.stream);
    }
    for (const auto& stream : streams) stream->send_after_welcome(welcome(stream->session(), all));
  }

  void disconnect(const HostId& host, const std::string& why) override {
    if (auto stream = find(host)) stream->finish({grpc::PERMISSION_DENIED, why});
  }

  std::shared_ptr<ByteStream> open_console(const HostId& host, const ServerId& server,
                                           AgentHub::Console kind) override {
    const auto elsewhere = other_controller(host);
    return elsewhere.empty() ? open_console_here(host, server, kind) : peers_.open_console(elsewhere, host, server, kind);
  }

  std::string console_log(const HostId& host, const ServerId& server, size_t max_bytes,
                          std::chrono::milliseconds timeout) override {
    const auto elsewhere = other_controller(host);
    return elsewhere.empty() ? console_log_here(host, server, max_bytes, timeout)
                             : peers_.console_log(elsewhere, host, server, max_bytes, timeout);
  }

  void fetch_upload(const std::string& address, const std::string& upload,
                    const std::function<void(std::string_view)>& sink) override {
    peers_.fetch_upload(address, upload, sink);
  }

  // ---- HostsHere: of those that are connected here ----

  std::shared_ptr<ByteStream> open_console_here(const HostId& host, const ServerId& server,
                                                AgentHub::Console kind) override {
    auto stream = find(host);
    if (!stream) throw not_connected(host);
    const auto call = std::make_shared<ConsoleCall>(host);
    const auto id = add(call);
    v1::ControllerMessage message;
    message.mutable_open_console()->set_request(id);
    message.mutable_open_console()->set_server(server.str());
    message.mutable_open_console()->set_vnc(kind == AgentHub::Console::vnc);
    stream->send_after_welcome(std::move(message));
    ScopeExit forget([&] { remove_console(id); });
    return call->wait_open(std::chrono::seconds(10));
  }

  std::string console_log_here(const HostId& host, const ServerId& server, size_t max_bytes,
                               std::chrono::milliseconds timeout) override {
    auto stream = find(host);
    if (!stream) throw not_connected(host);
    auto reply = std::make_shared<PendingLog>();
    reply->host = host;
    const auto id = next_request_++;
    {
      std::lock_guard lock(mutex_);
      logs_[id] = reply;
    }
    ScopeExit forget([&] {
      std::lock_guard lock(mutex_);
      logs_.erase(id);
    });
    v1::ControllerMessage message;
    message.mutable_read_console_log()->set_request(id);
    message.mutable_read_console_log()->set_server(server.str());
    message.mutable_read_console_log()->set_max_bytes(std::min<size_t>(max_bytes, 4 << 20));
    stream->send_after_welcome(std::move(message));
    auto future = reply->text.get_future();
    if (future.wait_for(timeout) != std::future_status::ready)
      throw Fault(FaultKind::unavailable,
                  fmt::format("host {} did not send the console log in time", host.str()),
                  "Try again; `virga status` shows whether the host answers.");
    return future.get();
  }

  void send_disk_here(const HostId& from, const ServerId& server, int64_t number,
                      const std::function<bool(const v1::DiskPiece&)>& sink) override {
    auto stream = find(from);
    if (!stream) throw Fault(FaultKind::unavailable, fmt::format("the host {}, which has the disk, is not connected", from.str()));
    const auto disk = std::make_shared<DiskTransfer>(from);
    const auto id = next_request_++;
    {
      std::lock_guard lock(mutex_);
      disks_[id] = disk;
    }
    ScopeExit forget([&] {
      disk->break_off("nobody takes it any more");
      std::lock_guard lock(mutex_);
      disks_.erase(id);
    });
    v1::ControllerMessage message;
    message.mutable_open_disk()->set_request(id);
    message.mutable_open_disk()->set_server(server.str());
    message.mutable_open_disk()->set_disk(number);
    stream->send_after_welcome(std::move(message));
    while (const auto piece = disk->take())
      if (!sink(*piece)) return;
  }

  bool tunnel_here(const HostId& to, const ServerId& server, const std::string& channel, TunnelEnd& opener) override {
    auto stream = find(to);
    if (!stream) throw not_connected(to);
    const auto tunnel = std::make_shared<TunnelCall>(to);
    const auto id = next_request_++;
    {
      std::lock_guard lock(mutex_);
      tunnels_[id] = tunnel;
    }
    ScopeExit forget([&] {
      tunnel->over();
      std::lock_guard lock(mutex_);
      tunnels_.erase(id);
    });
    v1::ControllerMessage message;
    message.mutable_open_tunnel()->set_request(id);
    message.mutable_open_tunnel()->set_server(server.str());
    message.mutable_open_tunnel()->set_channel(channel);
    stream->send_after_welcome(std::move(message));
    return pump(opener, tunnel->wait_open(std::chrono::seconds(10)));
  }

  /// A second one says what has changed since the first.
  static v1::ControllerMessage welcome(const std::string& session, const std::vector<std::string>& controllers) {
    v1::ControllerMessage message;
    message.mutable_welcome()->set_major(kMajor);
    message.mutable_welcome()->set_minor(kMinor);
    message.mutable_welcome()->set_session(session);
    for (const auto& address : controllers) message.mutable_welcome()->add_controllers(address);
    return message;
  }

  // ---- StreamOwner: on pool threads ----

  void hello(const std::shared_ptr<ControlStream>& stream, const HostFacts& facts) override {
    controller_.admit(facts, stream->certificate());  // before it takes the place of anybody
    const auto session = to_hex(random_bytes(16));
    stream->bind(facts.id, session);
    take_over(stream, facts.id);
    const auto assignment = controller_.connect(facts);
    stream->send(welcome(session, options_.controllers ? options_.controllers() : std::vector<std::string>{}));
    auto full = assignment;
    full.full = true;
    for (auto& part : to_wire(full)) {
      v1::ControllerMessage message;
      *message.mutable_assignment() = std::move(part);
      stream->send(std::move(message));
    }
    stream->release();
    {
      std::lock_guard lock(mutex_);
      auto it = hosts_.find(facts.id);
      if (it != hosts_.end() && it->second.stream == stream) it->second.ready = true;
    }
    log::info("agent link: host {} ({}) connected, {} servers assigned", facts.hostname, facts.id.str(),
              full.servers.size());
  }

  void message(ControlStream& stream, const v1::AgentMessage& message) override {
    switch (message.body_case()) {
      case v1::AgentMessage::kConsoleLog:
        return answer(stream.host(), message.console_log());
      case v1::AgentMessage::kConsoleRefused:
        return refuse(stream.host(), message.console_refused());
      default:
        return;  // a newer agent's message
    }
  }

  void heartbeat(ControlStream& stream, const v1::Heartbeat& heartbeat) noexcept override {
    controller_.heartbeat(stream.host(), problems_of(heartbeat));
  }

  void observed(ControlStream& stream, const Observation& o) override {
    controller_.observe(stream.host(), o.full, o.servers, o.actions);
  }

  void closed(ControlStream& stream) override {
    if (stream.host().empty()) return;
    {
      std::lock_guard lock(mutex_);
      sessions_.erase(stream.session());
      auto it = hosts_.find(stream.host());
      if (it == hosts_.end() || it->second.stream.get() != &stream) return;  // a newer connection took over
      hosts_.erase(it);
      for (auto& [id, call] : consoles_)
        if (call->host() == stream.host()) call->cancel("the host disconnected");
      for (auto& [id, disk] : disks_)
        if (disk->from() == stream.host()) disk->break_off("the host that has it disconnected");
      for (auto& [id, tunnel] : tunnels_)
        if (tunnel->to() == stream.host()) tunnel->cancel("the host that the server moves to disconnected");
    }
    log::info("agent link: host {} disconnected", stream.host().str());
    try {
      controller_.disconnected(stream.host());
    } catch (const std::exception& e) {
      log::warn("agent link: host {}: {}", stream.host().str(), e.what());
    }
  }

  // ---- gRPC ----

  grpc::ServerBidiReactor<v1::AgentMessage, v1::ControllerMessage>* Control(
      grpc::CallbackServerContext* context) override {
    auto stream = std::make_shared<ControlStream>(*this, pool_, certificate_of(*context));
    stream->begin(stream);
    return stream.get();
  }

  grpc::Status FetchImage(grpc::ServerContext* context, const v1::FetchImageRequest* request,
                          grpc::ServerWriter<v1::ImagePiece>* out) override try {
    auto source = controller_.open_image(host_of(*context), ImageId(request->image()), request->offset());
    return send_image(*source, request->offset(), *out, stopping_) ? grpc::Status::OK : grpc::Status::CANCELLED;
  } catch (const Fault& fault) {
    return to_status(fault);
  } catch (const std::exception& e) {
    return {grpc::INTERNAL, e.what()};
  }

  grpc::Status Console(grpc::ServerContext* context, ConsoleServerStream* stream) override try {
    const auto host = host_of(*context);
    v1::ConsoleFrame first;
    if (!stream->Read(&first)) return grpc::Status::CANCELLED;
    auto call = find_console(first.request());
    if (!call || call->host() != host) return {grpc::NOT_FOUND, "nobody waits for this console"};
    call->run(*context, *stream);
    return grpc::Status::OK;
  } catch (const Fault& fault) {
    return to_status(fault);
  }

  grpc::Status FetchDisk(grpc::ServerContext* context, const v1::FetchDiskRequest* request,
                         grpc::ServerWriter<v1::DiskPiece>* out) override try {
    const ServerId server(request->server());
    const HostId from = controller_.disk_source(host_of(*context), server, request->disk());
    const auto pass_on = [&](const v1::DiskPiece& piece) { return !stopping_ && out->Write(piece); };
    const auto elsewhere = other_controller(from);
    if (elsewhere.empty()) send_disk_here(from, server, request->disk(), pass_on);
    else peers_.fetch_disk(elsewhere, from, server, request->disk(), pass_on);
    return grpc::Status::OK;
  } catch (const Fault& fault) {
    return to_status(fault);
  } catch (const std::exception& e) {
    return {grpc::INTERNAL, e.what()};
  }

  grpc::Status SendDisk(grpc::ServerContext* context, grpc::ServerReader<v1::DiskPiece>* in, v1::DiskSent*) override try {
    const auto host = host_of(*context);
    v1::DiskPiece piece;
    if (!in->Read(&piece)) return grpc::Status::CANCELLED;
    std::shared_ptr<DiskTransfer> disk;
    {
      std::lock_guard lock(mutex_);
      const auto it = disks_.find(piece.request());
      if (it != disks_.end() && it->second->from() == host) disk = it->second;
    }
    if (!disk) return {grpc::NOT_FOUND, "nobody waits for this disk"};
    do
      if (!disk->put(std::move(piece))) return {grpc::CANCELLED, "nobody takes the disk any more"};
    while (in->Read(&piece));
    disk->ended();
    return grpc::Status::OK;
  } catch (const Fault& fault) {
    return to_status(fault);
  }

  grpc::Status Tunnel(grpc::ServerContext* context, TunnelStream* stream) override try {
    const auto host = host_of(*context);
    v1::TunnelFrame first;
    if (!stream->Read(&first)) return grpc::Status::CANCELLED;
    const ServerId server(first.server());
    const HostId to = controller_.tunnel_end(host, server);
    const auto elsewhere = other_controller(to);
    CallEnd opener(*context, *stream);
    const bool whole = elsewhere.empty() ? tunnel_here(to, server, first.channel(), opener)
                                         : peers_.tunnel(elsewhere, to, server, first.channel(), opener);
    return whole ? grpc::Status::OK : grpc::Status(grpc::UNAVAILABLE, "the tunnel broke");
  } catch (const Fault& fault) {
    return to_status(fault);
  } catch (const std::exception& e) {
    return {grpc::INTERNAL, e.what()};
  }

  grpc::Status AnswerTunnel(grpc::ServerContext* context, TunnelStream* stream) override try {
    const auto host = host_of(*context);
    v1::TunnelFrame first;
    if (!stream->Read(&first)) return grpc::Status::CANCELLED;
    const auto tunnel = find_tunnel(first.request());
    if (!tunnel || tunnel->to() != host) return {grpc::NOT_FOUND, "nobody waits for this tunnel"};
    CallEnd answerer(*context, *stream);
    tunnel->run(answerer);
    return grpc::Status::OK;
  } catch (const Fault& fault) {
    return to_status(fault);
  }

  grpc::Status Renew(grpc::ServerContext* context, const v1::RenewRequest* request, v1::RenewReply* reply) override try {
    reply->set_certificate(controller_.renew(host_of(*context), request->certificate_request()));
    return grpc::Status::OK;
  } catch (const Fault& fault) {
    return to_status(fault);
  } catch (const std::exception& e) {
    return {grpc::INTERNAL, e.what()};
  }

  grpc::Status Metadata(grpc::ServerContext* context, const v1::MetadataRequest* request,
                        v1::MetadataReply* reply) override try {
    const auto answer = controller_.metadata(host_of(*context), from_wire(*request));
    reply->set_status(answer.status);
    reply->set_content_type(answer.content_type);
    reply->set_body(answer.body);
    return grpc::Status::OK;
  } catch (const Fault& fault) {
    return to_status(fault);
  } catch (const std::exception& e) {
    return {grpc::INTERNAL, e.what()};
  }

 private:
  struct Host {
    std::shared_ptr<ControlStream> stream;
    bool ready = false;
  };
  struct Session {
    HostId host;
    std::string certificate;  ///< of its control stream: what knows the session's name must have that too
  };
  struct PendingLog {
    HostId host;
    std::promise<std::string> text;
  };

  static Fault not_connected(const HostId& host) {
    return Fault(FaultKind::conflict, fmt::format("the host {} is not connected", host.str()),
                 "Check that its agent runs: `virga status`.");
  }

  /// "" if the host is connected here, or nowhere.
  std::string other_controller(const HostId& host) const {
    return connected(host) || !options_.controller_of ? "" : options_.controller_of(host);
  }

  std::shared_ptr<ControlStream> find(const HostId& host) const {
    std::lock_guard lock(mutex_);
    auto it = hosts_.find(host);
    return it == hosts_.end() ? nullptr : it->second.stream;
  }

  void take_over(const std::shared_ptr<ControlStream>& stream, const HostId& host) {
    std::shared_ptr<ControlStream> old;
    {
      std::lock_guard lock(mutex_);
      auto& entry = hosts_[host];
      old = std::exchange(entry.stream, stream);
      entry.ready = false;
      sessions_[stream->session()] = {host, stream->certificate()};
    }
    if (old) old->finish({grpc::ABORTED, "the same host connected again"});
  }

  HostId host_of(const grpc::ServerContext& context) const {
    const auto& sent = context.client_metadata();
    auto it = sent.find(kSessionKey);
    if (it != sent.end()) {
      std::lock_guard lock(mutex_);
      auto session = sessions_.find(std::string(it->second.data(), it->second.size()));
      if (session != sessions_.end() && session->second.certificate == certificate_of(context)) return session->second.host;
    }
    throw Fault(FaultKind::unauthorized, "this agent has no control stream here");
  }

  uint64_t add(const std::shared_ptr<ConsoleCall>& call) {
    std::lock_guard lock(mutex_);
    consoles_[next_request_] = call;
    return next_request_++;
  }
  void remove_console(uint64_t id) {
    std::lock_guard lock(mutex_);
    consoles_.erase(id);
  }
  std::shared_ptr<ConsoleCall> find_console(uint64_t id) {
    std::lock_guard lock(mutex_);
    auto it = consoles_.find(id);
    return it == consoles_.end() ? nullptr : it->second;
  }

  void answer(const HostId& host, const v1::ConsoleLog& log) {
    std::shared_ptr<PendingLog> pending;
    {
      std::lock_guard lock(mutex_);
      auto it = logs_.find(log.request());
      if (it == logs_.end() || it->second->host != host) return;
      pending = it->second;
      logs_.erase(it);
    }
    if (log.ok()) return pending->text.set_value(log.bytes());
    pending->text.set_exception(std::make_exception_ptr(Fault(FaultKind::conflict, log.bytes())));
  }

  void refuse(const HostId& host, const v1::ConsoleRefused& refused) {
    const Fault cause(FaultKind::conflict, refused.cause(), refused.hint());
    auto call = find_console(refused.request());
    if (call && call->host() == host) call->refuse(cause);
    const auto tunnel = find_tunnel(refused.request());
    if (tunnel && tunnel->to() == host) tunnel->refuse(cause);
  }

  std::shared_ptr<TunnelCall> find_tunnel(uint64_t id) {
    std::lock_guard lock(mutex_);
    auto it = tunnels_.find(id);
    return it == tunnels_.end() ? nullptr : it->second;
  }

  const ServeOptions options_;
  Controller& controller_;
  Pool pool_;
  PeerService peer_service_;
  Peers peers_;
  mutable std::mutex mutex_;
  std::map<HostId, Host> hosts_;
  std::vector<std::string> told_;  ///< by tell_controllers
  std::map<std::string, Session> sessions_;
  std::map<uint64_t, std::shared_ptr<ConsoleCall>>
      consoles_;  // asked for, not yet open; open ones end by their host
  std::map<uint64_t, std::shared_ptr<PendingLog>> logs_;
  std::map<uint64_t, std::shared_ptr<DiskTransfer>> disks_;
  std::map<uint64_t, std::shared_ptr<TunnelCall>> tunnels_;
  std::atomic<uint64_t> next_request_{1};
  std::atomic<bool> stopping_{false};
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<AgentHub> serve(const ServeOptions& options, Controller& controller) {
  prepare_grpc();
  return std::make_unique<Hub>(options, controller);
}

}  // namespace virga::link
