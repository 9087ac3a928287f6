#include "cloud/cooperation.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "base/log.h"

namespace virga::cloud {
namespace {

constexpr std::chrono::milliseconds kLookEvery{1000}, kSlowEvery{5000};
constexpr std::string_view kSubject = "virga.wake";

}  // namespace

Cooperation::Cooperation(controllers::Controllers& self, nats::Options bus, Work work) : self_(self), work_(std::move(work)) {
  self_.beat();
  look();  // what the others hear is known before the first request
  if (!bus.url.empty()) {
    bus.subject = kSubject;
    bus.name = self_.name();
    // "CONTROLLER WHAT ID": whoever said it needs not hear it.
    bus.on_message = [this](std::string_view text) {
      const size_t first = text.find(' '), second = text.find(' ', first + 1);
      if (first == text.npos || second == text.npos || text.substr(0, first) == self_.id()) return;
      work_.heard(std::string(text.substr(first + 1, second - first - 1)), std::string(text.substr(second + 1)));
    };
    bus_ = nats::connect(std::move(bus));
  }
  threads_.emplace_back([this] {
    every(controllers::kBeatEvery, [this] { self_.beat(); });
  });
  threads_.emplace_back([this] {
    every(kLookEvery, [this] { look(); });
  });
  threads_.emplace_back([this] {
    every(kSlowEvery, [this] {
      while (work_.slow()) {
        const std::lock_guard lock(mutex_);
        if (stopping_) return;
      }
    });
  });
}

Cooperation::~Cooperation() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  bus_.reset();
  for (auto& thread : threads_) thread.join();
  try {
    self_.leave();
  } catch (const std::exception& e) {
    log::warn("the other controllers are not told of the end, and notice it by themselves: {}", e.what());
  }
}

void Cooperation::tell(std::string_view what, const std::string& id) {
  if (bus_) bus_->publish(fmt::format("{} {} {}", self_.id(), what, id));
}

void Cooperation::every(std::chrono::milliseconds pause, const std::function<void()>& step) {
  std::string said;  // once, not each time
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    try {
      step();
      said.clear();
    } catch (const std::exception& e) {
      if (said != e.what()) log::warn("controllers: {}", e.what());
      said = e.what();
    }
    lock.lock();
  }
}

void Cooperation::look() {
  std::string problem;
  for (const auto& one : work_.looks) try {
      one();
    } catch (const std::exception& e) {
      problem = e.what();
    }
  // Once, not every second.
  if (!problem.empty() && problem != last_problem_) log::warn("controllers: cannot look at what the others did: {}", problem);
  last_problem_ = std::move(problem);
}

}  // namespace virga::cloud
