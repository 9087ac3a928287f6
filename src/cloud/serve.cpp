#include "cloud/serve.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>

#include "api/api.h"
#include "base/allocator.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/master_key.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "base/scope_exit.h"
#include "cloud/api_outputs.h"
#include "cloud/cooperation.h"
#include "cloud/database_wait.h"
#include "cloud/engines.h"
#include "cloud/novnc.h"
#include "cloud/policy_report.h"
#include "cloud/privileges.h"
#include "cloud/service_control.h"
#include "cloud/tls.h"
#include "compute/api.h"
#include "controllers/api.h"
#include "db/api.h"
#include "enrolment/api.h"
#include "http/api.h"
#include "identity/api.h"
#include "image/api.h"
#include "link/api.h"
#include "nats/api.h"
#include "network/api.h"
#include "placement/api.h"

namespace virga::cloud {
namespace {

/// All services, in the order in which one knows another.
struct ControlPlane {
  explicit ControlPlane(const Config& config, api::ConventionOptions conventions = {}, Passwords known = {})
      : paths(config),
        secrets(std::move(known)),
        policy({config.policy.file, config.policy.new_defaults, config.policy.enforce_scope}),
        database(db::open({paths.database_url, config.database.readers})),
        self(make_self(config)),
        identity(make_identity(config)),
        images(image::make_images(image_options(), *database, clock)),
        placement(placement::make_placement(*database, clock)),
        networks(network::make_networks(network_options(config), *database, clock)),
        enrolment(enrolment::make_enrolment(enrolment_options(config), *database, clock)),
        compute(compute::make_compute(compute_options(config), *database, clock, *identity, *images, *networks, *placement)),
        dispatcher({config.cloud.public_url, std::move(conventions)}, policy, *identity) {
    for (api::Service* s : {&identity->service(), &images->service(), &placement->service(), &networks->service(), &compute->service()})
      services.push_back(s);
    identity->set_catalog(services);
    services.push_back(&compute->console_service());
    services.push_back(&enrolment->service());
    for (api::Service* s : services) dispatcher.mount(*s);
    policy.load();
  }

  /// Null on SQLite, whose database is this controller's alone.
  std::unique_ptr<controllers::Controllers> make_self(const Config& config) {
    database->migrate();
    if (database->dialect() == db::Dialect::sqlite) return nullptr;
    controllers::Controller me;
    me.id = controllers::controller_id(paths.controller_id);
    me.name = compute_host_name(config);
    me.version = VIRGA_VERSION;
    if (const std::string address = config.hosts_address(); !address.empty()) me.link_address = fmt::format("{}:{}", address, config.hosts.link_port);
    me.api_address = api_url(config);
    return std::make_unique<controllers::Controllers>(std::move(me), *database);
  }

  /// A word to the other controllers.
  void tell(std::string_view what, const std::string& id) {
    const std::lock_guard lock(telling);
    if (cooperation) cooperation->tell(what, id);
  }

  image::Options image_options() {
    image::Options o{paths.images};
    o.controllers = self.get();
    o.fetch = [this](const std::string& address, const std::string& upload, const std::function<void(std::string_view)>& sink) {
      link::AgentHub* const peers = hub;
      if (!peers) throw Fault(FaultKind::unavailable, "this controller is only starting");
      peers->fetch_upload(address, upload, sink);
    };
    return o;
  }

  std::unique_ptr<identity::Identity> make_identity(const Config& config) {
    identity::Options o;
    o.master_key_file = paths.master_key;
    o.key_dir = paths.token_keys;
    o.region = config.cloud.region;
    o.limit_model = config.identity.limit_model;
    o.bcrypt_cost = config.identity.bcrypt_cost;
    o.token_lifetime = std::chrono::seconds(config.identity.token_expiration_s);
    o.remember_password = std::chrono::seconds(config.identity.password_memory_s);
    o.credential_key_dir = paths.credential_keys;
    o.max_active_keys = config.identity.max_active_keys;
    o.signatures_without_token = config.identity.signatures_without_token;
    o.security = security_compliance(config.security_compliance);
    return identity::make_identity(o, *database, policy, clock);
  }

