#pragma once
// The network service's parts, private to this room. Each resource has a file of its own that defines its collection.

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "network/address.h"
#include "network/address_blocks.h"
#include "network/api.h"
#include "network/collection.h"
#include "network/resources.h"

namespace virga::network {

class Reconciler;

/// What changed, for the reconciler: names of logical things whose northbound rows must be looked at again.
struct Dirty {
  enum class Kind { network, port, router, security_group };
  Kind kind;
  std::string id;
};

class NetworkService final : public Networks {
 public:
  NetworkService(Options options, db::Database& database, const Clock& clock);
  ~NetworkService() override;

  api::Service& service() override { return service_; }
  std::vector<NetworkId> available(db::Tx& tx, const api::Caller& caller) override;
  void create_server_ports(db::Tx& tx, const api::Caller& caller, const ServerId& server, const std::string& zone,
                           const std::string& hostname, const std::vector<NicRequest>& requests, const std::vector<std::string>& security_groups) override;
  void bind_server_ports(db::Tx& tx, const ServerId& server, const std::string& hostname) override;
  void bind_server_ports_also(db::Tx& tx, const ServerId& server, const std::string& hostname) override;
  void release_server_ports(db::Tx& tx, const ServerId& server) override;
  void add_fixed_ip(db::Tx& tx, const ServerId& server, const std::string& network) override;
  void remove_fixed_ip(db::Tx& tx, const ServerId& server, const std::string& address) override;
  SecurityGroups& security_groups() override { return *group_facade_; }
  std::vector<PortInfo> server_ports(db::Tx& tx, const ServerId& server) override;
  std::vector<std::vector<PortInfo>> server_ports(db::Tx& tx, const std::vector<ServerId>& servers, PortDetail detail) override;
  bool server_ports_active(db::Tx& tx, const ServerId& server) override;
  std::optional<ServerId> server_by_address(db::Tx& tx, const NetworkId& network, const std::string& address) override;
  void on_port_status(std::function<void(const ServerId&)> callback) override;
  void start() override;
  void stop() override;
  void look_again() override;
  std::string ensure_default_group(db::Tx& tx, const std::string& project_id) override;

  // ---- shared by the resources' files ----
  /// After this transaction the reconciler looks at it.
  void touch(db::Tx& tx, Dirty::Kind kind, const std::string& id);
  std::string now() const { return to_iso_us(clock_.now()); }
  void use_quota(db::Tx& tx, const std::string& project, std::string_view resource, int64_t amount);
  /// Counts what nobody asked for (a default group, its rules): a full quota does not refuse it.
  void count_quota(db::Tx& tx, const std::string& project, std::string_view resource, int64_t amount);

  // facade.cpp
  /// Status of a server's port that was just bound there: without OVN nobody else would say that it is up.
  std::string status_unheard(const std::string& hostname) const;

  // ports.cpp
  /// Writes a port with its addresses and groups. `record` is a validated port with id, project and times; returns it stored.
  Object insert_port(db::Tx& tx, Object record, const api::Caller* caller);
  /// A MAC for a port that asks for none; tests put others in its place.
  std::function<std::string()> draw_mac = random_mac;
  void delete_port(db::Tx& tx, const Object& port);
  /// Makes the port's addresses what `wanted` asks; those that stay keep their floating IPs.
  void update_addresses(db::Tx& tx, const Object& port, const json::array& wanted);
  void write_port_groups(db::Tx& tx, const Object& port, const json::array& groups);
  /// A port of ours (router interface, gateway, floating IP, metadata) on a network.
  Object make_own_port(db::Tx& tx, const std::string& network_id, const std::string& project_id, const std::string& owner, const std::string& device,
                       json::array fixed_ips, const std::string& name = {});
  /// OVN says a port is up or down; returns its server's id if that is news ("" otherwise).
  std::string set_port_up(db::Tx& tx, const std::string& port_id, bool up);

  // floating_ips.cpp
  void delete_floating_ip(db::Tx& tx, const Object& floating);

  // addresses.cpp
  /// Takes addresses for a port as `wanted` asks ([{subnet_id, ip_address}]), or one of each family when empty.
  void take_addresses(db::Tx& tx, const Object& port, const json::array* wanted);
  std::string take_address(db::Tx& tx, const Object& subnet, const std::string& port_id, const std::string& wanted, int64_t position, bool any_in_cidr);
  void give_back_addresses(db::Tx& tx, const std::string& port_id);

  // subnets.cpp
  std::vector<Object> subnets_of(db::Tx& tx, const std::string& network_id);
  /// Makes the network's metadata port if it has a DHCP subnet and none yet, and keeps its addresses on all of them.
  void keep_metadata_port(db::Tx& tx, const std::string& network_id);

  const Collection& networks() const { return *networks_; }
  const Collection& subnets() const { return *subnets_; }
  const Collection& ports() const { return *ports_; }
  const Collection& routers() const { return *routers_; }
  const Collection& floating_ips() const { return *floating_ips_; }
  const Collection& groups() const { return *groups_; }
  const Collection& rules() const { return *rules_; }

  const Environment& environment() const { return environment_; }
  const Options& options() const { return options_; }
  db::Database& database() { return database_; }
  const Clock& clock() const { return clock_; }

 private:
  void define_networks();
  void define_subnets();
  void define_subnet_pools();
  void define_ports();
  void define_routers();
  void define_floating_ips();
  void define_security_groups();
  void define_security_group_rules();
  void add_router_actions();
  void add_quota_routes();
  void add_information_routes();  ///< versions, extensions, availability zones, tags
  void add_explain_route();
  int64_t quota_limit(db::Tx& tx, const std::string& project, const std::string& resource);
  int64_t default_limit(const std::string& resource) const;
  std::string give_free(db::Tx& tx, const Object& subnet, const std::string& port_id, int64_t position);
  std::optional<std::string> give_from_block(db::Tx& tx, const Object& subnet, const std::string& port_id, int64_t position);

  AddressBlocks blocks_;
  Options options_;
  db::Database& database_;
  const Clock& clock_;
  Environment environment_;
  api::Service service_;
  std::unique_ptr<Collection> networks_, subnets_, subnet_pools_, ports_, routers_, floating_ips_, groups_, rules_;
  std::unique_ptr<SecurityGroups> group_facade_;
  std::function<void(const ServerId&)> port_status_;
  std::unique_ptr<Reconciler> reconciler_;
};

std::unique_ptr<SecurityGroups> make_group_facade(NetworkService& service);
/// The ids of a project's groups, given by name or id. Throws Fault in nova's words.
json::array group_ids(db::Tx& tx, const std::string& project, const std::vector<std::string>& groups);

inline constexpr std::string_view kOwnerGateway = "network:router_gateway";
inline constexpr std::string_view kOwnerInterface = "network:router_interface";
inline constexpr std::string_view kOwnerFloating = "network:floatingip";
inline constexpr std::string_view kOwnerMetadata = "network:distributed";

/// "SELECT … FROM table WHERE condition" as undecorated records.
template <class... Args>
Objects select_records(db::Tx& tx, const Collection& c, std::string_view condition, const Args&... args) {
  Objects out;
  for (const auto& row : tx.query("SELECT " + api::record_columns(c.resource) + " FROM " + std::string(c.table) + " WHERE " + std::string(condition),
                                  std::vector<db::Value>{db::Value(args)...}))
    out.push_back(api::read_record(c.resource, row));
  return out;
}

}  // namespace virga::network
