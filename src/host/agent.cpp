#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "base/json.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "base/unix_socket.h"
#include "host/agent_core.h"
#include "host/traits.h"

namespace virga::host {
namespace {

using std::chrono::milliseconds;

/// The resync shares the serial queues, so that a hypervisor that hangs is seen by the watchdog and blocks no
/// loop.
const ServerId kResync("resync");

HostId load_host_id(const AgentOptions& options) {
  std::filesystem::create_directories(options.state_dir);
  if (!options.host_id.empty()) return options.host_id;
  const auto path = options.state_dir + "/host_id";
  if (std::filesystem::exists(path)) {
    auto id = read_file(path);
    id.erase(id.find_last_not_of(" \n") + 1);
    if (looks_like_uuid(id)) return HostId(id);
  }
  const auto id = new_uuid();
  write_file(path, id + "\n");
  return HostId(id);
}

constexpr const char* kControllers = "controllers";

}  // namespace

std::vector<std::string> known_controllers(const std::vector<std::string>& given, const std::string& state_dir) {
  std::vector<std::string> all = given;
  const std::string file = state_dir + "/" + kControllers;
  if (!std::filesystem::exists(file)) return all;
  for (const auto& one : split_words(read_file(file), '\n'))
    if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
  return all;
}

Agent::Core::Core(AgentOptions options, Hypervisor& hypervisor, Storage& storage, Clock& clock)
    : options_(std::move(options)),
      hypervisor_(hypervisor),
      storage_(storage),
      clock_(clock),
      host_id_(load_host_id(options_)),
      journal_(options_.state_dir + "/journal"),
      migrate_dir_(options_.migrate_dir.empty() ? options_.state_dir + "/migrate" : options_.migrate_dir),
      departures_(hypervisor, migrate_dir_,
                  [this](const auto& server, const auto& channel, int socket) { connection_->tunnel(server, channel, socket); },
                  [this](const ServerId& server) { look_at(server); }),
      reconciler_(options_, host_id_, hypervisor, storage, journal_, departures_, clock,
                  {image_fetcher(),
                   [this](const auto& server, int64_t disk, const auto& sink) { connection_->fetch_disk(server, disk, sink); },
                   [this](const auto& server, const auto& step) { queues_->step(server, step); }}) {}

Agent::Core::~Core() = default;

FetchImage Agent::Core::image_fetcher() {
  return [this](const ImageId& image, uint64_t from, const link::ImageSink& sink) { connection_->fetch_image(image, from, sink); };
}

void Agent::Core::start() {
  queues_ = std::make_unique<SerialQueues>(
      [this](const ServerId& id) { id == kResync ? resync() : work(id); },
      SerialQueues::Limits{.threads = options_.workers, .deadline = options_.step_deadline});
  prefetcher_ = std::make_unique<Prefetcher>(
      storage_, image_fetcher(),
      [this](link::ActionReport report) { report_action(std::move(report)); }, options_.retry_max / 6);
  hypervisor_.on_change([weak = weak_from_this()](const ServerId& id) {
    if (const auto core = weak.lock()) core->look_at(id);
  });
  if (!options_.ovsdb.empty())
    metadata_ = std::make_unique<MetadataService>(
        MetadataService::Options{options_.ovsdb, options_.bridge, host_id_.str().substr(0, 4)},
        [this](const link::MetadataRequest& request) { return connection_->metadata(request); });
  const bool enrolled = !options_.identity_dir.empty();
  link::DialOptions dial{enrolled ? known_controllers(options_.link_targets, options_.state_dir) : options_.link_targets};
  dial.learned = [file = options_.state_dir + "/" + kControllers, then = options_.on_controllers](const std::vector<std::string>& all) {
    write_file(file, fmt::format("{}\n", fmt::join(all, "\n")), 0600);
    if (then) then();
  };
  if (enrolled) dial.credentials = [dir = options_.identity_dir] { return read_credentials(dir); };
  connection_ = link::dial(std::move(dial), *this);
  thread_ = std::thread([this] { loop(); });
}

void Agent::Core::look_at(const ServerId& server) {
  std::lock_guard lock(mutex_);
  if (!stopping_) queues_->post(server);
}

void Agent::Core::report_action(link::ActionReport report) {
  {
    std::lock_guard lock(mutex_);
    action_reports_.push_back(std::move(report));
  }
  changed_.notify_all();
}

void Agent::Core::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  hypervisor_.on_change({});
  metadata_.reset();
  queues_->stop();  // before the connection: jobs fetch images through it
  prefetcher_->stop();
  departures_.stop();
  connection_.reset();
}

