#include "base/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <charconv>
#include <cmath>
#include <numeric>
#include <regex>

#include "base/fault.h"
#include "base/process.h"
#include "base/text.h"

namespace virga {
namespace {

using F = ConfigForm;
#define SLOT(member) [](Config& c) -> ConfigSlot { return &c.member; }

std::vector<ConfigKey> make_keys() {
  return {
      {"cloud", "state_dir", SLOT(cloud.state_dir), "Database, images, disks of servers, keys: what must survive.", F::path},
      {"cloud", "run_dir", SLOT(cloud.run_dir), "Sockets and pid files; gone after a boot.", F::path},
      {"cloud", "log_dir", SLOT(cloud.log_dir), "One log file for each service.", F::path},
      {"cloud", "user", SLOT(cloud.user), "Account that the control plane runs as once its sockets are open; empty: virga if it exists, else a number of its own."},
      {"cloud", "package_cache", SLOT(cloud.package_cache), "Where the Debian packages of the tiny guest are kept; empty: in state_dir."},
      {"cloud", "region", SLOT(cloud.region), "Name of the region in the catalogue.", F::name},
      {"cloud", "public_url", SLOT(cloud.public_url),
       "Root of the catalogue's endpoints (https://cloud.example.org). Empty: as the request reached us.", F::url},
      {"cloud", "api_address", SLOT(cloud.api_address), "Address on which the API listens.", F::ipv4},
      {"cloud", "api_port", SLOT(cloud.api_port), "Port of all APIs and consoles.", F::any, 1, 65535},
      {"cloud", "alias_ports", SLOT(cloud.alias_ports),
       "More ports that answer likewise, for clients that assume them: [8774, 9696, 9292, 8778].", F::any, 1, 65535},
      {"cloud", "role", SLOT(cloud.role),
       "What of the cloud runs on this machine: allinone, controller (no guests), or compute, which virga join writes.",
       F::any, 0, 0, {"allinone", "controller", "compute"}},

      {"hosts", "address", SLOT(hosts.address),
       "Address under which the cloud's other machines reach this controller. Empty: api_address, unless that is loopback; then there are no others.",
       F::optional_ipv4},
      {"hosts", "link_port", SLOT(hosts.link_port), "Port on which agents dial a controller (gRPC over mutual TLS).", F::any, 1, 65535},
      {"hosts", "southbound_port", SLOT(hosts.southbound_port),
       "Port on which ovn-controllers dial OVN's southbound database (mutual TLS).", F::any, 1, 65535},
      {"hosts", "controllers", SLOT(hosts.controllers), "The controllers that a host or a further controller joined, ADDRESS:PORT of each one's link; empty on the first controller. virga join writes it.", F::endpoint},

      {"api", "cors_allowed_origins", SLOT(api.cors_allowed_origins),
       "Origins (https://dashboard.example.org) whose pages may call the API from a browser; \"*\": any. Empty: none.", F::origin},
      {"api", "compression", SLOT(api.compression), "Answer with gzip to clients that take it."},
      {"api", "max_body_kib", SLOT(api.max_body_kib), "Largest body of a request, KiB; uploads of images are not meant.", F::any, 64, 65536},
      {"api", "rate_limit", SLOT(api.rate_limit), "Requests a second that one user may send in the long run; 0 = no limit.", F::any, 0, 1e6},
      {"api", "rate_limit_burst", SLOT(api.rate_limit_burst), "Requests a user may send at once before rate_limit holds it; 0 = twice rate_limit.", F::any, 0, 1e6},
      {"api", "access_log", SLOT(api.access_log), "Write access.log: each request as one line of JSON."},
      {"api", "audit_log", SLOT(api.audit_log), "Write audit.log: each login and each change as one CADF event (DSP0262) in a line of JSON."},
      {"api", "metrics_port", SLOT(api.metrics_port), "Port on 127.0.0.1 where Prometheus reads /metrics; 0 = none.", F::any, 0, 65535},

      {"tls", "enabled", SLOT(tls.enabled), "Serve the API over TLS (https) only."},
      {"tls", "certificate", SLOT(tls.certificate), "PEM file of the certificate and those it rests on. Empty: one of the cloud's own CA.", F::optional_path},
      {"tls", "key", SLOT(tls.key), "PEM file of its private key.", F::optional_path},
      {"tls", "names", SLOT(tls.names), "More names and addresses for the certificate of our own CA.", F::name},

      {"policy", "file", SLOT(policy.file), "Rules that replace the defaults, in oslo.policy's YAML (policy.yaml). Empty: none.", F::optional_path},
      {"policy", "new_defaults", SLOT(policy.new_defaults), "Use the secure-RBAC defaults (admin, member, reader of system, domain, project) alone, without the older ones."},
      {"policy", "enforce_scope", SLOT(policy.enforce_scope), "Refuse a token of a scope that the rule is not made for."},

      {"network", "mode", SLOT(network.mode),
       "trial: the data plane lives in a network namespace and the host stays as it was. host: a real installation.",
       F::any, 0, 0, {"trial", "host"}},
      {"network", "namespace", SLOT(network.name_space), "Name of the trial's network namespace.", F::name},
      {"network", "external_cidr", SLOT(network.external_cidr), "The external network (floating IPs).", F::cidr},
      {"network", "external_gateway", SLOT(network.external_gateway), "Its gateway. In a trial, and in host mode without external_interface, it lies on br-ex.", F::ipv4},
      {"network", "external_pool_start", SLOT(network.external_pool_start), "First address given to routers and floating IPs.", F::ipv4},
      {"network", "external_pool_end", SLOT(network.external_pool_end), "Last one.", F::ipv4},
      {"network", "private_cidr", SLOT(network.private_cidr), "The demo project's private network.", F::cidr},
      {"network", "dns_servers", SLOT(network.dns_servers), "Name servers that guests get by DHCP. Empty: none.", F::ipv4},
      {"network", "physical_network", SLOT(network.physical_network), "Name of the physical network of external_cidr.", F::name},
      {"network", "bridge_mappings", SLOT(network.bridge_mappings), "PHYSICAL_NETWORK:BRIDGE, each.", F::bridge_mapping},
      {"network", "external_interface", SLOT(network.external_interface),
       "Interface without addresses that joins br-ex (host mode only). Empty: none.", F::device},
      {"network", "underlay_interface", SLOT(network.underlay_interface),
       "Userspace datapath only: the interface that tunnels leave by. It joins br-phy, which takes its addresses over. Empty: encap_ip is no other machine's business.",
       F::optional_device},
      {"network", "encap_ip", SLOT(network.encap_ip), "Address of this host's tunnels (geneve). In host mode one of its own.", F::ipv4},
      {"network", "datapath", SLOT(network.datapath),
       "Open vSwitch's datapath. auto: the kernel's if it has the module (host mode loads it), else userspace (netdev).", F::any, 0, 0,
       {"auto", "netdev", "system"}},
      {"network", "mtu", SLOT(network.mtu), "MTU of project networks; geneve takes 58 bytes of 1500.", F::any, 576, 9000},

      {"compute", "hypervisor", SLOT(compute.hypervisor), "fake runs no guests: for scale tests.", F::any, 0, 0, {"libvirt", "fake"}},
      {"compute", "virt_type", SLOT(compute.virt_type), "auto: kvm if it can really run a guest, else qemu (emulation).",
       F::any, 0, 0, {"auto", "kvm", "qemu"}},
      {"compute", "host_name", SLOT(compute.host_name), "Name of this compute host. Empty: the machine's.", F::name},
      {"compute", "cpu_allocation_ratio", SLOT(compute.cpu_allocation_ratio), "Virtual CPUs for each real one.", F::any, 0.01, 1000},
      {"compute", "ram_allocation_ratio", SLOT(compute.ram_allocation_ratio), "Overcommitment of memory.", F::any, 0.01, 1000},
      {"compute", "disk_allocation_ratio", SLOT(compute.disk_allocation_ratio), "Overcommitment of disk.", F::any, 0.01, 1000},
      {"compute", "reserved_host_memory_mb", SLOT(compute.reserved_host_memory_mb), "Memory kept for the host, MiB.", F::any, 0, 1e9},
      {"compute", "reserved_host_disk_gb", SLOT(compute.reserved_host_disk_gb), "Disk kept for the host, GiB.", F::any, 0, 1e9},
      {"compute", "reserved_host_cpus", SLOT(compute.reserved_host_cpus), "CPUs kept for the host.", F::any, 0, 4096},

      {"ha", "restart", SLOT(ha.restart),
       "Servers of a compute host that is lost are built again on others: auto: by themselves, once the host is fenced (but those with the metadata ha:restart=never); "
       "manual: those with the metadata ha:restart=auto by themselves, the others with virga host evacuate.",
       F::any, 0, 0, {"manual", "auto"}},
      {"ha", "fence_command", SLOT(ha.fence_command),
       "Program, run as root with a lost host's name and address, that makes sure it is off (IPMI, a power strip) and ends with 0 then. Empty: only an operator can say so.",
       F::optional_path},
      {"ha", "fence_after_s", SLOT(ha.fence_after_s), "How long a host must have been silent before it is fenced, seconds.", F::any, 20, 86400},
      {"ha", "nats_server", SLOT(ha.nats_server),
       "Whether this controller runs a NATS server (package nats-server), by which several controllers wake each other. Without one they look at the database every second."},
      {"ha", "nats_port", SLOT(ha.nats_port), "Its port (TLS with certificates of the cloud's CA for hosts).", F::any, 1, 65535},
      {"ha", "nats_url", SLOT(ha.nats_url),
       "A NATS server that is there already, or another controller's: tls://HOST:PORT, or nats://USER:PASSWORD@HOST:PORT without TLS. virga join --controller writes it.", F::url},
      {"ha", "nats_ca", SLOT(ha.nats_ca), "Certificates (PEM) of whom to trust there. Empty: the cloud's own CA, to which this controller shows its certificate too.", F::optional_path},

      {"identity", "admin_password", SLOT(identity.admin_password), "Password of admin. Empty: one is generated at the first start."},
      {"identity", "demo_password", SLOT(identity.demo_password), "Password of demo. Empty: one is generated."},
      {"identity", "token_expiration_s", SLOT(identity.token_expiration_s), "Life of a token, seconds.", F::any, 60, 2592000},
      {"identity", "password_memory_s", SLOT(identity.password_memory_s),
       "How long a verified password is remembered (keyed hash, memory only), seconds; 0 = never.", F::any, 0, 3600},
      {"identity", "bcrypt_cost", SLOT(identity.bcrypt_cost), "Work of one password hash: 12 is about 250 ms.", F::any, 4, 16},
      {"identity", "max_active_keys", SLOT(identity.max_active_keys),
       "Keys for tokens kept at a rotation (virga identity rotate-keys): the one in use, the next, and older ones that still open tokens.", F::any, 3, 64},
      {"identity", "limit_model", SLOT(identity.limit_model),
       "How unified limits relate: flat: each project's alone. strict_two_level: no project's above its domain's, and no "
       "deeper trees of projects than two levels.",
       F::any, 0, 0, {"flat", "strict_two_level"}},

      {"identity", "signatures_without_token", SLOT(identity.signatures_without_token),
       "Let anybody ask whose an EC2 or S3 signature is, for services of before 2025 that have no token to show. Whoever sees a signed request can then act as who signed it."},

      {"security_compliance", "lockout_failure_attempts", SLOT(security_compliance.lockout_failure_attempts),
       "Wrong passwords in a row that lock an account; 0 = never.", F::any, 0, 1e6},
      {"security_compliance", "lockout_duration", SLOT(security_compliance.lockout_duration),
       "How long a lock lasts, seconds; 0 = until an administrator enables the user.", F::any, 0, 1e9},
      {"security_compliance", "disable_user_account_days_inactive", SLOT(security_compliance.disable_user_account_days_inactive),
       "Days without a login after which a user is disabled; 0 = never.", F::any, 0, 1e6},
      {"security_compliance", "password_expires_days", SLOT(security_compliance.password_expires_days),
       "Days after which a new password must be changed; 0 = never.", F::any, 0, 1e6},
      {"security_compliance", "unique_last_password_count", SLOT(security_compliance.unique_last_password_count),
       "How many passwords in a row, the new one included, must differ; 0 = none.", F::any, 0, 1000},
      {"security_compliance", "minimum_password_age", SLOT(security_compliance.minimum_password_age),
       "Days a user must keep a password it has set.", F::any, 0, 1e6},
      {"security_compliance", "password_regex", SLOT(security_compliance.password_regex),
       "Regular expression (ECMAScript) that new passwords must match from their beginning. Empty: any."},
      {"security_compliance", "password_regex_description", SLOT(security_compliance.password_regex_description),
       "What a user whose password does not match is told."},
      {"security_compliance", "change_password_upon_first_use", SLOT(security_compliance.change_password_upon_first_use),
       "A password that an administrator set must be changed before it is of use."},

      {"database", "url", SLOT(database.url),
       "mariadb://user:password@host:port/virga when several controllers share it. Empty: SQLite in state_dir.", F::url},
      {"database", "readers", SLOT(database.readers), "Pooled connections for reading.", F::any, 1, 256},

      {"demo", "enabled", SLOT(demo.enabled), "Provision what packstack's demo has: flavors, networks, image, project demo."},
      {"demo", "server", SLOT(demo.server), "And start a demo server with a floating IP."},
      {"demo", "image_name", SLOT(demo.image_name), "Name of the tiny guest image.", F::name},
      {"demo", "flavor", SLOT(demo.flavor), "Flavor of the demo server.", F::name},

      {"log", "level", SLOT(log.level), "How much the services write.", F::any, 0, 0, {"debug", "info", "warn", "error"}},

      {"quota", "instances", SLOT(quota.instances), "Defaults for each project; -1 = no limit.", F::any, -1, 1e9},
      {"quota", "cores", SLOT(quota.cores), "", F::any, -1, 1e9},
      {"quota", "ram_mb", SLOT(quota.ram_mb), "", F::any, -1, 1e9},
      {"quota", "key_pairs", SLOT(quota.key_pairs), "Of each user.", F::any, -1, 1e9},
      {"quota", "metadata_items", SLOT(quota.metadata_items), "Of each server.", F::any, -1, 1e9},
      {"quota", "server_groups", SLOT(quota.server_groups), "", F::any, -1, 1e9},
      {"quota", "server_group_members", SLOT(quota.server_group_members), "", F::any, -1, 1e9},
      {"quota", "networks", SLOT(quota.networks), "", F::any, -1, 1e9},
      {"quota", "subnets", SLOT(quota.subnets), "", F::any, -1, 1e9},
      {"quota", "ports", SLOT(quota.ports), "", F::any, -1, 1e9},
      {"quota", "routers", SLOT(quota.routers), "", F::any, -1, 1e9},
      {"quota", "floating_ips", SLOT(quota.floating_ips), "", F::any, -1, 1e9},
      {"quota", "security_groups", SLOT(quota.security_groups), "", F::any, -1, 1e9},
      {"quota", "security_group_rules", SLOT(quota.security_group_rules), "", F::any, -1, 1e9},
  };
}
#undef SLOT

const std::map<std::string_view, std::string_view>& section_help() {
  static const std::map<std::string_view, std::string_view> help = {
      {"cloud", "Where the cloud lives and listens."},
      {"hosts", "How the machines of one cloud find each other."},
      {"api", "What all services' APIs have in common."},
      {"tls", "Encryption of the API."},
      {"policy", "Who may do what. virga policy list shows the rules in force."},
      {"network", "The data plane: Open vSwitch and OVN."},
      {"compute", "This machine as a compute host."},
      {"ha", "What happens to servers of a compute host that is lost, and how several controllers work together."},
      {"identity", "Passwords and tokens."},
      {"security_compliance", "Rules for passwords and logins, as keystone's section of that name."},
      {"database", "The cloud's state."},
      {"demo", "What is provisioned at the first start."},
      {"log", "Logs."},
      {"quota", "Default quotas of a project."},
  };
  return help;
}

bool is_ipv4(const std::string& text) {
  in_addr ignored{};
  return inet_pton(AF_INET, text.c_str(), &ignored) == 1;
}

bool is_word(const std::string& text, std::string_view more) {
  return std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) || more.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

/// What is wrong with a text, or "".
std::string text_problem(const ConfigKey& key, const std::string& text) {
  uint32_t address;
  int prefix;
  if (!key.choices.empty() && std::find(key.choices.begin(), key.choices.end(), text) == key.choices.end())
    return fmt::format("must be one of: {}", fmt::join(key.choices, ", "));
  switch (key.form) {
    case F::optional_path:
      if (text.empty()) return "";
      [[fallthrough]];
    case F::path:
      if (text.size() < 2 || text[0] != '/' || text.find("..") != std::string::npos) return "must be an absolute path";
      return text.size() > 60 && key.name == "run_dir" ? "is too long: sockets below it would not fit" : "";
    case F::name: return is_word(text, "-_. ") && text.size() <= 64 ? "" : "may hold letters, digits, '-', '_' and '.'";
    case F::optional_device:
    case F::device: return text.size() < 16 && is_word(text, "-_.:@") ? "" : "is not a device name";
    case F::ipv4: return is_ipv4(text) ? "" : "must be an IPv4 address";
    case F::optional_ipv4: return text.empty() || is_ipv4(text) ? "" : "must be an IPv4 address";
    case F::cidr:
      if (!parse_ipv4_cidr(text, address, prefix)) return "must be a range such as 10.0.0.0/24";
      return prefix < 32 && (address << prefix) != 0 ? "has bits set behind its prefix" : "";
    case F::origin:
      return text == "*" || (text.find("://") != std::string::npos && text.find('/', text.find("://") + 3) == std::string::npos)
                 ? ""
                 : "must be an origin such as https://dashboard.example.org, or \"*\"";
    case F::url: return text.empty() || text.find("://") != std::string::npos ? "" : "must be a URL";
    case F::bridge_mapping: {
      const size_t colon = text.find(':');
      const bool ok = colon != std::string::npos && colon > 0 && colon + 1 < text.size() && is_word(text, "-_.:");
      return ok ? "" : "must read PHYSICAL_NETWORK:BRIDGE";
    }
    case F::endpoint: {
      const size_t colon = text.find(':');
      const std::string port = colon == std::string::npos ? "" : text.substr(colon + 1);
      const bool ok = is_ipv4(text.substr(0, colon)) && !port.empty() && port.size() < 6 && port.find_first_not_of("0123456789") == std::string::npos;
      return ok ? "" : "must read ADDRESS:PORT";
    }
    case F::any: return "";
  }
  return "";
}

std::string number_problem(const ConfigKey& key, double value) {
  if (std::isnan(value) || (key.most > key.least && (value < key.least || value > key.most)))
    return fmt::format("must be between {} and {}", key.least, key.most);
  return "";
}

/// Puts a TOML value into the key's slot; returns what is wrong, or "".
struct Assign {
  const ConfigKey& key;
  const toml::node& node;

