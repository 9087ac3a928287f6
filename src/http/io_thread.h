#pragma once
// One io_context on one thread. Sessions belong to one of these and touch their input only there.

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace virga::http {

namespace net = boost::asio;
using Socket = net::generic::stream_protocol::socket;  // TCP and unix alike

/// Something that wants to look at the clock a few times a second (deadlines) and to close at the end.
class Swept {
 public:
  virtual ~Swept() = default;
  virtual void sweep(int64_t now_ms) = 0;  ///< on the io thread
  virtual void close_if_idle() = 0;        ///< on the io thread: the server stops
  virtual void close() = 0;                ///< on the io thread
  virtual void thread_ended() = 0;         ///< after the io thread: nothing may be left for it to do
};

class IoThread {
 public:
  IoThread() : context_(1), timer_(context_) {}
  net::io_context& context() { return context_; }
  void start();
  /// Ends the thread, then closes what is left, so that no handler keeps its session alive.
  void stop();
  /// Runs f on the thread; false (and f dropped) once stopped.
  template <class F>
  bool post(F&& f) {
    std::lock_guard lock(mutex_);
    if (stopped_) return false;
    net::post(context_, std::forward<F>(f));
    return true;
  }
  void add(const std::shared_ptr<Swept>& swept);
  void remove(Swept* swept);
  void close_idle();
  bool is_current() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  std::vector<std::shared_ptr<Swept>> all();
  void tick();

  net::io_context context_;
  net::steady_timer timer_;
  std::thread thread_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::unordered_map<Swept*, std::weak_ptr<Swept>> sessions_;
};

inline int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace virga::http
