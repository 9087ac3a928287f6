#pragma once
// Catalogues as text, kept while nothing in identity changes: most of the work of an answer with a token is
// the catalogue in it, which all tokens of a project share.
//
// Threads: thread-safe.

#include <fmt/format.h>

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace virga::identity {

class CatalogCache {
 public:
  using Text = std::shared_ptr<const std::string>;

  /// Null if there is none of this epoch (see Core::change).
  Text find(const std::string& cloud_url, const std::string& project_id, uint64_t epoch) {
    const std::lock_guard guard(mutex_);
    if (epoch != epoch_) return nullptr;
    const auto found = texts_.find(key(cloud_url, project_id));
    return found == texts_.end() ? nullptr : found->second;
  }

  /// The epoch is the one from before the rows were read: a text is at worst newer than its label says.
  void put(const std::string& cloud_url, const std::string& project_id, uint64_t epoch, Text text) {
    const std::lock_guard guard(mutex_);
    if (epoch < epoch_) return;
    // Clients choose the URL (Host): there is an end to how many are kept.
    if (epoch > epoch_ || texts_.size() >= kMost) texts_.clear();
    epoch_ = epoch;
    texts_[key(cloud_url, project_id)] = std::move(text);
  }

 private:
  static constexpr size_t kMost = 1024;
  static std::string key(const std::string& cloud_url, const std::string& project_id) {
    return fmt::format("{} {}", project_id, cloud_url);
  }

  std::mutex mutex_;
  uint64_t epoch_ = 0;
  std::unordered_map<std::string, Text> texts_;
};

}  // namespace virga::identity
