#pragma once
// The agent link: one outbound gRPC connection from each agent to a controller (a unix socket on the same
// machine, mTLS otherwise). gRPC is seen only in this room; everybody else sees the plain types below.
//
// Level-triggered: the controller sends an *assignment* (what should be on the host), the agent reports what
// it *observes*; either may be repeated or lost without harm. Absence never destroys: an agent removes a
// domain only on an explicit tombstone (State::absent) with the server's id and generation.
//
// Over TCP both ends prove who they are (TLS 1.2 or later, certificates of the cloud's own CA); on the unix socket, which
// root alone may use, nobody needs to.
//
// Threads: Controller's functions are called from gRPC threads and must be thread-safe. AgentHub is
// thread-safe.

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fault.h"
#include "base/ids.h"
#include "base/migration_progress.h"
#include "base/units.h"

namespace virga::link {

/// The link's minor version: what this program speaks.
constexpr int kLinkMinor = 5;
/// Agents from these versions on know servers that move as they run, such as are paused, images that are fetched ahead, and report
/// traits.
constexpr int kLiveMigrationMinor = 4, kPauseMinor = 4, kPrefetchMinor = 5, kTraitsMinor = 5;

/// A bootable image as the agent's cache must hold it.
struct ImageRef {
  ImageId id;
  std::string format;  ///< "raw", "qcow2", "aki", "ari": as detected from the bytes, and boot insists on it
  uint64_t size = 0;   ///< bytes
  std::string sha512;  ///< os_hash_value; the cache verifies it
};

struct Nic {
  PortId port;  ///< also the OVN logical switch port's name (iface-id)
  NetworkId network;
  std::string mac;
  int mtu = 1442;
  // The network's metadata port (OVN localport), empty if the network has none.
  PortId metadata_port;
  std::string metadata_mac;
  std::string metadata_cidr;  ///< "10.0.0.2/24"
};

/// Something to do once that is not a state: kind is "reboot_soft", "reboot_hard", or "migrate_live": the domain moves, as
/// it runs, to the host that has it as State::incoming. "migrate_live_abort" and "migrate_live_force" are the same operation,
/// with what is wished of it meanwhile: to end it, or to end it soon by letting the guest stand still.
struct Action {
  OperationId operation;
  int64_t fence = 0;
  std::string kind;
};

struct ConfigDriveFile {
  std::string path;  ///< "openstack/latest/meta_data.json"
  std::string content;
};

/// A disk of a server, on the host that has it.
struct DiskSource {
  HostId host;
  int64_t disk = 0;
  friend bool operator==(const DiskSource&, const DiskSource&) = default;
};

struct DesiredServer {
  /// incoming: its domain comes here as it runs, from another host; everything for it is made ready, and nothing is started.
  /// paused: it is on, and its guest stands still.
  enum class State { running, stopped, absent, incoming, paused };
  ServerId id;
  int64_t generation = 0;  ///< of the desired state; grows with each change
  int64_t fence = 0;  ///< an agent refuses anything with a smaller fence than it has seen for this server
  State state = State::running;
  std::string name;           ///< the user's name, for the domain's title
  std::string instance_name;  ///< domain name: "instance-0000002a"
  std::string project_id, user_id, flavor_name;
  int vcpus = 1;
  MiB memory{64};
  GiB root_disk{0};  ///< 0: the image's own size
  std::optional<ImageRef> image, kernel, ramdisk;
  std::string kernel_command_line;  ///< used with `kernel`
  std::vector<Nic> nics;
  bool config_drive = false;
  std::vector<ConfigDriveFile> config_drive_files;
  std::vector<Action> actions;
  /// With which generation it came to this host: what was applied here before (it was here once, and left) does not count.
  int64_t placed_generation = 0;
  /// Which root disk: each resize and each move to another host makes the next one, and the one before stays until the
  /// change is confirmed.
  int64_t disk = 0;
  std::optional<DiskSource> disk_source;  ///< what the root disk is a copy of, if it is not there yet
  std::vector<int64_t> old_disks;         ///< to be removed here
};

/// An image that the host is to have before a server there needs it. Its end is an ActionReport.
struct Prefetch {
  OperationId operation;
  int64_t fence = 0;
  ImageRef image;
};

struct Assignment {
  int64_t epoch =
      0;  ///< cloud epoch; an agent refuses one that went backwards (a database restored from yesterday)
  bool full = false;  ///< all of the host's servers (at connect), or only those listed changed
  std::vector<DesiredServer> servers;
  std::vector<Prefetch> prefetches = {};  ///< full: all of the host's, else more of them
};

enum class Power { unknown, absent, shutoff, running, paused, crashed };

/// One step an agent took for a server, for the operation's timeline and `virga explain`.
struct StepReport {
  std::string
      step;  ///< "image", "disk", "config_drive", "define", "start", "stop", "undefine", "disk_removed", …
  bool ok = true;
  std::string message;  ///< cause when not ok
  int64_t at_us = 0;    ///< wall clock, microseconds since the epoch
  int64_t took_us = 0;
};

struct ObservedServer {
  ServerId id;
  Power power = Power::unknown;
  int64_t generation = 0;         ///< last desired generation that is fully applied; 0 if none
  int64_t failed_generation = 0;  ///< last desired generation that could not be applied, with its cause
  std::string cause, hint;
  bool permanent = false;         ///< retrying cannot help (a broken image): the server goes to ERROR
  bool quarantined = false;       ///< found on the host, in no assignment
  std::vector<StepReport> steps;  ///< since the last report
  std::optional<MigrationProgress> migration;  ///< while it moves
};

struct ActionReport {
  OperationId operation;
  int64_t fence = 0;
  bool ok = true;
  std::string message;
};

struct HostFacts {
  HostId id;  ///< stable: kept in the agent's state directory
  std::string hostname;
  std::string address;             ///< tunnel address
  std::string chassis;             ///< OVN chassis name (system-id)
  std::string hypervisor;          ///< "QEMU" or "fake"
  std::string virt_type;           ///< "kvm" or "qemu"
  int64_t hypervisor_version = 0;  ///< libvirt's number: 7002000
  std::string cpu_model, cpu_arch;
  int vcpus = 0;
  MiB memory;
  GiB disk;
  int64_t seen_epoch = 0;  ///< highest cloud epoch this agent has accepted
  std::vector<std::string> traits = {};  ///< standard ones: "HW_CPU_X86_AVX2", "COMPUTE_NODE"
  int link_minor = kLinkMinor;  ///< which version of the link its agent speaks
};

/// One end's proof, PEM: whom it trusts, its certificate, its key.
struct Credentials {
  std::string ca, certificate, key;
  friend bool operator==(const Credentials&, const Credentials&) = default;
};
/// The name that each controller's certificate has, besides its own.
constexpr const char* kControllerName = "controller.virga";

/// Reads an image's bytes for an agent.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual size_t read(std::span<char> buffer) = 0;  ///< 0 at the end
};

