#pragma once
// Validated tokens, kept while nothing in identity changes: each entry belongs to one epoch, and every write
// to identity's tables begins a new one.
//
// Threads: thread-safe; sharded, so that workers seldom meet.

#include <array>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/context.h"
#include "identity/application_credential_table.h"
#include "identity/oauth1_table.h"
#include "identity/token.h"
#include "identity/trust_table.h"

namespace virga::identity {

/// A token and whom it stands for.
struct Session {
  Token token;
  api::Caller caller;
  bool is_domain = false;                   ///< the scope is a project that acts as a domain
  std::optional<Time> password_expires_at;  ///< of the user it stands for
  std::optional<TrustRow> trust;
  std::optional<ApplicationCredentialRow> application_credential;
  std::optional<AccessTokenRow> access_token;
};

class SessionCache {
 public:
  explicit SessionCache(size_t capacity = 16'384)
      : shard_capacity_(std::max<size_t>(capacity / kShards, 1)) {}

  std::shared_ptr<const Session> find(std::string_view token, uint64_t epoch) {
    Shard& shard = shard_of(token);
    const std::lock_guard guard(shard.mutex);
    const auto found = shard.index.find(token);
    if (found == shard.index.end() || found->second->epoch != epoch) return nullptr;
    shard.entries.splice(shard.entries.begin(), shard.entries, found->second);
    return found->second->session;
  }

  void put(std::string_view token, uint64_t epoch, std::shared_ptr<const Session> session) {
    Shard& shard = shard_of(token);
    const std::lock_guard guard(shard.mutex);
    if (const auto old = shard.index.find(token); old != shard.index.end()) {
      const auto entry = old->second;
      shard.index.erase(old);
      shard.entries.erase(entry);
    }
    shard.entries.push_front({std::string(token), epoch, std::move(session)});
    shard.index.emplace(shard.entries.front().token, shard.entries.begin());
    if (shard.entries.size() > shard_capacity_) {
      shard.index.erase(shard.entries.back().token);
      shard.entries.pop_back();
    }
  }

 private:
  static constexpr size_t kShards = 16;
  struct Entry {
    std::string token;
    uint64_t epoch;
    std::shared_ptr<const Session> session;
  };
  struct Shard {
    std::mutex mutex;
    std::list<Entry> entries;  ///< latest used first
    std::unordered_map<std::string_view, std::list<Entry>::iterator> index;
  };
  Shard& shard_of(std::string_view token) { return shards_[std::hash<std::string_view>()(token) % kShards]; }

  size_t shard_capacity_;
  std::array<Shard, kShards> shards_;
};

}  // namespace virga::identity
