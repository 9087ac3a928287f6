#pragma once
// Images that this host is to have before a server needs them: fetched one after the other on a thread of its own, so that
// no server waits behind them. A try that fails for now is repeated for as long as the image is wished for.
//
// Thread-safe.

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "host/storage.h"

namespace virga::host {

class Prefetcher {
 public:
  using Done = std::function<void(link::ActionReport)>;
  /// `fetch`, `done` and `storage` are used by its thread, until stop().
  Prefetcher(Storage& storage, FetchImage fetch, Done done, std::chrono::milliseconds retry);
  ~Prefetcher();
  /// `all`: what is not mentioned is not wished for any more.
  void want(const std::vector<link::Prefetch>& wished, bool all);
  /// Ends what is being fetched, as soon as its next piece comes.
  void stop();

 private:
  struct Wish {
    link::Prefetch what;
    std::chrono::steady_clock::time_point next;  ///< when to try
  };
  void run();
  std::map<OperationId, Wish>::iterator next_wish();  ///< locked
  /// How it ended; nothing if it is to be tried again.
  std::optional<link::ActionReport> fetch_one(const link::Prefetch& wish);

  Storage& storage_;
  const FetchImage fetch_;
  const Done done_;
  const std::chrono::milliseconds retry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<OperationId, Wish> wishes_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace virga::host