/// Takes an image as it comes: pieces in their order, with where each begins. It begins at 0 if the other end cannot begin
/// where it was asked to.
using ImageSink = std::function<void(uint64_t at, std::string_view bytes)>;

/// Two-way bytes of one console; thread-safe.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual bool write(std::string_view bytes) = 0;  ///< false once closed
  virtual void close() = 0;
  /// Set once, before any byte arrives: pieces from the far end; empty = it closed.
  virtual void on_bytes(std::function<void(std::string_view)> receive) = 0;
};

struct MetadataRequest {
  NetworkId network;
  std::string source_address;
  std::string method, path;
  std::string body;
};
struct MetadataReply {
  int status = 404;
  std::string content_type = "text/plain";
  std::string body;
};

/// What the link asks of the control plane. Implemented by compute.
class Controller {
 public:
  virtual ~Controller() = default;
  /// Whether who came with this certificate (PEM; "": over the unix socket) may speak for the host of these facts. Asked
  /// before anything is changed for that host. Throws Fault(forbidden) if not.
  virtual void admit(const HostFacts& facts, const std::string& certificate) = 0;
  /// A host came (or came back). Returns its full assignment. Throws Fault(forbidden) to refuse it.
  virtual Assignment connect(const HostFacts& facts) = 0;
  /// `problems`: what keeps the host from its work now, in words; what is not in it is over. Must neither wait nor throw: it is
  /// called from the threads that read from all agents.
  virtual void heartbeat(const HostId& host, const std::vector<std::string>& problems) = 0;
  /// `full`: the report lists everything on the host.
  virtual void observe(const HostId& host, bool full, const std::vector<ObservedServer>& servers,
                       const std::vector<ActionReport>& actions) = 0;
  virtual void disconnected(const HostId& host) = 0;
  /// `from`: the first byte that is wanted. Throws Fault(forbidden) if the host has no business with it.
  virtual std::unique_ptr<ByteSource> open_image(const HostId& host, const ImageId& image, uint64_t from) = 0;
  virtual MetadataReply metadata(const HostId& host, const MetadataRequest& request) = 0;
  /// Which host is to send this disk to `host`. Throws Fault(forbidden) unless the server is moving there from it.
  virtual HostId disk_source(const HostId& host, const ServerId& server, int64_t disk) = 0;
  /// To which host `from` may open a tunnel for this server. Throws Fault(forbidden) unless the server is moving there from
  /// it, as it runs.
  virtual HostId tunnel_end(const HostId& from, const ServerId& server) {
    throw Fault(FaultKind::forbidden, fmt::format("server {} does not move from host {}", server.str(), from.str()));
  }
  /// Another certificate (PEM) for the host, for this request (PKCS #10, PEM). Throws Fault.
  virtual std::string renew(const HostId& host, const std::string& request) = 0;
  /// The bytes of an image's upload that this controller has, for another one. Throws Fault(not_found).
  virtual std::unique_ptr<ByteSource> open_upload(const std::string& upload) {
    throw Fault(FaultKind::not_found, "no upload " + upload + " here");
  }
};

