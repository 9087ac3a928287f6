#pragma once
// At most so many threads, begun as they are needed, and a queue. gRPC's callback threads hand their work over, so that a
// database call never blocks them.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace virga::link {

class Pool {
 public:
  explicit Pool(size_t threads) : most_(threads) {}
  ~Pool() { stop(); }
  void post(std::function<void()> job) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      jobs_.push_back(std::move(job));
      if (waiting_ < jobs_.size() && threads_.size() < most_) threads_.emplace_back([this] { run(); });
    }
    wake_.notify_one();
  }
  /// Runs what is queued, then ends the threads. What is posted from then on is not run.
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& t : threads_)
      if (t.joinable()) t.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      ++waiting_;
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      --waiting_;
      if (jobs_.empty()) return;
      auto job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
    }
  }

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable wake_;
  size_t waiting_ = 0;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace virga::link