  std::string operator()(std::string* to) const {
    if (!node.is_string()) return "must be a text in quotes";
    *to = node.as_string()->get();
    return text_problem(key, *to);
  }
  std::string operator()(int* to) const {
    if (!node.is_integer()) return "must be a whole number";
    const int64_t value = node.as_integer()->get();
    if (value != static_cast<int>(value)) return "is too large";
    *to = static_cast<int>(value);
    return number_problem(key, *to);
  }
  std::string operator()(double* to) const {
    if (!node.is_number()) return "must be a number";
    *to = *node.value<double>();
    return number_problem(key, *to);
  }
  std::string operator()(bool* to) const {
    if (!node.is_boolean()) return "must be true or false";
    *to = node.as_boolean()->get();
    return "";
  }
  template <class T>
  std::string operator()(std::vector<T>* to) const {
    if (!node.is_array()) return "must be a list in [ ]";
    to->clear();
    for (const toml::node& element : *node.as_array()) {
      T value{};
      if (const std::string problem = Assign{key, element}(&value); !problem.empty()) return "each " + problem;
      to->push_back(std::move(value));
    }
    return "";
  }
};

[[noreturn]] void refuse(const std::string& file, const toml::source_region& at, const std::string& what,
                         const std::string& hint = {}) {
  throw Fault(FaultKind::bad_request, fmt::format("{}:{}: {}", file, at.begin.line, what), hint);
}

const ConfigKey* find_key(std::string_view section, std::string_view name) {
  for (const ConfigKey& key : config_keys())
    if (key.section == section && key.name == name) return &key;
  return nullptr;
}

[[noreturn]] void refuse_unknown(const std::string& file, const toml::key& at, const std::string& section) {
  const std::string name(at.str());
  std::vector<std::string> siblings;
  std::string elsewhere;
  for (const ConfigKey& key : config_keys()) {
    if (key.section == section) siblings.emplace_back(key.name);
    else if (key.name == name) elsewhere = fmt::format("{} belongs into [{}].", name, key.section);
  }
  const std::string near = nearest_word(name, siblings);
  std::string hint = !elsewhere.empty() ? elsewhere
                     : !near.empty()    ? fmt::format("Did you mean {}?", near)
                                        : fmt::format("[{}] knows: {}.", section, fmt::join(siblings, ", "));
  refuse(file, at.source(), fmt::format("unknown key {} in [{}]. {}", name, section, hint), hint);
}

void read_section(Config& config, const std::string& file, const std::string& section, const toml::table& table) {
  for (const auto& [name, node] : table) {
    const ConfigKey* key = find_key(section, name.str());
    if (!key) refuse_unknown(file, name, section);
    const std::string problem = std::visit(Assign{*key, node}, key->slot(config));
    if (!problem.empty()) refuse(file, node.source(), fmt::format("{}.{} {}.", section, name.str(), problem));
  }
}

std::string render(const ConfigSlot& slot);
struct Render {
  std::string operator()(const std::string* v) const {
    std::string out = "\"";
    for (const char c : *v) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + "\"";
  }
  std::string operator()(const int* v) const { return std::to_string(*v); }
  std::string operator()(const double* v) const {
    const std::string text = fmt::format("{}", *v);
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  }
  std::string operator()(const bool* v) const { return *v ? "true" : "false"; }
  template <class T>
  std::string operator()(const std::vector<T>* v) const {
    std::string out;
    for (const T& element : *v) out += (out.empty() ? "" : ", ") + (*this)(&element);
    return "[" + out + "]";
  }
};
std::string render(const ConfigSlot& slot) { return std::visit(Render{}, slot); }

const char* type_name(const ConfigSlot& slot) {
  static constexpr const char* kNames[] = {"text", "integer", "number", "true or false", "list of texts", "list of integers"};
  return kNames[slot.index()];
}

const ConfigKey& key_named(std::string_view dotted) {
  const size_t dot = dotted.find('.');
  const ConfigKey* key =
      dot == std::string_view::npos ? nullptr : find_key(dotted.substr(0, dot), dotted.substr(dot + 1));
  if (key) return *key;
  std::vector<std::string> all;
  for (const ConfigKey& k : config_keys()) all.push_back(fmt::format("{}.{}", k.section, k.name));
  const std::string near = nearest_word(dotted, all);
  throw Fault(FaultKind::bad_request, fmt::format("There is no key {}.", dotted),
              near.empty() ? "`virga config init` writes all of them." : fmt::format("Did you mean {}?", near));
}

uint32_t ipv4_number(const std::string& text) {
  in_addr a{};
  inet_pton(AF_INET, text.c_str(), &a);
  return ntohl(a.s_addr);
}

bool lies_in(const std::string& address, const std::string& cidr) {
  return ranges_overlap(address + "/32", cidr);
}

}  // namespace

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = make_keys();
  return keys;
}