  static identity::SecurityCompliance security_compliance(const Config::SecurityCompliance& c) {
    return {.lockout_failure_attempts = c.lockout_failure_attempts,
            .lockout_duration = std::chrono::seconds(c.lockout_duration),
            .disable_user_account_days_inactive = c.disable_user_account_days_inactive,
            .password_expires_days = c.password_expires_days,
            .unique_last_password_count = c.unique_last_password_count,
            .minimum_password_age_days = c.minimum_password_age,
            .password_regex = c.password_regex,
            .password_regex_description = c.password_regex_description,
            .change_password_upon_first_use = c.change_password_upon_first_use};
  }

  network::Options network_options(const Config& config) {
    network::Options o;
    o.controllers = self.get();
    o.tell_others = [this] { tell("network", "-"); };
    if (config.compute.hypervisor != "fake") {
      o.northbound = paths.northbound;
      o.southbound = paths.southbound;
      o.stand_in = !config.hosts.controllers.empty();
      o.serve_chassis = [config, socket = paths.southbound.substr(std::string("unix:").size())](bool open) { serve_chassis(config, socket, open); };
    }
    o.mtu = config.network.mtu;
    o.physical_networks = {config.network.physical_network};
    o.dns_servers = config.network.dns_servers;
    const Config::Quota& q = config.quota;
    o.quotas = {{"network", q.networks},        {"subnet", q.subnets},
                {"port", q.ports},              {"router", q.routers},
                {"floatingip", q.floating_ips}, {"security_group", q.security_groups},
                {"security_group_rule", q.security_group_rules}};
    return o;
  }

  enrolment::Options enrolment_options(const Config& config) const {
    enrolment::Options o;
    o.master_key_file = paths.master_key;
    o.address = config.hosts_address();
    o.link_port = config.hosts.link_port;
    o.southbound_port = config.hosts.southbound_port;
    o.controllers = self.get();
    if (self) o.controller_config = commented_config(config_of_another(config));
    return o;
  }

  /// What a machine that becomes a controller takes over: all but what is this machine's own.
  Config config_of_another(Config c) const {
    const Config none;
    c.cloud.state_dir = none.cloud.state_dir, c.cloud.run_dir = none.cloud.run_dir, c.cloud.log_dir = none.cloud.log_dir;
    c.cloud.package_cache.clear(), c.cloud.user.clear();
    c.cloud.role = "controller";
    c.hosts.address.clear();
    c.hosts.controllers = {self->link_address()};
    c.tls.certificate.clear(), c.tls.key.clear();
    c.network.external_interface.clear(), c.network.underlay_interface.clear();
    c.compute.host_name.clear();
    c.ha.nats_url = c.nats();
    c.ha.nats_server = false;
    c.demo.enabled = false;
    c.identity.admin_password = secrets.admin;
    c.identity.demo_password = secrets.demo;
    return c;
  }

  compute::Options compute_options(const Config& config) {
    compute::Options o;
    o.admit = [this](db::Tx& tx, const link::HostFacts& facts, const std::string& pem) { return admit(tx, facts, pem); };
    o.settle_certificate = [this](db::Tx& tx, const link::HostFacts&, const std::string& pem) { enrolment->settle_certificate(tx, proof_in(pem)); };
    o.renew = [this](const HostId& host, const std::string& request) { return enrolment->renew(host, request); };
    o.forget_host = [this](db::Tx& tx, const HostId& host) { enrolment->remove(tx, host); };
    o.controllers = self.get();
    o.tell_others = [this](std::string_view what, const std::string& id) { tell(what, id); };
    o.open_upload = [this](const std::string& upload) { return images->open_upload(upload); };
    o.cpu_allocation_ratio = config.compute.cpu_allocation_ratio;
    o.ram_allocation_ratio = config.compute.ram_allocation_ratio;
    o.disk_allocation_ratio = config.compute.disk_allocation_ratio;
    o.novnc_folders = novnc_folders(config);
    o.reserved_host_memory_mb = config.compute.reserved_host_memory_mb;
    o.reserved_host_disk_gb = config.compute.reserved_host_disk_gb;
    o.restart_servers = config.ha.restart == "auto";
    o.fence_after = std::chrono::seconds(config.ha.fence_after_s);
    const Config::Quota& q = config.quota;
    o.quotas = {{"instances", q.instances},          {"cores", q.cores},
                {"ram", q.ram_mb},                   {"key_pairs", q.key_pairs},
                {"metadata_items", q.metadata_items}, {"server_groups", q.server_groups},
                {"server_group_members", q.server_group_members}};
    return o;
  }

