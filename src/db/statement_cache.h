#pragma once
// Prepared statements of one connection by their SQL text, the least recently used ones dropped first.

#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace virga::db {

template <class Statement>
class StatementCache {
 public:
  explicit StatementCache(size_t limit) : limit_(limit) {}

  Statement* find(std::string_view sql) {
    auto it = by_sql_.find(sql);
    if (it == by_sql_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, it->second);
    return &it->second->second;
  }
  Statement& add(std::string_view sql, Statement statement) {
    if (recent_.size() >= limit_) {
      by_sql_.erase(recent_.back().first);
      recent_.pop_back();
    }
    recent_.emplace_front(std::string(sql), std::move(statement));
    by_sql_.emplace(recent_.front().first, recent_.begin());
    return recent_.front().second;
  }
  void remove(std::string_view sql) {
    auto it = by_sql_.find(sql);
    if (it == by_sql_.end()) return;
    auto entry = it->second;
    by_sql_.erase(it);
    recent_.erase(entry);
  }
  void clear() {
    by_sql_.clear();
    recent_.clear();
  }

 private:
  using Entries = std::list<std::pair<std::string, Statement>>;
  size_t limit_;
  Entries recent_;
  std::unordered_map<std::string_view, typename Entries::iterator> by_sql_;  // keys view into recent_
};

}  // namespace virga::db
