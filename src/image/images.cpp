#include <fmt/format.h>

#include <charconv>

#include "base/ids.h"
#include "base/kill_point.h"
#include "base/text.h"
#include "image/service.h"

namespace virga::image {
namespace {

using api::Attribute;
using api::Set;
using api::Type;

/// What lists filter and sort on. Bodies are validated in patch.cpp: glance's attributes are flat and open.
const api::Resource& list_resource() {
  static const api::Resource resource{
      "image",
      "images",
      {{.name = "id", .sort = true},
       {.name = "name", .sort = true},
       {.name = "status", .sort = true},
       {.name = "container_format", .sort = true},
       {.name = "disk_format", .sort = true},
       {.name = "owner", .filter = true, .sort = true},
       {.name = "protected", .type = Type::boolean, .filter = true},
       {.name = "checksum", .filter = true},
       {.name = "os_hash_value", .filter = true},
       {.name = "min_disk", .type = Type::integer, .filter = true, .sort = true},
       {.name = "min_ram", .type = Type::integer, .filter = true, .sort = true},
       {.name = "size", .type = Type::integer, .filter = true, .sort = true},
       {.name = "created_at", .sort = true},
       {.name = "updated_at", .sort = true}}};
  return resource;
}

std::vector<std::string> split_in(std::string_view text) {
  if (text.substr(0, 3) != "in:") return {std::string(text)};
  auto values = split(text.substr(3), ',');
  for (auto& value : values)
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  return values;
}

int64_t whole(std::string_view name, std::string_view text) {
  int64_t n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0)
    throw Fault(FaultKind::bad_request, fmt::format("{} must be a whole number, not '{}'.", name, text));
  return n;
}

/// created_at=gte:2026-01-01T00:00:00Z
void add_time(api::Where& where, std::string_view column, std::string_view value) {
  constexpr std::pair<std::string_view, std::string_view> operators[] = {{"gte:", ">="}, {"gt:", ">"}, {"lte:", "<="}, {"lt:", "<"}, {"eq:", "="}, {"neq:", "<>"}};
  std::string_view sign = "=";
  for (const auto& [word, op] : operators)
    if (value.substr(0, word.size()) == word) {
      sign = op;
      value.remove_prefix(word.size());
      break;
    }
  where.add(fmt::format("{} {} ?", column, sign), parse_time(value));
}

const std::vector<std::string_view> kOwnWords = {"limit", "marker", "sort_key", "sort_dir", "sort", "owner", "protected", "checksum", "os_hash_value", "min_disk", "min_ram", "size"};

/// Glance's own filters beside the attribute rows.
void add_filter(api::Where& where, const std::string& name, const std::string& value) {
  if (std::find(kOwnWords.begin(), kOwnWords.end(), name) != kOwnWords.end()) return;
  if (name == "visibility" || name == "member_status" || name == "os_hidden") return;  // read by add_visible
  if (name == "name" || name == "status" || name == "id" || name == "container_format" || name == "disk_format") {
    where.add_in(name, split_in(value));
  } else if (name == "size_min") where.add("size >= ?", whole(name, value));
  else if (name == "size_max") where.add("size <= ?", whole(name, value));
  else if (name == "created_at" || name == "updated_at") add_time(where, name, value);
  else if (name == "tag") where.add("EXISTS (SELECT 1 FROM image_tags t WHERE t.image_id = image_images.id AND t.tag = ?)", value);
  else where.add("EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = image_images.id AND p.name = ? AND p.value = ?)", name, value);
}

/// Which images a list shows (glance: public, own, community when asked for, shared with an accepted membership).
void add_visible(api::Where& where, const http::Request& request, const api::Caller& caller) {
  const auto hidden = request.query_value("os_hidden");
  where.add("os_hidden = ?", hidden && api::parse_bool(*hidden).value_or(false));
  const std::string visibility = request.query_value("visibility").value_or("");
  const std::string member = request.query_value("member_status").value_or("accepted");
  if (!visibility.empty() && visibility != "all") {
    if (visibility != "public" && visibility != "private" && visibility != "shared" && visibility != "community")
      throw Fault(FaultKind::bad_request, fmt::format("Invalid visibility value: {}", visibility), "It is one of public, private, shared, community, all.");
    where.add("visibility = ?", visibility);
  }
  if (member != "accepted" && member != "pending" && member != "rejected" && member != "all")
    throw Fault(FaultKind::bad_request, fmt::format("Invalid status: {}", member), "It is one of accepted, pending, rejected, all.");
  if (visibility.empty()) where.add("(visibility <> 'community' OR owner = ?)", caller.project_id);
  if (caller.is_admin() && visibility != "shared") return;
  const std::string shared = member == "all" ? "" : " AND m.status = ?";
  where.add("(visibility = 'public' OR visibility = 'community' OR owner = ? OR (visibility = 'shared' AND EXISTS "
            "(SELECT 1 FROM image_members m WHERE m.image_id = image_images.id AND m.member_id = ?" + shared + ")))",
            caller.project_id, caller.project_id);
  if (member != "all") where.values.emplace_back(member);
}

}  // namespace