  static enrolment::PeerProof proof_in(const std::string& pem) {
    const auto chain = read_certificates(pem, "the agent's certificate");
    return {enrolment::host_of(chain.front()), fingerprint(chain.front())};
  }

  /// Who comes with a certificate is held to what was enrolled under it.
  bool admit(db::Tx& tx, const link::HostFacts& facts, const std::string& pem) {
    if (pem.empty()) return false;
    try {  // what has the fingerprint of a host's certificate is that certificate, which we made in its name
      return enrolment->admit(tx, {facts.id, fingerprint_of_pem(pem)}, facts.hostname);
    } catch (const Fault&) {
      const HostId host = proof_in(pem).host;
      if (host == facts.id) throw;
      throw Fault(FaultKind::forbidden, fmt::format("This certificate is of the host {}, not of {}.", host.str(), facts.id.str()));
    }
  }

  /// Where agents find the controllers that live.
  std::vector<std::string> links() {
    std::vector<std::string> all;
    for (auto& c : database->read([&](db::Tx& tx) { return self->all(tx); }))
      if (c.alive && !c.link_address.empty()) all.push_back(std::move(c.link_address));
    return all;
  }

  void tell_agents() {
    if (link::AgentHub* const agents = hub) agents->tell_controllers();
  }

  json::array problems() const {
    json::array all;
    for (const auto& p : compute->problems())
      all.push_back(json::object{{"where", p.where}, {"what", p.what}, {"for_s", std::chrono::duration_cast<std::chrono::seconds>(clock.now() - p.since).count()}});
    return all;
  }

  Paths paths;
  Passwords secrets;
  SystemClock clock;
  api::Policy policy;
  std::unique_ptr<db::Database> database;
  std::unique_ptr<controllers::Controllers> self;
  std::atomic<link::AgentHub*> hub{nullptr};
  std::mutex telling;
  Cooperation* cooperation = nullptr;  ///< under telling
  std::unique_ptr<identity::Identity> identity;
  std::unique_ptr<image::Images> images;
  std::unique_ptr<placement::Placement> placement;
  std::unique_ptr<network::Networks> networks;
  std::unique_ptr<enrolment::Enrolment> enrolment;
  std::unique_ptr<compute::Compute> compute;
  api::Dispatcher dispatcher;
  std::vector<api::Service*> services;
};

void make_dir(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    throw Fault(FaultKind::internal, fmt::format("{} cannot be made.", path), "Is the state directory writable?");
}

/// What serve is told by signals.
sigset_t awaited_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, s);
  return set;
}

/// Until told to end. SIGHUP: log files, certificate and policy file are opened anew; the last two are looked at by
/// themselves too.
int wait_for_end(ServedCertificate& certificate, ApiOutputs& outputs, api::Policy& policy) {
  const sigset_t set = awaited_signals();
  constexpr timespec kLookEvery{2, 0};
  for (int looks = 1;; ++looks) {
    const int received = sigtimedwait(&set, nullptr, &kLookEvery);
    if (received > 0 && received != SIGHUP) return received;
    if (received == SIGHUP) outputs.reopen();
    certificate.look(received == SIGHUP);
    policy.reload(received == SIGHUP);
    if (looks % 30 == 0) release_free_memory();  // what a burst took
  }
}

