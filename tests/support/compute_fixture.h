#pragma once
// A compute service over fakes of image, network and identity, with an agent that does what it is told at
// once.

#include <atomic>
#include <map>
#include <set>

#include "compute/api.h"
#include "tests/support/api_client.h"

namespace virga::test {

class FakeIdentity final : public identity::Identity {
 public:
  api::Service& service() override { return service_; }
  void bootstrap(const identity::Bootstrap&) override {}
  void set_catalog(const std::vector<api::Service*>&) override {}
  identity::Rotated rotate_keys(bool) override { return {}; }
  size_t replace_token_keys() override { return 0; }
  void look_at_keys() override {}
  api::Caller caller_of(const identity::CallerQuestion&) override { throw std::logic_error("not asked here"); }
  std::optional<std::string> project_name(db::Tx&, const std::string& id) override { return id; }
  std::shared_ptr<const api::Caller> authenticate(std::string_view) override { return nullptr; }

 private:
  api::Service service_;
};

class FakeImages final : public image::Images {
 public:
  api::Service& service() override { return service_; }
  std::optional<image::BootImage> find(db::Tx& tx, const ImageId& id, const api::Caller&) override {
    return find(tx, id);
  }
  std::optional<image::BootImage> find(db::Tx&, const ImageId& id) override {
    const auto it = images.find(id.str());
    return it == images.end() ? std::nullopt : std::optional(it->second);
  }
  std::function<size_t(std::span<char>)> open_data(const ImageId&, uint64_t) override {
    return [](std::span<char>) { return size_t{0}; };
  }
  void collect_garbage() override {}
  std::map<std::string, image::BootImage> images;

 private:
  api::Service service_;
};

/// One network "private"; ports live in memory and follow their server, not the transaction.
class FakeNetworks final : public network::Networks {
 public:
  api::Service& service() override { return service_; }
  // Groups and more addresses are network's own business: its tests have them.
  network::SecurityGroups& security_groups() override { throw unused(); }
  void add_fixed_ip(db::Tx&, const ServerId&, const std::string&) override { throw unused(); }
  void remove_fixed_ip(db::Tx&, const ServerId&, const std::string&) override { throw unused(); }
  std::vector<NetworkId> available(db::Tx&, const api::Caller&) override { return networks; }
  void create_server_ports(db::Tx&, const api::Caller&, const ServerId& server, const std::string&, const std::string& host,
                           const std::vector<network::NicRequest>& requests,
                           const std::vector<std::string>& groups) override {
    const std::lock_guard lock(mutex_);
    bound[server.str()] = host;
    auto& list = ports_[server.str()];
    list.clear();
    for (const auto& request : requests) {
      network::PortInfo port;
      port.id = PortId(new_uuid());
      port.network_id = NetworkId(request.network_id);
      port.network_name = "private";
      port.mac = "fa:16:3e:00:00:01";
      port.fixed_ips.push_back({.subnet_id = "s",
                                .address = "10.0.0." + std::to_string(++next_),
                                .cidr = "10.0.0.0/24",
                                .gateway = "10.0.0.1"});
      port.security_group_names = groups;
      port.status = status;
      port.dhcp = true;
      list.push_back(port);
    }
  }
  void bind_server_ports(db::Tx&, const ServerId& server, const std::string& host) override { bound[server.str()] = host; }
  void bind_server_ports_also(db::Tx&, const ServerId& server, const std::string& host) override { bound[server.str()] += "," + host; }
  void release_server_ports(db::Tx&, const ServerId& server) override {
    const std::lock_guard lock(mutex_);
    ports_.erase(server.str());
  }
  std::vector<network::PortInfo> server_ports(db::Tx&, const ServerId& server) override {
    const std::lock_guard lock(mutex_);
    const auto it = ports_.find(server.str());
    return it == ports_.end() ? std::vector<network::PortInfo>() : it->second;
  }
  std::vector<std::vector<network::PortInfo>> server_ports(db::Tx& tx, const std::vector<ServerId>& servers,
                                                           network::PortDetail) override {
    std::vector<std::vector<network::PortInfo>> all;
    for (const auto& id : servers) all.push_back(server_ports(tx, id));
    return all;
  }
  bool server_ports_active(db::Tx& tx, const ServerId& server) override {
    const auto ports = server_ports(tx, server);
    return std::all_of(ports.begin(), ports.end(), [](const auto& port) { return port.status == "ACTIVE"; });
  }
  std::optional<ServerId> server_by_address(db::Tx&, const NetworkId&, const std::string& address) override {
    const std::lock_guard lock(mutex_);
    for (const auto& [server, ports] : ports_)
      for (const auto& port : ports)
        if (port.fixed_ips.front().address == address) return ServerId(server);
    return std::nullopt;
  }
  void on_port_status(std::function<void(const ServerId&)> callback) override {
    changed = std::move(callback);
  }
  void start() override {}
  void stop() override {}
  std::string ensure_default_group(db::Tx&, const std::string&) override { return ""; }
  void set_status(const std::string& server, const std::string& to) {
    const std::lock_guard lock(mutex_);
    for (auto& port : ports_[server]) port.status = to;
  }
  size_t count() const {
    const std::lock_guard lock(mutex_);
    return ports_.size();
  }

  std::vector<NetworkId> networks{NetworkId("11111111-1111-4111-8111-111111111111")};
  std::string status = "ACTIVE";
  std::map<std::string, std::string> bound;  ///< servers' ports: "host", or "host,other"
  std::function<void(const ServerId&)> changed;

