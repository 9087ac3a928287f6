#include "compute/prefetch.h"

#include <algorithm>

#include "base/kill_point.h"
#include "compute/aggregates.h"
#include "compute/remains.h"
#include "compute/servers.h"

namespace virga::compute {
namespace {

constexpr size_t kMostImages = 1000;  ///< of one request

Fault invalid(const json::value& value, std::string_view why) {
  return Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute cache. Value: {}. {}", json::serialize(value), why));
}

std::vector<std::string> parse(const json::object& body) {
  const auto* images = find_array(body, "cache");
  if (!images || images->empty() || images->size() > kMostImages || body.size() != 1)
    throw invalid(body, fmt::format("'cache' is a required property: a list of 1 to {} images.", kMostImages));
  std::vector<std::string> ids;
  for (const auto& image : *images) {
    const std::string id = image.is_object() && image.get_object().size() == 1 ? find_string(image.get_object(), "id") : "";
    if (!looks_like_uuid(id)) throw invalid(image, "It needs an 'id' that is a 'uuid', and nothing else.");
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) throw Fault(FaultKind::bad_request, "Duplicate images in request");
    ids.push_back(id);
  }
  return ids;
}

void need_image(Core& core, db::Tx& tx, const api::Call& call, const std::string& id) {
  const auto image = core.images.find(tx, ImageId(id), call.caller());
  if (!image) throw Fault(FaultKind::bad_request, fmt::format("Image {} could not be found.", id));
  if (image->status != "active")
    throw Fault(FaultKind::bad_request, fmt::format("Image {} is unacceptable: it is {}, not active.", id, image->status));
  if (!image->problem.empty()) throw Fault(FaultKind::bad_request, fmt::format("Image {} is unacceptable: {}", id, image->problem));
}

struct Member {
  HostId id;
  std::string name;
  std::string refusal;  ///< why it can fetch nothing now, or ""
};

std::vector<Member> members_of(Core& core, db::Tx& tx, const std::string& aggregate) {
  std::vector<Member> all;
  // Locked: two requests at once must not begin the same twice.
  for (const auto& row : tx.query(fmt::format("SELECT id, hostname, last_seen, forced_down, link_minor FROM hosts WHERE id IN (SELECT host_id "
                                              "FROM aggregate_hosts WHERE aggregate_number = ?) ORDER BY id{}", db::for_update(tx)),
                                  aggregate)) {
    Member host{row.id<HostId>(0), row.text(1), ""};
    if (row.boolean(3) || !core.is_up(host.id, row.text(2))) host.refusal = fmt::format("The host {} is down.", host.name);
    else if (row.integer(4) < link::kPrefetchMinor)
      host.refusal = fmt::format("The agent of {} is of an older version that fetches no image ahead.", host.name);
    all.push_back(std::move(host));
  }
  return all;
}

void begin_on(Core& core, db::Tx& tx, const Member& host, const std::string& image, const operations::Origin& origin) {
  if (is_prefetched_on(tx, host.id, ImageId(image))) return;
  const auto operation = operations::begin(tx, core.clock.now(), kPrefetchOperation, "host", host.id.str(), origin, image);
  if (!host.refusal.empty())
    operations::finish(tx, core.clock.now(), operation.id, false, host.refusal, "Ask again when it is up; or leave it to the first server there.");
}

http::Response cache_images(Core& core, api::Call& call) {
  const std::string aggregate = aggregate_id(call);
  const auto images = parse(call.body());
  std::vector<Member> hosts;
  core.database.write([&](db::Tx& tx) {
    need_aggregate(tx, aggregate);
    for (const auto& image : images) need_image(core, tx, call, image);
    hosts = members_of(core, tx, aggregate);
    for (const auto& host : hosts)
      for (const auto& image : images) begin_on(core, tx, host, image, origin_of(call));
  });
  kill_point("serve.after_prefetch");
  for (const auto& host : hosts) push_others(core, host.id);
  return api::reply(202);
}

constexpr std::string_view kOfHost = "FROM operations WHERE state = 'running' AND resource_type = 'host' AND resource_id = ? AND kind = ?";

}  // namespace

void add_prefetch_routes(Routes& routes, Core& core) {
  routes.add("POST", "/os-aggregates/{id}/images", "compute:aggregates:images", [&core](api::Call& call) { return cache_images(core, call); }, {2, 81});
}

std::vector<link::Prefetch> prefetches_on(Core& core, db::Tx& tx, const HostId& host) {
  std::vector<link::Prefetch> all;
  for (const auto& row : tx.query(fmt::format("SELECT id, fence, detail {} ORDER BY started_at", kOfHost), host, kPrefetchOperation)) {
    const auto image = core.images.find(tx, ImageId(row.text(2)));
    // One that was deleted since is told of too: the agent gets no bytes, says so, and that ends it.
    link::ImageRef what{ImageId(row.text(2)), "", 0, ""};
    if (image) what = {image->id, image->detected_format, image->size, image->sha512};
    all.push_back({row.id<OperationId>(0), row.integer(1), std::move(what)});
  }
  return all;
}

bool is_prefetched_on(db::Tx& tx, const HostId& host, const ImageId& image) {
  return tx.first(fmt::format("SELECT 1 {} AND detail = ?", kOfHost), host, kPrefetchOperation, image).has_value();
}

void end_prefetch(Core& core, db::Tx& tx, const HostId& host, const operations::Operation& operation, const link::ActionReport& report) {
  if (operation.resource_id != host.str()) return;
  operations::finish(tx, core.clock.now(), operation.id, report.ok, report.message);
}

void give_up_prefetches(Core& core, db::Tx& tx, const HostId& host, const std::string& why) {
  for (const auto& row : tx.query(fmt::format("SELECT id {}", kOfHost), host, kPrefetchOperation))
    operations::finish(tx, core.clock.now(), row.id<OperationId>(0), false, why);
}

}  // namespace virga::compute
