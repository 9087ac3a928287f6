// Bytes in and out, streamed: memory stays constant whatever the size.

#include <fmt/format.h>

#include <charconv>

#include "base/crypto.h"
#include "base/ids.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "image/service.h"
#include "qemu/api.h"

namespace virga::image {
namespace {

/// Kernels and ramdisks are files of their own, not disks.
bool is_disk(const std::string& format) { return format != "aki" && format != "ari" && format != "ami"; }

/// Writes the body to the store and finds out what it is.
void receive(http::BodyReader& body, Store::Writer& writer, ImageRow& found, uint64_t max_bytes) {
  Digest md5("md5"), sha512("sha512");
  qemu::ImageInspector inspector;
  uint64_t size = 0;
  std::vector<char> buffer(256 * 1024);
  while (const size_t n = body.read(buffer)) {
    const std::string_view bytes(buffer.data(), n);
    size += n;
    if (size > max_bytes) throw Fault(FaultKind::too_large, fmt::format("The image is larger than {} bytes.", max_bytes));
    writer.write(bytes);
    md5.update(bytes);
    sha512.update(bytes);
    inspector.feed(bytes);
  }
  const qemu::ImageInfo info = inspector.finish(size);
  found.size = static_cast<int64_t>(size);
  found.checksum = md5.finish_hex();
  found.hash_algo = "sha512";
  found.hash_value = sha512.finish_hex();
  if (!is_disk(found.disk_format.value_or(""))) {
    found.detected_format = *found.disk_format;
    return;
  }
  found.detected_format = info.format;
  found.virtual_size = static_cast<int64_t>(info.virtual_size);
  try {
    qemu::require_bootable(info, *found.disk_format);
  } catch (const Fault& fault) {
    found.problem = fault.message.substr(0, 1000);  // an upload takes any bytes; a boot refuses these
  }
}

struct Range {
  uint64_t first = 0, length = 0;
};

/// "bytes=0-99" or "bytes=100-"; nullopt if there is no usable range header. Throws Fault(range_not_satisfiable).
std::optional<Range> parse_range(std::string_view header, uint64_t size) {
  if (header.substr(0, 6) != "bytes=") return std::nullopt;
  header.remove_prefix(6);
  const size_t dash = header.find('-');
  if (dash == std::string_view::npos || header.find(',') != std::string_view::npos) return std::nullopt;
  uint64_t first = 0, last = size ? size - 1 : 0;
  const auto read = [](std::string_view text, uint64_t& n) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    return error == std::errc() && end == text.data() + text.size();
  };
  const std::string_view to = header.substr(dash + 1);
  const bool ok = dash == 0 ? false : read(header.substr(0, dash), first) && (to.empty() || read(to, last));
  if (!ok || first > last || first >= size)
    throw Fault(FaultKind::range_not_satisfiable, fmt::format("The range does not lie within the image's {} bytes.", size));
  return Range{first, std::min(last, size - 1) - first + 1};
}

}  // namespace

http::Response ImageService::upload(api::Call& call) {
  const std::string_view type = call.request.headers.get("Content-Type");
  if (type.substr(0, type.find(';')) != "application/octet-stream")
    throw Fault(FaultKind::unsupported_media, "Image data is sent as application/octet-stream.");
  const std::string upload_id = new_uuid();
  int64_t epoch = 0;
  ImageRow image = database_.write([&](db::Tx& tx) {
    epoch = db::cloud_epoch(tx);
    ImageRow row = owned(tx, call, "modify");
    if (!row.disk_format || !row.container_format)
      throw Fault(FaultKind::bad_request, "Properties disk_format, container_format must be set prior to saving data.");
    if (!begin_upload(tx, row.id, upload_id, clock_.now()))
      throw Fault(FaultKind::conflict, fmt::format("Image status transition from {} to saving is not allowed", row.status));
    note_copy(tx, upload_id);
    return row;
  });
  image.upload_id = upload_id;
  try {
    store_.see_epoch(epoch);
    Store::Writer writer(store_, upload_id);
    receive(*call.request.stream, writer, image, options_.max_image_bytes);
    writer.commit();
    kill_point("serve.after_image_stored");
    if (!database_.write([&](db::Tx& tx) { return finish_upload(tx, image, clock_.now()); })) {
      store_.remove(upload_id);
      throw Fault(FaultKind::gone, fmt::format("Image {} was deleted during its upload.", image.id));
    }
  } catch (...) {
    try {
      database_.write([&](db::Tx& tx) {
        abandon_upload(tx, image.id, upload_id, clock_.now());
        forget_copy(tx, upload_id);
      });
    } catch (const std::exception& error) {
      log::error("image {}: its cut-off upload stays in saving until the next start: {}", image.id, error.what());
    }
    throw;
  }
  return api::reply(204);
}

