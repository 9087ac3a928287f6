#pragma once
// Asks libvirtd a trivial question now and then, on a connection of its own, to learn whether it answers at all. A daemon
// that hangs holds its calls for ever, and only the time they take tells. (libvirt's keep-alive would end them, but in 9.0
// it does so wrongly when several threads wait: their wake-up gets lost, and later the client touches freed memory.)

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace virga::libvirt {

struct ProbeTimes {
  std::chrono::milliseconds every{2000};
  std::chrono::milliseconds patience{10'000};  ///< then the daemon hangs
};

class Probe {
 public:
  explicit Probe(const std::string& uri, ProbeTimes times = {});
  /// Never waits for libvirtd.
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  /// True while the question has waited for longer than `patience`.
  bool hangs() const;

 private:
  using Steady = std::chrono::steady_clock;
  struct State {
    std::mutex mutex;
    std::condition_variable wake;
    bool stopping = false;
    std::optional<Steady::time_point> asked;  ///< the answer is not there yet
  };
  static void run(const std::shared_ptr<State>& state, const std::string& uri, std::chrono::milliseconds every);

  const std::chrono::milliseconds patience_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace virga::libvirt
