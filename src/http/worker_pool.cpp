#include "http/worker_pool.h"

#include <utility>

#include "base/log.h"

namespace virga::http {
namespace {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStack = 4 << 20;
#else
constexpr size_t kStack = 512 << 10;
#endif
}  // namespace

WorkerPool::WorkerPool(std::string name, size_t max_threads, size_t max_queue)
    : name_(name.substr(0, 15)), max_threads_(max_threads ? max_threads : 1), max_queue_(max_queue) {}

WorkerPool::~WorkerPool() { stop(); }

bool WorkerPool::push(std::shared_ptr<Task> task) {
  std::unique_lock lock(mutex_);
  if (stopped_ || queue_.size() >= max_queue_) return false;
  queue_.push_back(std::move(task));
  wake_one(lock);
  return true;
}

void WorkerPool::wake_one(std::unique_lock<std::mutex>& lock) {
  if (waking_) return;
  if (idle_.empty()) {
    if (workers_.size() < max_threads_) start_worker();
    return;
  }
  Worker* worker = idle_.back();
  idle_.pop_back();
  worker->woken = true;
  waking_ = true;
  lock.unlock();
  worker->wake.notify_one();
  lock.lock();
}

void WorkerPool::start_worker() {
  auto worker = std::make_unique<Worker>();
  worker->pool = this;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStack);
  int rc = pthread_create(&worker->thread, &attributes, &WorkerPool::enter, worker.get());
  pthread_attr_destroy(&attributes);
  if (rc != 0) {
    // With no worker at all the work would wait for ever; with some it only waits longer.
    log::error("http: cannot start a worker thread of {} (error {})", name_, rc);
    return;
  }
  pthread_setname_np(worker->thread, name_.c_str());
  waking_ = true;
  workers_.push_back(std::move(worker));
}

void* WorkerPool::enter(void* worker) {
  auto* self = static_cast<Worker*>(worker);
  self->pool->loop(*self);
  return nullptr;
}

void WorkerPool::loop(Worker& self) {
  std::unique_lock lock(mutex_);
  waking_ = false;
  while (!stopped_) {
    if (queue_.empty()) {
      idle_.push_back(&self);
      self.wake.wait(lock, [&] { return self.woken || stopped_; });
      self.woken = false;
      waking_ = false;
      continue;
    }
    auto task = std::move(queue_.front());
    queue_.pop_front();
    if (!queue_.empty()) wake_one(lock);
    lock.unlock();
    task->run();
    task.reset();
    lock.lock();
  }
}

void WorkerPool::stop() {
  std::deque<std::shared_ptr<Task>> dropped;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    dropped.swap(queue_);
    for (auto& worker : workers_) worker->wake.notify_one();
  }
  // They stay until the pool goes: someone in wake_one may be about to notify one of them.
  for (auto& worker : workers_) pthread_join(worker->thread, nullptr);
}

}  // namespace virga::http
