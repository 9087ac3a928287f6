// How a process becomes a node's init (lab/node.h).

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/fault.h"
#include "base/process.h"
#include "lab/node.h"
#include "lab/plan.h"

namespace virga::lab {
namespace {

namespace fs = std::filesystem;

/// What a node has of its own and forgets.
const std::vector<std::string> kVolatile = {"/run", "/tmp", "/var/tmp", "/dev/shm"};

void must(bool ok, const std::string& what) {
  if (!ok) throw Fault(FaultKind::internal, fmt::format("{}: {}.", what, strerror(errno)));
}

void mount_new(const char* type, const std::string& at, const char* options = nullptr) {
  must(mount(type, at.c_str(), type, MS_NOSUID, options) == 0, at + " cannot be mounted");
}

/// A mount of a file or folder that is not attached anywhere yet, so that what it lies in may be hidden
/// meanwhile.
class Loose {
 public:
  Loose(const std::string& source, std::string target)
      : fd_(open_tree(AT_FDCWD, source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)),
        target_(std::move(target)) {
    must(fd_ >= 0, source + " cannot be shown to the host");
  }
  ~Loose() {
    if (fd_ >= 0) close(fd_);
  }
  Loose(Loose&& other) noexcept : fd_(std::exchange(other.fd_, -1)), target_(std::move(other.target_)) {}
  void attach() const {
    must(move_mount(fd_, "", AT_FDCWD, target_.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0,
         target_ + " cannot be mounted");
  }

 private:
  int fd_;
  std::string target_;
};

bool is_volatile(const std::string& path) {
  return std::any_of(kVolatile.begin(), kVolatile.end(),
                     [&](const std::string& folder) { return path.rfind(folder + "/", 0) == 0; });
}

void set_read_only(const char* path, bool on) {
  mount_attr attributes{};
  (on ? attributes.attr_set : attributes.attr_clr) = MOUNT_ATTR_RDONLY;
  must(mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &attributes, sizeof attributes) == 0,
       std::string(path) + " cannot be made read-only");
}

/// Held as long as init lives: another lab, in namespaces where ours is not seen, would remove a folder that it made, and
/// with it what is mounted there.
void hold(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  must(fd >= 0 && flock(fd, LOCK_SH) == 0, folder + " cannot be held");
}

/// Turns the machine's file system into the node's.
void make_file_system(const NodeOptions& options, int number) {
  const NodeFolders folders(options.lab, number);
  must(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "Mounts cannot be private");
  const std::string run = kOwnRun, program = run + "/bin/virga";
  for (const char* folder : {"/etc/virga", "/var/lib/virga", "/var/log/virga"}) hold(folder);
  std::vector<Loose> own;
  own.emplace_back(folders.etc, "/etc/virga");
  own.emplace_back(folders.lib, "/var/lib/virga");
  own.emplace_back(folders.log, "/var/log/virga");
  own.emplace_back(options.lab + "/hosts", "/etc/hosts");
  own.emplace_back(options.packages, run + "/packages");
  if (is_volatile(options.program))
    own.emplace_back(options.program, program);  // else the node would not see it
  umount2("/run/netns", MNT_DETACH);  // or it would keep other hosts' network namespaces when they are off
  set_read_only("/", true);
  set_read_only("/dev", false);  // terminals change owner
  umount2("/sys", MNT_DETACH);
  mount_new("sysfs", "/sys");  // with this namespace's devices, and without cgroups
  mount_new("proc", "/proc");
  for (const std::string& folder : kVolatile)
    mount_new("tmpfs", folder, folder == "/run" ? "mode=755" : "mode=1777");
  for (const std::string& folder : {std::string("/run/lock"), run, run + "/bin", run + "/packages"})
    mkdir(folder.c_str(), 0755);
  if (is_volatile(options.program))
    std::ofstream(program).flush();
  else
    must(symlink(options.program.c_str(), program.c_str()) == 0, program + " cannot be made");
  for (const Loose& mount : own) mount.attach();
}

/// Reaps whatever loses its parent, for ever.
[[noreturn]] void reap() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  for (int received;; sigwait(&set, &received))
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
}

[[noreturn]] void become_init(const NodeOptions& options, int number, int parent_lives, int ready) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd parent{parent_lives, POLLIN, 0};
  if (poll(&parent, 1, 0) != 0) _exit(1);  // it died before that was said
  close(parent_lives);
  prctl(PR_SET_NAME, "virga-lab-init");
  try {
    setsid();
    must(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) == 0, "Namespaces cannot be made");
    const std::string name = node_name(number);
    must(sethostname(name.c_str(), name.size()) == 0, "The host cannot be named");
    make_file_system(options, number);
    must(chdir("/") == 0, "/ is not there");
  } catch (const Fault& fault) {
    std::fprintf(stderr, "%s\n", fault.message.c_str());
    _exit(1);
  }
  if (write(ready, "1", 1) != 1) _exit(1);
  close(ready);
  reap();
}

}  // namespace

int run_init(const NodeOptions& options, int number) {
  int lives[2], ready[2];
  must(pipe2(lives, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0, "No pipe could be made");
  must(unshare(CLONE_NEWPID) == 0, "No PID namespace could be made");
  const pid_t init = fork();
  must(init >= 0, "No process could be forked");
  if (init == 0) {
    close(lives[1]);
    close(ready[0]);
    become_init(options, number, lives[0], ready[1]);
  }
  close(lives[0]);
  close(ready[1]);
  char byte;
  if (read(ready[0], &byte, 1) == 1)
    write_file(NodeFolders(options.lab, number).init,
               fmt::format("{} {}\n", init, process_start_ticks(init)));
  int status = 0;
  while (waitpid(init, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace virga::lab
