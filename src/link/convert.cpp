#include "link/convert.h"

namespace virga::link {
namespace {

void to_wire(const ImageRef& image, v1::Image& out) {
  out.set_id(image.id.str());
  out.set_format(image.format);
  out.set_size(image.size);
  out.set_sha512(image.sha512);
}

std::optional<ImageRef> from_wire(bool there, const v1::Image& image) {
  if (!there) return std::nullopt;
  return ImageRef{ImageId(image.id()), image.format(), image.size(), image.sha512()};
}

void to_wire(const Nic& nic, v1::Nic& out) {
  out.set_port(nic.port.str());
  out.set_network(nic.network.str());
  out.set_mac(nic.mac);
  out.set_mtu(nic.mtu);
  out.set_metadata_port(nic.metadata_port.str());
  out.set_metadata_mac(nic.metadata_mac);
  out.set_metadata_cidr(nic.metadata_cidr);
}

Nic from_wire(const v1::Nic& nic) {
  return Nic{PortId(nic.port()),          NetworkId(nic.network()), nic.mac(),          nic.mtu(),
             PortId(nic.metadata_port()), nic.metadata_mac(),       nic.metadata_cidr()};
}

v1::Server::State to_wire(DesiredServer::State state) {
  switch (state) {
    case DesiredServer::State::running:
      return v1::Server::RUNNING;
    case DesiredServer::State::stopped:
      return v1::Server::STOPPED;
    case DesiredServer::State::absent:
      return v1::Server::ABSENT;
    case DesiredServer::State::incoming:
      return v1::Server::INCOMING;
    case DesiredServer::State::paused:
      return v1::Server::PAUSED;
  }
  return v1::Server::UNSPECIFIED;
}

DesiredServer::State from_wire(v1::Server::State state) {
  switch (state) {
    case v1::Server::RUNNING:
      return DesiredServer::State::running;
    case v1::Server::STOPPED:
      return DesiredServer::State::stopped;
    case v1::Server::ABSENT:
      return DesiredServer::State::absent;
    case v1::Server::INCOMING:
      return DesiredServer::State::incoming;
    case v1::Server::PAUSED:
      return DesiredServer::State::paused;
    default:
      throw Fault(FaultKind::bad_request, "the assignment has a server in a state this agent does not know",
                  "Upgrade the agent to the controller's version.");
  }
}

v1::Server to_wire(const DesiredServer& server) {
  v1::Server out;
  out.set_id(server.id.str());
  out.set_generation(server.generation);
  out.set_fence(server.fence);
  out.set_state(to_wire(server.state));
  out.set_name(server.name);
  out.set_instance_name(server.instance_name);
  out.set_project_id(server.project_id);
  out.set_user_id(server.user_id);
  out.set_flavor_name(server.flavor_name);
  out.set_vcpus(server.vcpus);
  out.set_memory_mib(server.memory.count);
  out.set_root_disk_gib(server.root_disk.count);
  if (server.image) to_wire(*server.image, *out.mutable_image());
  if (server.kernel) to_wire(*server.kernel, *out.mutable_kernel());
  if (server.ramdisk) to_wire(*server.ramdisk, *out.mutable_ramdisk());
  out.set_kernel_command_line(server.kernel_command_line);
  for (const auto& nic : server.nics) to_wire(nic, *out.add_nics());
  out.set_config_drive(server.config_drive);
  for (const auto& file : server.config_drive_files) {
    auto& f = *out.add_config_drive_files();
    f.set_path(file.path);
    f.set_content(file.content);
  }
  for (const auto& action : server.actions) {
    auto& a = *out.add_actions();
    a.set_operation(action.operation.str());
    a.set_fence(action.fence);
    a.set_kind(action.kind);
  }
  out.set_placed_generation(server.placed_generation);
  out.set_disk(server.disk);
  if (server.disk_source) {
    out.mutable_disk_source()->set_host(server.disk_source->host.str());
    out.mutable_disk_source()->set_disk(server.disk_source->disk);
  }
  for (const int64_t disk : server.old_disks) out.add_old_disks(disk);
  return out;
}

/// Ids become folder names on the host, so nothing but a UUID passes.
void check_id(const std::string& id, const char* what) {
  if (!looks_like_uuid(id)) throw Fault(FaultKind::bad_request, fmt::format("{} is not a UUID", what));
}

DesiredServer from_wire(const v1::Server& in) {
  check_id(in.id(), "a server's id");
  DesiredServer server;
  server.id = ServerId(in.id());
  server.generation = in.generation();
  server.fence = in.fence();
  server.state = from_wire(in.state());
  server.name = in.name();
  server.instance_name = in.instance_name();
  server.project_id = in.project_id();
  server.user_id = in.user_id();
  server.flavor_name = in.flavor_name();
  server.vcpus = in.vcpus();
  server.memory = MiB{in.memory_mib()};
  server.root_disk = GiB{in.root_disk_gib()};
  server.image = from_wire(in.has_image(), in.image());
  server.kernel = from_wire(in.has_kernel(), in.kernel());
  server.ramdisk = from_wire(in.has_ramdisk(), in.ramdisk());
  for (const auto* image : {&server.image, &server.kernel, &server.ramdisk})
    if (*image) check_id((*image)->id.str(), "an image's id");
  server.kernel_command_line = in.kernel_command_line();
  for (const auto& nic : in.nics()) server.nics.push_back(from_wire(nic));
  server.config_drive = in.config_drive();
  for (const auto& file : in.config_drive_files())
    server.config_drive_files.push_back({file.path(), file.content()});
  for (const auto& a : in.actions())
    server.actions.push_back({OperationId(a.operation()), a.fence(), a.kind()});
  server.placed_generation = in.placed_generation();
  server.disk = in.disk();
  if (in.has_disk_source()) server.disk_source = DiskSource{HostId(in.disk_source().host()), in.disk_source().disk()};
  server.old_disks.assign(in.old_disks().begin(), in.old_disks().end());
  return server;
}

void to_wire(const Transfer& transfer, v1::Transfer& out) {
  out.set_total(transfer.total);
  out.set_processed(transfer.processed);
  out.set_remaining(transfer.remaining);
}

Transfer from_wire(const v1::Transfer& in) { return {in.total(), in.processed(), in.remaining()}; }

v1::ObservedServer to_wire(const ObservedServer& server) {
  v1::ObservedServer out;
  out.set_id(server.id.str());
  out.set_power(static_cast<int>(server.power));
  out.set_generation(server.generation);
  out.set_failed_generation(server.failed_generation);
  out.set_cause(server.cause);
  out.set_hint(server.hint);
  out.set_permanent(server.permanent);
  out.set_quarantined(server.quarantined);
  for (const auto& step : server.steps) {
    auto& s = *out.add_steps();
    s.set_step(step.step);
    s.set_ok(step.ok);
    s.set_message(step.message);
    s.set_at_us(step.at_us);
    s.set_took_us(step.took_us);
  }
  if (server.migration) {
    to_wire(server.migration->memory, *out.mutable_migration()->mutable_memory());
    to_wire(server.migration->disk, *out.mutable_migration()->mutable_disk());
  }
  return out;
}

ObservedServer from_wire(const v1::ObservedServer& in) {
  ObservedServer server;
  server.id = ServerId(in.id());
  const bool known = in.power() >= 0 && in.power() <= static_cast<int>(Power::crashed);
  server.power = known ? static_cast<Power>(in.power()) : Power::unknown;
  server.generation = in.generation();
  server.failed_generation = in.failed_generation();
  server.cause = in.cause();
  server.hint = in.hint();
  server.permanent = in.permanent();
  server.quarantined = in.quarantined();
  for (const auto& s : in.steps())
    server.steps.push_back({s.step(), s.ok(), s.message(), s.at_us(), s.took_us()});
  if (in.has_migration()) server.migration = MigrationProgress{from_wire(in.migration().memory()), from_wire(in.migration().disk())};
  return server;
}

}  // namespace

v1::Hello to_wire(const HostFacts& facts) {
  v1::Hello out;
  out.set_major(kMajor);
  out.set_minor(kMinor);
  out.set_id(facts.id.str());
  out.set_hostname(facts.hostname);
  out.set_address(facts.address);
  out.set_chassis(facts.chassis);
  out.set_hypervisor(facts.hypervisor);
  out.set_virt_type(facts.virt_type);
  out.set_hypervisor_version(facts.hypervisor_version);
  out.set_cpu_model(facts.cpu_model);
  out.set_cpu_arch(facts.cpu_arch);
  out.set_vcpus(facts.vcpus);
  out.set_memory_mib(facts.memory.count);
  out.set_disk_gib(facts.disk.count);
  out.set_seen_epoch(facts.seen_epoch);
  for (const auto& trait : facts.traits) out.add_traits(trait);
  return out;
}

HostFacts from_wire(const v1::Hello& in) {
  if (in.id().empty() || in.id().size() > 64)
    throw Fault(FaultKind::bad_request, "the host's id is empty or longer than 64 characters");
  if (in.hostname().empty() || in.hostname().size() > 255)
    throw Fault(FaultKind::bad_request, "the host's name is empty or longer than 255 characters");
  HostFacts facts;
  facts.id = HostId(in.id());
  facts.hostname = in.hostname();
  facts.address = in.address();
  facts.chassis = in.chassis();
  facts.hypervisor = in.hypervisor();
  facts.virt_type = in.virt_type();
  facts.hypervisor_version = in.hypervisor_version();
  facts.cpu_model = in.cpu_model();
  facts.cpu_arch = in.cpu_arch();
  facts.vcpus = std::max(0, in.vcpus());
  facts.memory = MiB{in.memory_mib()};
  facts.disk = GiB{in.disk_gib()};
  facts.seen_epoch = in.seen_epoch();
  facts.traits.assign(in.traits().begin(), in.traits().end());
  facts.link_minor = in.minor();
  return facts;
}

std::vector<v1::Assignment> to_wire(const Assignment& assignment) {
  std::vector<v1::Assignment> parts(1);
  size_t size = 0;
  for (const auto& server : assignment.servers) {
    auto wire = to_wire(server);
    size += wire.ByteSizeLong();
    if (size > kPart && parts.back().servers_size() > 0) {
      parts.back().set_more(true);
      parts.emplace_back();
      size = wire.ByteSizeLong();
    }
    *parts.back().add_servers() = std::move(wire);
  }
  for (const auto& prefetch : assignment.prefetches) {
    auto& wire = *parts.back().add_prefetches();
    wire.set_operation(prefetch.operation.str());
    wire.set_fence(prefetch.fence);
    to_wire(prefetch.image, *wire.mutable_image());
  }
  for (auto& part : parts) {
    part.set_epoch(assignment.epoch);
    part.set_full(assignment.full);
  }
  return parts;
}

void append(Assignment& whole, const v1::Assignment& part) {
  whole.epoch = part.epoch();
  whole.full = part.full();
  for (const auto& server : part.servers()) whole.servers.push_back(from_wire(server));
  for (const auto& prefetch : part.prefetches())
    whole.prefetches.push_back({OperationId(prefetch.operation()), prefetch.fence(), *from_wire(true, prefetch.image())});
}

std::vector<v1::Observation> to_wire(bool full, const std::vector<ObservedServer>& servers,
                                     const std::vector<ActionReport>& actions) {
  std::vector<v1::Observation> parts(1);
  size_t size = 0;
  const auto grow = [&](size_t by) {
    size += by;
    if (size <= kPart) return;
    parts.back().set_more(true);
    parts.emplace_back();
    size = by;
  };
  for (const auto& server : servers) {
    auto wire = to_wire(server);
    grow(wire.ByteSizeLong());
    *parts.back().add_servers() = std::move(wire);
  }
  for (const auto& action : actions) {
    grow(64 + action.message.size());
    auto& a = *parts.back().add_actions();
    a.set_operation(action.operation.str());
    a.set_fence(action.fence);
    a.set_ok(action.ok);
    a.set_message(action.message);
  }
  for (auto& part : parts) part.set_full(full);
  return parts;
}

void append(Observation& whole, const v1::Observation& part) {
  whole.full = part.full();
  for (const auto& server : part.servers()) whole.servers.push_back(from_wire(server));
  for (const auto& a : part.actions())
    whole.actions.push_back({OperationId(a.operation()), a.fence(), a.ok(), a.message()});
}

std::vector<std::string> problems_of(const v1::Heartbeat& heartbeat) {
  constexpr int kMost = 64;
  constexpr size_t kLongest = 512;
  std::vector<std::string> problems;
  for (int i = 0; i < std::min(heartbeat.problems_size(), kMost); ++i) {
    std::string text = heartbeat.problems(i).substr(0, kLongest);
    for (char& c : text)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    problems.push_back(std::move(text));
  }
  return problems;
}

v1::MetadataRequest to_wire(const MetadataRequest& request) {
  v1::MetadataRequest out;
  out.set_network(request.network.str());
  out.set_source_address(request.source_address);
  out.set_method(request.method);
  out.set_path(request.path);
  out.set_body(request.body);
  return out;
}

MetadataRequest from_wire(const v1::MetadataRequest& in) {
  return MetadataRequest{NetworkId(in.network()), in.source_address(), in.method(), in.path(), in.body()};
}

}  // namespace virga::link
