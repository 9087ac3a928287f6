#include "qemu/guest_packages.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "base/fault.h"
#include "base/process.h"
#include "qemu/guest_files.h"

namespace virga::qemu {

namespace fs = std::filesystem;

namespace {

constexpr const char* kKernelPackage = "linux-image-cloud-amd64";
constexpr const char* kKernelPrefix = "linux-image-6";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.push_back(line);
  }
  return out;
}

/// The newest file of a package ("curl_7.88.1-10_amd64.deb") by name, or "".
std::string file_of(const std::string& directory, const std::string& prefix) {
  std::string found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    auto name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".deb") && entry.path().string() > found)
      found = entry.path();
  }
  return found;
}

// The meta package names the current kernel: "  Depends: linux-image-6.1.0-40-cloud-amd64".
std::string kernel_package() {
  Command command{.argv = {"apt-cache", "depends", kKernelPackage}};
  auto text = run_or_throw(command);
  auto at = text.find(kKernelPrefix);
  if (at == std::string::npos) {
    throw Fault(FaultKind::internal, "apt does not know Debian's cloud kernel.",
                "Run `apt-get update`, then try again.");
  }
  return text.substr(at, text.find_first_of(" \n", at) - at);
}

// Fetched into a folder beside and moved over, so that the cache never holds half a file.
void download(const std::vector<std::string>& names, const std::string& directory) {
  auto part = directory + "/part";
  fs::remove_all(part);
  fs::create_directories(part);
  Command command{
      .argv = {"apt-get", "-q", "download"}, .directory = part, .timeout = std::chrono::minutes(10)};
  command.argv.insert(command.argv.end(), names.begin(), names.end());
  auto outcome = run(command);
  if (!outcome.ok()) {
    throw Fault(FaultKind::internal, "Could not fetch the tiny guest's packages: " + outcome.err,
                "Run `apt-get update` and see that Debian's mirror is reachable.");
  }
  for (const auto& entry : fs::directory_iterator(part)) {
    fs::rename(entry.path(), fs::path(directory) / entry.path().filename());
  }
  fs::remove_all(part);
}

}  // namespace

GuestPackages fetch_guest_packages(const std::string& directory,
                                   const std::function<void(std::string_view)>& progress) {
  fs::create_directories(directory);
  const auto names = lines_of(guest_file("packages")), boot = lines_of(guest_file("packages.boot"));
  std::vector<std::string> missing;
  for (const auto* list : {&names, &boot}) {
    for (const auto& name : *list) {
      if (file_of(directory, name + "_").empty()) missing.push_back(name);
    }
  }
  if (file_of(directory, kKernelPrefix).empty()) missing.push_back(kernel_package());
  if (!missing.empty()) {
    progress(fmt::format("fetching {} Debian packages", missing.size()));
    download(missing, directory);
  }
  GuestPackages out;
  out.kernel = file_of(directory, kKernelPrefix);
  for (const auto& name : names) out.others.push_back(file_of(directory, name + "_"));
  for (const auto& name : boot) out.boot.push_back(file_of(directory, name + "_"));
  return out;
}

}  // namespace virga::qemu