/// For the ovsdb-server beside us, which reads the files again when they change.
void write_southbound_tls(const std::string& dir, const link::Credentials& proof) {
  make_dir(dir, 0700);
  write_file(dir + "/ca.pem", proof.ca, 0600);
  write_file(dir + "/server.pem", proof.certificate + proof.key, 0600);
}

/// How this controller talks to NATS, and what the server of our own reads. Who has the master key knows the password.
nats::Options nats_options(const Config& config, const Paths& paths) {
  nats::Options o;
  o.url = config.nats();
  if (o.url.empty()) return o;
  o.user = "virga";
  o.password = to_hex(hmac_sha256(read_master_key(paths.master_key, false), "nats"));
  o.ca_file = config.ha.nats_ca;
  if (o.ca_file.empty()) {
    o.ca_file = paths.southbound_tls + "/ca.pem";
    o.certificate_file = paths.southbound_tls + "/server.pem";
    o.server_name = link::kControllerName;
  }
  if (config.ha.nats_server)
    write_file(paths.nats_settings,
               fmt::format("# written by virga serve\nlisten: \"{0}:{1}\"\nmax_payload: 65536\nmax_connections: 256\nauthorization {{ user: \"{2}\", password: "
                           "\"{3}\" }}\ntls {{ cert_file: \"{4}/server.pem\", key_file: \"{4}/server.pem\", ca_file: \"{4}/ca.pem\", verify: true }}\n",
                           config.hosts_address().empty() ? "127.0.0.1" : config.hosts_address(), config.ha.nats_port, o.user, o.password, paths.southbound_tls),
               0600);
  return o;
}

/// What this controller does with the others; null if there are none.
std::unique_ptr<Cooperation> cooperate(ControlPlane& plane, nats::Options bus) {
  if (!plane.self) return nullptr;
  Cooperation::Work work;
  work.looks = {[&plane] { plane.identity->look_at_keys(); }, [&plane] { plane.compute->look_around(); },
                [&plane] { plane.images->look_around(); }, [&plane] { plane.tell_agents(); }};
  work.slow = [&plane] { return plane.images->fetch_one(); };
  work.heard = [&plane](const std::string& what, const std::string& id) {
    if (what == "network") plane.networks->look_again();
    else if (what == "keys") plane.identity->look_at_keys();
    else plane.compute->look_again(what, id);
  };
  auto made = std::make_unique<Cooperation>(*plane.self, std::move(bus), std::move(work));
  const std::lock_guard lock(plane.telling);
  plane.cooperation = made.get();
  return made;
}