AgentStatus Agent::Core::status() const {
  AgentStatus status;
  status.connected = connection_->connected();
  status.problem = connection_->problem();
  status.epoch = journal_.epoch();
  for (const auto& o : queues_->overdue())
    status.hung.push_back(
        fmt::format("server {}: step {} for {} s", o.server.str(), o.step, o.running.count() / 1000));
  std::lock_guard lock(mutex_);
  status.refused = refused_;
  for (const auto& [id, record] : records_) status.servers += record.desired.has_value();
  return status;
}

link::HostFacts Agent::Core::facts() {
  // A libvirtd that is away for a moment must not keep the agent from its controller.
  HostCapabilities c;
  try {
    c = hypervisor_.capabilities();
    std::lock_guard lock(mutex_);
    capabilities_ = c;
  } catch (const Fault&) {
    std::lock_guard lock(mutex_);
    if (!capabilities_) throw;
    c = *capabilities_;
  }
  link::HostFacts facts;
  facts.id = host_id_;
  facts.hostname = options_.hostname;
  facts.address = options_.address;
  facts.chassis = options_.chassis;
  facts.hypervisor = c.hypervisor;
  facts.virt_type = c.virt_type;
  facts.hypervisor_version = c.version;
  facts.cpu_model = c.cpu_model;
  facts.cpu_arch = c.cpu_arch;
  facts.vcpus = c.vcpus;
  facts.memory = c.memory;
  facts.disk = options_.disk.count ? options_.disk : storage_.capacity();
  facts.seen_epoch = journal_.epoch();
  facts.traits = compute_traits(c.cpu_arch);
  if (c.virt_type == "kvm")
    for (auto& trait : cpu_traits(read_file("/proc/cpuinfo"))) facts.traits.push_back(std::move(trait));
  return facts;
}

void Agent::Core::assigned(const link::Assignment& assignment) {
  {
    std::lock_guard lock(mutex_);
    inbox_.push_back(assignment);
  }
  changed_.notify_all();
}

std::string Agent::Core::console_log(const ServerId& server, size_t max_bytes) {
  return read_tail(storage_.paths(server).console_log, max_bytes);
}

std::shared_ptr<link::ByteStream> Agent::Core::open_console(const ServerId& server,
                                                            link::AgentHub::Console kind) {
  {
    std::lock_guard lock(mutex_);
    auto it = records_.find(server);
    if (it == records_.end() || !it->second.desired)
      throw Fault(FaultKind::conflict, "the server is not assigned to this host");
  }
  if (kind == link::AgentHub::Console::vnc) return consoles_.open_vnc(hypervisor_.vnc_socket(server));
  return consoles_.open_serial(server, storage_.paths(server).serial_socket);
}

link::AgentSide::Disk Agent::Core::open_disk(const ServerId& server, int64_t disk) {
  {
    std::lock_guard lock(mutex_);
    const auto it = records_.find(server);
    if (it == records_.end() || !it->second.desired || it->second.desired->state != link::DesiredServer::State::stopped)
      throw Fault(FaultKind::conflict, "the server is not one that is stopped here, so its disk may change");
  }
  const auto power = hypervisor_.find(server).power;
  if (power == DomainPower::running || power == DomainPower::paused)
    throw Fault(FaultKind::conflict, "the server runs, so its disk changes");
  return storage_.read_disk({server, disk});
}

