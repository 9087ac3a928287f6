#include "cloud/distribution.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/fault.h"
#include "base/json.h"
#include "base/process.h"
#include "cloud/switch_database.h"

namespace virga::cloud {
namespace {

std::string file_of(const Config& config) { return config.cloud.state_dir + "/distribution.json"; }

const std::string& switch_socket() {
  static const std::string path = std::string(kSystemSwitchRun) + "/db.sock";
  return path;
}
const std::string& northbound_socket() {
  static const std::string path = std::string(kSystemOvnRun) + "/ovnnb_db.sock";
  return path;
}

/// It takes no name for its control socket: it puts its pid in.
bool controller_answers(const Answers& answers) {
  pid_t pid = 0;
  std::ifstream(std::string(kSystemOvnRun) + "/ovn-controller.pid") >> pid;
  return pid > 0 && answers(fmt::format("{}/ovn-controller.{}.ctl", kSystemOvnRun, pid));
}

using TextMap = std::map<std::string, std::string>;

json::object to_json(const SwitchBefore& before) {
  json::object bridges;
  for (const auto& [name, bridge] : before.bridges)
    bridges[name] = {{"datapath_type", bridge.datapath_type}, {"external_ids", json::value_from(bridge.external_ids)}};
  return {{"external_ids", json::value_from(before.external_ids)}, {"bridges", bridges}, {"ports", json::value_from(before.ports)}};
}

SwitchBefore before_of(const json::object& o) {
  SwitchBefore before;
  before.external_ids = json::value_to<TextMap>(o.at("external_ids"));
  for (const auto& [name, bridge] : o.at("bridges").as_object())
    before.bridges[std::string(name.data(), name.size())] = {str(bridge.at("datapath_type")), json::value_to<TextMap>(bridge.at("external_ids"))};
  before.ports = json::value_to<std::vector<std::string>>(o.at("ports"));
  return before;
}

struct Part {
  bool used;
  const char *what, *service;
  std::function<bool()> answers;
};

}  // namespace

Distribution look_at_distribution(const Answers& answers) {
  Distribution d;
  d.openvswitch = answers(switch_socket());
  if (!d.openvswitch) return d;
  d.ovn = answers(northbound_socket());
  d.controller = controller_answers(answers);
  d.libvirt = answers(kSystemLibvirtSocket);
  return d;
}

std::optional<Distribution> chosen_distribution(const Config& config) {
  if (config.trial() || access(file_of(config).c_str(), R_OK) != 0) return std::nullopt;
  const json::value text = parse_json(read_file(file_of(config)));
  const json::object& o = text.as_object();
  Distribution d;
  d.openvswitch = find_bool(o, "openvswitch");
  d.ovn = find_bool(o, "ovn");
  d.controller = find_bool(o, "ovn_controller");
  d.libvirt = find_bool(o, "libvirt");
  d.chassis = find_string(o, "chassis");
  if (const json::object* before = find_object(o, "before")) d.before = before_of(*before);
  return d;
}

void keep_distribution(const Config& config, const Distribution& d) {
  json::object o = {{"openvswitch", d.openvswitch}, {"ovn", d.ovn},         {"ovn_controller", d.controller},
                    {"libvirt", d.libvirt},         {"chassis", d.chassis}};
  if (d.before) o["before"] = to_json(*d.before);
  write_file(file_of(config), json::serialize(o) + "\n");
}

void settle_distribution(const Config& config, bool userspace_datapath, const Answers& answers, std::chrono::milliseconds patience) {
  const std::optional<Distribution> chosen = chosen_distribution(config);
  if (!chosen) {
    Distribution now = look_at_distribution(answers);
    if (now.openvswitch) now.chassis = SwitchDatabase(switch_socket()).external_ids()["system-id"];
    keep_distribution(config, now);
    return;
  }
  if (!chosen->openvswitch && !userspace_datapath && answers(switch_socket()))
    throw Fault(FaultKind::conflict,
                "The distribution's Open vSwitch runs beside this cloud's own; on the kernel's datapath they would remove each other's ports.",
                "Stop it (systemctl disable --now openvswitch-switch); or `virga down --purge` and `virga up`, which then uses it.");
  const auto end = std::chrono::steady_clock::now() + patience;
  const Part parts[] = {{chosen->openvswitch, "Open vSwitch", "openvswitch-switch", [&] { return answers(switch_socket()); }},
                        {chosen->ovn, "OVN's northbound database", "ovn-central", [&] { return answers(northbound_socket()); }},
                        {chosen->controller, "ovn-controller", "ovn-host", [&] { return controller_answers(answers); }},
                        {chosen->libvirt, "libvirtd", "libvirtd", [&] { return answers(kSystemLibvirtSocket); }}};
  for (const Part& part : parts) {
    while (part.used && !part.answers()) {
      if (std::chrono::steady_clock::now() >= end)
        throw Fault(FaultKind::unavailable, fmt::format("The distribution's {} does not answer, and this cloud was made on it.", part.what),
                    fmt::format("systemctl start {}", part.service));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

}  // namespace virga::cloud
