#include "compute/assignment.h"

#include "compute/guest_metadata.h"
#include "compute/live_moves.h"
#include "compute/prefetch.h"
#include "compute/remains.h"
#include "operations/api.h"

namespace virga::compute {
namespace {

json::value image_to_json(const std::optional<link::ImageRef>& image) {
  if (!image) return nullptr;
  return {
      {"id", image->id.str()}, {"format", image->format}, {"size", image->size}, {"sha512", image->sha512}};
}

std::optional<link::ImageRef> image_from_json(const json::object& plan, std::string_view key) {
  const auto* image = find_object(plan, key);
  if (!image) return std::nullopt;
  return link::ImageRef{ImageId(find_string(*image, "id")), find_string(*image, "format"),
                        static_cast<uint64_t>(find_int(*image, "size")), find_string(*image, "sha512")};
}

std::vector<link::Nic> nics_of(const std::vector<network::PortInfo>& ports) {
  std::vector<link::Nic> nics;
  for (const auto& p : ports)
    nics.push_back(
        {p.id, NetworkId(p.network_id), p.mac, p.mtu, p.metadata_port, p.metadata_mac, p.metadata_cidr});
  return nics;
}

std::vector<link::Action> actions_of(db::Tx& tx, const ServerRow& row) {
  std::vector<link::Action> actions;
  if (row.vm_state == "building") return actions;  // its operation is the boot
  const auto o = operations::running(tx, "server", row.id);
  if (o && o->kind == "reboot") actions.push_back({o->id, o->fence, o->detail == "HARD" ? "reboot_hard" : "reboot_soft"});
  if (o && o->kind == kLiveOperation)
    if (auto departure = departure_of(tx, row, *o)) actions.push_back(std::move(*departure));
  return actions;
}

link::DesiredServer tombstone(const ServerRow& row) {
  link::DesiredServer server;
  server.id = row.server_id();
  server.generation = row.generation;
  server.fence = row.fence;
  server.state = link::DesiredServer::State::absent;
  server.instance_name = row.instance_name();
  server.name = row.name;
  return server;
}

link::DesiredServer present(db::Tx& tx, const ServerRow& row, const std::vector<network::PortInfo>& ports) {
  link::DesiredServer server = tombstone(row);
  const bool off = row.desired_state == "stopped" || row.move == kLeaving || row.move == kReturning;
  using State = link::DesiredServer::State;
  server.state = off ? State::stopped : row.desired_state == "paused" ? State::paused : State::running;
  server.project_id = row.project_id;
  server.user_id = row.user_id;
  server.flavor_name = row.flavor_name;
  server.vcpus = static_cast<int>(row.vcpus);
  server.memory = MiB{static_cast<uint64_t>(row.memory_mb)};
  server.root_disk = GiB{static_cast<uint64_t>(row.root_gb)};
  const BootPlan plan = boot_plan(row.boot);
  server.image = plan.image;
  server.kernel = plan.kernel;
  server.ramdisk = plan.ramdisk;
  server.kernel_command_line = plan.command_line;
  server.nics = nics_of(ports);
  server.config_drive = row.config_drive != 0;
  if (server.config_drive)
    server.config_drive_files = config_drive_files({row, server_metadata(tx, row.id), ports});
  server.actions = actions_of(tx, row);
  server.placed_generation = row.placed_generation;
  server.disk = row.disk_number;
  if (row.old_disk >= 0) server.old_disks.push_back(row.old_disk);
  if (row.move == kArriving)
    if (const auto migration = active_migration(tx, row.id))
      server.disk_source = link::DiskSource{HostId(migration->source_host_id), migration->source_disk};
  return server;
}

}  // namespace

std::string to_text(const BootPlan& plan) {
  return json::serialize(json::object{{"image", image_to_json(plan.image)},
                                      {"kernel", image_to_json(plan.kernel)},
                                      {"ramdisk", image_to_json(plan.ramdisk)},
                                      {"command_line", plan.command_line}});
}

BootPlan boot_plan(const std::string& text) {
  if (text.empty()) return {};
  const json::value value = parse_json(text);
  const auto& plan = value.as_object();
  return {image_from_json(plan, "image"), image_from_json(plan, "kernel"), image_from_json(plan, "ramdisk"),
          find_string(plan, "command_line")};
}

std::vector<link::DesiredServer> desired_servers(Core& core, db::Tx& tx, const std::vector<ServerRow>& rows) {
  std::vector<ServerId> ids;
  for (const auto& row : rows) ids.push_back(row.server_id());
  const bool config_drives = std::any_of(rows.begin(), rows.end(), [](const ServerRow& row) { return row.config_drive != 0; });
  const auto ports = core.networks.server_ports(tx, ids, config_drives ? network::PortDetail::all : network::PortDetail::wiring);
  std::vector<link::DesiredServer> all;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool gone = rows[i].desired_state == "absent" || rows[i].deleted;
    all.push_back(gone ? tombstone(rows[i]) : present(tx, rows[i], ports[i]));
  }
  return all;
}

link::Assignment full_assignment(Core& core, db::Tx& tx, const HostId& host) {
  link::Assignment assignment;
  assignment.epoch = db::cloud_epoch(tx);
  assignment.full = true;
  std::vector<ServerRow> rows;
  for (const auto& row : tx.query("SELECT " + server_columns() +
                                      " FROM servers WHERE host_id = ? AND "
                                      "(deleted = 0 OR tombstone = 1)",
                                  host))
    rows.push_back(server_from_row(row));
  assignment.servers = desired_servers(core, tx, rows);
  for (auto& gone : remains_on(tx, host)) assignment.servers.push_back(std::move(gone));
  for (auto& kept : kept_on(tx, host)) assignment.servers.push_back(std::move(kept));
  for (auto& coming : incoming_on(core, tx, host)) assignment.servers.push_back(std::move(coming));
  assignment.prefetches = prefetches_on(core, tx, host);
  return assignment;
}

}  // namespace virga::compute