void block_awaited_signals() {
  const sigset_t set = awaited_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Paths::Paths(const Config& config) {
  const std::string& state = config.cloud.state_dir;
  const std::string& run = config.cloud.run_dir;
  database_url = config.database_url();
  control = state + "/control";
  token_keys = control + "/token-keys";
  credential_keys = control + "/credential-keys";
  images = control + "/images";
  secrets = state + "/secrets";
  tls = state + "/tls";
  agent_state = state + "/agent";
  agent_status = run + "/agent.json";
  host_identity = agent_state + "/identity";
  master_key = control + "/master.key";
  southbound_tls = control + "/southbound-tls";
  controller_id = control + "/controller-id";
  nats_settings = control + "/nats.conf";
  instances = state + "/instances";
  image_cache = state + "/image-cache";
  guest = state + "/guest";
  link_socket = run + "/link/agent.sock";
  serve_control = run + "/serve.sock";
  northbound = "unix:" + run + "/ovn/ovnnb_db.sock";
  southbound = "unix:" + run + "/ovn/ovnsb_db.sock";
}

Passwords passwords(const Config& config) {
  const Paths paths(config);
  make_dir(config.cloud.state_dir, 0711);
  make_dir(paths.secrets, 0700);
  const auto one = [&](const std::string& configured, const char* name) {
    if (!configured.empty()) return configured;
    const std::string file = paths.secrets + "/" + name;
    if (access(file.c_str(), F_OK) != 0) write_file(file, new_secret().substr(0, 16), 0600);
    return read_file(file);
  };
  return {one(config.identity.admin_password, "admin_password"), one(config.identity.demo_password, "demo_password")};
}

namespace {

/// A control plane over an empty database in a directory of its own that is removed again, for what only the code says.
template <class F>
auto with_empty_plane(Config config, F&& ask) {
  char directory[] = "/tmp/virga-routes.XXXXXX";
  if (!mkdtemp(directory)) throw Fault(FaultKind::internal, "No directory can be made in /tmp.");
  ScopeExit clean([&] { std::filesystem::remove_all(directory); });
  config.cloud.state_dir = config.cloud.run_dir = directory;
  config.database.url.clear();
  for (const auto& dir : {Paths(config).control, Paths(config).images}) make_dir(dir, 0700);
  const ControlPlane plane(config);
  return ask(plane);
}

}  // namespace

json::array list_routes(Config config) {
  config.policy = {};  // the routes do not depend on it
  return with_empty_plane(std::move(config), [](const ControlPlane& plane) {
    const auto bound = [](api::Version v) { return v == api::Version{} ? std::string() : fmt::format("{}.{}", v.major, v.minor); };
    json::array all;
    for (const api::Service* s : plane.services)
      for (const api::Route& r : s->routes)
        all.push_back(json::object{{"service", s->name}, {"method", r.method.text}, {"path", s->prefix + r.path.text}, {"min", bound(r.min)}, {"max", bound(r.max)}, {"policy", r.policy.text}});
    return all;
  });
}

json::array list_configured_rules(Config config) {
  return with_empty_plane(std::move(config), [](const ControlPlane& plane) { return list_rules(plane.policy); });
}

std::string list_policy_matrix(Config config) {
  config.policy = {};
  return with_empty_plane(std::move(config), [](const ControlPlane& plane) { return policy_matrix({plane.services.begin(), plane.services.end()}); });
}

int run_serve(const Config& config, std::vector<int> listeners) {
  block_awaited_signals();
  tune_allocator();
  const Paths paths(config);
  make_dir(config.cloud.state_dir, 0711);
  for (const auto& dir : {paths.control, paths.images}) make_dir(dir, 0700);
  make_dir(config.cloud.run_dir, 0755);
  const std::string link_dir = config.cloud.run_dir + "/link";
  make_dir(link_dir, 0700);
  const Passwords secrets = passwords(config);
  refresh_certificate(config);
  const int control_socket = http::listen_unix(paths.serve_control, 0600);
  std::optional<Account> account;
  if (!listeners.empty()) account = control_account(config);
  ApiOutputs outputs(config, account);
  if (account) {
    hand_over(paths.control, *account);
    hand_over(link_dir, *account);
    drop_privileges(*account);
    if (!enter_sandbox()) log::warn("this kernel has no seccomp filters: serve runs without a sandbox");
  }

  ServedCertificate certificate(config);
  if (listeners.empty()) listeners.push_back(http::listen_tcp(config.cloud.api_address, static_cast<uint16_t>(config.cloud.api_port)));
  http::ServerOptions api_server;
  api_server.max_body = static_cast<size_t>(config.api.max_body_kib) << 10;
  api_server.tls = certificate.server();
  if (const int received = wait_for_database(paths.database_url, api_server, listeners, control_socket)) {
    log::info("ending on signal {}", received);
    return 0;
  }
  ControlPlane plane(config, outputs.conventions(), secrets);
  plane.identity->bootstrap({secrets.admin, {}});
  plane.images->collect_garbage();
  ServiceControl control(plane.services, paths.control + "/stopped-services", [&plane] { return plane.problems(); }, outputs.metrics());
  control.add("GET /policy", [&plane](const http::Request&) -> json::value { return list_rules(plane.policy); });
  control.add("POST /policy/check", [&plane](const http::Request& request) -> json::value {
    const json::value question = parse_json(request.body);
    if (!question.is_object()) throw Fault(FaultKind::bad_request, "The question must be a JSON object.");
    return check_rule(plane.policy, *plane.identity, *plane.database, question.get_object());
  });
  control.add("GET /lost-hosts", [&plane](const http::Request&) -> json::value {
    json::array hosts;
    for (const auto& h : plane.compute->lost_hosts())
      hosts.push_back(json::object{{"id", h.id.str()}, {"name", h.name}, {"address", h.address}, {"servers", h.servers}, {"fenced", h.fenced}});
    return json::object{{"hosts", std::move(hosts)}};
  });
  control.add("POST /lost-hosts", [&plane](const http::Request& request) -> json::value {
    const json::value which = parse_json(request.body);
    if (!which.is_object()) throw Fault(FaultKind::bad_request, "The question must be a JSON object.");
    return json::object{{"moved", plane.compute->host_fenced(HostId(find_string(which.get_object(), "id")))}};
  });
  control.add("POST /keystone/rotate-keys", [&plane](const http::Request& request) -> json::value {
    identity::Rotated done;
    if (request.query_value("end_tokens")) done.token_keys = plane.identity->replace_token_keys();
    else done = plane.identity->rotate_keys(request.query_value("credentials").has_value());
    plane.tell("keys", "-");
    log::info("keys rotated: {} token keys, {} credentials sealed again", done.token_keys, done.credentials_sealed);
    return json::object{{"token_keys", done.token_keys}, {"credentials_sealed", done.credentials_sealed}, {"credentials_unreadable", done.credentials_unreadable}};
  });

  auto server = http::make_server(api_server, plane.dispatcher);
  for (int fd : listeners) server->listen(fd);
  http::ServerOptions small;
  small.io_threads = 1;
  small.workers = 2;
  small.stream_workers = 1;
  auto control_server = http::make_server(small, control);
  control_server->listen(control_socket);

  link::ServeOptions link{paths.link_socket};
  const std::string address = config.hosts_address();
  if (!address.empty() || !config.nats().empty()) {
    std::vector<std::string> names{link::kControllerName};
    if (!address.empty()) names.push_back(address);
    const PemPair proof = plane.enrolment->controller_certificate(names);
    link.credentials = {plane.enrolment->ca(), proof.certificate, proof.key};
    write_southbound_tls(paths.southbound_tls, link.credentials);
  }
  if (!address.empty()) link.address = fmt::format("{}:{}", address, config.hosts.link_port);
  if (plane.self) {
    plane.self->beat();  // agents that come are told of it
    link.controller_of = [&plane](const HostId& host) { return plane.compute->controller_of(host); };
    link.controllers = [&plane] { return plane.links(); };
  }
  nats::Options bus = nats_options(config, paths);  // its server's settings are there before this counts as ready
  std::unique_ptr<link::AgentHub> hub = link::serve(link, *plane.compute);
  plane.compute->attach(*hub);
  plane.hub = hub.get();
  std::unique_ptr<Cooperation> cooperation = cooperate(plane, std::move(bus));
  plane.networks->start();
  plane.compute->start();
  server->start();
  control_server->start();
  outputs.start();
  log::info("serving the API on {}:{}{}", config.cloud.api_address, config.cloud.api_port, certificate.server() ? " over TLS" : "");
  const int received = wait_for_end(certificate, outputs, plane.policy);
  log::info("ending on signal {}", received);
  server->stop();
  control_server->stop();
  {
    const std::lock_guard lock(plane.telling);
    plane.cooperation = nullptr;
  }
  cooperation.reset();
  plane.hub = nullptr;
  hub.reset();
  plane.compute->stop();
  plane.networks->stop();
  return 0;
}

}  // namespace virga::cloud
