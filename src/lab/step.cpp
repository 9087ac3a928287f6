#include "lab/step.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/process.h"

namespace virga::lab {

std::string text_of(const std::string& file) { return access(file.c_str(), R_OK) == 0 ? read_file(file) : ""; }

int lock_folder(const std::string& folder) {
  const int fd = open((folder + "/lab.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  if (fd >= 0) close(fd);
  throw Fault(FaultKind::conflict,
              fmt::format("Another command changes the lab in {}, or the folder is not there.", folder),
              "Wait until it is done.");
}

void join_with_kept_line(const std::string& file, const std::function<std::string()>& create_token,
                         const std::function<void(const std::string& said)>& join) {
  bool joined = false;
  if (access(file.c_str(), F_OK) == 0) try {
      join(read_file(file));
      joined = true;
    } catch (const Fault& fault) {
      std::printf("%s Once more, with another token.\n", fault.message.c_str());
    }
  if (!joined) {
    write_file(file, create_token(), 0600);
    join(read_file(file));
  }
  unlink(file.c_str());
}

}  // namespace virga::lab
