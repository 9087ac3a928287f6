#include "cloud/answer_file.h"

#include <fmt/format.h>

#include <map>
#include <sstream>

#include "base/fault.h"
#include "http/api.h"

namespace virga::cloud {
namespace {

/// How a value crosses: as it is, or 'y'/'n' for true/false.
enum class Form { same, yes_no };

struct Row {
  std::string_view answer, key;
  Form form;
  std::string_view help;
};

constexpr Row kRows[] = {
    {"CONFIG_KEYSTONE_ADMIN_PW", "identity.admin_password", Form::same, "Password of the user admin. Empty: generated."},
    {"CONFIG_KEYSTONE_DEMO_PW", "identity.demo_password", Form::same, "Password of the user demo. Empty: generated."},
    {"CONFIG_KEYSTONE_REGION", "cloud.region", Form::same, "Name of the region."},
    {"CONFIG_PROVISION_DEMO", "demo.enabled", Form::yes_no, "Provision flavors, networks, image and the demo project (y or n)."},
    {"CONFIG_PROVISION_DEMO_FLOATRANGE", "network.external_cidr", Form::same, "Range of the external network."},
    {"CONFIG_PROVISION_IMAGE_NAME", "demo.image_name", Form::same, "Name of the demo image."},
    {"CONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS", "network.bridge_mappings", Form::same, "PHYSICAL_NETWORK:BRIDGE, comma-separated."},
    {"CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS", "network.bridge_mappings", Form::same, ""},
    {"CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "compute.cpu_allocation_ratio", Form::same, "Virtual CPUs for each real one."},
    {"CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO", "compute.ram_allocation_ratio", Form::same, "Overcommitment of memory."},
};

/// Keys that need more than a copy.
constexpr std::pair<std::string_view, std::string_view> kSpecial[] = {
    {"CONFIG_DEBUG_MODE", "Write debug logs (y or n)."},
    {"CONFIG_MARIADB_HOST", "Host of an existing MariaDB; used if CONFIG_MARIADB_INSTALL=n. Otherwise state lies in SQLite."},
    {"CONFIG_MARIADB_INSTALL", "n: use the MariaDB named here."},
    {"CONFIG_MARIADB_USER", "Its user."},
    {"CONFIG_MARIADB_PW", "Its password."},
    {"CONFIG_NEUTRON_OVN_BRIDGE_IFACES", "BRIDGE:INTERFACE; the interface joins br-ex and network.mode becomes host."},
};

/// Why a key of packstack has no meaning here, by prefix; the longest that matches counts.
constexpr std::pair<std::string_view, std::string_view> kElsewhere[] = {
    {"CONFIG_AMQP", "there is no message broker"},
    {"CONFIG_CINDER", "volumes are not part of this version"},
    {"CONFIG_SWIFT", "object storage is not part of this version"},
    {"CONFIG_HEAT", "Heat is not part of Virga; it works against its APIs"},
    {"CONFIG_HORIZON", "Horizon is not part of Virga; it works against its APIs"},
    {"CONFIG_CEILOMETER", "telemetry is not part of Virga"},
    {"CONFIG_AODH", "telemetry is not part of Virga"},
    {"CONFIG_GNOCCHI", "telemetry is not part of Virga"},
    {"CONFIG_MAGNUM", "not part of Virga"},
    {"CONFIG_TROVE", "not part of Virga"},
    {"CONFIG_SAHARA", "not part of Virga"},
    {"CONFIG_MANILA", "not part of Virga"},
    {"CONFIG_IRONIC", "not part of Virga"},
    {"CONFIG_REDIS", "not needed"},
    {"CONFIG_MARIADB", "set by database.url"},
    {"CONFIG_CONTROLLER_HOST", "this machine is the controller"},
    {"CONFIG_COMPUTE_HOSTS", "this machine is the compute host; others will join by token"},
    {"CONFIG_NETWORK_HOSTS", "each host routes its own traffic"},
    {"CONFIG_NTP", "the system's own clock service is used; `virga doctor` checks it"},
    {"CONFIG_NEUTRON", "networks are always OVN's"},
    {"CONFIG_KEYSTONE", "tokens, databases and back ends of identity are built in"},
    {"CONFIG_GLANCE", "images are built in"},
    {"CONFIG_NOVA", "compute is built in"},
    {"CONFIG_RH", "no subscription is needed"},
    {"CONFIG_SATELLITE", "no subscription is needed"},
    {"CONFIG_SSL", "TLS is not terminated here"},
    {"CONFIG_PROVISION_TEMPEST", "`./test tempest` runs Tempest"},
};

std::string why_not(const std::string& key) {
  std::string_view best, reason = "Virga does not know this key";
  for (const auto& [prefix, why] : kElsewhere)
    if (key.rfind(prefix, 0) == 0 && prefix.size() > best.size()) best = prefix, reason = why;
  return std::string(reason);
}

bool is_yes(const std::string& text) { return text == "y" || text == "Y" || text == "yes" || text == "true"; }

struct Answers {
  std::map<std::string, std::string> values;
  std::map<std::string, int> lines;
  std::vector<std::string> order;
};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

Answers parse(std::string_view text, const std::string& file) {
  Answers answers;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line = trimmed(line);
    if (line.empty() || line[0] == '#' || line == "[general]") continue;
    const size_t equals = line.find('=');
    if (equals == std::string::npos || line.rfind("CONFIG_", 0) != 0)
      throw Fault(FaultKind::bad_request, fmt::format("{}:{}: not a line CONFIG_KEY=value: {}", file, number, line));
    const std::string key = trimmed(line.substr(0, equals));
    if (!answers.lines.count(key)) answers.order.push_back(key);
    answers.values[key] = trimmed(line.substr(equals + 1));
    answers.lines[key] = number;
  }
  return answers;
}

const Row* find_row(const std::string& key) {
  for (const Row& row : kRows)
    if (row.answer == key) return &row;
  return nullptr;
}

/// 172.24.4.0/24 brings its own gateway (.1) and pool (.2 to the last but one).
void fit_external_range(Config& c) {
  uint32_t base;
  int prefix;
  if (!parse_ipv4_cidr(c.network.external_cidr, base, prefix) || prefix > 29) return;
  const auto text = [](uint32_t a) { return fmt::format("{}.{}.{}.{}", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255); };
  c.network.external_gateway = text(base + 1);
  c.network.external_pool_start = text(base + 2);
  c.network.external_pool_end = text(base + (uint32_t{1} << (32 - prefix)) - 2);
}

/// The physical network of the external one must be among the mapped: packstack's is extnet or physnet1.
void fit_physical_network(Config& c) {
  for (const std::string& m : c.network.bridge_mappings)
    if (m.rfind(c.network.physical_network + ":", 0) == 0) return;
  if (!c.network.bridge_mappings.empty())
    c.network.physical_network = c.network.bridge_mappings[0].substr(0, c.network.bridge_mappings[0].find(':'));
}

/// Returns the key of virga.toml that it set, or "" with `why`.
std::string apply_special(Config& c, const Answers& a, const std::string& key, const std::string& value, std::string& why) {
  const auto other = [&](const char* name, const char* fallback) {
    const auto found = a.values.find(name);
    return found == a.values.end() || found->second.empty() ? std::string(fallback) : found->second;
  };
  if (key == "CONFIG_DEBUG_MODE") {
    c.log.level = is_yes(value) ? "debug" : "info";
    return "log.level";
  }
  if (key == "CONFIG_NEUTRON_OVN_BRIDGE_IFACES" && !value.empty()) {
    c.network.external_interface = value.substr(value.find(':') + 1);
    c.network.mode = "host";
    return "network.external_interface";
  }
  if (key.rfind("CONFIG_MARIADB", 0) == 0) {
    if (is_yes(other("CONFIG_MARIADB_INSTALL", "y")) || other("CONFIG_MARIADB_HOST", "").empty()) {
      why = "state lies in SQLite unless CONFIG_MARIADB_INSTALL=n names a MariaDB";
      return "";
    }
    c.database.url = fmt::format("mariadb://{}:{}@{}:3306/virga", http::percent_encode(other("CONFIG_MARIADB_USER", "root")),
                                 http::percent_encode(other("CONFIG_MARIADB_PW", "")), other("CONFIG_MARIADB_HOST", ""));
    return "database.url";
  }
  why = "is empty";
  return "";
}

bool is_special(const std::string& key) {
  for (const auto& [name, help] : kSpecial)
    if (name == key) return true;
  return false;
}

/// Sets one key; returns what it set, or "" with `why`.
std::string apply_one(Config& c, const Answers& a, const std::string& key, const std::string& value, std::string& why) {
  if (is_special(key)) return apply_special(c, a, key, value, why);
  const Row* row = find_row(key);
  if (!row) {
    why = why_not(key);
    return "";
  }
  if (value.empty() || value == "PW_PLACEHOLDER") {
    why = "is empty";
    return "";
  }
  set_config_text(c, row->key, row->form == Form::yes_no ? (is_yes(value) ? "true" : "false") : value);
  if (row->key == "network.external_cidr") fit_external_range(c);
  return std::string(row->key);
}

}  // namespace

std::string generate_answer_file(const Config& config) {
  std::string out = "[general]\n\n# packstack's keys that mean something here. Everything else stands in virga.toml.\n";
  for (const Row& row : kRows) {
    if (row.help.empty()) continue;
    std::string value = config_text(config, row.key);
    if (row.form == Form::yes_no) value = value == "true" ? "y" : "n";
    out += fmt::format("\n# {} ({})\n{}={}\n", row.help, row.key, row.answer, value);
  }
  const std::map<std::string_view, std::string> values = {{"CONFIG_DEBUG_MODE", config.log.level == "debug" ? "y" : "n"},
                                                          {"CONFIG_MARIADB_INSTALL", "y"}};
  for (const auto& [name, help] : kSpecial) {
    const auto value = values.find(name);
    out += fmt::format("\n# {}\n{}={}\n", help, name, value == values.end() ? "" : value->second);
  }
  return out;
}

AnswerResult apply_answer_file(std::string_view text, const std::string& file, const Config& base) {
  const Answers answers = parse(text, file);
  AnswerResult result;
  result.config = base;
  for (const std::string& key : answers.order) {
    std::string why, set;
    try {
      set = apply_one(result.config, answers, key, answers.values.at(key), why);
    } catch (const Fault& f) {
      throw Fault(f.kind, fmt::format("{}:{}: {}: {}", file, answers.lines.at(key), key, f.message), f.hint);
    }
    if (set.empty()) result.not_applied.emplace_back(key, why);
    else result.applied.push_back(fmt::format("{} -> {}", key, set));
  }
  fit_physical_network(result.config);
  check_config(result.config, file);
  return result;
}

}  // namespace virga::cloud
