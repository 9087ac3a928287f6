#pragma once
// Disk images and what QEMU needs around them: what the bytes of an image really are, overlay disks on a
// cached base image, config drives, whether KVM can really run a guest, and the tiny guest built from Debian
// packages.
//
// An image is untrusted: its header is read by our own bounded parser, never by qemu-img, and a file that
// names another file (backing file, data file, extent list) is reported, so that a boot can refuse it before
// any QEMU opens it. qemu-img runs only on images that passed, with limits on CPU time, memory and wall
// clock.
//
// Everything here is a plain function or value, without state of its own; any thread may call it. All throw
// Fault.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/fault.h"
#include "base/units.h"

namespace virga::qemu {

/// What the bytes of an image really are.
struct ImageInfo {
  /// "raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso", "luks", "qed", "qcow" (version 1); "raw" if nothing
  /// else is known.
  std::string format;
  uint64_t virtual_size = 0;  ///< bytes the guest sees; the file's size for formats we do not read in depth
  bool names_other_file =
      false;               ///< backing file, external data file, or a descriptor that lists other files
  std::string other_file;  ///< its name, if it stood within what we read; printable, at most 1023 bytes
  bool encrypted = false;  ///< qcow2 with AES or LUKS, or a plain LUKS container
  std::string problem;     ///< why a boot must refuse these bytes, in a sentence; "" if nothing is wrong
};

/// Reads an image's header from the bytes of an upload as they pass by. Keeps at most `window` bytes; never
/// fails on bad bytes (they are reported in ImageInfo::problem). One object per stream; not thread-safe.
class ImageInspector {
 public:
  static constexpr size_t window = 128 * 1024;
  void feed(std::string_view bytes);
  /// Call once after the last byte; `total_size` is what was uploaded.
  ImageInfo finish(uint64_t total_size) const;

 private:
  void keep_vhd_footer(std::string_view bytes);
  std::string head_;
  std::string tail_;  ///< the last 512 bytes: a fixed VHD has nothing but a footer
};

/// The same for a file. Throws Fault(not_found) if it cannot be read.
ImageInfo probe_image(const std::string& path);

/// Refuses with Fault(bad_request) an image whose bytes are not what `disk_format` says, or that no boot may
/// open. "raw" declared and "iso" found is a match (an ISO is a raw disk image).
void require_bootable(const ImageInfo& info, std::string_view disk_format);

/// Creates a qcow2 overlay on an image of ours. An existing overlay at that path is replaced. `virtual_size`
/// must not be smaller than the base's. The base is only read, for its size.
void create_overlay(const std::string& base_path, std::string_view base_format,
                    const std::string& overlay_path, Bytes virtual_size);
/// Puts an overlay that came from another machine onto this machine's copy of its base. The base that it names is wiped
/// from its header before any QEMU opens it. Throws Fault(bad_request) if it is no qcow2 overlay or names yet another file.
void adopt_overlay(const std::string& overlay_path, const std::string& base_path, std::string_view base_format);
/// Creates an empty qcow2 disk (ephemeral disks, volumes).
void create_empty(const std::string& path, Bytes virtual_size);
/// Grows an offline qcow2 or raw image.
void grow_image(const std::string& path, std::string_view format, Bytes virtual_size);
/// Converts an image that passed require_bootable; compressed clusters if `compress`.
void convert_image(const std::string& from, std::string_view from_format, const std::string& to,
                   std::string_view to_format, bool compress = false,
                   std::chrono::seconds timeout = std::chrono::minutes(30));

/// Writes an ISO 9660 image with Rock Ridge and Joliet and the label "config-2", as cloud-init looks for it.
/// `files` maps paths within the image ("openstack/latest/meta_data.json") to their content. Replaces the
/// file atomically; mode 0644, owner as the process (libvirt gives it to QEMU's user when the domain starts).
void write_config_drive(const std::string& path, const std::map<std::string, std::string>& files);

/// Whether KVM can really run a guest here, and why not.
struct KvmProbe {
  bool usable = false;
  std::string reason;
};
/// Runs a few real-mode and protected-mode guest instructions on /dev/kvm in a child process, within
/// `deadline`.
KvmProbe probe_kvm(std::chrono::milliseconds deadline = std::chrono::seconds(2));
/// Boots a kernel under QEMU with KVM until it prints on its serial console, within `deadline`. The second
/// stage: there are machines where the first passes and a stock kernel spins for ever.
KvmProbe probe_kvm_boot(const std::string& kernel, const std::string& initrd,
                        std::chrono::milliseconds deadline = std::chrono::seconds(15));

/// What a QEMU answers to a command of its human monitor ("savevm NAME"), asked over its QMP socket; "" if it has nothing to
/// say. Throws Fault(unavailable) if no QEMU is there, Fault(timeout), or Fault(internal) if it knows no such command.
std::string monitor_command(const std::string& socket_path, const std::string& command,
                            std::chrono::milliseconds timeout = std::chrono::minutes(5));

/// How the tiny guest is to be built.
struct TinyGuestOptions {
  std::string out_dir;      ///< gets vmlinuz, initrd and tiny.qcow2
  std::string package_dir;  ///< cache of Debian packages; a second build needs no network
  std::string user = "virga";
  std::string password = "virga123";  ///< of `user`, on the console and over SSH
  MiB disk_size{112};                 ///< virtual size of tiny.qcow2; the guest grows into a larger disk
};
/// The files of a tiny guest. `checksum` is a sha256 over the content that went in: equal inputs, equal
/// checksum.
struct TinyGuest {
  std::string kernel, initrd, disk;
  std::string kernel_version;  ///< "6.1.0-40-cloud-amd64"
  std::string checksum;
  std::string command_line;  ///< "root=/dev/vda1 console=tty0 console=ttyS0 …" for a direct kernel boot
};
/// It needs 80 MiB of memory to boot (Debian's cloud kernel); its config drive must be an IDE, SCSI or virtio
/// disk, since that kernel has no SATA driver. Builds the tiny guest (busybox, dropbear, curl, guest agent
/// and Debian's cloud kernel) in seconds. If out_dir holds the result of an equal build it is returned as it
/// is.
TinyGuest build_tiny_guest(const TinyGuestOptions& options,
                           const std::function<void(std::string_view)>& progress);

}  // namespace virga::qemu
