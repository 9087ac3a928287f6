#pragma once
// Network: the Networking API v2.0 over OVN. The database says what should be; the northbound rows are a pure function
// of it (plan.h), written by a reconciler; port status comes back from OVN.
//
// Threads: everything here is thread-safe.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/clock.h"
#include "base/ids.h"
#include "controllers/api.h"
#include "db/api.h"

namespace virga::network {

/// What a server asks for one of its interfaces: a network (a port is made), or an existing port.
struct NicRequest {
  std::string network_id;   ///< or
  std::string port_id;
  std::string fixed_ip;     ///< wanted address, or ""
};

struct FixedIp {
  std::string subnet_id, address;
  int version = 4;
  std::string cidr, gateway;
  std::vector<std::string> dns_servers;
  struct Route {
    std::string destination, nexthop;
  };
  std::vector<Route> host_routes;
};

/// A port as compute shows it to users, agents and guests.
struct PortInfo {
  PortId id;
  NetworkId network_id;
  std::string network_name;
  std::string mac;
  int mtu = 1442;
  std::vector<FixedIp> fixed_ips;
  struct Floating {
    std::string address;   ///< floating IP
    std::string fixed;     ///< of this fixed address
  };
  std::vector<Floating> floating_ips;
  std::vector<std::string> security_group_names;
  std::string status;      ///< "ACTIVE", "DOWN", "BUILD"
  bool dhcp = false;
  bool made_by_compute = false;  ///< goes away with the server
  // The network's metadata port, empty if the network has none.
  PortId metadata_port;
  std::string metadata_mac, metadata_cidr;
};

/// How much of a port is read. `shown`: what a list of servers shows; subnets' settings and the metadata port stay empty.
/// `wiring`: what its host plugs it in by; floating IPs and security groups stay empty.
enum class PortDetail { shown, wiring, all };

/// Security groups for those who show them in other words (nova's proxies). Groups and rules are objects with neutron's
/// attributes; what neutron refuses, these refuse with the same faults. Others' groups do not exist for a caller.
class SecurityGroups {
 public:
  virtual ~SecurityGroups() = default;
  /// The caller's project's (its "default" is made at first sight), or everyone's for an administrator.
  virtual std::vector<json::object> list(db::Tx& tx, const api::Caller& caller, bool all_projects) = 0;
  virtual json::object find(db::Tx& tx, const api::Caller& caller, const std::string& id) = 0;
  virtual json::object create(db::Tx& tx, api::Call& call, const json::object& group) = 0;
  virtual json::object update(db::Tx& tx, api::Call& call, const std::string& id, const json::object& changes) = 0;
  virtual void remove(db::Tx& tx, api::Call& call, const std::string& id) = 0;
  virtual json::object find_rule(db::Tx& tx, const api::Caller& caller, const std::string& id) = 0;
  virtual json::object create_rule(db::Tx& tx, api::Call& call, const json::object& rule) = 0;
  virtual void remove_rule(db::Tx& tx, api::Call& call, const std::string& id) = 0;
  /// Groups of any of the server's ports.
  virtual std::vector<json::object> of_server(db::Tx& tx, const ServerId& server) = 0;
  /// Adds the group (the caller's project's, by name or id) to each of the server's ports.
  virtual void add_to_server(db::Tx& tx, const api::Caller& caller, const ServerId& server, const std::string& group) = 0;
  virtual void remove_from_server(db::Tx& tx, const api::Caller& caller, const ServerId& server, const std::string& group) = 0;
};

class Networks {
 public:
  virtual ~Networks() = default;
  virtual api::Service& service() = 0;

