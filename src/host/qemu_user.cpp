#include "host/qemu_user.h"

#include <pwd.h>
#include <unistd.h>

#include "base/fault.h"

namespace virga::host {

void give_to_qemu(const std::string& path) {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (::getpwnam_r("libvirt-qemu", &entry, buffer, sizeof buffer, &found) == 0 && found &&
      ::chown(path.c_str(), found->pw_uid, found->pw_gid) != 0)
    throw Fault(FaultKind::unavailable, "cannot give " + path + " to QEMU's user");
}

}  // namespace virga::host
