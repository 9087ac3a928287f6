// A boot: everything is looked up and checked, then one transaction writes quota, allocation, ports, server
// row and operation, or nothing. The agent of the chosen host is woken after the commit.

#include "base/crypto.h"
#include "base/log.h"
#include "compute/assignment.h"
#include "base/kill_point.h"
#include "compute/flavors.h"
#include "compute/quotas.h"
#include "compute/placing.h"
#include "compute/server_request.h"
#include "compute/server_view.h"
#include "compute/servers.h"
#include "compute/settle.h"

namespace virga::compute {
namespace {

/// What a boot needs, read before the transaction: none of it is an invariant.
struct Prepared {
  Flavor flavor;
  BootPlan plan;
  std::string key_type, public_key;
  Placing placing;  ///< but for what is only known inside the transaction
  Standing standing;
  int64_t most = 0;          ///< servers that the request may come to
  int64_t first_number = 0;  ///< of that many
};

link::ImageRef image_ref(const image::BootImage& image) {
  return {image.id, image.detected_format.empty() ? image.disk_format : image.detected_format, image.size,
          image.sha512};
}

Fault bad(std::string message) {
  return Fault(FaultKind::bad_request, std::move(message));
}

image::BootImage need_image(Core& core, db::Tx& tx, const api::Call& call, const std::string& id) {
  auto image = core.images.find(tx, ImageId(id), call.caller());
  if (!image) throw bad("Can not find requested image");
  if (image->status != "active") throw bad(fmt::format("Image {} is not active.", id));
  if (!image->problem.empty()) throw bad(fmt::format("Image {} is unacceptable: {}", id, image->problem));
  return *image;
}

void check_fits(const image::BootImage& image, const Flavor& flavor) {
  if (image.min_ram_mb > flavor.memory_mb) throw bad("Flavor's memory is too small for requested image.");
  if (flavor.root_gb == 0) return;
  const uint64_t disk = static_cast<uint64_t>(flavor.root_gb) << 30;
  const uint64_t wanted =
      std::max<uint64_t>(image.virtual_size, static_cast<uint64_t>(image.min_disk_gb) << 30);
  if (wanted > disk)
    throw bad(fmt::format(
        "Flavor's disk is too small for requested image. Flavor disk is {} bytes, image is {} bytes.", disk,
        wanted));
}

BootPlan plan_of(Core& core, db::Tx& tx, const image::BootImage& image) {
  BootPlan plan;
  plan.image = image_ref(image);
  const auto part = [&](const std::string& id, std::string_view what) -> std::optional<link::ImageRef> {
    if (id.empty()) return std::nullopt;
    const auto found = core.images.find(tx, ImageId(id));
    if (!found || found->status != "active")
      throw bad(fmt::format("The image's {} image {} could not be found.", what, id));
    return image_ref(*found);
  };
  plan.kernel = part(image.kernel_id, "kernel");
  plan.ramdisk = part(image.ramdisk_id, "ramdisk");
  if (plan.kernel) plan.command_line = find_string(image.properties, "os_command_line", kDefaultCommandLine);
  return plan;
}

Uses charged_for(int64_t count, const Flavor& flavor) {
  return {{"instances", count}, {"cores", count * flavor.vcpus}, {"ram", count * flavor.memory_mb}};
}

/// How many of min..max the quota lets through now; the counters decide in the end.
int64_t count_within_quota(const Standing& standing, const NewServer& wanted, const Flavor& flavor) {
  int64_t count = wanted.max_count;
  for (const auto& [name, each] : charged_for(1, flavor))
    if (const auto room = standing.room(name); room && each > 0) count = std::min(count, *room / each);
  return std::max(count, wanted.min_count);
}

Prepared prepare(Core& core, db::Tx& tx, const api::Call& call, const NewServer& wanted) {
  Prepared p;
  const auto flavor = find_flavor(tx, wanted.flavor_id, call);
  if (!flavor) throw bad(fmt::format("Flavor {} could not be found.", wanted.flavor_id));
  p.flavor = *flavor;
  if (wanted.image_id.empty()) throw bad("Invalid imageRef provided.");
  const auto image = need_image(core, tx, call, wanted.image_id);
  check_fits(image, p.flavor);
  p.plan = plan_of(core, tx, image);
  ask_flavor(p.flavor, p.placing);
  ask_image(image.properties, p.placing);
  if (wanted.key_name) {
    const auto key = tx.first("SELECT type, public_key FROM keypairs WHERE user_id = ? AND name = ?",
                              call.caller().user_id, *wanted.key_name);
    if (!key) throw bad("Invalid key_name provided.");
    p.key_type = key->text(0);
    p.public_key = key->text(1);
  }
  p.standing = standing_of(core, tx, call.caller().project_id);
  const int64_t limit = p.standing.limits.at("metadata_items");
  if (limit >= 0 && static_cast<int64_t>(wanted.metadata.size()) > limit)
    throw Fault(FaultKind::forbidden, fmt::format("Maximum number of metadata items exceeds {}", limit));
  if (!wanted.zone.empty() && wanted.host.empty() &&
      !tx.first("SELECT id FROM hosts WHERE zone = ? AND enabled = 1 LIMIT 1", wanted.zone))
    throw bad("The requested availability zone is not available");
  if (!wanted.host.empty() && !tx.first("SELECT id FROM hosts WHERE hostname = ?", wanted.host))
    throw bad(fmt::format("Compute host {} could not be found.", wanted.host));
  // What cannot be is refused before anything is done for it; the counters decide in the end.
  p.most = count_within_quota(p.standing, wanted, p.flavor);
  need_room(tx, call.caller().project_id, charged_for(p.most, p.flavor), p.standing);
  return p;
}

std::vector<network::NicRequest> nic_requests(Core& core, db::Tx& tx, const api::Call& call,
                                              const NewServer& wanted) {
  if (wanted.nics == NewServer::Nics::listed) return wanted.nic_requests;
  if (wanted.nics == NewServer::Nics::none) return {};
  std::vector<network::NicRequest> requests;
  for (const auto& id : core.networks.available(tx, call.caller()))
    requests.push_back({.network_id = id.str()});
  if (requests.size() > 1)
    throw Fault(FaultKind::conflict,
                "Multiple possible networks found, use a Network ID to be more specific.");
  if (requests.empty() && wanted.nics == NewServer::Nics::automatic)
    throw Fault(FaultKind::bad_request,
                "Unable to automatically allocate a network for project " + call.caller().project_id,
                "Make a network with a subnet first, or boot with networks=none.");
  return requests;
}

ServerRow new_row(Core& core, const api::Call& call, const NewServer& wanted, const Prepared& p, const std::string& id,
                  int64_t index) {
  ServerRow row;
  row.id = id;
  row.number = p.first_number + index;
  row.name = wanted.max_count > 1 ? fmt::format("{}-{}", wanted.name, index + 1) : wanted.name;
  row.hostname = wanted.hostname.empty() ? host_name_from(row.name, id) : wanted.hostname;
  row.project_id = call.caller().project_id;
  row.user_id = call.caller().user_id;
  // Before 2.19 nova gave a server its name as description.
  row.description = call.since(2, 19) ? wanted.description : std::optional(row.name);
  row.image_id = wanted.image_id;
  row.boot = to_text(p.plan);
  row.flavor_id = p.flavor.id;
  row.flavor_name = p.flavor.name;
  row.extra_specs = json::serialize(p.flavor.extra_specs);
  row.vcpus = p.flavor.vcpus;
  row.memory_mb = p.flavor.memory_mb;
  row.root_gb = p.flavor.root_gb;
  row.ephemeral_gb = p.flavor.ephemeral_gb;
  row.swap_mb = p.flavor.swap_mb;
  row.key_name = wanted.key_name;
  row.key_type = p.key_type;
  row.public_key = p.public_key;
  row.user_data = wanted.user_data;
  row.config_drive = wanted.config_drive || core.options.force_config_drive;
  row.disk_config = wanted.disk_config;
  row.access_ip_v4 = wanted.access_ip_v4;
  row.access_ip_v6 = wanted.access_ip_v6;
  row.zone = wanted.zone;
  row.launch_index = index;
  row.group_id = wanted.group;
  row.desired_state = "running";
  row.generation = 1;
  row.vm_state = "building";
  row.task_state = "spawning";
  row.created_at = row.updated_at = to_db(core.clock.now());
  return row;
}

constexpr size_t kRefusalsKept = 20;  ///< causes in an operation's steps; each may be that of thousands of hosts

std::vector<operations::Step> steps_of(const Core& core, const Placed& placed) {
  const std::string at = to_db(core.clock.now());
  std::vector<operations::Step> steps;
  for (const auto& group : placed.choice.groups(kRefusalsKept))
    steps.push_back({.step = "refused",
                     .ok = false,
                     .message = group.count == 1 ? group.reason : group.text(),
                     .host = group.count == 1 ? group.hosts.front() : "",
                     .at = at});
  if (!placed.host_id.empty())
    steps.push_back({.step = "schedule",
                     .ok = true,
                     .message = fmt::format("{} was chosen: of those that may, it has the most free of CPU, memory and disk", placed.hostname),
                     .host = placed.hostname,
                     .at = at});
  return steps;
}

/// One server of a request, inside the transaction. The host it got, or "". Rows that all boots of a project or a
/// network change (its quota of ports, the subnet's next address) come last, since each is held until the commit.
HostId boot_one(Core& core, db::Tx& tx, const api::Call& call, const NewServer& wanted, Placing placing, ServerRow row) {
  placing.server_id = row.id;
  placing.project_id = placing.ask.project_id = row.project_id;
  placing.user_id = row.user_id;
  // "nova:HOST" is how one asks for a host whatever its zone is.
  if (wanted.host.empty() || wanted.zone != kDefaultZone) placing.ask.zone = wanted.zone;
  placing.ask.host = wanted.host;
  if (!wanted.group.empty()) ask_group(core, tx, call, wanted.group, placing.ask);
  ask_hints(tx, wanted.same_host, wanted.different_host, placing.ask);
  const Placed placed = place(core, tx, placing);
  const auto operation =
      operations::begin_first(tx, core.clock.now(), "create", "server", row.id, origin_of(call), steps_of(core, placed));
  row.fence = operation.fence;
  const bool found = !placed.host_id.empty();
  if (found) {
    row.host_id = placed.host_id;
    row.node = placed.hostname;
    row.zone = placed.zone;
  } else {
    row.vm_state = "error";
    row.task_state = std::nullopt;
    row.cause = placed.choice.message();
    row.hint = "Free room, enable a host, or take a smaller flavor; then delete this server and boot again.";
    set_fault(core, row, 500, row.cause, row.hint);
  }
  insert_server(tx, row);
  if (!wanted.metadata.empty()) put_server_metadata(tx, row.id, wanted.metadata);
  for (const auto& tag : wanted.tags)
    tx.exec("INSERT INTO server_tags (server_id, tag) VALUES (?, ?)", row.id, tag);
  if (!found) {
    operations::finish(tx, core.clock.now(), operation.id, false, row.cause, row.hint);
    return {};
  }
  const auto groups =
      wanted.security_groups.empty() ? std::vector<std::string>{"default"} : wanted.security_groups;
  core.networks.create_server_ports(tx, call.caller(), row.server_id(), row.zone, row.node,
                                    nic_requests(core, tx, call, wanted), groups);
  kill_point("serve.after_port");
  return HostId(row.host_id);
}

struct Booted {
  std::vector<ServerId> all;
  std::vector<std::pair<ServerId, HostId>> placed;
};

/// The request's one transaction. Throws NoHost, and nothing is written, until it is told why.
Booted boot_in_transaction(Core& core, db::Tx& tx, const api::Call& call, const NewServer& wanted, const Prepared& p,
                           const std::string& reservation, const std::shared_ptr<const Choice>& why) {
  Booted booted;
  const std::string& project = call.caller().project_id;
  // Of how many there shall be is asked once more only where it is open.
  const Standing standing = wanted.min_count == wanted.max_count ? p.standing : standing_of(core, tx, project);
  const int64_t count = std::min(p.most, count_within_quota(standing, wanted, p.flavor));
  for (int64_t i = 0; i < count; ++i) {
    ServerRow row = new_row(core, call, wanted, p, new_uuid(), i);
    row.reservation_id = reservation;
    booted.all.push_back(row.server_id());
    Placing placing = p.placing;
    placing.why = why;
    if (const auto host = boot_one(core, tx, call, wanted, std::move(placing), std::move(row)); !host.empty())
      booted.placed.emplace_back(booted.all.back(), host);
  }
  take_quota(tx, project, charged_for(count, p.flavor), standing);
  return booted;
}

std::vector<ServerId> boot(Core& core, const api::Call& call, const NewServer& wanted,
                           const std::string& reservation) {
  Prepared p = core.database.read([&](db::Tx& tx) { return prepare(core, tx, call, wanted); });
  p.first_number = core.server_numbers.take(core.database, p.most);
  const auto write = [&](const std::shared_ptr<const Choice>& why) {
    return core.database.write(
        [&](db::Tx& tx) { return boot_in_transaction(core, tx, call, wanted, p, reservation, why); });
  };
  Booted booted;
  try {
    booted = write(nullptr);
  } catch (const NoHost& none) {
    booted = write(std::make_shared<const Choice>(
        core.database.read([&](db::Tx& tx) { return why_not(core, tx, none.placing); })));
  }
  kill_point("serve.after_commit");
  for (const auto& [id, host] : booted.placed) core.wake(id, host);
  return booted.all;
}

http::Response created(const api::Call& call, const NewServer& wanted, const std::string& id) {
  json::array groups;
  for (const auto& name : wanted.security_groups) groups.push_back(json::object{{"name", name}});
  if (groups.empty()) groups.push_back(json::object{{"name", "default"}});
  const std::string self = call.base_url + "/v2.1/servers/" + id;
  auto answer = api::reply(
      202, json::object{
               {"server",
                json::object{{"id", id},
                             {"links", json::array{json::object{{"rel", "self"}, {"href", self}},
                                                   json::object{{"rel", "bookmark"},
                                                                {"href", call.base_url + "/servers/" + id}}}},
                             {"OS-DCF:diskConfig", wanted.disk_config},
                             {"security_groups", std::move(groups)},
                             {"adminPass", wanted.admin_pass}}}});
  answer.headers.set("Location", self);
  return answer;
}

}  // namespace

void add_server_create_routes(Routes& routes, Core& core) {
  routes.add("POST", "/servers", "servers:create", [&core](api::Call& call) {
    if (call.caller().project_id.empty())
      throw Fault(FaultKind::forbidden, "A server needs a project: use a project-scoped token.");
    const NewServer wanted = parse_new_server(call);
    const std::string reservation = "r-" + new_hex_id().substr(0, 8);
    const auto ids = boot(core, call, wanted, reservation);
    if (wanted.return_reservation_id) return api::reply(202, json::object{{"reservation_id", reservation}});
    return created(call, wanted, ids.front().str());
  });
}

}  // namespace virga::compute
