#include "link/tunnel.h"

#include <sys/socket.h>

#include <thread>

#include "base/unix_socket.h"
#include "link/convert.h"

namespace virga::link {
namespace {

/// Until that direction has ended, or either side broke: then the other is broken too, but not the one that did, which has its
/// own reason to tell.
bool pass_on(TunnelEnd& from, TunnelEnd& to) {
  v1::TunnelFrame frame;
  while (from.read(frame)) {
    if (!to.write(frame)) {
      from.cancel();
      return false;
    }
    if (frame.end()) return true;
  }
  to.cancel();
  return false;
}

}  // namespace

SocketEnd::SocketEnd(int socket) : socket_(socket), buffer_(kPieceSize, '\0') {}

bool SocketEnd::read(v1::TunnelFrame& frame) {
  ssize_t got = 0;
  do got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
  while (got < 0 && errno == EINTR);
  if (got < 0) return false;
  frame.Clear();
  if (got == 0) frame.set_end(true);
  else frame.set_bytes(buffer_.data(), static_cast<size_t>(got));
  return true;
}

bool SocketEnd::write(const v1::TunnelFrame& frame) {
  if (!send_all(socket_, frame.bytes().data(), frame.bytes().size())) return false;
  return !frame.end() || ::shutdown(socket_, SHUT_WR) == 0 || errno == ENOTCONN;
}

void SocketEnd::cancel() { ::shutdown(socket_, SHUT_RDWR); }

bool pump(TunnelEnd& a, TunnelEnd& b) {
  bool back = false;
  std::thread other([&] { back = pass_on(b, a); });
  const bool forth = pass_on(a, b);
  other.join();
  return forth && back;
}

TunnelEnd& TunnelCall::wait_open(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [this] { return end_ || refused_; });
  if (!refused_ && !end_) refused_ = Fault(FaultKind::unavailable, "the host that the server moves to did not answer in time");
  if (refused_) throw *refused_;
  return *end_;
}

void TunnelCall::over() {
  std::lock_guard lock(mutex_);
  over_ = true;
  changed_.notify_all();
}

void TunnelCall::run(TunnelEnd& end) {
  std::unique_lock lock(mutex_);
  if (over_ || refused_ || end_) return;
  end_ = &end;
  changed_.notify_all();
  changed_.wait(lock, [this] { return over_; });
  end_ = nullptr;
}

void TunnelCall::refuse(Fault cause) {
  std::lock_guard lock(mutex_);
  if (!end_ && !refused_) refused_ = std::move(cause);
  changed_.notify_all();
}

void TunnelCall::cancel(const std::string& why) {
  refuse(Fault(FaultKind::unavailable, why));
  std::lock_guard lock(mutex_);
  if (end_) end_->cancel();
}

}  // namespace virga::link
