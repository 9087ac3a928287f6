#include "api/rate_limiter.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace virga::api {

RateLimiter::RateLimiter(int rate, int burst, size_t max_keys)
    : each_(std::chrono::nanoseconds(std::chrono::seconds(1)) / rate),
      burst_(each_ * (burst > 0 ? burst : 2 * rate)),
      max_per_shard_(std::max<size_t>(1, max_keys / shards_.size())) {}

std::chrono::nanoseconds RateLimiter::take(std::string_view key, Clock::time_point now) {
  std::string owned(key);
  Shard& shard = shards_[std::hash<std::string_view>()(key) % shards_.size()];
  std::lock_guard lock(shard.mutex);
  auto entry = shard.full_at.find(owned);
  if (entry == shard.full_at.end()) {
    if (shard.full_at.size() >= max_per_shard_) make_room(shard, now);
    entry = shard.full_at.emplace(std::move(owned), now).first;
  }
  const auto full_at = std::max(entry->second, now) + each_;
  const auto missing = (full_at - now) - burst_;
  if (missing > std::chrono::nanoseconds(0)) return missing;
  entry->second = full_at;
  return std::chrono::nanoseconds(0);
}

/// Full buckets go first, looked for at most once a second; if there is none, any. Who floods us with
/// addresses then gains a fresh bucket now and then, and no memory.
void RateLimiter::make_room(Shard& shard, Clock::time_point now) const {
  if (now - shard.swept >= std::chrono::seconds(1)) {
    shard.swept = now;
    std::erase_if(shard.full_at, [now](const auto& entry) { return entry.second <= now; });
  }
  if (shard.full_at.size() >= max_per_shard_) shard.full_at.erase(shard.full_at.begin());
}

size_t RateLimiter::size() const {
  size_t all = 0;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    all += shard.full_at.size();
  }
  return all;
}

std::string anonymous_key(std::string_view address) {
  in6_addr bytes{};
  const std::string text(address);
  if (inet_pton(AF_INET6, text.c_str(), &bytes) != 1) return "address " + text;
  if (IN6_IS_ADDR_V4MAPPED(&bytes)) return "address " + text.substr(text.rfind(':') + 1);
  std::string key = "network ";
  for (int i = 0; i < 8; ++i) fmt::format_to(std::back_inserter(key), "{:02x}", bytes.s6_addr[i]);
  return key;
}

}  // namespace virga::api
