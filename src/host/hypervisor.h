#pragma once
// What the agent needs of a hypervisor. Implemented by src/libvirt (QEMU through libvirt) and by the fake in
// fake_hypervisor.cpp (chosen in the configuration, for benches and API tests). Knows only base.
//
// All calls block, are thread-safe, and may be repeated: define replaces, start of a running domain and destroy or
// undefine of an absent one succeed. They throw Fault; `kind` unavailable means "try again later".

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fault.h"
#include "base/ids.h"
#include "base/migration_progress.h"
#include "base/units.h"

namespace virga::host {

/// arriving: it comes from another host, as it runs there, and does not run here yet.
enum class DomainPower { absent, shutoff, running, paused, crashed, arriving };

struct DiskSpec {
  std::string path;
  std::string format = "qcow2";   ///< "raw" or "qcow2"
  std::string bus = "virtio";     ///< "virtio", "sata", "ide", "scsi"
  std::string device = "disk";    ///< "disk" or "cdrom"
  bool read_only = false;
  std::string serial;             ///< guest-visible serial, or ""
};

struct NicSpec {
  PortId port;                    ///< OVS interface-id
  std::string mac;
  int mtu = 1442;
  std::string bridge = "br-int";
  std::string tap;                ///< "tap" + first 11 characters of the port id
};

/// Everything a domain is made of; two equal specs give the same domain.
struct DomainSpec {
  ServerId id;
  int64_t generation = 0;
  std::string name;               ///< "instance-0000002a"
  std::string title, project_id, user_id, flavor_name;
  int vcpus = 1;
  MiB memory{64};
  std::string kernel, initrd, command_line;  ///< files for direct kernel boot, or ""
  std::vector<DiskSpec> disks;
  std::vector<NicSpec> nics;
  std::string console_log;        ///< file that gets the serial console's output
  std::string serial_socket;      ///< unix socket of the serial console (one client at a time: the agent multiplexes)
};

struct Domain {
  ServerId id;                    ///< the domain's UUID
  std::string name;
  DomainPower power = DomainPower::absent;
  int64_t generation = 0;         ///< from our metadata in the domain
  bool ours = false;              ///< carries our metadata; anything else is left alone
  bool departed = false;          ///< shut off because it runs on another host since
};

/// How a domain that moves as it runs reaches the hypervisor of the other host: sockets on this host behind which that one's
/// are, and what that one wants it to be there (see describe_incoming).
struct MigrationPath {
  std::string control, memory, disk;
  std::string description;
};
/// Those three.
enum class MigrationChannel { control, memory, disk };

struct HostCapabilities {
  std::string hypervisor;         ///< "QEMU" or "fake"
  std::string virt_type;          ///< "kvm" or "qemu"
  int64_t version = 0;            ///< libvirt's number of the hypervisor: 7002000
  std::string cpu_model, cpu_arch;
  int vcpus = 0;
  MiB memory;
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;
  virtual HostCapabilities capabilities() = 0;
  virtual std::vector<Domain> list() = 0;
  virtual Domain find(const ServerId& id) = 0;     ///< power absent if there is none
  virtual void define(const DomainSpec& spec) = 0;
  virtual void start(const ServerId& id) = 0;
  virtual void shutdown(const ServerId& id) = 0;   ///< asks the guest (ACPI); returns at once
  virtual void destroy(const ServerId& id) = 0;    ///< power off
  virtual void reboot(const ServerId& id) = 0;     ///< asks the guest
  virtual void reset(const ServerId& id) = 0;      ///< hard reset without the guest's help
  virtual void undefine(const ServerId& id) = 0;
  virtual void pause(const ServerId& id) = 0;      ///< the guest stands still
  virtual void resume(const ServerId& id) = 0;
  /// Moves a running domain to another host while it runs, with its disks. Returns when it runs there and no longer here, or
  /// throws: then it still runs here, and is gone there. The definition stays.
  virtual void migrate(const ServerId& id, const MigrationPath& path) = 0;
  virtual std::optional<MigrationProgress> migration_progress(const ServerId& id) = 0;  ///< nothing if it does not move
  virtual void cancel_migration(const ServerId& id) = 0;  ///< no effect if it does not move
  /// Lets a guest that runs stand still until it is over there, so that it soon is. False if there was nothing to hurry.
  virtual bool hurry_migration(const ServerId& id) = 0;
  /// The other end: what a domain that comes will be here, for the other host's hypervisor.
  virtual std::string describe_incoming(const DomainSpec& spec) = 0;
  /// A connected socket of that channel, for the domain of `spec` and no other; the caller's to close. `here`: where its QEMU
  /// listens for memory and disk, the same files as on the other host.
  virtual int open_incoming(const DomainSpec& spec, MigrationChannel channel, const MigrationPath& here) = 0;
  virtual std::string vnc_socket(const ServerId& id) = 0;  ///< path; throws Fault(conflict) if not running
  /// Why it cannot work at all now; "" if it can. Never blocks.
  virtual std::string problem() { return {}; }
  /// Called from the hypervisor's event thread whenever a domain may have changed. Set once, before other calls.
  virtual void on_change(std::function<void(const ServerId&)> callback) = 0;
};

}  // namespace virga::host
