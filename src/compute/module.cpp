// The module behind api.h: wires the parts, and runs the background work.

#include <condition_variable>
#include <set>
#include <thread>

#include "base/log.h"
#include "compute/agents.h"
#include "compute/aggregates.h"
#include "compute/consoles.h"
#include "compute/evacuate.h"
#include "compute/explain.h"
#include "compute/flavors.h"
#include "compute/hosts.h"
#include "compute/keypairs.h"
#include "compute/live_moves.h"
#include "compute/misc_routes.h"
#include "compute/prefetch.h"
#include "compute/quotas.h"
#include "compute/rules.h"
#include "compute/servers.h"

namespace virga::compute {
namespace {

class Module final : public Compute {
 public:
  Module(Options options, db::Database& database, const Clock& clock,
         identity::Identity& identity, image::Images& images, network::Networks& networks,
         placement::Placement& placement)
      : core_{std::move(options), database, clock, identity, images, networks, placement},
        agents_(core_),
        routes_(service_) {
    describe();
    add_routes();
    networks.on_port_status([this](const ServerId& server) { port_changed(server); });
  }
  ~Module() override { stop(); }

  api::Service& service() override { return service_; }
  api::Service& console_service() override { return console_; }
  void attach(link::AgentHub& hub) override { core_.hub = &hub; }
  void start() override;
  void stop() override;

  void admit(const link::HostFacts& facts, const std::string& certificate) override {
    agents_.admit(facts, certificate);
  }
  link::Assignment connect(const link::HostFacts& facts) override { return agents_.connect(facts); }
  void heartbeat(const HostId& host, const std::vector<std::string>& problems) override {
    agents_.heartbeat(host, problems);
  }
  std::vector<Problem> problems() override { return agents_.problems(); }
  std::vector<LostHost> lost_hosts() override { return compute::lost_hosts(core_); }
  int64_t host_fenced(const HostId& host) override { return compute::host_fenced(core_, host); }
  void look_again(const std::string& what, const std::string& id) override { agents_.look_again(what, id); }
  void look_around() override { agents_.look_around(); }
  std::string controller_of(const HostId& host) override { return agents_.controller_of(host); }
  std::unique_ptr<link::ByteSource> open_upload(const std::string& upload) override { return agents_.open_upload(upload); }
  void observe(const HostId& host, bool full, const std::vector<link::ObservedServer>& servers,
               const std::vector<link::ActionReport>& actions) override {
    agents_.observe(host, full, servers, actions);
  }
  void disconnected(const HostId& host) override { agents_.disconnected(host); }
  std::unique_ptr<link::ByteSource> open_image(const HostId& host, const ImageId& image, uint64_t from) override {
    return agents_.open_image(host, image, from);
  }
  std::string renew(const HostId& host, const std::string& request) override {
    if (!core_.options.renew) throw Fault(FaultKind::not_implemented, "This controller gives out no certificates.");
    return core_.options.renew(host, request);
  }
  HostId disk_source(const HostId& host, const ServerId& server, int64_t disk) override {
    return agents_.disk_source(host, server, disk);
  }
  HostId tunnel_end(const HostId& from, const ServerId& server) override { return agents_.tunnel_end(from, server); }
  link::MetadataReply metadata(const HostId& host, const link::MetadataRequest& request) override {
    return agents_.metadata(host, request);
  }

 private:
  void describe();
  void add_routes();
  void port_changed(const ServerId& server);
  void run();

  Core core_;
  Agents agents_;
  api::Service service_, console_;
  Routes routes_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::set<ServerId> changed_;
  bool stopping_ = false;
  std::thread thread_;
};

void Module::describe() {
  service_.name = "nova";
  service_.type = "compute";
  service_.title = "Compute Service";
  service_.prefix = "/compute";
  service_.catalog_path = "/compute/v2.1";
  service_.faults = api::FaultStyle::nova;
  service_.rules = rules();
  service_.microversions = api::Microversions{"compute", "X-OpenStack-Nova-API-Version", {2, 1}, {2, 93}};
  console_.name = "nova-novncproxy";
  console_.type = "console";
  console_.title = "Consoles";
  console_.prefix = "/console";
  console_.faults = api::FaultStyle::nova;
}

void Module::add_routes() {
  add_discovery_routes(routes_);
  add_flavor_routes(routes_, core_);
  add_keypair_routes(routes_, core_);
  add_quota_routes(routes_, core_);
  add_host_routes(routes_, core_);
  add_aggregate_routes(routes_, core_);
  add_prefetch_routes(routes_, core_);
  add_group_routes(routes_, core_);
  add_usage_routes(routes_, core_);
  add_migration_routes(routes_, core_);
  add_live_migration_routes(routes_, core_);
  add_old_host_routes(routes_, core_);
  add_security_group_routes(routes_, core_);
  add_server_create_routes(routes_, core_);
  add_server_list_routes(routes_, core_);
  add_server_action_routes(routes_, core_);
  add_server_part_routes(routes_, core_);
  add_explain_routes(routes_, core_);
  add_console_routes(console_, core_);
}

void Module::port_changed(const ServerId& server) {
  {
    std::lock_guard lock(mutex_);
    changed_.insert(server);
  }
  wake_.notify_one();
}

void Module::start() {
  std::lock_guard lock(mutex_);
  if (thread_.joinable()) return;
  stopping_ = false;
  thread_ = std::thread([this] { run(); });
}

void Module::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Module::run() {
  constexpr std::chrono::seconds kPersistEvery{30}, kTellEvery{1};
  auto persist_at = std::chrono::steady_clock::now() + kPersistEvery;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, kTellEvery, [this] { return stopping_ || !changed_.empty(); });
    const std::vector<ServerId> changed(changed_.begin(), changed_.end());
    changed_.clear();
    lock.unlock();
    try {
      if (!changed.empty()) agents_.settle_servers(changed);
      for (const auto& server : core_.untold.take()) core_.wake(server);
      if (std::chrono::steady_clock::now() >= persist_at) {
        persist_at = std::chrono::steady_clock::now() + kPersistEvery;
        agents_.persist_seen();
      }
    } catch (const std::exception& error) {
      log::error("compute's background work failed and is repeated: {}", error.what());
      std::lock_guard again(mutex_);
      changed_.insert(changed.begin(), changed.end());
    }
    lock.lock();
    if (!changed_.empty() && !stopping_) wake_.wait_for(lock, std::chrono::milliseconds(1));
  }
}

}  // namespace

std::unique_ptr<Compute> make_compute(Options options, db::Database& database, const Clock& clock, identity::Identity& identity, image::Images& images,
                                      network::Networks& networks, placement::Placement& placement) {
  return std::make_unique<Module>(std::move(options), database, clock, identity, images, networks,
                                  placement);
}

}  // namespace virga::compute
