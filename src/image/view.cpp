#include "image/service.h"

namespace virga::image {
namespace {

template <class T>
json::value or_null(const std::optional<T>& v) {
  return v ? json::value(*v) : json::value(nullptr);
}

}  // namespace

json::object view(const ImageRow& i) {
  json::object out;
  for (const auto& [name, value] : i.properties) out[name] = value;
  out["id"] = i.id;
  out["name"] = or_null(i.name);
  out["status"] = i.status;
  out["visibility"] = i.visibility;
  out["protected"] = i.is_protected;
  out["os_hidden"] = i.hidden;
  out["owner"] = i.owner;
  out["disk_format"] = or_null(i.disk_format);
  out["container_format"] = or_null(i.container_format);
  out["min_disk"] = i.min_disk;
  out["min_ram"] = i.min_ram;
  out["size"] = or_null(i.size);
  out["virtual_size"] = or_null(i.virtual_size);
  out["checksum"] = or_null(i.checksum);
  out["os_hash_algo"] = or_null(i.hash_algo);
  out["os_hash_value"] = or_null(i.hash_value);
  out["created_at"] = db_to_iso(i.created_at);
  out["updated_at"] = db_to_iso(i.updated_at);
  out["tags"] = json::array(i.tags.begin(), i.tags.end());
  out["self"] = "/v2/images/" + i.id;
  out["file"] = "/v2/images/" + i.id + "/file";
  out["schema"] = "/v2/schemas/image";
  return out;
}

json::object view(const MemberRow& m) {
  return {{"image_id", m.image_id},
          {"member_id", m.member_id},
          {"status", m.status},
          {"created_at", db_to_iso(m.created_at)},
          {"updated_at", db_to_iso(m.updated_at)},
          {"schema", "/v2/schemas/member"}};
}

}  // namespace virga::image
