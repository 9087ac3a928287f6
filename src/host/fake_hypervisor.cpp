#include "host/fake_hypervisor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/process.h"
#include "base/scope_exit.h"
#include "base/unix_socket.h"
#include "host/api.h"

namespace virga::host {

namespace {
constexpr int kDeparted = 10;  // in the file, instead of its power
}

FakeHypervisor::FakeHypervisor(const std::string& state_file) {
  if (state_file.empty()) return;
  load(state_file);
  fd_ = ::open(state_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd_ < 0) throw Fault(FaultKind::internal, "cannot write " + state_file);
}

FakeHypervisor::~FakeHypervisor() {
  std::vector<std::thread> arrivals;
  {
    std::lock_guard lock(mutex_);
    for (const int socket : arriving_) ::shutdown(socket, SHUT_RDWR);
    arrivals.swap(arrivals_);
  }
  for (auto& arrival : arrivals) arrival.join();
  if (fd_ >= 0) ::close(fd_);
}

void FakeHypervisor::load(const std::string& path) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream in(read_file(path));
  std::string id, name;
  int power = 0;
  int64_t generation = 0;
  while (in >> id >> power >> generation >> name) {
    auto& domain = domains_[ServerId(id)];
    domain = Domain{ServerId(id), name, static_cast<DomainPower>(power), generation, true};
    if (power == kDeparted) domain.power = DomainPower::shutoff, domain.departed = true;
    if (power == 0) domains_.erase(ServerId(id));
  }
}

void FakeHypervisor::save(const Domain& d) {
  if (fd_ < 0) return;
  const auto line = fmt::format("{} {} {} {}\n", d.id.str(),
                                d.departed && d.power == DomainPower::shutoff ? kDeparted : static_cast<int>(d.power), d.generation,
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
  change(id, [](Domain& d) { d.power = DomainPower::running, d.departed = false; });
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

void FakeHypervisor::pause(const ServerId& id) {
  enter("pause", id);
  change(id, [](Domain& d) { d.power = DomainPower::paused; });
}

void FakeHypervisor::resume(const ServerId& id) {
  enter("resume", id);
  change(id, [](Domain& d) { d.power = DomainPower::running; });
}

// Its hypervisors' language is two words: "come" begins, "go" says that the guest now runs there; each is said back. Between
// the two the guest's memory goes through its own channel, whose end the other side waits for.

namespace {

constexpr std::string_view kMemory = "the guest's memory";

/// Reads a word of the length of `expected`. False if it is another, or the other end is gone.
bool hear(int socket, std::string_view expected) {
  std::string word(expected.size(), '\0');
  size_t got = 0;
  while (got < word.size()) {
    const ssize_t n = ::recv(socket, word.data() + got, word.size() - got, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    got += static_cast<size_t>(n);
  }
  return word == expected;
}

bool say(int socket, std::string_view word) { return send_all(socket, word.data(), word.size()); }

}  // namespace

void FakeHypervisor::migrate(const ServerId& id, const MigrationPath& path) {
  const int control = connect_unix(path.control);
  {
    std::lock_guard lock(mutex_);
    moving_[id] = control;
  }
  ScopeExit close([&] {
    std::lock_guard lock(mutex_);
    moving_.erase(id);
    ::close(control);
  });
  const Fault broken(FaultKind::unavailable, "the way to the other hypervisor broke");
  if (path.description != "fake " + id.str()) throw Fault(FaultKind::bad_request, "another server was described");
  if (!say(control, "come") || !hear(control, "come")) throw broken;
  const int memory = connect_unix(path.memory);
  const bool sent = say(memory, kMemory) && ::shutdown(memory, SHUT_WR) == 0 && hear(memory, "got it");
  ::close(memory);
  if (!sent) throw broken;
  enter("migrate", id);
  if (!say(control, "go") || !hear(control, "go")) throw broken;
  change(id, [](Domain& d) { d.power = DomainPower::shutoff, d.departed = true; });
}

void FakeHypervisor::receive(const DomainSpec& spec, int socket) {
  bool came = false;
  try {
    if (hear(socket, "come")) {
      enter("arrive", spec.id);
      {
        std::lock_guard lock(mutex_);
        domains_[spec.id] = Domain{spec.id, spec.name, DomainPower::arriving, 0, true};
      }
      came = say(socket, "come") && hear(socket, "go");
      if (came) change(spec.id, [](Domain& d) { d.power = DomainPower::running; });
      if (came) say(socket, "go");
      else if (find(spec.id).power == DomainPower::arriving) change(spec.id, [](Domain& d) { d.power = DomainPower::absent; });
    }
  } catch (const std::exception&) {
    // The other side sees the end of the socket.
  }
  std::lock_guard lock(mutex_);
  arriving_.erase(socket);
  ::close(socket);
}

std::optional<MigrationProgress> FakeHypervisor::migration_progress(const ServerId& id) {
  std::lock_guard lock(mutex_);
  if (!moving_.contains(id)) return std::nullopt;
  return MigrationProgress{{1000, 400, 600}, {2000, 500, 1500}};
}

void FakeHypervisor::cancel_migration(const ServerId& id) {
  enter("cancel_migration", id);
  std::lock_guard lock(mutex_);
  if (const auto it = moving_.find(id); it != moving_.end()) ::shutdown(it->second, SHUT_RDWR);
}

bool FakeHypervisor::hurry_migration(const ServerId& id) {
  enter("hurry_migration", id);
  if (find(id).power != DomainPower::running) return false;
  change(id, [](Domain& d) { d.power = DomainPower::paused; });
  return true;
}

std::string FakeHypervisor::describe_incoming(const DomainSpec& spec) { return "fake " + spec.id.str(); }

int FakeHypervisor::open_incoming(const DomainSpec& spec, MigrationChannel channel, const MigrationPath&) {
  const auto ends = socket_pair();
  std::lock_guard lock(mutex_);
  arriving_.insert(ends[1]);
  if (channel == MigrationChannel::control) {
    arrivals_.emplace_back([this, spec, socket = ends[1]] { receive(spec, socket); });
  } else {
    arrivals_.emplace_back([this, socket = ends[1]] {
      if (hear(socket, kMemory)) say(socket, "got it");
      std::lock_guard again(mutex_);
      arriving_.erase(socket);
      ::close(socket);
    });
  }
  return ends[0];
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
