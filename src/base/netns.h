#pragma once
// Network namespaces and their devices, over rtnetlink: no `ip` command is run.
//
// Namespaces are named as `ip netns` names them (a bind mount /run/netns/NAME), so `ip netns exec NAME …` works on
// them. A namespace is a property of a thread: work "inside" one happens on a dedicated thread, never on the caller's,
// and a socket opened there stays in that namespace whoever uses it later.
//
// Everything that makes something is idempotent: it succeeds if the thing is there already. Removing something absent
// succeeds too. All functions block, are thread-safe and throw Fault(internal) with the kernel's reason.
// An empty namespace name means the namespace of the calling process.

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace virga::netns {

/// "/run/netns/NAME".
std::string path_of(const std::string& name);
bool exists(const std::string& name);
/// Makes the namespace and brings its loopback up.
void ensure(const std::string& name);
/// Removes the name; the namespace itself ends with its last process.
void remove(const std::string& name);
/// Names of all namespaces, sorted.
std::vector<std::string> list();

/// Moves the *calling thread* into the namespace. For Command::in_child, use `enter_fd` with a descriptor that was
/// opened before fork: it makes async-signal-safe calls only.
void enter(const std::string& name);
/// A close-on-exec descriptor of the namespace; the caller closes it.
int open_fd(const std::string& name);
/// setns(2) on a descriptor from open_fd; false if it failed. Safe between fork and exec.
bool enter_fd(int fd) noexcept;

/// Runs `f` on a dedicated thread inside the namespace, waits for it, and passes on what it throws.
void run_in(const std::string& name, const std::function<void()>& f);
/// The same with a result.
template <class F>
auto call_in(const std::string& name, F&& f) -> std::invoke_result_t<F> {
  std::optional<std::invoke_result_t<F>> result;
  run_in(name, [&] { result.emplace(f()); });
  return std::move(*result);
}

/// A listening, close-on-exec TCP socket on address:port inside the namespace (port 0: the kernel chooses).
/// Throws Fault(conflict) if the port is in use.
int listen_tcp(const std::string& name, const std::string& address, uint16_t port);
/// A connected TCP socket from inside the namespace (how the host reaches a guest). Throws Fault(unavailable).
int connect_tcp(const std::string& name, const std::string& address, uint16_t port, int timeout_ms = 5000);

/// One ICMP echo (RFC 792) from inside the namespace; true if the answer came in time.
bool ping(const std::string& name, const std::string& address, int timeout_ms);

// ---- devices ----------------------------------------------------------------------------------------------------

struct Link {
  int index = 0;
  std::string name;
  std::string kind;               ///< "veth", "bridge", "tun", or "" for a device of hardware and for loopback
  std::string mac;
  int mtu = 0;
  bool up = false, promiscuous = false;
};
/// A route of the main table; "default" is 0.0.0.0/0.
struct Route {
  std::string destination;        ///< CIDR, IPv4
  std::string gateway;            ///< or ""
  std::string device;
};

std::vector<Link> links(const std::string& name);
std::optional<Link> find_link(const std::string& name, const std::string& device);
std::vector<Route> routes(const std::string& name);
/// IPv4 addresses of a device as CIDRs.
std::vector<std::string> addresses(const std::string& name, const std::string& device);

/// A veth pair: `device` in `name`, its peer `peer_device` in `peer_name`. If `device` is there already, nothing changes.
/// Checksum offload is switched off on both ends, because the userspace datapath of OVS does not complete checksums.
void ensure_veth(const std::string& name, const std::string& device, const std::string& peer_name,
                 const std::string& peer_device);
void ensure_bridge(const std::string& name, const std::string& device);
/// A dummy device: holds an address that no wire has.
void ensure_dummy(const std::string& name, const std::string& device);
void remove_link(const std::string& name, const std::string& device);
void set_up(const std::string& name, const std::string& device, bool up = true);
void set_promiscuous(const std::string& name, const std::string& device, bool on);
void set_mac(const std::string& name, const std::string& device, const std::string& mac);
void set_mtu(const std::string& name, const std::string& device, int mtu);
/// Enslaves `device` to a Linux bridge; "" frees it.
void set_master(const std::string& name, const std::string& device, const std::string& bridge);
/// A bridge sends nothing from one isolated port to another.
void set_isolated(const std::string& name, const std::string& device, bool on = true);
void move_link(const std::string& name, const std::string& device, const std::string& to_name);
/// "10.0.0.2/24". IPv4 or IPv6.
void add_address(const std::string& name, const std::string& device, const std::string& cidr);
void remove_address(const std::string& name, const std::string& device, const std::string& cidr);
/// A route over a gateway, or directly over a device (gateway ""). destination "default" or a CIDR.
void add_route(const std::string& name, const std::string& destination, const std::string& gateway,
               const std::string& device = {});
/// What `ethtool -K DEVICE tx off` does.
void disable_tx_checksum(const std::string& name, const std::string& device);

}  // namespace virga::netns
