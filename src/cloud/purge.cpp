#include "cloud/purge.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/fault.h"
#include "base/netns.h"
#include "base/process.h"

namespace virga::cloud {
namespace {

namespace fs = std::filesystem;
constexpr const char* kMarker = "/.virga";
constexpr const char* kMade = "/made-on-host";

void claim(const std::string& path, mode_t mode) {
  fs::create_directories(path);
  chmod(path.c_str(), mode);
  if (fs::exists(path + kMarker)) return;
  for (const auto& entry : fs::directory_iterator(path)) {
    // A log may come before the supervisor that claims the folder.
    if (entry.path().extension() == ".log" || entry.path().extension() == ".lock" || entry.path().filename() == "link") continue;
    if (entry.path().filename() == "secrets") continue;
    throw Fault(FaultKind::conflict, fmt::format("{} holds files that are not Virga's: {}.", path, entry.path().filename().string()),
                "Choose another folder in virga.toml, or empty it.");
  }
  write_file(path + kMarker, "This folder belongs to Virga; `virga down --purge` removes it.\n");
}

void remove_folder(const std::string& path) {
  if (!fs::exists(path + kMarker)) return;
  fs::remove_all(path);
}

/// The agent's metadata namespaces ("vmeta-12345678-TAG", the tag being network.namespace), and the data plane's.
void remove_namespaces(const Config& config) {
  const std::string tag = "-" + config.network.name_space;
  for (const std::string& name : netns::list())
    if (name.rfind("vmeta-", 0) == 0 && name.size() == 14 + tag.size() && name.compare(14, tag.size(), tag) == 0) netns::remove(name);
  if (config.trial()) netns::remove(config.network.name_space);
}

void undo(const std::string& line) {
  const std::string path = line.substr(line.find(':') + 1);
  if (line.rfind("mount:", 0) == 0 && netns::list().empty()) umount2(path.c_str(), MNT_DETACH);
  rmdir(path.c_str());  // only if it is empty
}

}  // namespace

void claim_directories(const Config& config) {
  claim(config.cloud.state_dir, 0711);
  claim(config.cloud.run_dir, 0755);
  claim(config.cloud.log_dir, 0750);
}

void remember_made(const Config& config, const std::string& what) {
  std::ofstream(config.cloud.state_dir + kMade, std::ios::app) << what << '\n';
}

void remove_all_traces(const Config& config) {
  std::istringstream made;
  try {
    made.str(read_file(config.cloud.state_dir + kMade));
  } catch (const Fault&) {
  }
  remove_namespaces(config);
  remove_folder(config.cloud.run_dir);
  remove_folder(config.cloud.log_dir);
  for (std::string line; std::getline(made, line);) undo(line);
  remove_folder(config.cloud.state_dir);
}

}  // namespace virga::cloud