http::Response ImageService::download(api::Call& call) {
  const ImageRow image = database_.read([&](db::Tx& tx) { return asked(tx, call); });
  if (image.status == "deactivated" && !call.caller().is_admin())
    throw Fault(FaultKind::forbidden, "The requested image has been deactivated. Image data download is forbidden.");
  if (image.status == "queued" || image.status == "saving" || !image.size) return api::reply(204);
  const uint64_t size = static_cast<uint64_t>(*image.size);
  const auto range = parse_range(call.request.headers.get("Range"), size);
  http::Response response;
  response.status = range ? 206 : 200;
  response.headers.set("Content-Type", "application/octet-stream");
  if (image.checksum) response.headers.set("Content-MD5", *image.checksum);
  if (range) response.headers.set("Content-Range", fmt::format("bytes {}-{}/{}", range->first, range->first + range->length - 1, size));
  response.source = open_copy(image, range ? range->first : 0, range ? range->length : size);
  response.source_length = range ? range->length : size;
  return response;
}

namespace {

BootImage boot_image(const ImageRow& row) {
  BootImage b;
  b.id = ImageId(row.id);
  b.name = row.name.value_or("");
  b.status = row.status;
  b.owner = row.owner;
  b.visibility = row.visibility;
  b.disk_format = row.disk_format.value_or("");
  b.detected_format = row.detected_format;
  b.problem = row.problem;
  b.size = static_cast<uint64_t>(row.size.value_or(0));
  b.virtual_size = static_cast<uint64_t>(row.virtual_size.value_or(0));
  b.min_disk_gb = row.min_disk;
  b.min_ram_mb = row.min_ram;
  b.sha512 = row.hash_value.value_or("");
  for (const auto& [name, value] : row.properties) b.properties[name] = value;
  b.kernel_id = find_string(b.properties, "kernel_id");
  b.ramdisk_id = find_string(b.properties, "ramdisk_id");
  return b;
}

}  // namespace

std::optional<BootImage> ImageService::find(db::Tx& tx, const ImageId& id, const api::Caller& caller) {
  try {
    return boot_image(visible(tx, id.str(), caller));
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::not_found) throw;
    return std::nullopt;
  }
}

std::optional<BootImage> ImageService::find(db::Tx& tx, const ImageId& id) {
  const auto row = find_image(tx, id.str());
  return row ? std::optional(boot_image(*row)) : std::nullopt;
}

std::function<size_t(std::span<char>)> ImageService::open_data(const ImageId& id, uint64_t from) {
  const auto row = database_.read([&](db::Tx& tx) { return find_image(tx, id.str()); });
  if (!row || (row->status != "active" && row->status != "deactivated"))
    throw Fault(FaultKind::not_found, fmt::format("Image {} has no data.", id.str()));
  if (const auto size = static_cast<uint64_t>(row->size.value_or(0)); from > size)
    throw Fault(FaultKind::range_not_satisfiable, fmt::format("Image {} has {} bytes, not {}.", id.str(), size, from));
  return open_copy(*row, from);
}

void ImageService::collect_garbage() {
  std::set<std::string> keep;
  bool older = false;
  int64_t epoch = 0;
  database_.write([&](db::Tx& tx) {
    keep.clear();
    older = db::is_older_than(tx, store_.seen_epoch());
    epoch = db::cloud_epoch(tx);
    // No upload outlives the process that received it.
    if (options_.controllers)
      tx.exec("UPDATE image_images SET status = 'queued', updated_at = ? WHERE status = 'saving' AND (upload_id IN (SELECT upload_id FROM "
              "image_copies WHERE controller_id = ?) OR upload_id NOT IN (SELECT upload_id FROM image_copies))", clock_.now(), options_.controllers->id());
    else
      tx.exec("UPDATE image_images SET status = 'queued', updated_at = ? WHERE status = 'saving'", clock_.now());
    for (const auto& r : tx.query("SELECT upload_id FROM image_images WHERE status IN ('active', 'deactivated')")) keep.insert(r.text(0));
  });
  if (older) {
    log::error(
        "image store: the database is older than it, as if restored from a backup. Files that no image names stay. Put "
        "the newer database back, or take this one for the truth with `virga db accept-restored`; the next start of "
        "serve then removes them.");
    return;
  }
  store_.see_epoch(epoch);
  store_.keep_only(keep);
  if (options_.controllers) database_.write([&](db::Tx& tx) {
      tx.exec("DELETE FROM image_copies WHERE controller_id = ?", options_.controllers->id());
      for (const auto& upload : keep)
        if (store_.has(upload)) note_copy(tx, upload);
    });
}

}  // namespace virga::image