http::Response ImageService::list(api::Call& call) {
  call.require({{"project_id", call.caller().project_id}});
  api::ListRules rules;
  rules.ignore = {"name", "status", "id", "container_format", "disk_format", "size_min", "size_max", "created_at", "updated_at", "tag", "visibility", "member_status", "os_hidden"};
  api::ListQuery query = api::parse_list(list_resource(), call.request, rules);
  const bool unlimited = !query.limit;
  if (unlimited) query.limit = 25;  // glance's limit_param_default
  if (query.sorts.empty()) query.sorts = {{list_resource().find("created_at"), true}, {list_resource().find("id"), true}};
  else query.sorts.push_back({list_resource().find("id"), query.sorts.back().descending});
  api::Where where;
  add_visible(where, call.request, call.caller());
  for (const auto& [name, value] : call.request.query) add_filter(where, name, value);
  bool more = false;
  const auto images = database_.read([&](db::Tx& tx) {
    db::Rows rows = api::select_page(tx, kImageColumns, "image_images", query, where);
    more = api::take_page(rows, query);
    std::vector<ImageRow> out;
    for (const auto& r : rows) out.push_back(read_row(r));
    load_details(tx, out);
    return out;
  });
  json::object body{{"schema", "/v2/schemas/images"}};
  json::array& list = body["images"].emplace_array();
  for (const auto& i : images)
    if (call.allows("get_image", target_of(i, i.visibility == "shared" ? call.caller().project_id : ""))) list.push_back(view(i));
  const auto path_only = [&](const std::string& url) { return url.substr(url.find("/v2/images")); };
  const size_t question = call.request.target.find('?');
  body["first"] = "/v2/images" + (question == std::string::npos ? "" : call.request.target.substr(question));
  if (more && *query.limit > 0) body["next"] = path_only(api::next_url(call, images.back().id));
  return api::reply(200, body);
}

http::Response ImageService::create(api::Call& call) {
  const api::Caller& caller = call.caller();
  ImageRow image;
  image.id = new_uuid();
  image.owner = caller.project_id;
  for (const auto& [name, value] : call.body()) {
    if (name == "id") {
      if (!value.is_string() || !looks_like_uuid(std::string_view(value.get_string())) || value.get_string().size() != 36) throw Fault(FaultKind::bad_request, "Invalid image id format");
      image.id = str(value);
    } else {
      set_attribute(image, name, value, call);
    }
  }
  call.require({{"project_id", caller.project_id}, {"owner", image.owner}});
  image.status = "queued";
  image.created_at = image.updated_at = to_db(clock_.now());
  try {
    database_.write([&](db::Tx& tx) { insert_image(tx, image); });
  } catch (const db::UniqueViolation&) {
    throw Fault(FaultKind::conflict, fmt::format("Image ID {} already exists!", image.id));
  }
  http::Response response = api::reply(201, view(image));
  response.headers.set("Location", call.base_url + "/v2/images/" + image.id);
  return response;
}

ImageRow ImageService::visible(db::Tx& tx, const std::string& id, const api::Caller& caller) const {
  const auto image = find_image(tx, id);
  const bool sees = image && (image->visibility == "public" || image->visibility == "community" || image->owner == caller.project_id || caller.is_admin() ||
                              (image->visibility == "shared" && find_member(tx, id, caller.project_id)));
  if (!sees) throw Fault(FaultKind::not_found, fmt::format("No image found with ID {}", id));
  return *image;
}

