// Devices, addresses and routes over rtnetlink (the second half of netns.h).

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/fault.h"
#include "base/netns.h"
#include "base/scope_exit.h"

namespace virga::netns {
namespace {

/// One rtnetlink request under construction.
class Message {
 public:
  template <class Body>
  Message(uint16_t type, uint16_t flags, const Body& body) : bytes_(NLMSG_SPACE(sizeof(Body)), '\0') {
    nlmsghdr* h = header();
    h->nlmsg_type = type;
    h->nlmsg_flags = flags;
    std::memcpy(NLMSG_DATA(h), &body, sizeof body);
  }

  void add(uint16_t type, const void* data, size_t size) {
    const size_t at = bytes_.size();
    bytes_.resize(at + RTA_SPACE(size));
    auto* attribute = reinterpret_cast<rtattr*>(bytes_.data() + at);
    attribute->rta_type = type;
    attribute->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
    if (size) std::memcpy(RTA_DATA(attribute), data, size);
  }
  void add(uint16_t type, const std::string& text) { add(type, text.c_str(), text.size() + 1); }
  void add(uint16_t type, uint32_t number) { add(type, &number, sizeof number); }
  /// Opens a nested attribute; `end(begin(...))` closes it.
  size_t begin(uint16_t type) {
    const size_t at = bytes_.size();
    add(type, nullptr, 0);
    return at;
  }
  void end(size_t at) {
    reinterpret_cast<rtattr*>(bytes_.data() + at)->rta_len = static_cast<uint16_t>(bytes_.size() - at);
  }
  template <class Body>
  void append(const Body& body) {
    bytes_.append(reinterpret_cast<const char*>(&body), sizeof body);
  }
  const std::string& finish() {
    header()->nlmsg_len = static_cast<uint32_t>(bytes_.size());
    return bytes_;
  }

 private:
  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  std::string bytes_;
};

using Visit = std::function<void(const nlmsghdr*)>;

/// An rtnetlink socket; it stays in the namespace in which it was opened.
class Netlink {
 public:
  Netlink() : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {
    if (fd_ < 0) throw Fault(FaultKind::internal, "No rtnetlink socket could be made.");
  }
  ~Netlink() { close(fd_); }
  Netlink(const Netlink&) = delete;
  Netlink& operator=(const Netlink&) = delete;

  /// Sends a change; returns 0 or the kernel's errno.
  int change(Message& m, uint16_t extra_flags = 0) {
    std::string bytes = m.finish();
    reinterpret_cast<nlmsghdr*>(bytes.data())->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK | extra_flags;
    return talk(bytes, {});
  }
  void dump(Message& m, const Visit& visit) {
    std::string bytes = m.finish();
    reinterpret_cast<nlmsghdr*>(bytes.data())->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    if (const int error = talk(bytes, visit); error != 0)
      throw Fault(FaultKind::internal, fmt::format("The kernel did not list its network: {}.", strerror(error)));
  }

 private:
  int talk(const std::string& bytes, const Visit& visit) {
    if (send(fd_, bytes.data(), bytes.size(), 0) < 0) return errno;
    alignas(nlmsghdr) char buffer[65536];
    while (true) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      size_t left = static_cast<size_t>(n);
      for (auto* h = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        if (h->nlmsg_type == NLMSG_DONE) return 0;
        if (h->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(h))->error;
        if (visit) visit(h);
      }
    }
  }
  int fd_;
};

template <class Body, class F>
void each_attribute(const nlmsghdr* h, F&& f) {
  auto* body = static_cast<const char*>(NLMSG_DATA(h));
  auto* a = reinterpret_cast<const rtattr*>(body + NLMSG_ALIGN(sizeof(Body)));
  int left = static_cast<int>(h->nlmsg_len) - static_cast<int>(NLMSG_SPACE(sizeof(Body)));
  for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) f(a);
}

std::string text_of(const rtattr* a) { return static_cast<const char*>(RTA_DATA(a)); }

std::string address_text(int family, const rtattr* a) {
  char buffer[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, RTA_DATA(a), buffer, sizeof buffer);
  return buffer;
}

std::string mac_text(const rtattr* a) {
  std::string text;
  const auto* bytes = static_cast<const unsigned char*>(RTA_DATA(a));
  for (size_t i = 0; i < RTA_PAYLOAD(a); ++i) text += fmt::format("{}{:02x}", i ? ":" : "", bytes[i]);
  return text;
}

