#include "host/prefetcher.h"

#include <algorithm>

#include "base/kill_point.h"
#include "base/log.h"

namespace virga::host {

using Steady = std::chrono::steady_clock;

Prefetcher::Prefetcher(Storage& storage, FetchImage fetch, Done done, std::chrono::milliseconds retry)
    : storage_(storage), fetch_(std::move(fetch)), done_(std::move(done)), retry_(retry), thread_([this] { run(); }) {}

Prefetcher::~Prefetcher() { stop(); }

void Prefetcher::want(const std::vector<link::Prefetch>& wished, bool all) {
  std::lock_guard lock(mutex_);
  if (all)
    std::erase_if(wishes_, [&](const auto& known) {
      return std::none_of(wished.begin(), wished.end(), [&](const auto& wish) { return wish.operation == known.first; });
    });
  for (const auto& wish : wished) wishes_.try_emplace(wish.operation, Wish{wish, Steady::now()});
  changed_.notify_all();
}

void Prefetcher::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::map<OperationId, Prefetcher::Wish>::iterator Prefetcher::next_wish() {
  return std::min_element(wishes_.begin(), wishes_.end(), [](const auto& a, const auto& b) { return a.second.next < b.second.next; });
}

void Prefetcher::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto next = next_wish();
    if (next == wishes_.end()) {
      changed_.wait(lock);
      continue;
    }
    if (next->second.next > Steady::now()) {
      changed_.wait_until(lock, next->second.next);
      continue;
    }
    const link::Prefetch wish = next->second.what;
    lock.unlock();
    auto report = fetch_one(wish);
    lock.lock();
    const auto it = wishes_.find(wish.operation);
    if (it == wishes_.end()) continue;  // nobody wants to know any more
    if (report) wishes_.erase(it);
    else it->second.next = Steady::now() + retry_;
    if (!report || stopping_) continue;
    lock.unlock();
    kill_point("agent.after_prefetch");
    done_(std::move(*report));
    lock.lock();
  }
}

std::optional<link::ActionReport> Prefetcher::fetch_one(const link::Prefetch& wish) {
  const auto unless_stopping = [&](const ImageId& image, uint64_t from, const link::ImageSink& sink) {
    fetch_(image, from, [&](uint64_t at, std::string_view bytes) {
      {
        std::lock_guard lock(mutex_);
        if (stopping_) throw Fault(FaultKind::unavailable, "the agent stops");
      }
      sink(at, bytes);
    });
  };
  try {
    storage_.ensure_image(wish.image, unless_stopping);
    return link::ActionReport{wish.operation, wish.fence, true, ""};
  } catch (const Fault& fault) {
    log::warn("image {} cannot be fetched ahead: {}", wish.image.id.str(), fault.message);
    if (may_be_chance(fault.kind)) return std::nullopt;
    return link::ActionReport{wish.operation, wish.fence, false, fault.message};
  } catch (const std::exception& e) {
    return link::ActionReport{wish.operation, wish.fence, false, e.what()};
  }
}

}  // namespace virga::host
