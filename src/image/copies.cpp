// Which controllers have an image's bytes, and how the others get them.

#include <fmt/format.h>

#include "base/crypto.h"
#include "base/log.h"
#include "image/service.h"

namespace virga::image {

void ImageService::note_copy(db::Tx& tx, const std::string& upload) const {
  if (!options_.controllers) return;
  const std::string& me = options_.controllers->id();
  if (!tx.first("SELECT 1 FROM image_copies WHERE upload_id = ? AND controller_id = ?", upload, me))
    tx.exec("INSERT INTO image_copies (upload_id, controller_id) VALUES (?, ?)", upload, me);
}

void ImageService::forget_copy(db::Tx& tx, const std::string& upload) const {
  if (options_.controllers)
    tx.exec("DELETE FROM image_copies WHERE upload_id = ? AND controller_id = ?", upload, options_.controllers->id());
}

std::function<size_t(std::span<char>)> ImageService::open_copy(const ImageRow& image, uint64_t offset, uint64_t length) {
  if (options_.controllers && !store_.has(image.upload_id)) fetch_copy(image);
  return store_.open(image.upload_id, offset, length);
}

std::function<size_t(std::span<char>)> ImageService::open_upload(const std::string& upload) { return store_.open(upload); }

void ImageService::fetch_copy(const ImageRow& image) {
  const std::string& upload = image.upload_id;
  const std::lock_guard guard(fetching_[std::hash<std::string>()(upload) % fetching_.size()]);
  if (store_.has(upload)) return;
  const auto holders = database_.read([&](db::Tx& tx) {
    std::vector<std::string> addresses;
    const auto rows = tx.query("SELECT controller_id FROM image_copies WHERE upload_id = ?", upload);
    for (const auto& c : options_.controllers->all(tx))
      for (const auto& row : rows)
        if (c.alive && c.id == row.text(0) && c.id != options_.controllers->id() && !c.link_address.empty()) addresses.push_back(c.link_address);
    return addresses;
  });
  std::string why = "no controller that lives has it";
  for (const auto& address : holders) try {
      Store::Writer writer(store_, upload);
      Digest sha512("sha512");
      options_.fetch(address, upload, [&](std::string_view bytes) {
        writer.write(bytes);
        sha512.update(bytes);
      });
      if (sha512.finish_hex() != image.hash_value.value_or("")) throw Fault(FaultKind::unavailable, "what came is not what was uploaded");
      writer.commit();
      database_.write([&](db::Tx& tx) { note_copy(tx, upload); });
      log::info("image {}: fetched from {}", image.id, address);
      return;
    } catch (const Fault& fault) {
      why = fault.message;
      log::warn("image {}: cannot be fetched from {}: {}", image.id, address, why);
    }
  throw Fault(FaultKind::unavailable, fmt::format("The data of image {} is on another controller: {}.", image.id, why),
              "It can be had again when a controller that has it is back.");
}

void ImageService::look_around() {
  if (!options_.controllers) return;
  const std::string& me = options_.controllers->id();
  std::vector<std::string> gone;
  bool cut_off = false;
  database_.read([&](db::Tx& tx) {
    gone.clear();
    if (db::is_known_older(tx)) return;  // its absences are not believed
    for (const auto& row : tx.query("SELECT upload_id FROM image_copies WHERE controller_id = ? AND upload_id NOT IN "
                                    "(SELECT upload_id FROM image_images WHERE upload_id IS NOT NULL)", me))
      gone.push_back(row.text(0));
    cut_off = tx.first("SELECT 1 FROM image_images WHERE status = 'saving'").has_value();
  });
  for (const auto& upload : gone) store_.remove(upload);
  if (gone.empty() && !cut_off) return;
  database_.write([&](db::Tx& tx) {
    for (const auto& upload : gone) forget_copy(tx, upload);
    // No upload outlives the controller that received it.
    tx.exec("UPDATE image_images SET status = 'queued', updated_at = ? WHERE status = 'saving' AND upload_id NOT IN (SELECT i.upload_id FROM "
            "image_copies i JOIN controllers c ON c.id = i.controller_id WHERE c.seen_at > ?)",
            clock_.now(), db::database_now(tx) - std::chrono::minutes(1));
  });
}

bool ImageService::fetch_one() {
  if (!options_.controllers) return false;
  const auto row = database_.read([&](db::Tx& tx) -> std::optional<ImageRow> {
    const auto found = tx.first("SELECT i.id FROM image_images i WHERE i.status = 'active' AND NOT EXISTS (SELECT 1 FROM image_copies c "
                                "WHERE c.upload_id = i.upload_id AND c.controller_id = ?) ORDER BY i.created_at LIMIT 1", options_.controllers->id());
    return found ? find_image(tx, found->text(0)) : std::nullopt;
  });
  if (!row) return false;
  fetch_copy(*row);
  return true;
}

}  // namespace virga::image
