#include "base/netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/fault.h"
#include "base/scope_exit.h"

namespace virga::netns {
namespace {

constexpr const char* kFolder = "/run/netns";
constexpr long kNsfsMagic = 0x6e736673;

[[noreturn]] void fail(const std::string& what) {
  throw Fault(FaultKind::internal, fmt::format("{}: {}.", what, strerror(errno)));
}

bool is_namespace_file(const std::string& path) {
  struct statfs s {};
  return statfs(path.c_str(), &s) == 0 && s.f_type == kNsfsMagic;
}

/// /run/netns as a shared mount of its own, as `ip netns add` makes it: other mount namespaces then see removals.
void make_folder_shared() {
  mkdir(kFolder, 0755);
  if (mount("", kFolder, "none", MS_SHARED | MS_REC, nullptr) == 0) return;
  if (errno != EINVAL) fail("/run/netns cannot be shared");
  if (mount(kFolder, kFolder, "none", MS_BIND | MS_REC, nullptr) != 0) fail("/run/netns cannot be mounted");
  if (mount("", kFolder, "none", MS_SHARED | MS_REC, nullptr) != 0) fail("/run/netns cannot be shared");
}

/// Runs on a fresh thread, so that the caller's thread never leaves its namespace.
void on_thread(const std::function<void()>& f) {
  std::exception_ptr error;
  std::thread([&] {
    try {
      f();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address parse_address(const std::string& address, uint16_t port) {
  Address a;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&a.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&a.storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    a.size = sizeof *v4;
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    a.size = sizeof *v6;
  } else {
    throw Fault(FaultKind::bad_request, fmt::format("'{}' is not an IP address.", address));
  }
  return a;
}

int listen_here(const std::string& address, uint16_t port) {
  const Address a = parse_address(address, port);
  const int fd = socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("No socket could be made");
  ScopeExit closer([fd] { close(fd); });
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&a.storage), a.size) != 0 || listen(fd, 1024) != 0) {
    const FaultKind kind = errno == EADDRINUSE ? FaultKind::conflict : FaultKind::internal;
    throw Fault(kind, fmt::format("Cannot listen on {}:{}: {}.", address, port, strerror(errno)),
                kind == FaultKind::conflict ? "Another program uses this port: `ss -ltnp` names it." : "");
  }
  closer.release();
  return fd;
}

int connect_here(const std::string& address, uint16_t port, int timeout_ms) {
  const Address a = parse_address(address, port);
  const int fd = socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail("No socket could be made");
  ScopeExit closer([fd] { close(fd); });
  int error = 0;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&a.storage), a.size) != 0) {
    error = errno;
    pollfd p{fd, POLLOUT, 0};
    if (error == EINPROGRESS) {
      error = ETIMEDOUT;
      socklen_t size = sizeof error;
      if (poll(&p, 1, timeout_ms) > 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error)
    throw Fault(FaultKind::unavailable, fmt::format("{}:{} does not answer: {}.", address, port, strerror(error)));
  fcntl(fd, F_SETFL, 0);
  closer.release();
  return fd;
}

}  // namespace

std::string path_of(const std::string& name) { return std::string(kFolder) + "/" + name; }

bool exists(const std::string& name) { return is_namespace_file(path_of(name)); }

void ensure(const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos)
    throw Fault(FaultKind::bad_request, fmt::format("'{}' cannot name a network namespace.", name));
  if (!exists(name)) {
    make_folder_shared();
    const std::string path = path_of(name);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0);
    if (fd < 0) fail(path + " cannot be made");
    close(fd);
    on_thread([&] {
      if (unshare(CLONE_NEWNET) != 0) fail("No network namespace could be made");
      if (mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) != 0) {
        const int error = errno;
        unlink(path.c_str());
        errno = error;
        fail("The network namespace cannot be named");
      }
    });
  }
  set_up(name, "lo");
}

void remove(const std::string& name) {
  const std::string path = path_of(name);
  umount2(path.c_str(), MNT_DETACH);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) fail(path + " cannot be removed");
}

std::vector<std::string> list() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, ignored))
    if (is_namespace_file(entry.path())) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

int open_fd(const std::string& name) {
  const std::string path = name.empty() ? "/proc/self/ns/net" : path_of(name);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(fmt::format("The network namespace '{}' cannot be opened", name));
  return fd;
}

bool enter_fd(int fd) noexcept { return setns(fd, CLONE_NEWNET) == 0; }

void enter(const std::string& name) {
  const int fd = open_fd(name);
  ScopeExit closer([fd] { close(fd); });
  if (!enter_fd(fd)) fail(fmt::format("The network namespace '{}' cannot be entered", name));
}

void run_in(const std::string& name, const std::function<void()>& f) {
  if (name.empty()) return f();
  on_thread([&] {
    enter(name);
    f();
  });
}

int listen_tcp(const std::string& name, const std::string& address, uint16_t port) {
  return call_in(name, [&] { return listen_here(address, port); });
}

int connect_tcp(const std::string& name, const std::string& address, uint16_t port, int timeout_ms) {
  return call_in(name, [&] { return connect_here(address, port, timeout_ms); });
}

}  // namespace virga::netns
