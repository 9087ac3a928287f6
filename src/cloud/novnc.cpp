#include "cloud/novnc.h"

#include <filesystem>

#include "base/fault.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/serve.h"

namespace virga::cloud {
namespace {

namespace fs = std::filesystem;

std::string package_in(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("novnc_") && name.ends_with(".deb")) return entry.path();
  }
  return {};
}

void download(const std::string& folder) {
  const std::string part = folder + "/part-novnc";
  fs::remove_all(part);
  fs::create_directories(part);
  ScopeExit clean([&] { fs::remove_all(part); });
  Command command{.argv = {"apt-get", "-q", "download", "novnc"}, .directory = part, .timeout = std::chrono::minutes(2)};
  const Outcome outcome = run(command);
  const std::string package = package_in(part);
  if (!outcome.ok() || package.empty())
    throw Fault(FaultKind::unavailable, "noVNC could not be fetched: " + outcome.err, "Run `apt-get update`, then `virga up` again; or `apt-get install --no-install-recommends novnc`.");
  fs::rename(package, fs::path(folder) / fs::path(package).filename());
}

}  // namespace

std::vector<std::string> novnc_folders(const Config& config) {
  return {"/usr/share/novnc", config.cloud.state_dir + "/novnc"};
}

void fetch_novnc(const Config& config) {
  for (const auto& folder : novnc_folders(config))
    if (fs::exists(folder + "/vnc_lite.html")) return;
  const std::string packages = config.cloud.package_cache.empty() ? Paths(config).guest + "/packages" : config.cloud.package_cache;
  fs::create_directories(packages);
  if (package_in(packages).empty()) download(packages);
  const std::string to = config.cloud.state_dir + "/novnc", part = to + ".part";
  fs::remove_all(part);
  ScopeExit clean([&] { fs::remove_all(part); });
  run_or_throw({{"dpkg-deb", "-x", package_in(packages), part}});
  fs::rename(part + "/usr/share/novnc", to);
}

}  // namespace virga::cloud
