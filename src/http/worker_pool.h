#pragma once
// Bounded threads for blocking work. Threads start when first needed, with small stacks; the most recently used idle
// one is woken first, so that few stay warm. A woken thread wakes the next if more work waits (never all at once).

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace virga::http {

class Task {
 public:
  virtual ~Task() = default;
  virtual void run() = 0;  ///< must not throw
};

class WorkerPool {
 public:
  WorkerPool(std::string name, size_t max_threads, size_t max_queue);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// False if the queue is full or the pool is stopped.
  bool push(std::shared_ptr<Task> task);
  /// Drops what is queued, waits for what runs.
  void stop();

 private:
  struct Worker {
    pthread_t thread{};
    WorkerPool* pool = nullptr;
    std::condition_variable wake;
    bool woken = false;
  };
  static void* enter(void* worker);
  void loop(Worker& self);
  void wake_one(std::unique_lock<std::mutex>& lock);
  void start_worker();

  const std::string name_;
  const size_t max_threads_;
  const size_t max_queue_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<Task>> queue_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
  bool waking_ = false;  // a woken worker has not reached the queue yet
  bool stopped_ = false;
};

}  // namespace virga::http
