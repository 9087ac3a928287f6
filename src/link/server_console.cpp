#include "link/server_console.h"

#include <thread>

namespace virga::link {

namespace {
constexpr size_t kMaxQueued = 1 << 20;  // what a viewer may send ahead of the guest
}

/// Closes the console when the last user drops it.
class CallerEnd final : public ByteStream {
 public:
  explicit CallerEnd(std::shared_ptr<ConsoleCall> call) : call_(std::move(call)) {}
  ~CallerEnd() override { call_->close(); }
  bool write(std::string_view bytes) override { return call_->write(bytes); }
  void close() override { call_->close(); }
  void on_bytes(std::function<void(std::string_view)> receive) override {
    call_->receive(std::move(receive));
  }

 private:
  std::shared_ptr<ConsoleCall> call_;
};

std::shared_ptr<ByteStream> ConsoleCall::wait_open(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [this] { return open_ || closed_ || refused_; });
  if (refused_) throw *refused_;
  if (open_ && !closed_) return std::make_shared<CallerEnd>(shared_from_this());
  closed_ = true;
  throw Fault(FaultKind::unavailable, "the host did not open the console in time",
              "Try again; `virga status` shows whether the host answers.");
}

void ConsoleCall::refuse(Fault cause) {
  std::lock_guard lock(mutex_);
  refused_ = std::move(cause);
  changed_.notify_all();
}

void ConsoleCall::cancel(const std::string& why) {
  refuse(Fault(FaultKind::unavailable, "the console was closed: " + why));
  close();
}

bool ConsoleCall::write(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (closed_ || out_bytes_ + bytes.size() > kMaxQueued) return false;
  out_bytes_ += bytes.size();
  out_.emplace_back(bytes);
  changed_.notify_all();
  return true;
}

void ConsoleCall::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  if (context_) context_->TryCancel();
  changed_.notify_all();
}

void ConsoleCall::receive(std::function<void(std::string_view)> callback) {
  std::lock_guard lock(mutex_);
  receiver_ = std::move(callback);
  changed_.notify_all();
}

void ConsoleCall::pump(ConsoleServerStream& stream) {
  std::unique_lock lock(mutex_);
  v1::ConsoleFrame frame;
  while (true) {
    changed_.wait(lock, [this] { return closed_ || !out_.empty(); });
    if (closed_) return;
    frame.set_bytes(std::move(out_.front()));
    out_.pop_front();
    out_bytes_ -= frame.bytes().size();
    lock.unlock();
    const bool ok = stream.Write(frame);
    lock.lock();
    if (!ok) return;
  }
}

std::function<void(std::string_view)> ConsoleCall::wait_receiver() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::seconds(30), [this] { return closed_ || receiver_; });
  return receiver_;
}

void ConsoleCall::run(grpc::ServerContext& context, ConsoleServerStream& stream) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ || open_) return;
    open_ = true;
    context_ = &context;
    changed_.notify_all();
  }
  std::thread writer([&] { pump(stream); });
  const auto receiver = wait_receiver();
  v1::ConsoleFrame frame;
  while (receiver && stream.Read(&frame))
    if (!frame.bytes().empty()) receiver(frame.bytes());
  close();
  writer.join();
  {
    std::lock_guard lock(mutex_);
    context_ = nullptr;
    receiver_ = nullptr;
  }
  if (receiver) receiver({});
}

}  // namespace virga::link
