// The JSON schema documents that clients read before they show or change an image.

#include "image/service.h"

namespace virga::image {
namespace {

json::object text(std::string_view description, bool read_only = false, bool nullable = false) {
  json::object out{{"description", description}};
  if (nullable) out["type"] = json::array{"null", "string"};
  else out["type"] = "string";
  if (read_only) out["readOnly"] = true;
  return out;
}

json::object typed(std::string_view type, std::string_view description, bool read_only = false) {
  json::object out{{"type", type}, {"description", description}};
  if (read_only) out["readOnly"] = true;
  return out;
}

json::object one_of(json::array values, std::string_view description) {
  return {{"type", "string"}, {"enum", std::move(values)}, {"description", description}};
}

json::object one_of_or_null(json::array values, std::string_view description) {
  values.insert(values.begin(), nullptr);
  return {{"type", json::array{"null", "string"}}, {"enum", std::move(values)}, {"description", description}};
}

json::object image_properties() {
  json::object p;
  p["id"] = json::object{{"type", "string"}, {"description", "An identifier for the image"}, {"pattern", "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"}};
  p["name"] = text("Descriptive name for the image", false, true);
  p["status"] = one_of({"queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"}, "Status of the image");
  p["visibility"] = one_of({"community", "public", "private", "shared"}, "Scope of image accessibility");
  p["protected"] = typed("boolean", "If true, image will not be deletable.");
  p["os_hidden"] = typed("boolean", "If true, image will not appear in default image list response.");
  p["owner"] = text("Owner of the image", false, true);
  p["disk_format"] = one_of_or_null({"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "ploop", "iso"}, "Format of the disk");
  p["container_format"] = one_of_or_null({"ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"}, "Format of the container");
  p["min_disk"] = typed("integer", "Amount of disk space (in GB) required to boot image.");
  p["min_ram"] = typed("integer", "Amount of ram (in MB) required to boot image.");
  p["size"] = json::object{{"type", json::array{"null", "integer"}}, {"readOnly", true}, {"description", "Size of image file in bytes"}};
  p["virtual_size"] = json::object{{"type", json::array{"null", "integer"}}, {"readOnly", true}, {"description", "Virtual size of image in bytes"}};
  for (const char* name : {"checksum", "os_hash_algo", "os_hash_value"}) p[name] = text("Digest of the image's data", true, true);
  for (const char* name : {"created_at", "updated_at"}) p[name] = text("Date and time", true);
  for (const char* name : {"self", "file", "schema", "direct_url"}) p[name] = text("A link", true);
  p["tags"] = json::object{{"type", "array"}, {"items", {{"type", "string"}, {"maxLength", 255}}}, {"description", "List of strings related to the image"}};
  return p;
}

json::object member_properties() {
  json::object p;
  for (const char* name : {"created_at", "updated_at", "image_id", "member_id", "schema"}) p[name] = text("", std::string_view(name) != "member_id");
  p["status"] = one_of({"pending", "accepted", "rejected"}, "The status of this image member");
  return p;
}

json::object list_of(std::string_view name, std::string_view plural, json::object item) {
  return {{"name", plural},
          {"properties",
           {{plural, {{"type", "array"}, {"items", std::move(item)}}}, {"first", {{"type", "string"}}}, {"next", {{"type", "string"}}}, {"schema", {{"type", "string"}}}}},
          {"links", json::array{json::object{{"rel", "describedby"}, {"href", "{schema}"}}, json::object{{"rel", "first"}, {"href", "{first}"}}, json::object{{"rel", "next"}, {"href", "{next}"}}}},
          {"title", name}};
}

}  // namespace

json::object schema_document(std::string_view name) {
  const json::array links{json::object{{"rel", "self"}, {"href", "{self}"}}, json::object{{"rel", "enclosure"}, {"href", "{file}"}}, json::object{{"rel", "describedby"}, {"href", "{schema}"}}};
  json::object image{{"name", "image"}, {"properties", image_properties()}, {"additionalProperties", {{"type", "string"}}}, {"links", links}};
  json::object member{{"name", "member"}, {"properties", member_properties()}};
  if (name == "image") return image;
  if (name == "images") return list_of("image", "images", std::move(image));
  if (name == "member") return member;
  return list_of("member", "members", std::move(member));
}

}  // namespace virga::image
