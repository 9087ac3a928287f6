#include <fmt/format.h>

#include "base/ids.h"
#include "image/service.h"

namespace virga::image {
namespace {

const std::vector<std::string_view> kReadOnly = {"id",       "status",       "checksum",     "size",         "virtual_size", "created_at",    "updated_at",
                                                 "schema",   "self",         "file",         "direct_url",   "stores",       "os_hash_algo",  "os_hash_value",
                                                 "locations"};
const std::vector<std::string_view> kFormats = {"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "ploop", "iso"};
const std::vector<std::string_view> kContainers = {"ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"};

[[noreturn]] void bad(std::string_view name, std::string_view why) {
  throw Fault(FaultKind::bad_request, fmt::format("Provided object does not match schema 'image': {} {}.", name, why));
}

bool among(const std::vector<std::string_view>& known, std::string_view v) { return std::find(known.begin(), known.end(), v) != known.end(); }

std::optional<std::string> text_or_null(std::string_view name, const json::value& v, size_t max = 255) {
  if (v.is_null()) return std::nullopt;
  if (!v.is_string()) bad(name, "must be text");
  if (v.get_string().size() > max) bad(name, fmt::format("is longer than {}", max));
  return str(v);
}

bool boolean(std::string_view name, const json::value& v) {
  if (!v.is_bool()) bad(name, "must be true or false");
  return v.get_bool();
}

int64_t count(std::string_view name, const json::value& v) {
  if (!v.is_int64() || v.get_int64() < 0 || v.get_int64() > INT32_MAX) bad(name, "must be a whole number from 0 to 2147483647");
  return v.get_int64();
}

void set_format(std::optional<std::string>& field, const ImageRow& image, std::string_view name, const json::value& v,
                const std::vector<std::string_view>& known) {
  auto wanted = text_or_null(name, v);
  if (wanted && !among(known, *wanted)) bad(name, fmt::format("'{}' is none that the image service knows", *wanted));
  if (wanted != field && image.status != "queued" && !image.status.empty())
    throw Fault(FaultKind::forbidden, fmt::format("Attribute {} can be only replaced for a queued image.", name));
  field = std::move(wanted);
}

void set_visibility(ImageRow& image, const json::value& v, api::Call& call) {
  const auto wanted = text_or_null("visibility", v);
  if (!wanted || !among({"public", "private", "shared", "community"}, *wanted)) bad("visibility", "must be community, public, private or shared");
  if (*wanted == "public" && image.visibility != "public") call.require("publicize_image", target_of(image, ""));
  if (*wanted == "community" && image.visibility != "community") call.require("communitize_image", target_of(image, ""));
  image.visibility = *wanted;
}

void set_tags(ImageRow& image, const json::value& v) {
  if (!v.is_array()) bad("tags", "must be a list");
  image.tags.clear();
  for (const auto& tag : v.get_array()) {
    const auto text = text_or_null("tags", tag);
    if (!text) bad("tags", "must hold text");
    if (std::find(image.tags.begin(), image.tags.end(), *text) == image.tags.end()) image.tags.push_back(*text);
  }
  if (image.tags.size() > 128) throw Fault(FaultKind::too_large, "An image takes at most 128 tags.");
}

void remove_attribute(ImageRow& image, const std::string& name) {
  if (is_base_attribute(name)) {
    if (name == "owner" || name == "tags") {
      if (name == "tags") image.tags.clear();
      return;
    }
    throw Fault(FaultKind::forbidden, fmt::format("Property {} may not be removed.", name));
  }
  if (image.properties.erase(name) == 0)
    throw Fault(FaultKind::conflict, fmt::format("Property {} does not exist.", name));
}

}  // namespace

bool is_base_attribute(std::string_view name) {
  return among(kReadOnly, name) || among({"name", "disk_format", "container_format", "visibility", "protected", "os_hidden", "min_disk", "min_ram", "owner", "tags"}, name);
}

void set_attribute(ImageRow& image, std::string_view name, const json::value& v, api::Call& call) {
  if (among(kReadOnly, name)) throw Fault(FaultKind::forbidden, fmt::format("Attribute '{}' is read-only.", name));
  if (name == "name") image.name = text_or_null(name, v);
  else if (name == "disk_format") set_format(image.disk_format, image, name, v, kFormats);
  else if (name == "container_format") set_format(image.container_format, image, name, v, kContainers);
  else if (name == "visibility") set_visibility(image, v, call);
  else if (name == "protected") image.is_protected = boolean(name, v);
  else if (name == "os_hidden") image.hidden = boolean(name, v);
  else if (name == "min_disk") image.min_disk = count(name, v);
  else if (name == "min_ram") image.min_ram = count(name, v);
  else if (name == "tags") set_tags(image, v);
  else if (name == "owner") {
    const auto owner = text_or_null(name, v);
    if (owner.value_or("") != image.owner && !call.caller().is_admin())
      throw Fault(FaultKind::forbidden, "You are not permitted to create images owned by another project.");
    image.owner = owner.value_or("");
  } else {
    const auto value = text_or_null(name, v, 65535);
    if (name.empty() || name.size() > 255) bad(name, "is no property name");
    if (!value) bad(name, "must be text");
    image.properties[std::string(name)] = *value;
    if (image.properties.size() > 128) throw Fault(FaultKind::too_large, "An image takes at most 128 properties.");
  }
}

void apply_patch(ImageRow& image, const json::array& operations, api::Call& call) {
  for (const auto& entry : operations) {
    if (!entry.is_object()) throw Fault(FaultKind::bad_request, "Each operation of the patch must be an object.");
    const json::object& op = entry.get_object();
    std::string verb = find_string(op, "op"), path = find_string(op, "path");
    for (const char* old : {"add", "replace", "remove"})  // media type v2.0: {"replace": "/name", "value": …}
      if (!op.contains("op") && op.contains(old)) verb = old, path = find_string(op, old);
    if (path.size() < 2 || path[0] != '/') throw Fault(FaultKind::bad_request, fmt::format("Pointer `{}` does not start with \"/\".", path));
    if (path.find('/', 1) != std::string::npos) throw Fault(FaultKind::bad_request, fmt::format("Pointer `{}` reaches too deep for an image.", path));
    std::string name;
    for (size_t i = 1; i < path.size(); ++i) {  // RFC 6901 escapes
      if (path[i] == '~' && i + 1 < path.size() && (path[i + 1] == '0' || path[i + 1] == '1')) name += path[++i] == '0' ? '~' : '/';
      else name += path[i];
    }
    if (verb == "remove") {
      if (among(kReadOnly, name)) throw Fault(FaultKind::forbidden, fmt::format("Attribute '{}' is read-only.", name));
      remove_attribute(image, name);
      continue;
    }
    const json::value* value = op.if_contains("value");
    if ((verb != "add" && verb != "replace") || !value)
      throw Fault(FaultKind::bad_request, "Operations must be \"add\", \"remove\" or \"replace\", the first and last with a value.");
    if (verb == "replace" && !is_base_attribute(name) && !image.properties.contains(name))
      throw Fault(FaultKind::conflict, fmt::format("Property {} does not exist.", name));
    set_attribute(image, name, *value, call);
  }
}

}  // namespace virga::image