std::string Config::database_url() const {
  return database.url.empty() ? "sqlite://" + cloud.state_dir + "/control/virga.db" : database.url;
}

bool parse_ipv4_cidr(std::string_view text, uint32_t& address, int& prefix) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view digits = text.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  const std::string head(text.substr(0, slash));
  if (error != std::errc() || end != digits.data() + digits.size() || prefix < 0 || prefix > 32 || !is_ipv4(head))
    return false;
  address = ipv4_number(head);
  return true;
}

bool ranges_overlap(std::string_view cidr_a, std::string_view cidr_b) {
  uint32_t a, b;
  int pa, pb;
  if (!parse_ipv4_cidr(cidr_a, a, pa) || !parse_ipv4_cidr(cidr_b, b, pb)) return false;
  const int prefix = std::min(pa, pb);
  const uint32_t mask = prefix == 0 ? 0 : ~uint32_t{0} << (32 - prefix);
  return (a & mask) == (b & mask);
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t substitute = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

Config parse_config(std::string_view text, const std::string& file) {
  Config config;
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& e) {
    refuse(file, e.source(), std::string(e.description()));
  }
  for (const auto& [name, node] : root) {
    const std::string section(name.str());
    if (section_help().count(section) == 0) {
      std::vector<std::string> sections;
      for (const auto& [known, help] : section_help()) sections.emplace_back(known);
      const std::string near = nearest_word(section, sections);
      const std::string hint = near.empty() ? fmt::format("Sections are: {}.", fmt::join(sections, ", "))
                                            : fmt::format("Did you mean [{}]?", near);
      refuse(file, name.source(), fmt::format("unknown section {}. {}", section, hint), hint);
    }
    if (!node.is_table()) refuse(file, node.source(), fmt::format("{} must be a section: [{}].", section, section));
    read_section(config, file, section, *node.as_table());
  }
  check_config(config, file);
  return config;
}