  /// Networks a server gets when it asks for none ("auto" or absent): the project's own and shared tenant networks.
  /// Nova's rule: exactly one is taken; more than one is Fault(conflict) "Multiple possible networks found".
  virtual std::vector<NetworkId> available(db::Tx& tx, const api::Caller& caller) = 0;
  /// Makes (or takes) the ports of a server, in order, with security groups by name or id (names are the caller's
  /// project's), bound to `hostname` at once. Port quota and addresses are taken in this transaction. device_owner becomes
  /// "compute:<zone>".
  /// Throws Fault: bad_request (unknown network, port or group; wording as nova's), conflict (port in use), forbidden (quota).
  virtual void create_server_ports(db::Tx& tx, const api::Caller& caller, const ServerId& server, const std::string& zone,
                                   const std::string& hostname, const std::vector<NicRequest>& requests,
                                   const std::vector<std::string>& security_groups) = 0;
  /// Where the ports' server runs (OVN requested-chassis, binding:host_id); "" unbinds.
  virtual void bind_server_ports(db::Tx& tx, const ServerId& server, const std::string& hostname) = 0;
  /// Binds them to a second host, whose side stays shut until the guest speaks there (OVN activation-strategy "rarp");
  /// "" ends that, and so does bind_server_ports.
  virtual void bind_server_ports_also(db::Tx& tx, const ServerId& server, const std::string& hostname) = 0;
  /// Removes the ports compute made and unbinds those it was given.
  virtual void release_server_ports(db::Tx& tx, const ServerId& server) = 0;
  /// One more address on the server's port of that network. Throws Fault(bad_request) if it has none there.
  virtual void add_fixed_ip(db::Tx& tx, const ServerId& server, const std::string& network) = 0;
  /// Throws Fault(bad_request) if none of the server's ports has the address.
  virtual void remove_fixed_ip(db::Tx& tx, const ServerId& server, const std::string& address) = 0;
  virtual SecurityGroups& security_groups() = 0;
  virtual std::vector<PortInfo> server_ports(db::Tx& tx, const ServerId& server) = 0;
  /// The same for many servers at once; the result is parallel to `servers`. Lists ask for `PortDetail::shown`.
  virtual std::vector<std::vector<PortInfo>> server_ports(db::Tx& tx, const std::vector<ServerId>& servers,
                                                          PortDetail detail = PortDetail::all) = 0;
  /// True if none of the server's ports waits for OVN.
  virtual bool server_ports_active(db::Tx& tx, const ServerId& server) = 0;
  /// Which server has this address on this network (metadata service).
  virtual std::optional<ServerId> server_by_address(db::Tx& tx, const NetworkId& network, const std::string& address) = 0;
  /// Called (any thread) when a server's port became active or went down in OVN.
  virtual void on_port_status(std::function<void(const ServerId&)> callback) = 0;
  /// Starts and stops the reconciler threads; without it (tests) only the API works.
  virtual void start() = 0;
  virtual void stop() = 0;
  /// Another controller has changed something (Options::tell_others): looked at soon if this one writes to OVN.
  virtual void look_again() {}
  /// Makes sure a project has its "default" security group (called at first use too); its id, "" for no project.
  virtual std::string ensure_default_group(db::Tx& tx, const std::string& project_id) = 0;
};

struct Options {
  std::string northbound;           ///< "unix:/run/virga/ovn/ovnnb_db.sock"; empty = no OVN (fake hypervisor): ports turn ACTIVE when bound
  std::string southbound;           ///< "unix:/run/virga/ovn/ovnsb_db.sock"
  int mtu = 1442;                   ///< of tenant networks (geneve)
  int external_mtu = 1500;
  std::vector<std::string> physical_networks{"public"};  ///< bridge mappings' names
  std::string dns_domain = "openstacklocal.";
  std::vector<std::string> dns_servers;  ///< given to guests of subnets that name none
  std::map<std::string, int64_t> quotas; ///< "network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule"; absent = neutron's default
  /// With several controllers: who they are. What changes goes through a table then, and the one that holds a lease writes it to
  /// OVN; the others are told after each commit (which may be lost: it looks every second, too).
  const controllers::Controllers* controllers = nullptr;
  /// OVN's databases here are used only while the first controller, whose own are used else, is away. Each controller makes
  /// its databases equal to the cloud's when its turn comes: they need not hear of each other.
  bool stand_in = false;
  /// Lets other hosts' ovn-controllers in to the southbound database here, or puts them out. May throw.
  std::function<void(bool open)> serve_chassis = {};
  std::function<void()> tell_others = {};
};

std::unique_ptr<Networks> make_networks(Options options, db::Database& database, const Clock& clock);

}  // namespace virga::network
