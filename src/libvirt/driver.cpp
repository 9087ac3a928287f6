#include <unistd.h>

#include <atomic>

#include "base/log.h"
#include "base/unix_socket.h"
#include "libvirt/api.h"
#include "libvirt/connection.h"
#include "libvirt/domain_xml.h"
#include "libvirt/migration.h"
#include "libvirt/migration_gate.h"

namespace virga::libvirt {

using host::Domain;
using host::DomainPower;

namespace {

/// Takes over a string that libvirt allocated.
std::string take(char* text) {
  std::string copy = text ? text : "";
  free(text);
  return copy;
}

/// Where the daemon of a connection's URI listens.
std::string socket_of(const std::string& uri) {
  constexpr std::string_view kKey = "socket=";
  const auto at = uri.find(kKey);
  return at == std::string::npos ? "/run/libvirt/libvirt-sock" : uri.substr(at + kKey.size());
}

DomainPower power_of(int state, int reason) {
  switch (state) {
    case VIR_DOMAIN_SHUTOFF:
      return reason == VIR_DOMAIN_SHUTOFF_CRASHED ? DomainPower::crashed : DomainPower::shutoff;
    case VIR_DOMAIN_CRASHED:
      return DomainPower::crashed;
    case VIR_DOMAIN_PAUSED:
      return DomainPower::paused;
    default:
      return DomainPower::running;  // blocked, being shut down, suspended by the guest: QEMU still runs
  }
}

// The persistent definition tells which generation the next start gets; a domain that only runs has just the
// live one.
std::optional<int64_t> generation_of(virDomainPtr domain) {
  for (unsigned where : {VIR_DOMAIN_AFFECT_CONFIG, VIR_DOMAIN_AFFECT_CURRENT}) {
    char* element = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, kMetadataUri, where);
    if (element) return generation_of_metadata(take(element));
  }
  return std::nullopt;
}

class Driver final : public host::Hypervisor {
 public:
  Driver(Options options, DomainStyle style)
      : options_(std::move(options)), style_(std::move(style)), connection_(options_.uri) {}

  host::HostCapabilities capabilities() override;
  std::vector<Domain> list() override;
  Domain find(const ServerId& id) override;
  void define(const host::DomainSpec& spec) override;
  void start(const ServerId& id) override;
  void shutdown(const ServerId& id) override;
  void destroy(const ServerId& id) override;
  void reboot(const ServerId& id) override;
  void reset(const ServerId& id) override;
  void undefine(const ServerId& id) override;
  void pause(const ServerId& id) override;
  void resume(const ServerId& id) override;
  void migrate(const ServerId& id, const host::MigrationPath& path) override;
  std::optional<MigrationProgress> migration_progress(const ServerId& id) override;
  void cancel_migration(const ServerId& id) override;
  bool hurry_migration(const ServerId& id) override;
  std::string describe_incoming(const host::DomainSpec& spec) override;
  int open_incoming(const host::DomainSpec& spec, host::MigrationChannel channel, const host::MigrationPath& here) override;
  std::string vnc_socket(const ServerId& id) override;
  std::string problem() override { return connection_.problem(); }
  void on_change(std::function<void(const ServerId&)> callback) override {
    connection_.sink().set(std::move(callback));
  }

 private:
  DomainHandle look_up(virConnectPtr connect, const ServerId& id);
  DomainHandle ours_or_null(const ServerId& id, ConnectHandle& connect);
  DomainHandle ours(const ServerId& id, ConnectHandle& connect);
  bool observe(virDomainPtr domain, Domain& out);
  std::string here(std::string path) const;
  std::string there(const std::string& path) const;