Config load_config(const std::string& path) { return parse_config(read_file(path), path); }

namespace {

bool is_regex(const std::string& text) {
  try {
    std::regex ignored(text);
    return true;
  } catch (const std::regex_error&) {
    return false;
  }
}

}  // namespace

void check_config(const Config& c, const std::string& file) {
  const auto refuse_if = [&](bool wrong, const std::string& what, const std::string& hint = {}) {
    if (wrong) throw Fault(FaultKind::bad_request, fmt::format("{}: {}", file, what), hint);
  };
  const auto& n = c.network;
  refuse_if(!lies_in(n.external_gateway, n.external_cidr),
            fmt::format("network.external_gateway {} lies outside network.external_cidr {}.", n.external_gateway, n.external_cidr));
  for (const auto& address : {n.external_pool_start, n.external_pool_end})
    refuse_if(!lies_in(address, n.external_cidr),
              fmt::format("network.external_pool_start and _end must lie in {}, but {} does not.", n.external_cidr, address),
              "Change them together with network.external_cidr.");
  refuse_if(ipv4_number(n.external_pool_start) > ipv4_number(n.external_pool_end),
            "network.external_pool_start is behind network.external_pool_end.");
  refuse_if(ranges_overlap(n.external_cidr, n.private_cidr),
            fmt::format("network.external_cidr {} and network.private_cidr {} overlap.", n.external_cidr, n.private_cidr));
  refuse_if(n.name_space.empty() || n.name_space.find(' ') != std::string::npos || n.name_space[0] == '.',
            "network.namespace must be a plain name.");
  const bool mapped = std::any_of(n.bridge_mappings.begin(), n.bridge_mappings.end(),
                                  [&](const std::string& m) { return m.rfind(n.physical_network + ":", 0) == 0; });
  refuse_if(c.has_control() && !mapped, fmt::format("network.bridge_mappings names no bridge for network.physical_network {}.", n.physical_network));
  refuse_if(c.trial() && !n.external_interface.empty(), "network.external_interface needs network.mode = \"host\".",
            "A trial leaves the host's interfaces alone.");
  const std::string one_machine = "A trial is one machine: cloud.role, hosts.address and network.underlay_interface are for network.mode = \"host\".";
  refuse_if(c.trial() && (c.cloud.role != "allinone" || !c.hosts.address.empty() || !n.underlay_interface.empty()), one_machine);
  refuse_if(!c.has_control() && c.hosts.controllers.empty(), "A compute host needs hosts.controllers.", "`virga join` writes them.");
  refuse_if(c.cloud.role == "allinone" && !c.hosts.controllers.empty() && c.compute.hypervisor != "fake",
            "Of several controllers only the first, without hosts.controllers, can have guests.", "cloud.role = \"controller\"");
  refuse_if(c.ha.restart == "auto" && c.ha.fence_command.empty(), "ha.restart = \"auto\" needs ha.fence_command.",
            "Without it nobody knows that a silent host is off, and a server must never run twice.");
  refuse_if(!n.underlay_interface.empty() && n.underlay_interface == n.external_interface,
            "network.underlay_interface and network.external_interface cannot be one interface.");
  refuse_if(!is_regex(c.security_compliance.password_regex),
            "security_compliance.password_regex is no regular expression (ECMAScript's).");
}

