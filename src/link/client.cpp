// The agent's side: one channel, one Control stream (a reading and a writing thread), side calls as they are
// needed.

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/scope_exit.h"
#include "link/agent.grpc.pb.h"
#include "link/client_streams.h"
#include "link/convert.h"
#include "link/disk_transfer.h"
#include "link/grpc.h"
#include "link/image_transfer.h"
#include "link/outbox.h"
#include "link/peers.h"
#include "link/pool.h"
#include "link/status.h"
#include "link/tunnel.h"

namespace virga::link {
namespace {

using namespace std::chrono_literals;
constexpr auto kHeartbeat = 5s;
constexpr auto kMinBackoff = 50ms;
constexpr auto kMaxBackoff = 5s;
// How long one attempt to connect may take. An attempt given up is work for nothing on both ends: a controller to which a
// thousand agents came back at once did three such for each that it let in, as long as this was two seconds. Shorter where
// there is another controller to turn to, since one without power is to be passed over soon.
constexpr std::chrono::milliseconds kPatience = 10s, kPatienceOfSeveral = 3s, kMaxPatience = 30s;
// A connection that is gone is found by what is said on it: the heartbeat above is not acknowledged within kSilence (gRPC has
// the kernel watch that), however seldom we ask whether the controller's process still answers, which costs it more than
// the heartbeat does.
constexpr std::chrono::milliseconds kAsk = 15s, kSilence = 5s;
constexpr int kMaxControllers = 64;
constexpr size_t kMaxTunnels = 64;

using Control = grpc::ClientReaderWriter<v1::AgentMessage, v1::ControllerMessage>;

class Connection final : public AgentConnection {
 public:
  Connection(DialOptions options, AgentSide& side)
      : options_(std::move(options)), side_(side), targets_(options_.targets), requests_(2), disks_(2) {
    thread_ = std::thread([this] { run(); });
  }

  ~Connection() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      if (context_) context_->TryCancel();
      for (auto* call : calls_) call->TryCancel();
    }
    changed_.notify_all();
    thread_.join();
    requests_.stop();
    disks_.stop();
    consoles_.clear();
    tunnels_.clear();
  }

  bool connected() const override {
    std::lock_guard lock(mutex_);
    return welcomed_;
  }

  void report(bool full, std::vector<ObservedServer> servers, std::vector<ActionReport> actions) override {
    {
      std::lock_guard lock(mutex_);
      outbox_.add(full, std::move(servers), std::move(actions));
    }
    changed_.notify_all();
  }

  void problems(std::vector<std::string> all) override {
    {
      std::lock_guard lock(mutex_);
      if (all == problems_) return;
      problems_ = std::move(all);
      problems_new_ = true;
    }
    changed_.notify_all();
  }

  void fetch_image(const ImageId& image, uint64_t from, const ImageSink& sink) override {
    Call call(*this);
    v1::FetchImageRequest request;
    request.set_image(image.str());
    request.set_offset(from);
    const auto stub = this->stub();
    auto reader = stub->FetchImage(&call.context, request);
    receive_image(call.context, *reader, sink, fmt::format("cannot fetch image {}", image.str()));
  }

  void fetch_disk(const ServerId& server, int64_t disk, const std::function<void(std::string_view)>& sink) override {
    Call call(*this);
    v1::FetchDiskRequest request;
    request.set_server(server.str());
    request.set_disk(disk);
    const auto stub = this->stub();
    receive_disk(call.context, *stub->FetchDisk(&call.context, request), sink);
  }

  void tunnel(const ServerId& server, const std::string& channel, int socket) override {
    Call call(*this);
    const auto stub = this->stub();
    const auto stream = stub->Tunnel(&call.context);
    v1::TunnelFrame first;
    first.set_server(server.str());
    first.set_channel(channel);
    stream->Write(first);
    SocketEnd here(socket);
    CallEnd there(call.context, *stream);
    const bool whole = pump(here, there);
    const auto status = stream->Finish();
    if (whole) return;
    if (status.ok() || status.error_code() == grpc::CANCELLED) throw Fault(FaultKind::unavailable, "the tunnel broke");
    throw to_fault(status, "there is no way to the host that the server moves to");
  }

