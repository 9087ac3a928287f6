#include "host/fake_hypervisor.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/process.h"
#include "host/api.h"

namespace virga::host {

FakeHypervisor::FakeHypervisor(const std::string& state_file) {
  if (state_file.empty()) return;
  load(state_file);
  fd_ = ::open(state_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd_ < 0) throw Fault(FaultKind::internal, "cannot write " + state_file);
}

FakeHypervisor::~FakeHypervisor() {
  if (fd_ >= 0) ::close(fd_);
}

void FakeHypervisor::load(const std::string& path) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream in(read_file(path));
  std::string id, name;
  int power = 0;
  int64_t generation = 0;
  while (in >> id >> power >> generation >> name) {
    if (power == 0)
      domains_.erase(ServerId(id));
    else
      domains_[ServerId(id)] = Domain{ServerId(id), name, static_cast<DomainPower>(power), generation, true};
  }
}

void FakeHypervisor::save(const Domain& d) {
  if (fd_ < 0) return;
  const auto line = fmt::format("{} {} {} {}\n", d.id.str(), static_cast<int>(d.power), d.generation,
                                d.name.empty() ? "-" : d.name);
  if (::write(fd_, line.data(), line.size()) < 0)
    throw Fault(FaultKind::unavailable, "the fake's disk is full");
}

void FakeHypervisor::enter(const char* call, const ServerId& id) {
  std::function<void(const std::string&, const ServerId&)> inject;
  {
    std::lock_guard lock(mutex_);
    ++calls_[call];
    inject = inject_;
  }
  if (inject) inject(call, id);
}

void FakeHypervisor::change(const ServerId& id, const std::function<void(Domain&)>& f) {
  std::function<void(const ServerId&)> changed;
  {
    std::lock_guard lock(mutex_);
    auto it = domains_.find(id);
    if (it == domains_.end()) throw Fault(FaultKind::conflict, "no such domain: " + id.str());
    const auto before = it->second.power;
    f(it->second);
    save(it->second);
    if (it->second.power != before) changed = changed_;
    if (it->second.power == DomainPower::absent) domains_.erase(it);
  }
  if (changed) changed(id);
}

HostCapabilities FakeHypervisor::capabilities() {
  enter("capabilities", {});
  return {"fake", "fake", 1000000, "fake", "x86_64", 100'000, MiB{200'000'000}};
}

std::vector<Domain> FakeHypervisor::list() {
  enter("list", {});
  std::lock_guard lock(mutex_);
  std::vector<Domain> out;
  for (const auto& [id, d] : domains_) out.push_back(d);
  return out;
}

Domain FakeHypervisor::find(const ServerId& id) {
  enter("find", id);
  std::lock_guard lock(mutex_);
  auto it = domains_.find(id);
  return it == domains_.end() ? Domain{.id = id} : it->second;
}

void FakeHypervisor::define(const DomainSpec& spec) {
  enter("define", spec.id);
  std::lock_guard lock(mutex_);
  auto& d = domains_[spec.id];
  d.id = spec.id;
  d.name = spec.name;
  d.generation = spec.generation;
  d.ours = true;
  if (d.power == DomainPower::absent) d.power = DomainPower::shutoff;
  save(d);
}

void FakeHypervisor::start(const ServerId& id) {
  enter("start", id);
  change(id, [](Domain& d) { d.power = DomainPower::running; });
}

void FakeHypervisor::shutdown(const ServerId& id) {
  enter("shutdown", id);
  change(id, [](Domain& d) { d.power = DomainPower::shutoff; });
}

void FakeHypervisor::destroy(const ServerId& id) {
  enter("destroy", id);
  if (find(id).power != DomainPower::absent) change(id, [](Domain& d) { d.power = DomainPower::shutoff; });
}

void FakeHypervisor::reboot(const ServerId& id) {
  enter("reboot", id);
  change(id, [](Domain&) {});
}

void FakeHypervisor::reset(const ServerId& id) {
  enter("reset", id);
  change(id, [](Domain&) {});
}

void FakeHypervisor::undefine(const ServerId& id) {
  enter("undefine", id);
  if (find(id).power != DomainPower::absent) change(id, [](Domain& d) { d.power = DomainPower::absent; });
}

std::string FakeHypervisor::vnc_socket(const ServerId&) {
  throw Fault(FaultKind::conflict, "the fake hypervisor has no consoles");
}

void FakeHypervisor::on_change(std::function<void(const ServerId&)> callback) {
  std::lock_guard lock(mutex_);
  changed_ = std::move(callback);
}

void FakeHypervisor::inject(std::function<void(const std::string&, const ServerId&)> fault) {
  std::lock_guard lock(mutex_);
  inject_ = std::move(fault);
}

void FakeHypervisor::set_power(const ServerId& id, DomainPower power) {
  change(id, [&](Domain& d) { d.power = power; });
}

void FakeHypervisor::add_foreign(Domain domain) {
  std::lock_guard lock(mutex_);
  domains_[domain.id] = domain;
}

int FakeHypervisor::count(const std::string& call) const {
  std::lock_guard lock(mutex_);
  auto it = calls_.find(call);
  return it == calls_.end() ? 0 : it->second;
}

FakeHost make_fake_host(const std::string& state_file) {
  auto hypervisor = std::make_unique<FakeHypervisor>(state_file);
  auto storage = std::make_unique<FakeStorage>(*hypervisor);
  return {std::move(hypervisor), std::move(storage)};
}

ServerFiles FakeStorage::look(const ServerId& server, int64_t disk) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = files_.find(server); it != files_.end()) {
      ServerFiles files = it->second;
      files.disk = files.disks.contains(disk);
      return files;
    }
  }
  if (hypervisor_.find(server).power != DomainPower::absent) return {true, true, true, {disk}};
  return {};
}

