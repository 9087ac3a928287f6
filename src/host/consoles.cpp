#include "host/consoles.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#include "base/unix_socket.h"

namespace virga::host {
namespace {

constexpr size_t kRecent = 16 << 10;  // output a new viewer is shown at once
constexpr size_t kViewerBacklog =
    1 << 20;  // of a viewer that does not keep up; then its oldest output is dropped

int connect_console(const std::string& path) {
  try {
    return connect_unix(path);
  } catch (const Fault&) {
    throw Fault(FaultKind::conflict, "the server's console is not there", "Start the server first.");
  }
}

bool send_all(int fd, std::string_view bytes) { return virga::send_all(fd, bytes.data(), bytes.size()); }

/// A connected socket with a thread that delivers what arrives; the receiver's pace is the sender's pace.
class SocketStream final : public link::ByteStream {
 public:
  explicit SocketStream(int fd) : fd_(fd) {}
  ~SocketStream() override {
    close();
    if (thread_.joinable()) thread_.join();
    ::close(fd_);
  }
  bool write(std::string_view bytes) override {
    std::lock_guard lock(write_mutex_);
    return send_all(fd_, bytes);
  }
  void close() override { ::shutdown(fd_, SHUT_RDWR); }
  void on_bytes(std::function<void(std::string_view)> receive) override {
    thread_ = std::thread([this, receive = std::move(receive)] {
      char buffer[16384];
      for (ssize_t n; (n = ::read(fd_, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);)
        if (n > 0) receive({buffer, static_cast<size_t>(n)});
      receive({});
    });
  }

 private:
  const int fd_;
  std::mutex write_mutex_;
  std::thread thread_;
};

}  // namespace

/// What one viewer has still to see. Shared by the mux (adds) and the viewer's thread (takes).
struct Backlog {
  std::mutex mutex;
  std::condition_variable changed;
  std::string bytes;
  bool ended = false;
  void add(std::string_view more) {
    std::lock_guard lock(mutex);
    bytes.append(more);
    if (bytes.size() > kViewerBacklog) bytes.erase(0, bytes.size() - kViewerBacklog);
    changed.notify_all();
  }
  void end() {
    std::lock_guard lock(mutex);
    ended = true;
    changed.notify_all();
  }
};

class SerialMux {
 public:
  explicit SerialMux(const std::string& socket) : fd_(connect_console(socket)), thread_([this] { run(); }) {}
  ~SerialMux() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  bool ended() const { return ended_; }
  bool write(std::string_view bytes) {
    std::lock_guard lock(write_mutex_);
    return send_all(fd_, bytes);
  }
  std::shared_ptr<Backlog> join() {
    auto backlog = std::make_shared<Backlog>();
    std::lock_guard lock(mutex_);
    backlog->bytes = recent_;
    backlog->ended = ended_;
    viewers_.insert(backlog);
    return backlog;
  }
  void leave(const std::shared_ptr<Backlog>& backlog) {
    std::lock_guard lock(mutex_);
    viewers_.erase(backlog);
  }

 private:
  void run() {
    char buffer[4096];
    for (ssize_t n; (n = ::read(fd_, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);) {
      if (n < 0) continue;
      const std::string_view bytes(buffer, n);
      std::lock_guard lock(mutex_);
      recent_.append(bytes);
      if (recent_.size() > kRecent) recent_.erase(0, recent_.size() - kRecent);
      for (auto& viewer : viewers_) viewer->add(bytes);
    }
    ended_ = true;
    std::lock_guard lock(mutex_);
    for (auto& viewer : viewers_) viewer->end();
  }

  const int fd_;
  std::mutex mutex_, write_mutex_;
  std::string recent_;
  std::set<std::shared_ptr<Backlog>> viewers_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

namespace {

class SerialViewer final : public link::ByteStream {
 public:
  explicit SerialViewer(std::shared_ptr<SerialMux> mux) : mux_(std::move(mux)), backlog_(mux_->join()) {}
  ~SerialViewer() override {
    close();
    if (thread_.joinable()) thread_.join();
    mux_->leave(backlog_);
  }
  bool write(std::string_view bytes) override { return mux_->write(bytes); }
  void close() override { backlog_->end(); }
  void on_bytes(std::function<void(std::string_view)> receive) override {
    thread_ = std::thread([backlog = backlog_, receive = std::move(receive)] {
      std::unique_lock lock(backlog->mutex);
      while (true) {
        backlog->changed.wait(lock, [&] { return backlog->ended || !backlog->bytes.empty(); });
        const auto bytes = std::exchange(backlog->bytes, {});
        const bool ended = backlog->ended;
        lock.unlock();
        if (!bytes.empty()) receive(bytes);
        if (ended) return receive({});
        lock.lock();
      }
    });
  }

 private:
  std::shared_ptr<SerialMux> mux_;
  std::shared_ptr<Backlog> backlog_;
  std::thread thread_;
};

}  // namespace

Consoles::Consoles() = default;
Consoles::~Consoles() = default;

std::shared_ptr<link::ByteStream> Consoles::open_serial(const ServerId& server, const std::string& socket) {
  std::lock_guard lock(mutex_);
  std::erase_if(serial_, [](const auto& entry) { return entry.second.expired(); });
  auto mux = serial_[server].lock();
  if (!mux || mux->ended()) {
    serial_.erase(server);
    mux = std::make_shared<SerialMux>(socket);
    serial_[server] = mux;
  }
  return std::make_shared<SerialViewer>(std::move(mux));
}

std::shared_ptr<link::ByteStream> Consoles::open_vnc(const std::string& socket) {
  return std::make_shared<SocketStream>(connect_console(socket));
}

std::string read_tail(const std::string& path, size_t max_bytes) {
  std::string out;
  for (const auto& part : {path, path + ".0"}) {
    std::ifstream in(part, std::ios::binary | std::ios::ate);
    if (!in) break;
    const auto want =
        std::min<std::streamoff>(in.tellg(), static_cast<std::streamoff>(max_bytes - out.size()));
    std::string bytes(static_cast<size_t>(want), '\0');
    in.seekg(-want, std::ios::end);
    in.read(bytes.data(), want);
    out.insert(0, bytes, 0, static_cast<size_t>(in.gcount()));
    if (out.size() >= max_bytes) break;
  }
  return out;
}

}  // namespace virga::host