  const Options options_;
  const DomainStyle style_;
  Connection connection_;
};

/// Null if there is none.
DomainHandle Driver::look_up(virConnectPtr connect, const ServerId& id) {
  DomainHandle domain(virDomainLookupByUUIDString(connect, id.str().c_str()));
  if (!domain && last_code() != VIR_ERR_NO_DOMAIN && last_code() != VIR_ERR_INVALID_ARG) {
    throw last_fault(fmt::format("look up the domain of server {}", id.str()));
  }
  return domain;
}

DomainHandle Driver::ours_or_null(const ServerId& id, ConnectHandle& connect) {
  connect = connection_.get();
  auto domain = look_up(connect.get(), id);
  if (domain && !generation_of(domain.get())) {
    // Losing the connection in between must not make our own domain look like a stranger's.
    if (last_code() == VIR_ERR_NO_DOMAIN) return nullptr;
    if (last_code() != VIR_ERR_NO_DOMAIN_METADATA) throw last_fault("read the domain's metadata");
    throw Fault(FaultKind::conflict,
                fmt::format("Domain {} is not one of ours: it carries no metadata.", id.str()),
                "Somebody else defined a domain with this UUID; rename or remove it by hand.");
  }
  return domain;
}

DomainHandle Driver::ours(const ServerId& id, ConnectHandle& connect) {
  auto domain = ours_or_null(id, connect);
  if (!domain)
    throw Fault(FaultKind::not_found, fmt::format("Server {} has no domain on this host.", id.str()));
  return domain;
}

/// False if the domain went away meanwhile.
bool Driver::observe(virDomainPtr domain, Domain& out) {
  int state = 0, reason = 0;
  if (virDomainGetState(domain, &state, &reason, 0) < 0) {
    if (last_code() == VIR_ERR_NO_DOMAIN) return false;
    throw last_fault("read a domain's state");
  }
  auto generation = generation_of(domain);
  if (!generation && last_code() == VIR_ERR_NO_DOMAIN) return false;
  if (!generation && last_code() != VIR_ERR_NO_DOMAIN_METADATA) throw last_fault("read a domain's metadata");
  out.id = ServerId(uuid_of(domain));
  out.name = virDomainGetName(domain);
  out.power = power_of(state, reason);
  // Its last moment on the host it leaves looks like its first on the one it comes to.
  if (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_MIGRATION)
    out.power = is_leaving(domain) ? DomainPower::running : DomainPower::arriving;
  out.departed = state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_MIGRATED;
  out.generation = generation.value_or(0);
  out.ours = generation.has_value();
  return true;
}

host::HostCapabilities Driver::capabilities() {
  auto connect = connection_.get();
  host::HostCapabilities out;
  virNodeInfo node;
  if (virNodeGetInfo(connect.get(), &node) < 0) throw last_fault("read the host's size");
  unsigned long version = 0;
  if (virConnectGetVersion(connect.get(), &version) < 0) throw last_fault("read the hypervisor's version");
  const char* type = virConnectGetType(connect.get());
  out.hypervisor = type ? type : "";
  out.virt_type = style_.virt_type;
  out.version = static_cast<int64_t>(version);
  out.cpu_arch = node.model;  // libvirt's node "model" is the architecture
  out.cpu_model = cpu_model_of_capabilities(take(virConnectGetCapabilities(connect.get())));
  out.vcpus = static_cast<int>(node.cpus);
  out.memory = MiB{node.memory / 1024};
  return out;
}

std::vector<Domain> Driver::list() {
  auto connect = connection_.get();
  virDomainPtr* raw = nullptr;
  int count = virConnectListAllDomains(connect.get(), &raw, 0);
  if (count < 0) throw last_fault("list the domains");
  std::vector<DomainHandle> handles(raw, raw + count);
  free(raw);
  std::vector<Domain> out;
  for (const auto& handle : handles) {
    Domain domain;
    if (observe(handle.get(), domain)) out.push_back(std::move(domain));
  }
  return out;
}

Domain Driver::find(const ServerId& id) {
  auto connect = connection_.get();
  Domain out;
  auto domain = look_up(connect.get(), id);
  if (domain && observe(domain.get(), out)) return out;
  Domain absent;
  absent.id = id;
  return absent;
}

void Driver::define(const host::DomainSpec& spec) {
  ConnectHandle connect;
  ours_or_null(spec.id, connect);  // refuses a stranger's domain
  auto xml = domain_xml(spec, style_);
  DomainHandle domain(virDomainDefineXMLFlags(connect.get(), xml.c_str(), 0));
  if (!domain) throw last_fault(fmt::format("define the domain of server {}", spec.id.str()));
}

void Driver::start(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  if (virDomainCreate(domain.get()) == 0) return;
  auto fault = last_fault(fmt::format("start server {}", id.str()));
  if (virDomainIsActive(domain.get()) == 1) return;
  throw fault;
}

// No flags: the guest agent if it is connected, the ACPI button otherwise.
void Driver::shutdown(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours_or_null(id, connect);
  if (!domain || virDomainShutdown(domain.get()) == 0) return;
  // "Domain is not running": it ended meanwhile. If it did not, the caller looks and asks again.
  if (last_code() == VIR_ERR_OPERATION_INVALID || last_code() == VIR_ERR_NO_DOMAIN) return;
  throw last_fault(fmt::format("shut server {} down", id.str()));
}

void Driver::destroy(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours_or_null(id, connect);
  if (!domain || virDomainDestroy(domain.get()) == 0) return;
  if (last_code() == VIR_ERR_OPERATION_INVALID || last_code() == VIR_ERR_NO_DOMAIN) return;  // it ended meanwhile
  throw last_fault(fmt::format("power server {} off", id.str()));
}

void Driver::reboot(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  if (virDomainReboot(domain.get(), 0) < 0) throw last_fault(fmt::format("reboot server {}", id.str()));
}

void Driver::reset(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  if (virDomainReset(domain.get(), 0) < 0) throw last_fault(fmt::format("reset server {}", id.str()));
}

void Driver::undefine(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours_or_null(id, connect);
  if (!domain) return;
  unsigned everything = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                        VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
  if (virDomainUndefineFlags(domain.get(), everything) == 0 || last_code() == VIR_ERR_NO_DOMAIN) return;
  // Some drivers know fewer flags, and a domain that is already transient cannot be undefined again.
  if (last_code() == VIR_ERR_INVALID_ARG && virDomainUndefine(domain.get()) == 0) return;
  auto fault = last_fault(fmt::format("undefine server {}", id.str()));
  if (virDomainIsPersistent(domain.get()) == 0) return;
  throw fault;
}

void Driver::pause(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  if (virDomainSuspend(domain.get()) < 0) throw last_fault(fmt::format("pause server {}", id.str()));
}

void Driver::resume(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  if (virDomainResume(domain.get()) < 0) throw last_fault(fmt::format("let server {} run on", id.str()));
}

void Driver::migrate(const ServerId& id, const host::MigrationPath& path) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  libvirt::migrate(domain.get(), {there(path.control), there(path.memory), there(path.disk), path.description});
}