/// The controller's side of all connected agents. Consoles and logs of a host that is connected to another controller come
/// through that one (ServeOptions::controller_of).
class AgentHub {
 public:
  virtual ~AgentHub() = default;
  virtual bool connected(const HostId& host) const = 0;
  /// Sends a change; false if the host is not connected (its next connect gets the full assignment anyway).
  virtual bool push(const HostId& host, const Assignment& change) = 0;
  /// Ends the host's connection; whether it may come back is the controller's to say.
  virtual void disconnect(const HostId& host, const std::string& why) = 0;
  /// Tells the agents that are connected which controllers live, if that is not what they were told last.
  virtual void tell_controllers() {}
  enum class Console { vnc, serial };
  /// Asks the agent to open a console stream. Throws Fault(conflict) with the cause.
  virtual std::shared_ptr<ByteStream> open_console(const HostId& host, const ServerId& server,
                                                   Console kind) = 0;
  /// The last `max_bytes` of the console log, through the agent. Throws Fault(unavailable) after `timeout`.
  virtual std::string console_log(const HostId& host, const ServerId& server, size_t max_bytes,
                                  std::chrono::milliseconds timeout = std::chrono::milliseconds(10000)) = 0;
  /// Streams an upload's bytes from the controller at that address. Throws Fault if it fails midway.
  virtual void fetch_upload(const std::string& address, const std::string& upload,
                            const std::function<void(std::string_view)>& sink) {
    (void)sink;
    throw Fault(FaultKind::unavailable, "there is no way to " + address + " for upload " + upload);
  }
};

