#include "network/service.h"

#include "network/dirty_queue.h"
#include "network/reconciler.h"
#include "network/rules.h"

namespace virga::network {

NetworkService::NetworkService(Options options, db::Database& database, const Clock& clock)
    : options_(std::move(options)),
      database_(database),
      clock_(clock),
      environment_{database, clock,
                   [this](db::Tx& tx, const std::string& project, std::string_view resource, int64_t amount) {
                     use_quota(tx, project, resource, amount);
                   }} {
  service_.name = "neutron";
  service_.type = "network";
  service_.title = "Networking Service";
  service_.prefix = "/network";
  service_.bare = {"/v2.0"};
  service_.catalog_path = "/network";
  service_.faults = api::FaultStyle::neutron;
  service_.rules = network::rules();
  define_networks();
  define_subnets();
  define_subnet_pools();
  define_ports();
  define_routers();
  define_floating_ips();
  define_security_groups();
  define_security_group_rules();
  add_router_actions();
  add_quota_routes();
  add_information_routes();
  add_explain_route();
  group_facade_ = make_group_facade(*this);
  Reconciler::Settings settings;
  settings.northbound = options_.northbound;
  settings.southbound = options_.southbound;
  settings.plan.dns_servers = options_.dns_servers;
  settings.plan.dns_domain = options_.dns_domain;
  if (options_.controllers) settings.holder = options_.controllers->id();
  settings.stand_in = options_.stand_in;
  settings.serve_chassis = options_.serve_chassis;
  settings.on_server_port = [this](const ServerId& server) {
    if (port_status_) port_status_(server);
  };
  reconciler_ = std::make_unique<Reconciler>(*this, std::move(settings));
}

NetworkService::~NetworkService() {
  stop();
}

void NetworkService::start() {
  reconciler_->start();
}
void NetworkService::stop() {
  reconciler_->stop();
}
void NetworkService::on_port_status(std::function<void(const ServerId&)> callback) {
  port_status_ = std::move(callback);
}

void NetworkService::look_again() {
  reconciler_->look_again();
}

void NetworkService::touch(db::Tx& tx, Dirty::Kind kind, const std::string& id) {
  if (reconciler_->shared()) {
    enqueue(tx, {kind, id});
    tx.after_commit([this] {
      reconciler_->look_again();
      if (options_.tell_others) options_.tell_others();
    });
    return;
  }
  tx.after_commit([reconciler = reconciler_.get(), dirty = Dirty{kind, id}] { reconciler->add(dirty); });
}

std::unique_ptr<Networks> make_networks(Options options, db::Database& database, const Clock& clock) {
  return std::make_unique<NetworkService>(std::move(options), database, clock);
}

}  // namespace virga::network
