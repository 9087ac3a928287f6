#pragma once
// Requests a second per user, as a token bucket: `rate` tokens come in a second, at most `burst` are kept,
// each request takes one. Memory is bounded: a bucket that is full again says nothing and goes when room is
// needed. Thread-safe.
//
// A bucket is kept as the time at which it will be full again (the "theoretical arrival time" of the GCRA),
// so an entry is one number.

#include <array>
#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace virga::api {

class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  /// `rate` requests a second (> 0), `burst` at once (0 = 2 * rate).
  RateLimiter(int rate, int burst, size_t max_keys = 65536);

  /// Takes one request of `key`. Zero: granted. Else how long until it would be; nothing is taken then.
  std::chrono::nanoseconds take(std::string_view key, Clock::time_point now = Clock::now());
  size_t size() const;  ///< buckets in memory

 private:
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, Clock::time_point> full_at;
    Clock::time_point swept{};
  };
  void make_room(Shard& shard, Clock::time_point now) const;

  const std::chrono::nanoseconds each_, burst_;
  const size_t max_per_shard_;
  std::array<Shard, 16> shards_;
};

/// Whose bucket a request without a valid token takes from: its address; of IPv6 the /64, which one machine
/// has whole.
std::string anonymous_key(std::string_view address);

}  // namespace virga::api