std::string link_kind(const rtattr* info) {
  int left = static_cast<int>(RTA_PAYLOAD(info));
  for (auto* a = static_cast<const rtattr*>(RTA_DATA(info)); RTA_OK(a, left); a = RTA_NEXT(a, left))
    if (a->rta_type == IFLA_INFO_KIND) return text_of(a);
  return {};
}

std::vector<Link> links_here(Netlink& nl) {
  std::vector<Link> found;
  Message m(RTM_GETLINK, 0, ifinfomsg{});
  nl.dump(m, [&](const nlmsghdr* h) {
    const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(h));
    Link link;
    link.index = info->ifi_index;
    link.up = info->ifi_flags & IFF_UP;
    link.promiscuous = info->ifi_flags & IFF_PROMISC;
    each_attribute<ifinfomsg>(h, [&](const rtattr* a) {
      if (a->rta_type == IFLA_IFNAME) link.name = text_of(a);
      if (a->rta_type == IFLA_MTU) link.mtu = static_cast<int>(*static_cast<const uint32_t*>(RTA_DATA(a)));
      if (a->rta_type == IFLA_ADDRESS) link.mac = mac_text(a);
      if (a->rta_type == IFLA_LINKINFO) link.kind = link_kind(a);
    });
    found.push_back(std::move(link));
  });
  return found;
}

int find_index(const std::string& device) {
  const unsigned index = if_nametoindex(device.c_str());
  return static_cast<int>(index);
}

int index_of(const std::string& device) {
  const int index = find_index(device);
  if (!index) throw Fault(FaultKind::not_found, fmt::format("There is no network device {}.", device));
  return index;
}

void check(int error, const std::string& what, int tolerated = 0) {
  if (error == 0 || error == tolerated) return;
  throw Fault(FaultKind::internal, fmt::format("{}: {}.", what, strerror(error)));
}

/// Changes one existing device.
template <class Fill>
void change_link(const std::string& name, const std::string& device, const char* what, Fill&& fill) {
  run_in(name, [&] {
    Netlink nl;
    ifinfomsg info{};
    info.ifi_index = index_of(device);
    Message m(RTM_NEWLINK, 0, info);
    fill(m);
    check(nl.change(m), fmt::format("{}: {}", device, what));
  });
}

void set_flag(const std::string& name, const std::string& device, unsigned flag, bool on, const char* what) {
  run_in(name, [&] {
    Netlink nl;
    ifinfomsg info{};
    info.ifi_index = index_of(device);
    info.ifi_change = flag;
    info.ifi_flags = on ? flag : 0;
    Message m(RTM_NEWLINK, 0, info);
    check(nl.change(m), fmt::format("{} {}", device, what));
  });
}

void make_link(const std::string& name, const std::string& device, const char* kind) {
  run_in(name, [&] {
    if (find_index(device)) return;
    Netlink nl;
    Message m(RTM_NEWLINK, 0, ifinfomsg{});
    m.add(IFLA_IFNAME, device);
    const size_t info = m.begin(IFLA_LINKINFO);
    m.add(IFLA_INFO_KIND, std::string(kind));
    m.end(info);
    check(nl.change(m, NLM_F_CREATE | NLM_F_EXCL), fmt::format("{} cannot be made", device), EEXIST);
  });
}

struct Cidr {
  int family = AF_INET;
  unsigned char bytes[16]{};
  size_t size = 4;
  uint8_t prefix = 0;
};

Cidr parse_cidr(const std::string& text) {
  Cidr c;
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  if (inet_pton(AF_INET, address.c_str(), c.bytes) != 1) {
    if (inet_pton(AF_INET6, address.c_str(), c.bytes) != 1)
      throw Fault(FaultKind::bad_request, fmt::format("'{}' is not an address.", text));
    c.family = AF_INET6;
    c.size = 16;
  }
  const unsigned long all = c.size * 8;
  const unsigned long prefix = slash == std::string::npos ? all : std::strtoul(text.c_str() + slash + 1, nullptr, 10);
  if (prefix > all) throw Fault(FaultKind::bad_request, fmt::format("'{}' is not an address.", text));
  c.prefix = static_cast<uint8_t>(prefix);
  return c;
}

}  // namespace

std::vector<Link> links(const std::string& name) {
  return call_in(name, [] {
    Netlink nl;
    return links_here(nl);
  });
}

std::optional<Link> find_link(const std::string& name, const std::string& device) {
  for (Link& link : links(name))
    if (link.name == device) return std::move(link);
  return std::nullopt;
}

