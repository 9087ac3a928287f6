#pragma once
// Gathers a result: cells and texts in one block, whatever the number of rows. Internal to the db module.

#include <memory>
#include <string_view>
#include <utility>

#include "db/api.h"

namespace virga::db {

class RowsBuilder {
 public:
  explicit RowsBuilder(size_t columns) : columns_(columns) {}

  void add_null() { block_->cells.emplace_back(); }
  void add(int64_t v) {
    Row::Cell& c = block_->cells.emplace_back();
    c.type = Row::Cell::Type::integer;
    c.integer = v;
  }
  void add(double v) {
    Row::Cell& c = block_->cells.emplace_back();
    c.type = Row::Cell::Type::real;
    c.real = v;
  }
  void add(std::string_view v) {
    Row::Cell& c = block_->cells.emplace_back();
    c.type = Row::Cell::Type::text;
    c.size = static_cast<uint32_t>(v.size());
    c.offset = block_->text.size();
    block_->text += v;
  }
  /// The rows; nothing may be added any more.
  Rows finish() {
    Rows rows;
    if (columns_ == 0) return rows;
    const size_t count = block_->cells.size() / columns_;
    rows.reserve(count);
    for (size_t i = 0; i < count; ++i) rows.emplace_back(block_, i * columns_, columns_);
    return rows;
  }

 private:
  const size_t columns_;
  std::shared_ptr<Row::Block> block_ = std::make_shared<Row::Block>();
};

}  // namespace virga::db
