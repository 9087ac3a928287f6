// Doctor's checks of the processor, KVM, memory, disk and clock.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <sstream>

#include "cloud/doctor.h"

namespace virga::cloud {
namespace {

bool has_word(const std::string& text, const std::string& word) {
  std::istringstream words(text);
  for (std::string w; words >> w;)
    if (w == word) return true;
  return false;
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

CheckRow cpu_flags(const HostView& host) {
  const std::string info = host.read("/proc/cpuinfo");
  const bool vmx = has_word(info, "vmx"), svm = has_word(info, "svm");
  if (vmx || svm) return {"cpu_flags", "CPU virtualization", Health::pass, vmx ? "Intel VT-x (vmx)" : "AMD-V (svm)", ""};
  return {"cpu_flags", "CPU virtualization", Health::warn, "neither vmx nor svm in /proc/cpuinfo",
          "Enable VT-x or AMD-V in the firmware; in a VM, enable nested virtualization on its host."};
}

CheckRow kvm(const Config& config, const HostView& host) {
  CheckRow row{"kvm", "KVM runs guests", Health::pass, "ran guest instructions", ""};
  const auto problem = host.kvm_problem ? host.kvm_problem() : std::optional<std::string>("not probed");
  if (!problem) return row;
  row.health = config.compute.virt_type == "kvm" ? Health::fail : Health::warn;
  row.detail = *problem + (row.health == Health::warn ? "; guests run under emulation (TCG), many times slower" : "");
  row.fix = host.exists("/dev/kvm") ? "Check the firmware and nested virtualization; compute.virt_type = \"qemu\" silences this."
                                    : "modprobe kvm_intel (or kvm_amd); compute.virt_type = \"qemu\" silences this.";
  return row;
}

CheckRow nested(const HostView& host) {
  for (const char* module : {"kvm_intel", "kvm_amd"}) {
    const std::string value = trimmed(host.read(fmt::format("/sys/module/{}/parameters/nested", module)));
    if (value.empty()) continue;
    if (value == "Y" || value == "1") return {"nested", "Nested virtualization", Health::pass, fmt::format("on ({})", module), ""};
    return {"nested", "Nested virtualization", Health::warn, fmt::format("off ({})", module),
            fmt::format("echo 'options {0} nested=1' > /etc/modprobe.d/{0}.conf, then load the module again. "
                        "Only guests that run guests need it.", module)};
  }
  return {"nested", "Nested virtualization", Health::warn, "no kvm_intel or kvm_amd module is loaded",
          "Nothing to do unless KVM is wanted: see above."};
}

/// modprobe ignores a line whose first word it does not know: `option kvm_intel nested=1` does nothing, silently.
void modprobe_lines(const HostView& host, std::vector<CheckRow>& rows) {
  static const std::vector<std::string> known = {"alias", "blacklist", "install", "options", "remove", "softdep", "weakdep"};
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(host.root + "/etc/modprobe.d", ignored)) {
    const std::string name = "/etc/modprobe.d/" + entry.path().filename().string();
    std::istringstream lines(host.read(name));
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      std::istringstream words(line);
      std::string first;
      if (!(words >> first) || first[0] == '#' || std::find(known.begin(), known.end(), first) != known.end()) continue;
      const std::string near = nearest_word(first, known);
      rows.push_back({"modprobe", "modprobe.d", Health::warn, fmt::format("{}:{} does nothing: \"{}\"", name, number, line),
                      near.empty() ? "Remove the line." : fmt::format("Write \"{}\" for \"{}\".", near, first)});
    }
    if (entry.path().extension() != ".conf")
      rows.push_back({"modprobe", "modprobe.d", Health::warn, name + " is not read: its name does not end in .conf", "Rename it."});
  }
}

uint64_t meminfo_kib(const HostView& host, const std::string& key) {
  std::istringstream lines(host.read("/proc/meminfo"));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(key + ":", 0) == 0) return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10);
  return 0;
}

CheckRow memory(const HostView& host) {
  const uint64_t total = meminfo_kib(host, "MemTotal") / 1024, available = meminfo_kib(host, "MemAvailable") / 1024;
  CheckRow row{"memory", "Memory", Health::pass, fmt::format("{} MiB, {} available", total, available), ""};
  if (available < 256) row.health = Health::fail;
  else if (available < 1024) row.health = Health::warn;
  if (row.health != Health::pass) row.fix = "The cloud itself takes about 150 MiB; each guest its flavor's memory.";
  return row;
}

CheckRow disk(const Config& config, const HostView& host) {
  const uint64_t free = host.free_disk ? host.free_disk(config.cloud.state_dir).count >> 20 : 0;
  CheckRow row{"disk", "Disk", Health::pass, fmt::format("{} MiB free for {}", free, config.cloud.state_dir), ""};
  if (free < 512) row.health = Health::fail;
  else if (free < 5120) row.health = Health::warn;
  if (row.health != Health::pass) row.fix = "Free some space, or move cloud.state_dir.";
  return row;
}

CheckRow clock_row(const HostView& host) {
  const Outcome o = host.run({"timedatectl", "show", "--property=NTPSynchronized", "--value"});
  if (o.ok() && trimmed(o.out) == "yes") return {"clock", "Clock", Health::pass, "synchronised", ""};
  if (const Outcome c = host.run({"chronyc", "-n", "tracking"}); c.ok() && c.out.find("Not synchronised") == std::string::npos)
    return {"clock", "Clock", Health::pass, "synchronised (chrony)", ""};
  return {"clock", "Clock", Health::warn, o.ok() ? "not synchronised" : "cannot tell whether it is synchronised",
          "apt-get install chrony. One machine works without; several need equal clocks (tokens, leases)."};
}

}  // namespace

std::vector<CheckRow> check_cpu(const Config& config, const HostView& host) {
  if (!config.has_compute()) return {};  // nothing runs guests here
  std::vector<CheckRow> rows = {cpu_flags(host), kvm(config, host), nested(host)};
  modprobe_lines(host, rows);
  return rows;
}

std::vector<CheckRow> check_resources(const Config& config, const HostView& host) {
  return {memory(host), disk(config, host), clock_row(host)};
}

}  // namespace virga::cloud
