#pragma once
// What the proof of concept looks like (lab/poc.h), as pure functions: its two machines, their addresses, the files of their
// image, their QEMU's command line, the settings of their cloud.

#include <array>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"

namespace virga::lab {

inline constexpr const char* kPocNamespace = "virga-poc";  ///< network namespace of both networks
inline constexpr const char* kPocPackages =
    "/var/cache/virga/guest-packages";              ///< in a machine: the tiny guest's packages
inline constexpr const char* kCheckpoint = "fresh";  ///< name of the snapshot with memory

struct PocMachine {
  std::string name;             ///< its hostname
  std::string nat, priv;        ///< its addresses in both networks
};

struct PocShape {
  PocMachine controller{"controller", "192.168.122.100", "192.168.90.100"};
  PocMachine compute{"compute", "192.168.122.110", "192.168.90.110"};
  int memory_mib = 2048;  ///< of each
  int disk_gib = 10;
  int vcpus = 2;

  std::array<const PocMachine*, 2> machines() const { return {&controller, &compute}; }
};

/// Throws Fault(bad_request) that says what does not fit: names, addresses, sizes.
void check_shape(const PocShape& shape);
json::object to_json(const PocShape& shape);
PocShape shape_of_json(const json::object& o);
/// The machine of that name. Throws Fault(not_found) that names both.
const PocMachine& find_machine(const PocShape& shape, const std::string& name);

/// The router of a machine's NAT network, and this host's address in both: "192.168.122.1" for "192.168.122.100".
std::string gateway_of(const std::string& address);

/// A network device of a machine.
struct PocNic {
  std::string network;  ///< "nat" or "private"
  std::string device;   ///< in the machine: "nat0"
  std::string tap;      ///< in the namespace: "poc1-nat"
  std::string bridge;   ///< in the namespace: "br-nat"
  std::string mac;
  std::string address;
};
std::array<PocNic, 2> nics_of(const PocShape& shape, const PocMachine& machine);

/// Packages of the system beside those that Virga's package depends on.
const std::vector<std::string>& system_packages();
/// The names in a Depends field: "libc6 (>= 2.36), a | b" gives libc6 and a.
std::vector<std::string> names_of_depends(const std::string& depends);

struct ImageFile {
  std::string content;
  int mode = 0644;
};
/// What both machines' image has beyond Debian's packages, by path. One image serves both: a machine takes its addresses by the
/// MACs of its devices, and its name from the kernel's command line until its first boot has written it down.
std::map<std::string, ImageFile> image_files(const PocShape& shape, const std::string& public_key);
/// Units that the image enables, and those that it masks: the distribution's own OVN, Open vSwitch and libvirt, in whose
/// place Virga starts its own, and what wakes up on a timer.
const std::vector<std::string>& enabled_units();
const std::vector<std::string>& masked_units();

/// virga.toml of the controller.
std::string poc_settings(const PocShape& shape);

/// Where the files of a machine lie.
struct PocFolders {
  PocFolders(const std::string& folder, const std::string& machine);
  std::string root;
  std::string disk;        ///< qcow2 on the common image
  std::string console;     ///< what its serial console printed
  std::string serial;      ///< unix socket of that console
  std::string monitor;     ///< unix socket of QEMU's monitor
  std::string log;         ///< of QEMU itself
  std::string pid;
  std::string checkpoint;  ///< exists once its snapshot does
  std::string restore;     ///< exists from when it is to go back to that until it has
  std::string join;        ///< what `virga token create` said for it, until it has joined
};

struct QemuChoice {
  bool kvm = false;
  std::string run_as;          ///< user that QEMU becomes; "" = it stays who it is
  bool from_checkpoint = false;
};
std::vector<std::string> qemu_command(const std::string& folder, const PocShape& shape, const PocMachine& machine,
                                      const QemuChoice& choice);

/// ssh as root to a machine, from inside the namespace. `command` empty: a shell.
std::vector<std::string> ssh_command(const std::string& folder, const PocMachine& machine,
                                     const std::vector<std::string>& command);
/// One word of a shell's command line that stands for `word` as it is.
std::string shell_quoted(const std::string& word);

}  // namespace virga::lab