std::string Config::hosts_address() const {
  if (trial() || !has_control()) return "";
  if (!hosts.address.empty()) return hosts.address;
  const bool nobody_else = cloud.api_address.rfind("127.", 0) == 0 || cloud.api_address == "0.0.0.0";
  return nobody_else ? "" : cloud.api_address;
}

std::string Config::nats() const {
  if (!ha.nats_url.empty() || !ha.nats_server) return ha.nats_url;
  const std::string address = hosts_address();
  return fmt::format("tls://{}:{}", address.empty() ? "127.0.0.1" : address, ha.nats_port);
}

void set_config_text(Config& config, std::string_view dotted, std::string_view text) {
  const ConfigKey& key = key_named(dotted);
  const ConfigSlot slot = key.slot(config);
  const bool quoted = std::holds_alternative<std::string*>(slot);
  std::string value(text);
  if (quoted) {
    value = Render{}(&value);
  } else if (slot.index() >= 4) {  // a list
    std::string list;
    for (std::string& element : text.empty() ? std::vector<std::string>() : split(text, ',')) {
      element.erase(0, element.find_first_not_of(' '));
      list += (list.empty() ? "" : ", ") + (slot.index() == 4 ? Render{}(&element) : element);
    }
    value = "[" + list + "]";
  }
  std::string problem;
  try {
    const toml::table table = toml::parse("v = " + value + "\n");
    problem = std::visit(Assign{key, *table.get("v")}, slot);
  } catch (const toml::parse_error&) {
    problem = fmt::format("must be a {}", type_name(slot));
  }
  if (!problem.empty()) throw Fault(FaultKind::bad_request, fmt::format("{} {} (it is \"{}\").", dotted, problem, text));
}