struct ServeOptions {
  std::string unix_socket;
  std::string address;  ///< "192.0.2.1:5001"; "": the unix socket only
  Credentials credentials;  ///< for the address
  /// Address of the living controller that a host is connected to; "" = of none other.
  std::function<std::string(const HostId&)> controller_of = {};
  /// Addresses of all living controllers, which agents are told when they come, and by tell_controllers().
  std::function<std::vector<std::string>()> controllers = {};
};
/// Serves the link. `controller` must outlive it. `AgentHub` is usable at once; destruction closes all agents' streams.
/// Throws Fault(conflict) if it cannot listen.
std::unique_ptr<AgentHub> serve(const ServeOptions& options, Controller& controller);

/// What the agent implements.
class AgentSide {
 public:
  virtual ~AgentSide() = default;
  virtual HostFacts facts() = 0;
  /// Called at connect with the full assignment, then with changes. Quick: it only wakes the loop.
  virtual void assigned(const Assignment& assignment) = 0;
  virtual std::string console_log(const ServerId& server, size_t max_bytes) = 0;
  /// Connects a console; throws Fault(conflict) if there is none.
  virtual std::shared_ptr<ByteStream> open_console(const ServerId& server, AgentHub::Console kind) = 0;
  /// A disk of a server that does not run, for the host it moves to. Throws Fault(conflict) if it must not be read now.
  struct Disk {
    uint64_t size = 0;
    std::unique_ptr<ByteSource> bytes;
  };
  virtual Disk open_disk(const ServerId& server, int64_t disk) = 0;
  /// One channel of a server that is coming here as it runs: a connected socket, the caller's to close. Throws
  /// Fault(conflict) if the server is not coming.
  virtual int open_tunnel(const ServerId& server, const std::string& channel) {
    throw Fault(FaultKind::conflict, fmt::format("this host has no {} for server {}", channel, server.str()));
  }
};

/// The agent's connection: reconnects for ever with jittered back-off (50 ms to 5 s), re-sends facts and a
/// full observation each time.
class AgentConnection {
 public:
  virtual ~AgentConnection() = default;
  virtual bool connected() const = 0;
  /// Queued while disconnected: only the newest observation of each server is kept, all action reports are.
  virtual void report(bool full, std::vector<ObservedServer> servers, std::vector<ActionReport> actions) = 0;
  /// All that keeps this host from its work now; sent at once if it differs from the last.
  virtual void problems(std::vector<std::string> all) = 0;
  /// Streams an image to `sink`, from this byte on. Throws Fault if it fails midway.
  virtual void fetch_image(const ImageId& image, uint64_t from, const ImageSink& sink) = 0;
  /// Streams a disk of a server that moves here to `sink`. Throws Fault if it does not come whole.
  virtual void fetch_disk(const ServerId& server, int64_t disk, const std::function<void(std::string_view)>& sink) = 0;
  /// Passes bytes between the connected socket and the same channel at the host that the server moves to, until both
  /// directions have ended or it breaks. Closes nothing. Throws Fault if it breaks.
  virtual void tunnel(const ServerId& server, const std::string& channel, int socket) = 0;
  virtual MetadataReply metadata(const MetadataRequest& request) = 0;
  /// Asks for another certificate (PEM). Throws Fault.
  virtual std::string renew(const std::string& request) = 0;
  /// Why the last attempt failed; "" while connected.
  virtual std::string problem() const = 0;
};
struct DialOptions {
  /// "unix:/run/virga/agent.sock", "192.0.2.1:5001". With several: the next one after each failure.
  std::vector<std::string> targets;
  /// Asked at each connect over TCP, so that a new certificate is used from then on.
  std::function<Credentials()> credentials = {};
  /// Told what controllers there are, if they differ from the targets, which they replace (over TCP only).
  std::function<void(const std::vector<std::string>&)> learned = {};
};
/// `side` must outlive the connection.
std::unique_ptr<AgentConnection> dial(DialOptions options, AgentSide& side);

}  // namespace virga::link
