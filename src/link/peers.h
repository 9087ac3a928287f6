#pragma once
// What controllers ask of each other, over the agent link's port with their own certificates: the console or the log of a
// guest whose host is connected to the other one, its disk or its tunnels if it moves, and the bytes of an image that the other one has.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "link/agent.grpc.pb.h"
#include "link/api.h"
#include "link/status.h"
#include "link/tunnel.h"

namespace virga::link {

/// The peer's certificate, PEM; "" over the unix socket, where gRPC knows none.
template <class Context>
std::string certificate_of(const Context& context) {
  const auto auth = context.auth_context();
  if (!auth) return "";
  const auto found = auth->FindPropertyValues("x509_pem_cert");
  return found.empty() ? "" : std::string(found.front().data(), found.front().size());
}

/// What hosts that are connected to this controller can be asked for.
class HostsHere {
 public:
  virtual ~HostsHere() = default;
  virtual std::shared_ptr<ByteStream> open_console_here(const HostId& host, const ServerId& server, AgentHub::Console kind) = 0;
  virtual std::string console_log_here(const HostId& host, const ServerId& server, size_t max_bytes,
                                       std::chrono::milliseconds timeout) = 0;
  /// Passes a disk's pieces on until there are no more, or nobody takes them (`sink` says false). Throws Fault.
  virtual void send_disk_here(const HostId& host, const ServerId& server, int64_t disk,
                              const std::function<bool(const v1::DiskPiece&)>& sink) = 0;
  /// Has the host answer a tunnel, and passes on between both until it is over; see pump(). Throws Fault.
  virtual bool tunnel_here(const HostId& to, const ServerId& server, const std::string& channel, TunnelEnd& opener) = 0;
};

/// Answers other controllers. Each call holds one of gRPC's threads.
class PeerService final : public v1::ControllerLink::Service {
 public:
  PeerService(HostsHere& hosts, Controller& controller) : hosts_(hosts), controller_(controller) {}
  /// Ends what is under way; nothing is answered from then on.
  void stop();

  grpc::Status Console(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<v1::ConsoleFrame, v1::ConsoleFrame>* stream) override;
  grpc::Status ReadLog(grpc::ServerContext* context, const v1::PeerLogRequest* request, v1::PeerLogReply* reply) override;
  grpc::Status FetchUpload(grpc::ServerContext* context, const v1::PeerUploadRequest* request,
                           grpc::ServerWriter<v1::ImagePiece>* out) override;
  grpc::Status FetchDisk(grpc::ServerContext* context, const v1::PeerDiskRequest* request,
                         grpc::ServerWriter<v1::DiskPiece>* out) override;
  grpc::Status Tunnel(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<v1::TunnelFrame, v1::TunnelFrame>* stream) override;

 private:
  HostsHere& hosts_;
  Controller& controller_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::set<grpc::ServerContext*> open_;
};

/// Asks other controllers. Thread-safe. Throws what they say, Fault(unavailable) if they do not answer.
class Peers {
 public:
  explicit Peers(Credentials credentials) : credentials_(std::move(credentials)) {}
  std::shared_ptr<ByteStream> open_console(const std::string& address, const HostId& host, const ServerId& server,
                                           AgentHub::Console kind);
  std::string console_log(const std::string& address, const HostId& host, const ServerId& server, size_t max_bytes,
                          std::chrono::milliseconds timeout);
  void fetch_upload(const std::string& address, const std::string& upload, const std::function<void(std::string_view)>& sink);
  void fetch_disk(const std::string& address, const HostId& host, const ServerId& server, int64_t disk,
                  const std::function<bool(const v1::DiskPiece&)>& sink);
  bool tunnel(const std::string& address, const HostId& host, const ServerId& server, const std::string& channel, TunnelEnd& opener);

 private:
  std::shared_ptr<grpc::Channel> channel(const std::string& address);

  const Credentials credentials_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace virga::link