api::Target target_of(const ImageRow& image, const std::string& member) {
  return {{"project_id", image.owner}, {"owner", image.owner}, {"visibility", image.visibility}, {"member_id", member}};
}

ImageRow ImageService::asked(db::Tx& tx, api::Call& call) const {
  const std::string& id = call.param("image_id");
  ImageRow image = visible(tx, id, call.caller());
  const std::string& project = call.caller().project_id;
  const std::string* named = call.find_param("member_id");
  const api::Target target = target_of(image, named ? *named : find_member(tx, id, project) ? project : "");
  if (!call.allows("get_image", target_of(image, find_member(tx, id, project) ? project : ""))) throw Fault(FaultKind::not_found, fmt::format("No image found with ID {}", id));
  call.require(target);
  return image;
}

ImageRow ImageService::owned(db::Tx& tx, api::Call& call, std::string_view verb) const {
  ImageRow image = asked(tx, call);
  if (image.owner != call.caller().project_id && !call.caller().is_admin())
    throw Fault(FaultKind::forbidden, fmt::format("You are not permitted to {} this image.", verb));
  return image;
}

http::Response ImageService::show(api::Call& call) {
  return api::reply(200, database_.read([&](db::Tx& tx) { return view(asked(tx, call)); }));
}

http::Response ImageService::update(api::Call& call) {
  const std::string_view type = call.request.headers.get("Content-Type");
  const std::string_view plain = type.substr(0, type.find(';'));
  if (plain != "application/openstack-images-v2.1-json-patch" && plain != "application/openstack-images-v2.0-json-patch")
    throw Fault(FaultKind::unsupported_media, "A change of an image is a JSON patch.", "Send it as application/openstack-images-v2.1-json-patch.");
  const json::value patch = parse_json(call.request.body);
  if (!patch.is_array()) throw Fault(FaultKind::bad_request, "Request body must be a JSON array of operation objects.");
  return api::reply(200, database_.write([&](db::Tx& tx) {
    ImageRow image = owned(tx, call, "modify");
    apply_patch(image, patch.get_array(), call);
    image.updated_at = to_db(clock_.now());
    update_image(tx, image);
    return view(image);
  }));
}

http::Response ImageService::remove(api::Call& call) {
  const std::string stored = database_.write([&](db::Tx& tx) {
    const ImageRow image = owned(tx, call, "delete");
    if (image.is_protected) throw Fault(FaultKind::forbidden, fmt::format("Image {} is protected and cannot be deleted.", image.id), "Set protected to false first.");
    delete_image(tx, image.id);
    return image.upload_id;
  });
  kill_point("serve.after_image_deleted");
  store_.remove(stored);
  return api::reply(204);
}

http::Response ImageService::set_tag(api::Call& call, bool present) {
  const std::string& tag = call.param("tag");
  if (tag.size() > 255) throw Fault(FaultKind::bad_request, "A tag is at most 255 characters long.");
  database_.write([&](db::Tx& tx) {
    ImageRow image = owned(tx, call, "modify");
    const auto at = std::find(image.tags.begin(), image.tags.end(), tag);
    if (!present && at == image.tags.end()) throw Fault(FaultKind::not_found, fmt::format("The image has no tag {}.", tag));
    if (present == (at != image.tags.end())) return;
    if (present && image.tags.size() >= 128) throw Fault(FaultKind::too_large, "An image takes at most 128 tags.");
    if (present) image.tags.push_back(tag);
    else image.tags.erase(at);
    image.updated_at = to_db(clock_.now());
    update_image(tx, image);
  });
  return api::reply(204);
}

http::Response ImageService::set_active(api::Call& call, bool active) {
  database_.write([&](db::Tx& tx) {
    ImageRow image = owned(tx, call, active ? "reactivate" : "deactivate");
    if (image.status != "active" && image.status != "deactivated")
      throw Fault(FaultKind::forbidden, fmt::format("Not allowed to {} image in status '{}'", active ? "reactivate" : "deactivate", image.status));
    image.status = active ? "active" : "deactivated";
    image.updated_at = to_db(clock_.now());
    update_image(tx, image);
  });
  return api::reply(204);
}

}  // namespace virga::image