std::vector<Route> routes(const std::string& name) {
  std::vector<Route> found;
  run_in(name, [&] {
    Netlink nl;
    rtmsg body{};
    body.rtm_family = AF_INET;
    Message m(RTM_GETROUTE, 0, body);
    nl.dump(m, [&](const nlmsghdr* h) {
      const auto* r = static_cast<const rtmsg*>(NLMSG_DATA(h));
      if (r->rtm_table != RT_TABLE_MAIN || r->rtm_family != AF_INET) return;
      Route route{"default", "", ""};
      each_attribute<rtmsg>(h, [&](const rtattr* a) {
        if (a->rta_type == RTA_DST) route.destination = fmt::format("{}/{}", address_text(AF_INET, a), r->rtm_dst_len);
        if (a->rta_type == RTA_GATEWAY) route.gateway = address_text(AF_INET, a);
        if (a->rta_type == RTA_OIF) {
          char device[IF_NAMESIZE] = "";
          route.device = if_indextoname(*static_cast<const uint32_t*>(RTA_DATA(a)), device) ? device : "";
        }
      });
      found.push_back(std::move(route));
    });
  });
  return found;
}

std::vector<std::string> addresses(const std::string& name, const std::string& device) {
  std::vector<std::string> found;
  run_in(name, [&] {
    const int index = find_index(device);
    if (!index) return;
    Netlink nl;
    ifaddrmsg body{};
    body.ifa_family = AF_INET;
    Message m(RTM_GETADDR, 0, body);
    nl.dump(m, [&](const nlmsghdr* h) {
      const auto* info = static_cast<const ifaddrmsg*>(NLMSG_DATA(h));
      if (static_cast<int>(info->ifa_index) != index) return;
      each_attribute<ifaddrmsg>(h, [&](const rtattr* a) {
        if (a->rta_type == IFA_LOCAL) found.push_back(fmt::format("{}/{}", address_text(AF_INET, a), info->ifa_prefixlen));
      });
    });
  });
  return found;
}

void ensure_veth(const std::string& name, const std::string& device, const std::string& peer_name,
                 const std::string& peer_device) {
  if (!find_link(name, device)) {
    const int peer_namespace = open_fd(peer_name);
    ScopeExit closer([&] { close(peer_namespace); });
    run_in(name, [&] {
      Netlink nl;
      Message m(RTM_NEWLINK, 0, ifinfomsg{});
      m.add(IFLA_IFNAME, device);
      const size_t info = m.begin(IFLA_LINKINFO);
      m.add(IFLA_INFO_KIND, std::string("veth"));
      const size_t data = m.begin(IFLA_INFO_DATA);
      const size_t peer = m.begin(VETH_INFO_PEER);
      m.append(ifinfomsg{});
      m.add(IFLA_IFNAME, peer_device);
      m.add(IFLA_NET_NS_FD, static_cast<uint32_t>(peer_namespace));
      m.end(peer);
      m.end(data);
      m.end(info);
      check(nl.change(m, NLM_F_CREATE | NLM_F_EXCL), fmt::format("The pair {}, {} cannot be made", device, peer_device));
    });
  }
  disable_tx_checksum(name, device);
  disable_tx_checksum(peer_name, peer_device);
}

void ensure_bridge(const std::string& name, const std::string& device) { make_link(name, device, "bridge"); }
void ensure_dummy(const std::string& name, const std::string& device) { make_link(name, device, "dummy"); }

void remove_link(const std::string& name, const std::string& device) {
  run_in(name, [&] {
    ifinfomsg info{};
    info.ifi_index = find_index(device);
    if (!info.ifi_index) return;
    Netlink nl;
    Message m(RTM_DELLINK, 0, info);
    check(nl.change(m), fmt::format("{} cannot be removed", device), ENODEV);
  });
}

void set_up(const std::string& name, const std::string& device, bool up) {
  set_flag(name, device, IFF_UP, up, up ? "cannot be set up" : "cannot be set down");
}

void set_promiscuous(const std::string& name, const std::string& device, bool on) {
  set_flag(name, device, IFF_PROMISC, on, "cannot be told which packets to take");
}

