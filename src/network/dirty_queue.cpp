#include "network/dirty_queue.h"

#include <fmt/format.h>

#include <array>

namespace virga::network {
namespace {

constexpr std::array<std::string_view, 4> kKinds{"network", "port", "router", "security_group"};  // as Dirty::Kind

}  // namespace

void enqueue(db::Tx& tx, const Dirty& dirty) {
  tx.exec("INSERT INTO network_dirty (id, kind, thing) VALUES (?, ?, ?)", new_uuid(), kKinds[static_cast<size_t>(dirty.kind)], dirty.id);
}

std::vector<QueuedDirty> queued(db::Tx& tx, size_t most) {
  std::vector<QueuedDirty> all;
  for (const auto& row : tx.query(fmt::format("SELECT id, kind, thing FROM network_dirty LIMIT {}", most)))
    for (size_t kind = 0; kind < kKinds.size(); ++kind)
      if (row.view(1) == kKinds[kind]) all.push_back({row.text(0), {static_cast<Dirty::Kind>(kind), row.text(2)}});
  return all;
}

void dequeue(db::Tx& tx, const std::vector<QueuedDirty>& done) {
  constexpr size_t kBatch = 500;
  for (size_t at = 0; at < done.size(); at += kBatch) {
    std::vector<db::Value> ids;
    for (size_t i = at; i < std::min(at + kBatch, done.size()); ++i) ids.emplace_back(done[i].id);
    tx.exec(fmt::format("DELETE FROM network_dirty WHERE id IN ({})", db::placeholders(ids.size())), ids);
  }
}

}  // namespace virga::network