int Agent::Core::open_tunnel(const ServerId& server, const std::string& channel) {
  std::optional<link::DesiredServer> desired;
  {
    std::lock_guard lock(mutex_);
    const auto it = records_.find(server);
    if (it != records_.end()) desired = it->second.desired;
  }
  if (!desired || desired->state != link::DesiredServer::State::incoming || journal_.applied(server) < desired->generation)
    throw Fault(FaultKind::conflict, "the server is not coming to this host");
  const DomainSpec spec = reconciler_.spec_of(*desired);
  const MigrationPath here = migration_sockets(migrate_dir_, spec.name);
  if (channel == kControlChannel) return hypervisor_.open_incoming(spec, MigrationChannel::control, here);
  if (channel == kMemoryChannel) return hypervisor_.open_incoming(spec, MigrationChannel::memory, here);
  if (channel == kDiskChannel) return hypervisor_.open_incoming(spec, MigrationChannel::disk, here);
  if (channel != kDescriptionChannel) throw Fault(FaultKind::conflict, "there is no channel " + channel);
  const std::string text = hypervisor_.describe_incoming(spec);
  if (text.size() > kLongestDescription) throw Fault(FaultKind::internal, "the server's description is too long");
  clear_sockets(migrate_dir_, spec.name);
  const auto ends = socket_pair();
  send_all(ends[1], text.data(), text.size());  // it fits
  ::close(ends[1]);
  return ends[0];
}

void Agent::Core::loop() {
  auto next_resync = Steady::now() + options_.resync;
  auto retry_stalled = Steady::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    auto until = std::min(next_resync, Steady::now() + std::min(options_.step_deadline, milliseconds(1000)));
    if (!timers_.empty()) until = std::min(until, timers_.begin()->first);
    changed_.wait_until(lock, until, [&] {
      const bool earlier = !timers_.empty() && timers_.begin()->first < until;
      return stopping_ || earlier || full_ready_ || !inbox_.empty() || !reports_.empty() ||
             !action_reports_.empty();
    });
    if (stopping_) return;
    auto inbox = std::exchange(inbox_, {});
    lock.unlock();
    if (!inbox.empty()) take_inbox(std::move(inbox));
    fire_timers();
    watch();
    tell_problems();
    send_reports();
    if (Steady::now() >= next_resync) {
      queues_->post(kResync);
      next_resync = Steady::now() + options_.resync;
    }
    lock.lock();
    if (inbox_.empty() && stalled_.empty()) continue;
    // Older assignments first; those that stalled wait for the next round of one second.
    if (Steady::now() >= retry_stalled) {
      inbox_.insert(inbox_.begin(), stalled_.begin(), stalled_.end());
      stalled_.clear();
      retry_stalled = Steady::now() + std::chrono::seconds(1);
    }
  }
}

void Agent::Core::fire_timers() {
  std::lock_guard lock(mutex_);
  while (!timers_.empty() && timers_.begin()->first <= Steady::now()) {
    queues_->post(timers_.begin()->second);
    timers_.erase(timers_.begin());
  }
}

void Agent::Core::wake_in(const ServerId& server, milliseconds delay) {
  timers_.emplace(Steady::now() + delay, server);
  changed_.notify_all();
}

void Agent::Core::send_reports() {
  std::vector<link::ObservedServer> servers;
  std::vector<link::ActionReport> actions;
  bool stepped = false, full = false;
  {
    std::lock_guard lock(mutex_);
    full = std::exchange(full_ready_, false);
    for (auto& [id, observed] : reports_) {
      stepped = stepped || !observed.steps.empty();
      servers.push_back(std::move(observed));
    }
    reports_.clear();
    actions = std::exchange(action_reports_, {});
  }
  if (!full && servers.empty() && actions.empty()) return;
  if (stepped) kill_point("agent.before_report");
  connection_->report(full, std::move(servers), std::move(actions));
}

void Agent::Core::watch() {
  // Once it is known that the hypervisor does not answer, nobody need wait to learn what waits for it.
  constexpr milliseconds kKnownHang{5000};
  const bool known = !hypervisor_.problem().empty();
  for (const auto& hung : queues_->watch(known ? std::optional(kKnownHang) : std::nullopt, name_of(Step::image))) {
    const auto message = fmt::format("still running after {} s", hung.running.count() / 1000.0);
    log::error("server {}: step {} {}", hung.server.str(), hung.step, message);
    if (hung.server == kResync) continue;
    std::lock_guard lock(mutex_);
    auto it = records_.find(hung.server);
    if (it == records_.end()) continue;
    auto report = it->second.observed;
    report.id = hung.server;
    report.cause = fmt::format("step {} {}", hung.step, message);
    const bool copies = hung.step == name_of(Step::image) || hung.step == name_of(Step::disk_copy);
    report.hint = copies
                      ? "It is still being fetched: a large one takes its time; `virga status` shows whether the host is well."
                      : "The hypervisor does not answer for this server; look at libvirtd on the host.";
    report.steps = {
        {hung.step, false, message, clock_.now().time_since_epoch().count(), hung.running.count() * 1000}};
    reports_[hung.server] = std::move(report);
  }
}

