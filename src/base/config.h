#pragma once
// Everything a user may change, in one commented virga.toml.
//
// One table (config.cpp) names each key once: section, name, type, bounds and help. Parsing, validation, the commented
// file of `virga config init`, the reference in docs/ and packstack's answer files are all derived from it. The default
// of a key is the initial value of its member below. An unknown or ill-typed key is refused with file, line and the
// nearest valid key, because a key that is silently ignored is worse than none.
//
// A Config is a plain value, read once at start and passed by reference.

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace virga {

struct Config {
  struct Cloud {
    std::string state_dir = "/var/lib/virga";
    std::string run_dir = "/run/virga";
    std::string log_dir = "/var/log/virga";
    std::string user;           ///< of the control plane; empty: virga if it exists, else a number
    std::string package_cache;  ///< empty: in state_dir
    std::string region = "RegionOne";
    std::string public_url;
    std::string api_address = "127.0.0.1";
    int api_port = 5000;
    std::vector<int> alias_ports;
    std::string role = "allinone";  ///< what of the cloud runs on this machine
  } cloud;

  /// How machines of one cloud find each other.
  struct Hosts {
    std::string address;                   ///< of this machine to the others; empty: see hosts_address()
    int link_port = 5001;                  ///< agents dial a controller here
    int southbound_port = 6642;            ///< ovn-controllers dial OVN's southbound database here
    std::vector<std::string> controllers;  ///< ADDRESS:PORT of each controller's agent link
  } hosts;

  struct Api {
    std::vector<std::string> cors_allowed_origins;
    bool compression = true;
    int max_body_kib = 1024;
    int rate_limit = 0;        ///< requests a second of one user; 0 = none
    int rate_limit_burst = 0;  ///< 0 = twice rate_limit
    bool access_log = true;
    bool audit_log = true;
    int metrics_port = 0;  ///< 0 = none
  } api;

  struct Tls {
    bool enabled = false;
    std::string certificate, key;  ///< PEM files; empty: of our own CA
    std::vector<std::string> names;
  } tls;

  struct PolicyRules {
    std::string file;
    bool new_defaults = false;
    bool enforce_scope = false;
  } policy;

  struct Network {
    std::string mode = "trial";
    std::string name_space = "virga";  ///< key "namespace"
    std::string external_cidr = "172.24.4.0/24";
    std::string external_gateway = "172.24.4.1";
    std::string external_pool_start = "172.24.4.2";
    std::string external_pool_end = "172.24.4.254";
    std::string private_cidr = "10.0.0.0/24";
    std::vector<std::string> dns_servers;
    std::string physical_network = "public";
    std::vector<std::string> bridge_mappings = {"public:br-ex"};
    std::string external_interface;
    std::string underlay_interface;
    std::string encap_ip = "172.31.254.1";
    std::string datapath = "auto";
    int mtu = 1442;
  } network;

  struct Compute {
    std::string hypervisor = "libvirt";
    std::string virt_type = "auto";
    std::string host_name;
    double cpu_allocation_ratio = 16.0;
    double ram_allocation_ratio = 1.5;
    double disk_allocation_ratio = 1.0;
    int reserved_host_memory_mb = 512;
    int reserved_host_disk_gb = 0;
    int reserved_host_cpus = 0;
  } compute;

  /// What happens to servers of a compute host that is lost, and how several controllers work together.
  struct HighAvailability {
    std::string restart = "manual";
    std::string fence_command;
    int fence_after_s = 30;
    bool nats_server = false;  ///< of our own, on this machine
    int nats_port = 4222;
    std::string nats_url;  ///< where controllers wake each other; use nats()
    std::string nats_ca;   ///< whom to trust there; empty: the cloud's CA for hosts
  } ha;

  struct Identity {
    std::string admin_password;
    std::string demo_password;
    int token_expiration_s = 3600;
    int password_memory_s = 60;
    int bcrypt_cost = 12;
    int max_active_keys = 3;
    bool signatures_without_token = false;
    std::string limit_model = "flat";
  } identity;

  struct SecurityCompliance {
    int lockout_failure_attempts = 0;
    int lockout_duration = 1800;
    int disable_user_account_days_inactive = 0;
    int password_expires_days = 0;
    int unique_last_password_count = 0;
    int minimum_password_age = 0;
    std::string password_regex;
    std::string password_regex_description;
    bool change_password_upon_first_use = false;
  } security_compliance;

  struct Database {
    std::string url;  ///< empty: SQLite in state_dir; use database_url()
    int readers = 4;
  } database;

  struct Demo {
    bool enabled = true;
    bool server = true;
    std::string image_name = "tiny";
    std::string flavor = "m1.nano";
  } demo;

  struct Log {
    std::string level = "info";
  } log;

  struct Quota {
    int instances = 10;
    int cores = 20;
    int ram_mb = 51200;
    int key_pairs = 100;
    int metadata_items = 128;
    int server_groups = 10;
    int server_group_members = 10;
    int networks = 100;
    int subnets = 100;
    int ports = 500;
    int routers = 10;
    int floating_ips = 50;
    int security_groups = 10;
    int security_group_rules = 100;
  } quota;

  bool trial() const { return network.mode == "trial"; }
  bool has_control() const { return cloud.role != "compute"; }
  bool has_compute() const { return cloud.role != "controller"; }
  /// Where other machines reach this controller; "": they do not.
  std::string hosts_address() const;
  /// Where controllers wake each other: ha.nats_url, or the server of our own; "": nowhere.
  std::string nats() const;
  /// The namespace of the data plane: "" in host mode.
  std::string data_namespace() const { return trial() ? network.name_space : ""; }
  std::string database_url() const;
};

/// Where a key lives in a Config.
using ConfigSlot =
    std::variant<std::string*, int*, double*, bool*, std::vector<std::string>*, std::vector<int>*>;

/// What a text must look like beyond its type.
enum class ConfigForm { any, path, optional_path, origin, name, ipv4, optional_ipv4, cidr, url, device, optional_device, bridge_mapping, endpoint };

struct ConfigKey {
  std::string_view section, name;
  ConfigSlot (*slot)(Config&);
  std::string_view help;
  ConfigForm form = ConfigForm::any;
  double least = 0, most = 0;                  ///< bounds of a number, if most > least
  std::vector<std::string_view> choices = {};  ///< allowed texts, if any
};

/// All keys, in the order of the file.
const std::vector<ConfigKey>& config_keys();

/// Reads and validates a file. Throws Fault(not_found) if it cannot be read, Fault(bad_request) with file and line.
Config load_config(const std::string& path);
Config parse_config(std::string_view toml, const std::string& file_name);
/// Sets one key ("network.private_cidr") from plain text (lists: comma-separated), validated. For answer files and
/// overrides. Throws Fault(bad_request).
void set_config_text(Config& config, std::string_view key, std::string_view text);
/// The value of a key as set_config_text reads it.
std::string config_text(const Config& config, std::string_view key);
/// Checks what concerns several keys at once (the gateway lies in its range, ranges do not overlap).
void check_config(const Config& config, const std::string& file_name);

/// The commented virga.toml: every key with its help; those that differ from the default are in force.
std::string commented_config(const Config& config);
std::string commented_default();
/// The reference for docs/, in Markdown.
std::string config_reference();

/// The nearest of `candidates` by edit distance, or "" if none is near.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

/// "10.0.0.0/24" as first address and prefix length, host order. False if it is not one.
bool parse_ipv4_cidr(std::string_view text, uint32_t& address, int& prefix);
bool ranges_overlap(std::string_view cidr_a, std::string_view cidr_b);

}  // namespace virga
