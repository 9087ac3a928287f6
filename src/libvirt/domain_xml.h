#pragma once
// Domain XML from a DomainSpec, and back: pure functions.

#include <optional>
#include <string>

#include "host/hypervisor.h"

namespace virga::libvirt {

inline constexpr const char* kMetadataUri = "https://virga.cloud/xmlns/1";
inline constexpr const char* kMetadataPrefix = "virga";

/// What the host, rather than the server, decides about a domain.
struct DomainStyle {
  std::string virt_type = "qemu";  ///< <domain type=…>: "kvm", "qemu", "test"
  std::string cpu_mode;            ///< <cpu mode=…>, or "" for the default of virt_type
  std::string disk_cache;          ///< <driver cache=…>, or ""
  bool userspace_datapath = false;
};

std::string domain_xml(const host::DomainSpec& spec, const DomainStyle& style);

/// The generation in our metadata element (as virDomainGetMetadata returns it), or nothing if it is not ours.
std::optional<int64_t> generation_of_metadata(const std::string& element_xml);
/// The VNC socket's path in a live domain's XML, or "".
std::string vnc_socket_of_domain(const std::string& domain_xml);
/// host/cpu/model of virConnectGetCapabilities, or "".
std::string cpu_model_of_capabilities(const std::string& capabilities_xml);
/// "a", …, "z", "aa", …: the end of a target device's name.
std::string device_letters(int index);

}  // namespace virga::libvirt