  MetadataReply metadata(const MetadataRequest& request) override {
    Call call(*this);
    call.context.set_deadline(std::chrono::system_clock::now() + 10s);
    v1::MetadataReply reply;
    const auto status = stub()->Metadata(&call.context, to_wire(request), &reply);
    if (!status.ok()) throw to_fault(status, "cannot ask for metadata");
    return MetadataReply{reply.status(), reply.content_type(), reply.body()};
  }

  std::string renew(const std::string& request) override {
    Call call(*this);
    call.context.set_deadline(std::chrono::system_clock::now() + 10s);
    v1::RenewRequest question;
    question.set_certificate_request(request);
    v1::RenewReply reply;
    const auto status = stub()->Renew(&call.context, question, &reply);
    if (!status.ok()) throw to_fault(status, "cannot renew the certificate");
    return reply.certificate();
  }

  std::string problem() const override {
    std::lock_guard lock(mutex_);
    return last_error_;
  }

 private:
  /// A side call: carries the session, and is cancelled when the connection is destroyed.
  struct Call {
    explicit Call(Connection& owner) : owner(owner) {
      std::lock_guard lock(owner.mutex_);
      if (owner.stopping_ || owner.session_.empty())
        throw Fault(FaultKind::unavailable, "the agent is not connected to a controller");
      context.AddMetadata(kSessionKey, owner.session_);
      owner.calls_.push_back(&context);
    }
    ~Call() {
      std::lock_guard lock(owner.mutex_);
      std::erase(owner.calls_, &context);
    }
    Connection& owner;
    grpc::ClientContext context;
  };

  std::shared_ptr<v1::AgentLink::Stub> stub() const {
    std::lock_guard lock(mutex_);
    return stub_;
  }

  /// Longer the longer nobody let us in.
  std::chrono::milliseconds patience() const {
    auto length = targets_.size() > 1 ? kPatienceOfSeveral : kPatience;
    for (const auto away = std::chrono::steady_clock::now() - away_since_; length < away && length < kMaxPatience;) length *= 2;
    return std::min(length, kMaxPatience);
  }

