#pragma once
// A domain's XML on its way to another host: pure functions.
//
// Devices keep their addresses, or the guest would not find them where they were; but files, sockets, devices of the network
// and our metadata are the new host's. So the new host says what it would make of the server (its domain_xml, "the
// description"), the old one puts that into the live domain's XML, and the new one takes nothing of what comes that differs
// from its description: who sends it may be anybody who has taken over a host.

#include <optional>
#include <string>

namespace virga::libvirt {

/// `live`: virDomainGetXMLDesc(VIR_DOMAIN_XML_MIGRATABLE). Throws Fault(bad_request) if one has a device the other lacks.
std::string outgoing_xml(const std::string& live, const std::string& description);

/// Why a domain that another host's hypervisor wants to start here is not the one of the description; nothing if it is.
std::optional<std::string> why_not_incoming(const std::string& xml, const std::string& description);

}  // namespace virga::libvirt
