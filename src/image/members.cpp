#include <fmt/format.h>

#include "image/service.h"

namespace virga::image {
namespace {

void require_shared(const ImageRow& image) {
  if (image.visibility != "shared")
    throw Fault(FaultKind::forbidden, "Only shared images have members.", "Set the image's visibility to shared first.");
}

bool owns(const ImageRow& image, const api::Caller& caller) { return image.owner == caller.project_id || caller.is_admin(); }

}  // namespace

http::Response ImageService::list_members(api::Call& call) {
  json::array out;
  database_.read([&](db::Tx& tx) {
    out.clear();
    const ImageRow image = asked(tx, call);
    if (image.visibility != "shared") {
      if (image.visibility == "public" || image.visibility == "community") throw Fault(FaultKind::forbidden, "Only shared images have members.");
      return;
    }
    for (const auto& m : members_of(tx, image.id))
      if (owns(image, call.caller()) || m.member_id == call.caller().project_id) out.push_back(view(m));
  });
  return api::reply(200, json::object{{"members", std::move(out)}, {"schema", "/v2/schemas/members"}});
}

http::Response ImageService::add_member(api::Call& call) {
  const std::string member = find_string(call.body(), "member");
  if (member.empty()) throw Fault(FaultKind::bad_request, "The body must name a member: {\"member\": PROJECT}.");
  if (member.size() > 255) throw Fault(FaultKind::bad_request, "A member's id is at most 255 characters long.");
  return api::reply(200, database_.write([&](db::Tx& tx) {
    const ImageRow image = owned(tx, call, "share");
    require_shared(image);
    const std::string now = to_db(clock_.now());
    const MemberRow row{image.id, member, "pending", now, now};
    try {
      tx.exec("INSERT INTO image_members (image_id, member_id, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?)", row.image_id, row.member_id, row.status, now, now);
    } catch (const db::UniqueViolation&) {
      throw Fault(FaultKind::conflict, fmt::format("The target member {} is already associated with image {}.", member, image.id));
    }
    return view(row);
  }));
}

http::Response ImageService::show_member(api::Call& call) {
  return api::reply(200, database_.read([&](db::Tx& tx) {
    const ImageRow image = asked(tx, call);
    const auto member = find_member(tx, image.id, call.param("member_id"));
    if (!member || (!owns(image, call.caller()) && member->member_id != call.caller().project_id))
      throw Fault(FaultKind::not_found, fmt::format("{} is not a member of image {}.", call.param("member_id"), image.id));
    return view(*member);
  }));
}

http::Response ImageService::update_member(api::Call& call) {
  const std::string status = find_string(call.body(), "status");
  if (status != "pending" && status != "accepted" && status != "rejected")
    throw Fault(FaultKind::bad_request, "The status of a member is pending, accepted or rejected.");
  return api::reply(200, database_.write([&](db::Tx& tx) {
    const ImageRow image = asked(tx, call);
    auto member = find_member(tx, image.id, call.param("member_id"));
    if (!member) throw Fault(FaultKind::not_found, fmt::format("{} is not a member of image {}.", call.param("member_id"), image.id));
    if (member->member_id != call.caller().project_id && !call.caller().is_admin())
      throw Fault(FaultKind::forbidden, "Only the member itself accepts or rejects an image.");
    member->status = status;
    member->updated_at = to_db(clock_.now());
    tx.exec("UPDATE image_members SET status = ?, updated_at = ? WHERE image_id = ? AND member_id = ?", status, member->updated_at, image.id, member->member_id);
    return view(*member);
  }));
}

http::Response ImageService::remove_member(api::Call& call) {
  database_.write([&](db::Tx& tx) {
    const ImageRow image = owned(tx, call, "unshare");
    require_shared(image);
    if (tx.exec("DELETE FROM image_members WHERE image_id = ? AND member_id = ?", image.id, call.param("member_id")) == 0)
      throw Fault(FaultKind::not_found, fmt::format("{} is not a member of image {}.", call.param("member_id"), image.id));
  });
  return api::reply(204);
}

}  // namespace virga::image