  /// A channel to the controller whose turn it is; the one there is, if nothing changed. Throws what reading our
  /// certificate throws.
  void choose_channel() {
    const std::string target = targets_[turn_ % targets_.size()];
    const Credentials credentials = target.rfind("unix:", 0) == 0 || !options_.credentials ? Credentials{} : options_.credentials();
    const auto patience = this->patience();
    if (channel_ && target == target_ && credentials == credentials_ && patience == patience_) return;
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessage);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(patience.count()));  // how long one attempt may take
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // A controller whose power is cut, or a cable that is, sends nothing.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kAsk.count()));
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kSilence.count()));
    std::shared_ptr<grpc::ChannelCredentials> proof = grpc::InsecureChannelCredentials();
    if (!credentials.certificate.empty()) {
      arguments.SetSslTargetNameOverride(kControllerName);
      proof = grpc::SslCredentials({credentials.ca, credentials.key, credentials.certificate});
    }
    const auto channel = grpc::CreateCustomChannel(target, proof, arguments);
    std::lock_guard lock(mutex_);
    channel_ = channel;
    stub_ = v1::AgentLink::NewStub(channel);
    target_ = target;
    credentials_ = credentials;
    patience_ = patience;
  }

  void run() {
    auto backoff = std::chrono::milliseconds(kMinBackoff);
    std::minstd_rand random(std::random_device{}());
    while (true) {
      const bool was_welcomed = session();
      if (was_welcomed) backoff = kMinBackoff, away_since_ = std::chrono::steady_clock::now();
      else ++turn_;
      const auto wait = backoff / 2 + std::chrono::milliseconds(random() % (backoff.count() / 2 + 1));
      if (pause(wait)) return;
      backoff = std::min<std::chrono::milliseconds>(backoff * 2, kMaxBackoff);
    }
  }

  /// True if the connection is to end. Over early once a controller that was away is back: gRPC gets on with
  /// connecting only while somebody polls, so waiting without that made an agent miss its controller's return.
  bool pause(std::chrono::milliseconds wait) {
    const bool refused = !channel_ || channel_->GetState(false) == GRPC_CHANNEL_READY;  // or it would ask without a pause
    const auto end = std::chrono::system_clock::now() + wait;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        if (refused) return changed_.wait_for(lock, wait, [this] { return stopping_; });
        if (stopping_) return true;
      }
      const auto now = std::chrono::system_clock::now();
      if (now >= end || channel_->WaitForConnected(std::min(end, now + 100ms))) return false;
    }
  }

  /// One Control stream from greeting to end. True if the controller welcomed us.
  bool session() {
    grpc::ClientContext context;
    try {
      choose_channel();
    } catch (const Fault& fault) {
      std::lock_guard lock(mutex_);
      tell({grpc::UNAUTHENTICATED, fault.message}, false);
      return false;
    }
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return false;
      context_ = &context;
    }
    auto stream = stub_->Control(&context);
    bool welcomed = false;
    if (greet(*stream)) {
      std::thread writer([&] { write_loop(*stream, context); });
      welcomed = read_loop(*stream, context);
      {
        std::lock_guard lock(mutex_);
        broken_ = true;
      }
      changed_.notify_all();
      writer.join();
    } else {
      context.TryCancel();  // or Finish would wait for a controller that waits for us
    }
    const auto status = stream->Finish();
    std::lock_guard lock(mutex_);
    context_ = nullptr;
    welcomed_ = broken_ = false;
    session_.clear();
    if (!stopping_) tell(status, welcomed);
    return welcomed;
  }

  /// One line per new reason, not one per attempt.
  void tell(const grpc::Status& status, bool was_connected) {
    if (!was_connected && status.error_message() == last_error_) return;
    last_error_ = status.error_message();
    if (was_connected) last_error_.clear();
    if (status.error_code() == grpc::PERMISSION_DENIED)
      return log::error("agent link: the controller does not let this host in: {}", status.error_message());
    log::warn("agent link: {} {}: {}", was_connected ? "lost" : "cannot reach", target_,
              status.error_message());
  }

  bool greet(Control& stream) {
    v1::AgentMessage hello;
    try {
      *hello.mutable_hello() = to_wire(side_.facts());
    } catch (const std::exception& e) {
      log::warn("agent link: cannot tell the host's facts yet: {}", e.what());
      return false;
    }
    return stream.Write(hello);
  }

  bool read_loop(Control& stream, grpc::ClientContext& context) {
    v1::ControllerMessage message;
    bool welcomed = false;
    Assignment whole;
    size_t bytes = 0;
    while (stream.Read(&message)) try {
        if (message.has_welcome()) {
          welcome(message.welcome());
          welcomed = true;
        } else if (!welcomed) {
          throw Fault(FaultKind::bad_request, "the controller sent work before its welcome");
        } else if (message.has_assignment()) {
          bytes += message.assignment().ByteSizeLong();
          if (bytes > kMaxWhole) throw Fault(FaultKind::bad_request, "the assignment is too large");
          append(whole, message.assignment());
          if (message.assignment().more()) continue;
          side_.assigned(std::exchange(whole, {}));
          bytes = 0;
        } else {
          serve(message);
        }
      } catch (const std::exception& e) {
        log::error("agent link: {}", e.what());
        context.TryCancel();
      }
    return welcomed;
  }

  void welcome(const v1::Welcome& w) {
    if (w.major() != kMajor)
      throw Fault(
          FaultKind::precondition_failed,
          fmt::format("the controller speaks version {} of the link, this agent {}", w.major(), kMajor));
    bool again = false;
    {
      std::lock_guard lock(mutex_);
      again = std::exchange(welcomed_, true);
      problems_new_ = !problems_.empty();  // to this controller
      session_ = w.session();
      last_error_.clear();
    }
    if (!again) log::info("agent link: connected to {}", target_);
    learn(w);
    changed_.notify_all();
  }

  /// A controller that is added later is one more to turn to. Nobody is forgotten for an empty list.
  void learn(const v1::Welcome& w) {
    std::vector<std::string> all(w.controllers().begin(), w.controllers().end());
    if (target_.rfind("unix:", 0) == 0 || all.empty() || static_cast<int>(all.size()) > kMaxControllers) return;
    std::sort(all.begin(), all.end());
    auto known = targets_;
    std::sort(known.begin(), known.end());
    if (all == known) return;
    turn_ = 0;
    targets_ = all;
    if (const auto here = std::find(all.begin(), all.end(), target_); here != all.end()) turn_ = static_cast<size_t>(here - all.begin());
    log::info("agent link: the controllers are {}", fmt::join(all, ", "));
    if (options_.learned) options_.learned(all);
  }

  void write_loop(Control& stream, grpc::ClientContext& context) {
    std::unique_lock lock(mutex_);
    while (!stopping_ && !broken_) {
      const bool something = changed_.wait_for(lock, kHeartbeat, [this] {
        return stopping_ || broken_ || (welcomed_ && (problems_new_ || !(outbox_.empty() && replies_.empty())));
      });
      if (stopping_ || broken_) return;
      if (!welcomed_ && !something) continue;
      auto batch = outbox_.take();
      const auto replies = std::exchange(replies_, {});
      const auto heartbeat = next_heartbeat(batch.empty() && replies.empty());
      lock.unlock();
      const bool ok = write(stream, replies, heartbeat, batch);
      lock.lock();
      if (ok) continue;
      outbox_.put_back(std::move(batch));
      return context.TryCancel();
    }
  }

  /// Due when there is nothing else to say, or new problems. Locked.
  std::optional<v1::AgentMessage> next_heartbeat(bool silent) {
    if (!std::exchange(problems_new_, false) && !silent) return std::nullopt;
    v1::AgentMessage message;
    auto& heartbeat = *message.mutable_heartbeat();
    for (const auto& problem : problems_) heartbeat.add_problems(problem);
    return message;
  }

  bool write(Control& stream, const std::deque<v1::AgentMessage>& replies,
             const std::optional<v1::AgentMessage>& heartbeat, const Outbox::Batch& batch) {
    v1::AgentMessage message;
    for (const auto& reply : replies)
      if (!stream.Write(reply)) return false;
    if (heartbeat && !stream.Write(*heartbeat)) return false;
    if (batch.empty()) return true;
    for (auto& part : to_wire(batch.full, batch.servers, batch.actions)) {
      *message.mutable_observation() = std::move(part);
      if (!stream.Write(message)) return false;
    }
    return true;
  }

  /// Requests that may block on a file or a socket: never on the reading thread.
  void serve(const v1::ControllerMessage& message) {
    if (message.has_open_console())
      requests_.post([this, m = message.open_console()] { open_console(m); });
    else if (message.has_read_console_log())
      requests_.post([this, m = message.read_console_log()] { read_log(m); });
    else if (message.has_open_disk())
      disks_.post([this, m = message.open_disk()] { send_disk(m); });
    else if (message.has_open_tunnel())
      requests_.post([this, m = message.open_tunnel()] { open_tunnel(m); });
  }

  void read_log(const v1::ReadConsoleLog& request) {
    v1::AgentMessage reply;
    auto& log = *reply.mutable_console_log();
    log.set_request(request.request());
    try {
      log.set_bytes(
          side_.console_log(ServerId(request.server()), std::min<uint64_t>(request.max_bytes(), 4 << 20)));
      log.set_ok(true);
    } catch (const std::exception& e) {
      log.set_bytes(e.what());
    }
    send_reply(std::move(reply));
  }

  /// Does what a request to open something asks, or tells why not.
  template <class F>
  void answer_or_refuse(uint64_t request, F open) {
    v1::AgentMessage reply;
    auto& refused = *reply.mutable_console_refused();
    refused.set_request(request);
    try {
      return open();
    } catch (const Fault& fault) {
      refused.set_cause(fault.message);
      refused.set_hint(fault.hint);
    } catch (const std::exception& e) {
      refused.set_cause(e.what());
    }
    send_reply(std::move(reply));
  }

  void open_console(const v1::OpenConsole& request) {
    answer_or_refuse(request.request(), [&] {
      auto local = side_.open_console(ServerId(request.server()),
                                      request.vnc() ? AgentHub::Console::vnc : AgentHub::Console::serial);
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      std::erase_if(consoles_, [](const auto& c) { return c->done(); });
      consoles_.push_back(
          std::make_unique<ConsolePump>(*stub_, session_, request.request(), std::move(local)));
    });
  }

  void open_tunnel(const v1::OpenTunnel& request) {
    answer_or_refuse(request.request(), [&] {
      const int socket = side_.open_tunnel(ServerId(request.server()), request.channel());
      std::lock_guard lock(mutex_);
      std::erase_if(tunnels_, [](const auto& t) { return t->done(); });
      if (stopping_ || tunnels_.size() >= kMaxTunnels) {
        ::close(socket);
        throw Fault(FaultKind::unavailable, "too many servers come to this host at once");
      }
      tunnels_.push_back(std::make_unique<TunnelAnswer>(stub_, session_, request.request(), socket));
    });
  }

  void send_disk(const v1::OpenDisk& request) {
    try {
      Call call(*this);
      v1::DiskSent sent;
      const auto stub = this->stub();
      const auto writer = stub->SendDisk(&call.context, &sent);
      link::send_disk(*writer, request.request(), [&] { return side_.open_disk(ServerId(request.server()), request.disk()); });
      writer->WritesDone();
      if (const auto status = writer->Finish(); !status.ok())
        log::warn("agent link: disk {} of server {} was not sent: {}", request.disk(), request.server(), status.error_message());
    } catch (const std::exception& e) {
      log::warn("agent link: disk {} of server {} cannot be sent: {}", request.disk(), request.server(), e.what());
    }
  }

  void send_reply(v1::AgentMessage reply) {
    {
      std::lock_guard lock(mutex_);
      replies_.push_back(std::move(reply));
    }
    changed_.notify_all();
  }

  const DialOptions options_;
  AgentSide& side_;
  std::vector<std::string> targets_;  ///< run()'s, as are the next five
  size_t turn_ = 0;
  std::chrono::steady_clock::time_point away_since_ = std::chrono::steady_clock::now();
  std::chrono::milliseconds patience_{0};
  std::string target_;
  Credentials credentials_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<v1::AgentLink::Stub> stub_;  ///< under mutex_, but for run() itself
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false, welcomed_ = false, broken_ = false;
  grpc::ClientContext* context_ = nullptr;
  std::vector<grpc::ClientContext*> calls_;
  std::string session_, last_error_;
  Outbox outbox_;
  std::deque<v1::AgentMessage> replies_;
  std::vector<std::string> problems_;
  bool problems_new_ = false;
  std::vector<std::unique_ptr<ConsolePump>> consoles_;
  std::vector<std::unique_ptr<TunnelAnswer>> tunnels_;
  Pool requests_;
  Pool disks_;  ///< that are being sent: each takes its time
  std::thread thread_;
};

}  // namespace

std::unique_ptr<AgentConnection> dial(DialOptions options, AgentSide& side) {
  prepare_grpc();
  return std::make_unique<Connection>(std::move(options), side);
}

}  // namespace virga::link