void set_mac(const std::string& name, const std::string& device, const std::string& mac) {
  unsigned b[6];
  if (std::sscanf(mac.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
    throw Fault(FaultKind::bad_request, fmt::format("'{}' is not a MAC address.", mac));
  unsigned char bytes[6];
  for (int i = 0; i < 6; ++i) bytes[i] = static_cast<unsigned char>(b[i]);
  change_link(name, device, "its address cannot be set", [&](Message& m) { m.add(IFLA_ADDRESS, bytes, 6); });
}

void set_mtu(const std::string& name, const std::string& device, int mtu) {
  change_link(name, device, "its MTU cannot be set",
              [&](Message& m) { m.add(IFLA_MTU, static_cast<uint32_t>(mtu)); });
}

void set_master(const std::string& name, const std::string& device, const std::string& bridge) {
  change_link(name, device, "it cannot join the bridge", [&](Message& m) {
    m.add(IFLA_MASTER, static_cast<uint32_t>(bridge.empty() ? 0 : index_of(bridge)));
  });
}

void set_isolated(const std::string& name, const std::string& device, bool on) {
  const auto value = static_cast<uint8_t>(on);
  change_link(name, device, "it cannot be isolated from other ports", [&](Message& m) {
    const size_t info = m.begin(IFLA_LINKINFO);
    m.add(IFLA_INFO_SLAVE_KIND, std::string("bridge"));
    const size_t data = m.begin(IFLA_INFO_SLAVE_DATA);
    m.add(IFLA_BRPORT_ISOLATED, &value, sizeof value);
    m.end(data);
    m.end(info);
  });
}

void move_link(const std::string& name, const std::string& device, const std::string& to_name) {
  const int to = open_fd(to_name);
  ScopeExit closer([to] { close(to); });
  change_link(name, device, "it cannot be moved",
              [&](Message& m) { m.add(IFLA_NET_NS_FD, static_cast<uint32_t>(to)); });
}

namespace {

/// RTM_NEWADDR or RTM_DELADDR.
void change_address(const std::string& name, const std::string& device, const std::string& cidr, uint16_t type,
                    uint16_t flags, const char* what, int tolerated) {
  const Cidr c = parse_cidr(cidr);
  run_in(name, [&] {
    Netlink nl;
    ifaddrmsg body{};
    body.ifa_family = static_cast<uint8_t>(c.family);
    body.ifa_prefixlen = c.prefix;
    body.ifa_index = static_cast<uint32_t>(index_of(device));
    Message m(type, 0, body);
    m.add(IFA_LOCAL, c.bytes, c.size);
    m.add(IFA_ADDRESS, c.bytes, c.size);
    check(nl.change(m, flags), fmt::format("{} {} {}", device, what, cidr), tolerated);
  });
}

}  // namespace

void add_address(const std::string& name, const std::string& device, const std::string& cidr) {
  change_address(name, device, cidr, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "cannot get the address", EEXIST);
}

void remove_address(const std::string& name, const std::string& device, const std::string& cidr) {
  change_address(name, device, cidr, RTM_DELADDR, 0, "cannot lose the address", EADDRNOTAVAIL);
}

void add_route(const std::string& name, const std::string& destination, const std::string& gateway,
               const std::string& device) {
  const Cidr to = destination == "default" ? parse_cidr("0.0.0.0/0") : parse_cidr(destination);
  run_in(name, [&] {
    Netlink nl;
    rtmsg body{};
    body.rtm_family = static_cast<uint8_t>(to.family);
    body.rtm_dst_len = to.prefix;
    body.rtm_table = RT_TABLE_MAIN;
    body.rtm_protocol = RTPROT_BOOT;
    body.rtm_scope = gateway.empty() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    body.rtm_type = RTN_UNICAST;
    Message m(RTM_NEWROUTE, 0, body);
    if (to.prefix) m.add(RTA_DST, to.bytes, to.size);
    if (!gateway.empty()) m.add(RTA_GATEWAY, parse_cidr(gateway).bytes, to.size);
    if (!device.empty()) m.add(RTA_OIF, static_cast<uint32_t>(index_of(device)));
    check(nl.change(m, NLM_F_CREATE | NLM_F_REPLACE), fmt::format("No route to {} could be added", destination));
  });
}

void disable_tx_checksum(const std::string& name, const std::string& device) {
  run_in(name, [&] {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) throw Fault(FaultKind::internal, "No socket could be made.");
    ScopeExit closer([fd] { close(fd); });
    ethtool_value off{};
    off.cmd = ETHTOOL_STXCSUM;
    ifreq request{};
    std::strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&off);
    if (ioctl(fd, SIOCETHTOOL, &request) != 0 && errno != EOPNOTSUPP)
      throw Fault(FaultKind::internal, fmt::format("Checksum offload of {} stays on: {}.", device, strerror(errno)));
  });
}

}  // namespace virga::netns