std::vector<ServerId> FakeStorage::servers() {
  std::lock_guard lock(mutex_);
  std::vector<ServerId> out;
  for (const auto& [id, f] : files_) out.push_back(id);
  return out;
}

ServerPaths FakeStorage::paths(const ServerId& server, int64_t) {
  const auto folder = "/nonexistent/" + server.str();
  return {folder, folder + "/disk", folder + "/disk.config", folder + "/console.log",
          folder + "/serial.sock"};
}

std::string FakeStorage::ensure_image(const link::ImageRef& image, const FetchImage&) {
  return "/nonexistent/" + image.id.str();
}

void FakeStorage::create_disk(const DiskOf& disk, const link::ImageRef&, GiB) {
  std::lock_guard lock(mutex_);
  files_[disk.server].any = true;
  files_[disk.server].disks.insert(disk.number);
}

void FakeStorage::copy_disk(const DiskOf& disk, int64_t from, GiB size) {
  create_disk({disk.server, from}, {}, size);  // which a domain of an earlier process proves
  create_disk(disk, {}, size);
}

void FakeStorage::receive_disk(const DiskOf& disk, const link::ImageRef& image, GiB size, const FetchDisk& fetch) {
  std::string bytes;
  fetch([&](std::string_view piece) { bytes += piece; });
  if (bytes != disk.server.str()) throw Fault(FaultKind::bad_request, "another server's disk came");
  create_disk(disk, image, size);
}

namespace {

class StringBytes final : public link::ByteSource {
 public:
  explicit StringBytes(std::string text) : text_(std::move(text)) {}
  size_t read(std::span<char> buffer) override {
    const size_t n = std::min(buffer.size(), text_.size());
    std::copy_n(text_.data(), n, buffer.data());
    text_.erase(0, n);
    return n;
  }

 private:
  std::string text_;
};

}  // namespace

link::AgentSide::Disk FakeStorage::read_disk(const DiskOf& disk) {
  if (!look(disk.server, disk.number).disk) throw Fault(FaultKind::not_found, "there is no such disk");
  return {disk.server.str().size(), std::make_unique<StringBytes>(disk.server.str())};
}

void FakeStorage::remove_disk(const DiskOf& disk) {
  std::lock_guard lock(mutex_);
  if (const auto it = files_.find(disk.server); it != files_.end()) it->second.disks.erase(disk.number);
}

void FakeStorage::write_config_drive(const ServerId& server, const std::vector<link::ConfigDriveFile>&) {
  std::lock_guard lock(mutex_);
  files_[server].any = files_[server].config_drive = true;
}

void FakeStorage::remove(const ServerId& server) {
  std::lock_guard lock(mutex_);
  files_.erase(server);
}

}  // namespace virga::host
