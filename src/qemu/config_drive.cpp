#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "qemu/api.h"
#include "qemu/archive_writer.h"

namespace virga::qemu {

namespace {

void add_parents(ArchiveWriter& iso, const std::string& path, std::set<std::string>& made) {
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    auto parent = path.substr(0, slash);
    if (made.insert(parent).second) iso.directory(parent);
  }
}

}  // namespace

void write_config_drive(const std::string& path, const std::map<std::string, std::string>& files) {
  auto temporary = path + ".part";
  {
    ArchiveWriter iso(temporary, "iso9660", "volume-id=config-2,publisher=Virga,!pad", false);
    std::set<std::string> made;
    for (const auto& [name, content] : files) {
      if (name.empty() || name[0] == '/' || name.find("..") != std::string::npos) {
        throw Fault(FaultKind::bad_request, fmt::format("{} is not a path within a config drive.", name));
      }
      add_parents(iso, name, made);
      iso.file(name, content);
    }
    iso.close();
  }
  ::chmod(temporary.c_str(), 0644);
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) throw Fault(FaultKind::internal, fmt::format("Could not write {}: {}", path, error.message()));
}

}  // namespace virga::qemu
