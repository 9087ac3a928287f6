#pragma once
// What a controller does for and with the others, all the time: says that it lives, hears what they did, and looks at the
// database every second for what it did not hear. With one controller (SQLite) there is nothing to do.
//
// Three threads, so that a slow look never makes this controller seem dead, nor a large image hold up a look.

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "controllers/api.h"
#include "nats/api.h"

namespace virga::cloud {

class Cooperation {
 public:
  struct Work {
    std::vector<std::function<void()>> looks;  ///< each second; what one throws is logged
    std::function<bool()> slow;                ///< now and then, again at once while it says true
    /// Another controller's word.
    std::function<void(const std::string& what, const std::string& id)> heard;
  };
  Cooperation(controllers::Controllers& self, nats::Options bus, Work work);
  ~Cooperation();

  /// A word to the others. Quick; lost if there is no bus.
  void tell(std::string_view what, const std::string& id);

 private:
  /// Calls `step` every `pause` until the end.
  void every(std::chrono::milliseconds pause, const std::function<void()>& step);
  void look();

  controllers::Controllers& self_;
  const Work work_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::string last_problem_;
  std::unique_ptr<nats::Client> bus_;
  std::vector<std::thread> threads_;
};

}  // namespace virga::cloud