std::optional<MigrationProgress> Driver::migration_progress(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours_or_null(id, connect);
  return domain ? leaving_progress(domain.get()) : std::nullopt;
}

void Driver::cancel_migration(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours_or_null(id, connect);
  if (domain && is_leaving(domain.get()) && virDomainAbortJob(domain.get()) < 0 && last_code() != VIR_ERR_OPERATION_INVALID)
    throw last_fault(fmt::format("end the move of server {}", id.str()));
}

// A guest that stands still changes no memory, so the rest of it is soon over there; it runs on there.
bool Driver::hurry_migration(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  Domain now;
  if (!observe(domain.get(), now) || now.power != DomainPower::running || !is_leaving(domain.get())) return false;
  if (virDomainSuspend(domain.get()) == 0) return true;
  if (last_code() == VIR_ERR_OPERATION_INVALID) return false;  // it is over just now
  throw last_fault(fmt::format("let server {} stand still", id.str()));
}

std::string Driver::describe_incoming(const host::DomainSpec& spec) {
  auto described = spec;
  described.generation = 0;  // of no definition of this host's
  return domain_xml(described, style_);
}

int Driver::open_incoming(const host::DomainSpec& spec, host::MigrationChannel channel, const host::MigrationPath& paths) {
  switch (channel) {
    case host::MigrationChannel::memory:
      return connect_unix(paths.memory);
    case host::MigrationChannel::disk:
      return connect_unix(paths.disk);
    case host::MigrationChannel::control:
      break;
  }
  return open_gate(socket_of(options_.uri), {spec.name, describe_incoming(spec), "unix://" + there(paths.memory), "unix://" + there(paths.disk)});
}

std::string Driver::here(std::string path) const {
  for (const auto& [theirs, mine] : options_.path_map) {
    if (path.compare(0, theirs.size(), theirs) == 0) return mine + path.substr(theirs.size());
  }
  return path;
}

/// As libvirtd sees it.
std::string Driver::there(const std::string& path) const {
  for (const auto& [theirs, mine] : options_.path_map) {
    if (path.starts_with(mine)) return theirs + path.substr(mine.size());
  }
  return path;
}

std::string Driver::vnc_socket(const ServerId& id) {
  ConnectHandle connect;
  auto domain = ours(id, connect);
  auto not_running = Fault(FaultKind::conflict, fmt::format("Server {} is not running.", id.str()),
                           "Start the server, then open its console.");
  if (virDomainIsActive(domain.get()) != 1) throw not_running;
  char* xml = virDomainGetXMLDesc(domain.get(), 0);
  if (!xml) throw last_fault(fmt::format("read the domain of server {}", id.str()));
  auto path = vnc_socket_of_domain(take(xml));
  if (path.empty()) throw not_running;
  return here(path);
}

std::string resolve_virt_type(const Options& options) {
  if (options.virt_type != "auto") return options.virt_type;
  bool kvm = options.kvm_usable && options.kvm_usable();
  if (!kvm) log::warn("KVM is not usable on this host: guests run under TCG, several times slower");
  return kvm ? "kvm" : "qemu";
}

}  // namespace

std::unique_ptr<host::Hypervisor> connect(Options options) {
  DomainStyle style;
  style.virt_type = resolve_virt_type(options);
  style.cpu_mode = options.cpu_mode;
  style.disk_cache = options.disk_cache;
  style.userspace_datapath = options.userspace_datapath;
  return std::make_unique<Driver>(std::move(options), std::move(style));
}

}  // namespace virga::libvirt
