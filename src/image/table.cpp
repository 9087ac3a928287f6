#include "image/table.h"

#include <algorithm>

#include <fmt/format.h>

namespace virga::image {

const std::string_view kImageColumns =
    "id, name, status, owner, visibility, protected, os_hidden, disk_format, container_format, min_disk, min_ram, size, "
    "virtual_size, checksum, os_hash_algo, os_hash_value, detected_format, problem, upload_id, created_at, updated_at";

ImageRow read_row(const db::Row& r) {
  ImageRow i;
  i.id = r.text(0);
  i.name = r.maybe_text(1);
  i.status = r.text(2);
  i.owner = r.text(3);
  i.visibility = r.text(4);
  i.is_protected = r.boolean(5);
  i.hidden = r.boolean(6);
  i.disk_format = r.maybe_text(7);
  i.container_format = r.maybe_text(8);
  i.min_disk = r.integer(9);
  i.min_ram = r.integer(10);
  i.size = r.maybe_integer(11);
  i.virtual_size = r.maybe_integer(12);
  i.checksum = r.maybe_text(13);
  i.hash_algo = r.maybe_text(14);
  i.hash_value = r.maybe_text(15);
  i.detected_format = r.text(16);
  i.problem = r.text(17);
  i.upload_id = r.text(18);
  i.created_at = r.text(19);
  i.updated_at = r.text(20);
  return i;
}

void load_details(db::Tx& tx, std::vector<ImageRow>& images) {
  if (images.empty()) return;
  std::map<std::string, ImageRow*> by_id;
  std::vector<db::Value> ids;
  for (auto& i : images) {
    by_id[i.id] = &i;
    ids.emplace_back(i.id);
  }
  const std::string in = db::placeholders(ids.size());
  std::vector<db::Value> twice = ids;
  twice.insert(twice.end(), ids.begin(), ids.end());
  for (const auto& r : tx.query(fmt::format("SELECT 0, image_id, name, value FROM image_properties WHERE image_id IN ({0}) UNION ALL "
                                            "SELECT 1, image_id, tag, '' FROM image_tags WHERE image_id IN ({0})", in), twice)) {
    auto& image = *by_id.at(r.text(1));
    if (r.integer(0) == 0) image.properties[r.text(2)] = r.text(3);
    else image.tags.push_back(r.text(2));
  }
  for (auto& image : images) std::sort(image.tags.begin(), image.tags.end());
}

std::optional<ImageRow> find_image(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("SELECT {} FROM image_images WHERE id = ?", kImageColumns), id);
  if (!row) return std::nullopt;
  std::vector<ImageRow> one{read_row(*row)};
  load_details(tx, one);
  return std::move(one.front());
}

namespace {

std::vector<db::Value> values_of(const ImageRow& i) {
  return {i.name,     i.status,       i.owner,    i.visibility, i.is_protected, i.hidden,          i.disk_format, i.container_format,
          i.min_disk, i.min_ram,      i.size,     i.virtual_size, i.checksum,   i.hash_algo,       i.hash_value,  i.detected_format,
          i.problem,  i.upload_id,    i.created_at, i.updated_at};
}

void write_details(db::Tx& tx, const ImageRow& i) {
  for (const auto& [name, value] : i.properties) tx.exec("INSERT INTO image_properties (image_id, name, value) VALUES (?, ?, ?)", i.id, name, value);
  for (const auto& tag : i.tags) tx.exec("INSERT INTO image_tags (image_id, tag) VALUES (?, ?)", i.id, tag);
}

}  // namespace

void insert_image(db::Tx& tx, const ImageRow& i) {
  std::vector<db::Value> values = values_of(i);
  values.insert(values.begin(), db::Value(i.id));
  tx.exec(fmt::format("INSERT INTO image_images ({}) VALUES ({})", kImageColumns, db::placeholders(values.size())), values);
  write_details(tx, i);
}

void update_image(db::Tx& tx, const ImageRow& i) {
  std::vector<db::Value> values = values_of(i);
  values.emplace_back(i.id);
  tx.exec("UPDATE image_images SET name = ?, status = ?, owner = ?, visibility = ?, protected = ?, os_hidden = ?, disk_format = ?, "
          "container_format = ?, min_disk = ?, min_ram = ?, size = ?, virtual_size = ?, checksum = ?, os_hash_algo = ?, os_hash_value = ?, "
          "detected_format = ?, problem = ?, upload_id = ?, created_at = ?, updated_at = ? WHERE id = ?",
          values);
  tx.exec("DELETE FROM image_properties WHERE image_id = ?", i.id);
  tx.exec("DELETE FROM image_tags WHERE image_id = ?", i.id);
  write_details(tx, i);
}

void delete_image(db::Tx& tx, const std::string& id) { tx.exec("DELETE FROM image_images WHERE id = ?", id); }

bool begin_upload(db::Tx& tx, const std::string& id, const std::string& upload_id, Time now) {
  return tx.exec("UPDATE image_images SET status = 'saving', upload_id = ?, updated_at = ? WHERE id = ? AND status = 'queued'", upload_id, now, id) == 1;
}

bool finish_upload(db::Tx& tx, const ImageRow& f, Time now) {
  return tx.exec("UPDATE image_images SET status = 'active', size = ?, virtual_size = ?, checksum = ?, os_hash_algo = ?, os_hash_value = ?, "
                 "detected_format = ?, problem = ?, updated_at = ? WHERE id = ? AND status = 'saving' AND upload_id = ?",
                 f.size, f.virtual_size, f.checksum, f.hash_algo, f.hash_value, f.detected_format, f.problem, now, f.id, f.upload_id) == 1;
}

void abandon_upload(db::Tx& tx, const std::string& id, const std::string& upload_id, Time now) {
  tx.exec("UPDATE image_images SET status = 'queued', updated_at = ? WHERE id = ? AND status = 'saving' AND upload_id = ?", now, id, upload_id);
}

namespace {

MemberRow read_member(const db::Row& r) { return {r.text(0), r.text(1), r.text(2), r.text(3), r.text(4)}; }

}  // namespace

std::optional<MemberRow> find_member(db::Tx& tx, const std::string& image_id, const std::string& member_id) {
  const auto row = tx.first("SELECT image_id, member_id, status, created_at, updated_at FROM image_members WHERE image_id = ? AND member_id = ?", image_id, member_id);
  return row ? std::optional(read_member(*row)) : std::nullopt;
}

std::vector<MemberRow> members_of(db::Tx& tx, const std::string& image_id) {
  std::vector<MemberRow> out;
  for (const auto& r : tx.query("SELECT image_id, member_id, status, created_at, updated_at FROM image_members WHERE image_id = ? ORDER BY created_at, member_id", image_id))
    out.push_back(read_member(r));
  return out;
}

}  // namespace virga::image