/// What an operator should know of this host now. In words that stay the same as long as the problem does.
void Agent::Core::tell_problems() {
  std::vector<std::string> all;
  const bool stuck = !hypervisor_.problem().empty();
  if (stuck) all.push_back(hypervisor_.problem());
  for (const auto& hung : queues_->overdue())
    all.push_back(hung.server == kResync ? "looking at the host's domains does not end"
                                         : fmt::format("server {}: step {} does not end", hung.server.str(), hung.step));
  {
    std::lock_guard lock(mutex_);
    if (!refused_.empty()) all.push_back(refused_);
    // Whatever waits for its next try need not wait any longer.
    if (std::exchange(stuck_, stuck) && !stuck)
      for (const auto& [id, record] : records_) queues_->post(id);
    for (const auto& [id, record] : records_)
      if (record.observed.quarantined) all.push_back(fmt::format("server {} is in quarantine: {}", id.str(), record.observed.cause));
  }
  connection_->problems(std::move(all));
}

void Agent::Core::want_metadata() {
  if (!metadata_) return;
  std::map<NetworkId, MetadataNetwork> wanted;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, record] : records_) {
      if (!record.desired || record.desired->state == link::DesiredServer::State::absent) continue;
      for (const auto& nic : record.desired->nics)
        if (!nic.metadata_port.empty())
          wanted[nic.network] = {nic.network, nic.metadata_port, nic.metadata_mac, nic.metadata_cidr};
    }
  }
  std::vector<MetadataNetwork> list;
  for (auto& [id, network] : wanted) list.push_back(std::move(network));
  metadata_->want(std::move(list));
}

// ---- Agent ----

Agent::Agent(AgentOptions options, Hypervisor& hypervisor, Storage& storage, Clock& clock)
    : core_(std::make_shared<Core>(std::move(options), hypervisor, storage, clock)) {
  core_->start();
}

Agent::~Agent() {
  core_->stop();
}

AgentStatus Agent::status() const {
  return core_->status();
}

bool Agent::refresh_certificate() {
  return core_->refresh_certificate();
}

namespace {

/// For `virga join` and `virga status` on a host that has no control plane.
void write_status(const std::string& file, const AgentStatus& status, std::string& written) {
  if (file.empty()) return;
  json::array hung;
  for (const auto& one : status.hung) hung.emplace_back(one);
  const std::string text = json::serialize(json::object{{"connected", status.connected},
                                                        {"problem", status.problem},
                                                        {"refused", status.refused},
                                                        {"hung", std::move(hung)},
                                                        {"servers", status.servers}});
  if (text == written) return;
  write_file(file, text);
  written = text;
}

/// Until told to end; in between, what is due.
int wait_for_end(Agent& agent, const AgentOptions& options, const sigset_t& stop) {
  constexpr timespec kEvery{0, 200'000'000};
  std::string written;
  for (int64_t round = 0;; ++round) {
    if (const int received = sigtimedwait(&stop, nullptr, &kEvery); received > 0) return received;
    try {
      write_status(options.status_file, agent.status(), written);
      if (round % 18000 == 300) agent.refresh_certificate();  // hourly
    } catch (const Fault& fault) {
      log::warn("{}", fault.message);
    }
  }
}

}  // namespace

int run_agent(const AgentOptions& options, Hypervisor& hypervisor, Storage& storage) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  SystemClock clock;
  auto agent = std::make_unique<Agent>(options, hypervisor, storage, clock);
  log::info("agent of host {} runs", options.hostname);
  wait_for_end(*agent, options, stop);
  log::info("agent stops; its guests run on");
  // A hypervisor call that hangs must not keep the process: everything it needs is on disk already.
  ::alarm(10);
  agent.reset();
  return 0;
}

}  // namespace virga::host
