#include "cloud/doctor.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

#include "base/fault.h"
#include "cloud/supervised_process.h"

namespace virga::cloud {
namespace {

Outcome run_quietly(const std::vector<std::string>& argv) {
  try {
    Command command{argv};
    command.timeout = std::chrono::seconds(10);
    return virga::run(command);
  } catch (const Fault& f) {
    Outcome absent;
    absent.exit_code = 127;
    absent.err = f.message;
    return absent;
  }
}

/// Free space of the file system that the folder is, or will be, on.
Bytes free_disk(std::string path) {
  struct statvfs s {};
  while (statvfs(path.c_str(), &s) != 0 && path.size() > 1) path = std::filesystem::path(path).parent_path();
  return Bytes{static_cast<uint64_t>(s.f_bavail) * s.f_frsize};
}

}  // namespace

const char* to_text(Health health) {
  static constexpr const char* kNames[] = {"pass", "warn", "fail"};
  return kNames[static_cast<int>(health)];
}

std::string HostView::read(const std::string& path) const {
  try {
    return read_file(root + path);
  } catch (const Fault&) {
    return "";
  }
}

bool HostView::exists(const std::string& path) const {
  std::error_code ignored;
  return std::filesystem::exists(root + path, ignored);
}

HostView this_host(const Config& config, std::function<std::optional<std::string>()> kvm_problem) {
  HostView host;
  host.run = run_quietly;
  host.routes = [] { return netns::routes(""); };
  host.kvm_problem = std::move(kvm_problem);
  host.socket_answers = [](const std::string& path) { return virga::cloud::socket_answers(path); };
  host.port_free = [address = config.cloud.api_address](int port) {
    try {
      close(netns::listen_tcp("", address, static_cast<uint16_t>(port)));
      return true;
    } catch (const Fault&) {
      return false;
    }
  };
  host.free_disk = free_disk;
  return host;
}

std::vector<CheckRow> run_doctor(const Config& config, const HostView& host) {
  std::vector<CheckRow> all;
  for (const auto& topic : {check_cpu, check_resources, check_network, check_software}) {
    std::vector<CheckRow> rows = topic(config, host);
    all.insert(all.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
  }
  return all;
}

std::string render_rows(const std::vector<CheckRow>& rows) {
  std::string out;
  for (const CheckRow& row : rows) {
    out += fmt::format("{:<4}  {:<28} {}\n", to_text(row.health), row.title, row.detail);
    if (!row.fix.empty()) out += fmt::format("      {:<28} -> {}\n", "", row.fix);
  }
  return out;
}

json::array to_json(const std::vector<CheckRow>& rows) {
  json::array out;
  for (const CheckRow& row : rows)
    out.push_back({{"id", row.id}, {"title", row.title}, {"status", to_text(row.health)}, {"detail", row.detail}, {"fix", row.fix}});
  return out;
}

Health worst(const std::vector<CheckRow>& rows) {
  Health health = Health::pass;
  for (const CheckRow& row : rows) health = std::max(health, row.health);
  return health;
}

}  // namespace virga::cloud