 private:
  static Fault unused() { return Fault(FaultKind::not_implemented, "FakeNetworks has no groups."); }
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<network::PortInfo>> ports_;
  int next_ = 9;
  api::Service service_;
};

/// A hub whose agents apply what they get at once, unless told to sleep.
class FakeHub final : public link::AgentHub {
 public:
  explicit FakeHub(link::Controller& controller) : controller_(controller) {}
  bool connected(const HostId& host) const override { return !away.contains(host); }
  bool push(const HostId& host, const link::Assignment& change) override {
    if (failures > 0 && failures-- > 0) throw Fault(FaultKind::internal, "the link broke down");
    {
      std::lock_guard lock(mutex_);
      last = change;
    }
    if (asleep || away.contains(host)) return false;
    std::vector<link::ObservedServer> seen;
    std::vector<link::ActionReport> done;
    for (const auto& server : change.servers) {
      using State = link::DesiredServer::State;
      link::ObservedServer o;
      o.id = server.id;
      o.power = server.state == State::absent || server.state == State::incoming ? link::Power::absent
                : server.state == State::stopped                                 ? link::Power::shutoff
                                                                                 : link::Power::running;
      o.generation = server.generation;
      o.steps.push_back({.step = "start", .at_us = 1'700'000'000'000'000, .took_us = 1000});
      if (!broken.empty()) {
        o = {.id = server.id,
             .power = link::Power::absent,
             .failed_generation = server.generation,
             .cause = broken,
             .permanent = true};
      }
      seen.push_back(o);
      for (const auto& action : server.actions) done.push_back({action.operation, action.fence, true, ""});
    }
    for (const auto& prefetch : change.prefetches) done.push_back({prefetch.operation, prefetch.fence, true, ""});
    controller_.observe(host, false, seen, done);
    return true;
  }
  void disconnect(const HostId& host, const std::string&) override { sent_away.push_back(host); }
  std::shared_ptr<link::ByteStream> open_console(const HostId&, const ServerId&, Console) override {
    throw Fault(FaultKind::conflict, "no console here");
  }
  std::string console_log(const HostId&, const ServerId&, size_t, std::chrono::milliseconds) override {
    return "one\ntwo\nthree\n";
  }

  link::Assignment last;
  std::vector<HostId> sent_away;
  std::set<HostId> away;  ///< not connected
  bool asleep = false;
  std::atomic<int> failures{0};  ///< so many of the next pushes
  std::string broken;

 private:
  std::mutex mutex_;  ///< of `last`: servers are booted from several threads
  link::Controller& controller_;
};

inline link::HostFacts host_facts(const std::string& name, int vcpus = 4, uint64_t memory = 8192) {
  link::HostFacts f;
  f.id = HostId("00000000-0000-4000-8000-" + (name + "000000000000").substr(0, 12));
  f.hostname = name;
  f.address = "127.0.0.1";
  f.hypervisor = "fake";
  f.virt_type = "qemu";
  f.vcpus = vcpus;
  f.memory = MiB{memory};
  f.disk = GiB{100};
  return f;
}

class ComputeCloud : public TestCloud {
 public:
  explicit ComputeCloud(const std::string& url = {}, compute::Options options = {}) : TestCloud(url) {
    placement = placement::make_placement(database(), clock());
    compute =
        compute::make_compute(std::move(options), database(), clock(), identity, images, networks, *placement);
    mount(placement->service());
    mount(compute->service());
    mount(compute->console_service());
    sign_in("admin", admin_caller());
    sign_in("demo", project_caller("demo", {"member", "reader"}));
    sign_in("other", project_caller("other", {"member", "reader"}, "user-2"));
    hub = std::make_unique<FakeHub>(*compute);
    compute->attach(*hub);
    image::BootImage image;
    image.id = ImageId(image_id);
    image.name = "tiny";
    image.status = "active";
    image.disk_format = image.detected_format = "qcow2";
    images.images[image_id] = image;
    make_flavor("1", "m1.tiny", 512, 1);
  }
  void add_host(const std::string& name, int vcpus = 4, uint64_t memory = 8192) {
    compute->connect(host_facts(name, vcpus, memory));
  }
  void make_flavor(const std::string& id, const std::string& name, int64_t ram, int64_t vcpus) {
    post("/compute/v2.1/flavors",
         {{"flavor", {{"id", id}, {"name", name}, {"ram", ram}, {"vcpus", vcpus}, {"disk", 1}}}}, "admin");
  }
  Reply boot(const std::string& name, json::object extra = {}, const std::string& token = "demo",
             const Fields& headers = {}) {
    json::object server{{"name", name}, {"imageRef", image_id}, {"flavorRef", "1"}};
    for (const auto& [key, value] : extra) server[key] = value;
    return post("/compute/v2.1/servers", json::object{{"server", server}}, token, headers);
  }
  Reply show(const std::string& id, const std::string& token = "demo", const Fields& headers = {}) {
    return get("/compute/v2.1/servers/" + id, token, headers);
  }

  const std::string image_id = "22222222-2222-4222-8222-222222222222";
  FakeIdentity identity;
  FakeImages images;
  FakeNetworks networks;
  std::unique_ptr<placement::Placement> placement;
  std::unique_ptr<compute::Compute> compute;
  std::unique_ptr<FakeHub> hub;
};

}  // namespace virga::test
