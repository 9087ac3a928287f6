#pragma once
// A bounded set of connections, lent to one thread at a time; opened when first needed.

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace virga::db {

template <class C>
class Pool {
 public:
  Pool(size_t limit, std::function<std::unique_ptr<C>()> open) : limit_(limit), open_(std::move(open)) {}

  /// A connection on loan; goes back to the pool unless dropped.
  class Lease {
   public:
    Lease(Pool& pool, std::unique_ptr<C> c) : pool_(pool), connection_(std::move(c)) {}
    ~Lease() { pool_.give_back(std::move(connection_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    C* operator->() { return connection_.get(); }
    C& operator*() { return *connection_; }
    /// Closes this connection (it is broken) instead of giving it back.
    void drop() { connection_.reset(); }

   private:
    Pool& pool_;
    std::unique_ptr<C> connection_;
  };

  /// Waits for a free connection. Throws what opening one throws.
  Lease lease() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [&] { return !idle_.empty() || lent_ < limit_; });
    ++lent_;
    if (!idle_.empty()) {
      std::unique_ptr<C> c = std::move(idle_.back());
      idle_.pop_back();
      return Lease(*this, std::move(c));
    }
    lock.unlock();
    try {
      return Lease(*this, open_());
    } catch (...) {
      give_back(nullptr);
      throw;
    }
  }
  /// Closes all that are not on loan: their server is gone, or their statements are out of date.
  void drop_idle() {
    std::vector<std::unique_ptr<C>> closing;
    std::lock_guard lock(mutex_);
    closing.swap(idle_);
  }

 private:
  void give_back(std::unique_ptr<C> c) {
    {
      std::lock_guard lock(mutex_);
      --lent_;
      if (c) idle_.push_back(std::move(c));
    }
    freed_.notify_one();
  }

  const size_t limit_;
  const std::function<std::unique_ptr<C>()> open_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<C>> idle_;
  size_t lent_ = 0;
};

}  // namespace virga::db