std::string config_text(const Config& config, std::string_view dotted) {
  const ConfigSlot slot = key_named(dotted).slot(const_cast<Config&>(config));  // read only
  if (const auto* text = std::get_if<std::string*>(&slot)) return **text;
  if (const auto* texts = std::get_if<std::vector<std::string>*>(&slot)) return fmt::format("{}", fmt::join(**texts, ","));
  if (const auto* numbers = std::get_if<std::vector<int>*>(&slot)) return fmt::format("{}", fmt::join(**numbers, ","));
  return render(slot);
}

std::string commented_config(const Config& given) {
  Config config = given, defaults;
  std::string out =
      "# virga.toml: everything that may be changed about this cloud. A line that begins with '#' shows the default.\n"
      "# Unknown keys are refused. `virga up` reads the file at start.\n";
  std::string_view section;
  for (const ConfigKey& key : config_keys()) {
    if (key.section != section) {
      section = key.section;
      out += fmt::format("\n# {}\n[{}]\n", section_help().at(section), section);
    }
    if (!key.help.empty()) out += fmt::format("# {}\n", key.help);
    if (!key.choices.empty()) out += fmt::format("# One of: {}.\n", fmt::join(key.choices, ", "));
    const std::string value = render(key.slot(config));
    out += fmt::format("{}{} = {}\n", value == render(key.slot(defaults)) ? "#" : "", key.name, value);
  }
  return out;
}

std::string commented_default() { return commented_config(Config{}); }

std::string config_reference() {
  Config defaults;
  std::string out = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n";
  for (const ConfigKey& key : config_keys()) {
    const ConfigSlot slot = key.slot(defaults);
    const std::string choices = key.choices.empty() ? "" : fmt::format(" One of: {}.", fmt::join(key.choices, ", "));
    out += fmt::format("| `{}.{}` | {} | `{}` | {}{} |\n", key.section, key.name, type_name(slot), render(slot), key.help, choices);
  }
  return out;
}

}  // namespace virga
