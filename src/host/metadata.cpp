#include "host/metadata.h"

#include <net/if.h>

#include <algorithm>

#include "base/log.h"
#include "base/netns.h"
#include "http/api.h"
#include "ovn/api.h"

namespace virga::host {

namespace {
constexpr char kAddress[] = "169.254.169.254";
constexpr uint16_t kPort = 80;
constexpr std::chrono::seconds kRetry{2}, kLook{10};
}  // namespace

link::MetadataReply MetadataCache::get(const link::MetadataRequest& request) {
  if (request.method != "GET") return ask_(request);
  const auto key = request.source_address + " " + request.path;
  const auto now = std::chrono::steady_clock::now();
  {
    std::lock_guard lock(mutex_);
    auto it = entries_.find(key);
    if (it != entries_.end() && it->second.until > now) return it->second.reply;
  }
  auto reply = ask_(request);
  if (reply.status >= 500) return reply;
  std::lock_guard lock(mutex_);
  if (entries_.size() >= kMax) entries_.clear();
  entries_[key] = {reply, now + kKeep};
  return reply;
}

/// One network's namespace, its port on the bridge and its HTTP server.
class NetworkEndpoint final : public http::Handler {
 public:
  NetworkEndpoint(MetadataNetwork network, std::string name, ovn::LocalSwitch& local_switch,
                  std::string bridge, const MetadataService::Ask& ask)
      : network_(std::move(network)),
        namespace_(std::move(name)),
        switch_(local_switch),
        bridge_(std::move(bridge)),
        cache_(ask) {
    try {
      plug();
    } catch (...) {
      unplug();
      throw;
    }
  }
  ~NetworkEndpoint() override {
    if (server_) server_->stop(std::chrono::milliseconds(100));
    unplug();
  }
  const MetadataNetwork& network() const { return network_; }

  http::BodyMode body_mode(const http::Request&) override { return http::BodyMode::buffered; }
  void handle(http::Request request, std::shared_ptr<http::Responder> responder) override {
    http::Response response;
    try {
      auto reply =
          cache_.get({network_.network, request.remote_address, request.method, request.path, request.body});
      response.status = reply.status;
      response.headers.set("Content-Type", reply.content_type);
      response.body = std::move(reply.body);
    } catch (const Fault& fault) {
      response.status = 503;
      response.headers.set("Retry-After", "2");
      response.body = fault.message + "\n";
      log::warn("metadata for {} on network {}: {}", request.remote_address, network_.network.str(),
                fault.message);
    }
    responder->send(std::move(response));
  }

 private:
  std::string outer() const { return "vm" + network_.network.str().substr(0, 11); }

  void plug() {
    const std::string inner = "eth0";
    netns::ensure(namespace_);
    netns::ensure_veth("", outer(), namespace_, inner);
    netns::set_mac(namespace_, inner, network_.mac);
    netns::add_address(namespace_, inner, network_.cidr);
    netns::add_address(namespace_, inner, fmt::format("{}/32", kAddress));
    netns::set_up("", outer());
    netns::set_up(namespace_, inner);
    switch_.ensure_port({outer(), bridge_, "", {{"iface-id", network_.port.str()}}});
    server_ =
        http::make_server({.io_threads = 1, .workers = 2, .stream_workers = 1, .max_body = 64 << 10}, *this);
    server_->listen(netns::listen_tcp(namespace_, kAddress, kPort));
    server_->start();
    log::info("metadata: serving network {} in namespace {}", network_.network.str(), namespace_);
  }

  void unplug() {
    const auto attempt = [](const std::function<void()>& f) {
      try {
        f();
      } catch (const std::exception& e) {
        log::warn("metadata: {}", e.what());
      }
    };
    attempt([&] { switch_.delete_port(outer()); });
    attempt([&] { netns::remove_link("", outer()); });
    attempt([&] { netns::remove(namespace_); });
  }

  const MetadataNetwork network_;
  const std::string namespace_;
  ovn::LocalSwitch& switch_;
  const std::string bridge_;
  MetadataCache cache_;
  std::unique_ptr<http::Server> server_;
};

MetadataService::MetadataService(Options options, Ask ask)
    : options_(std::move(options)),
      ask_(std::move(ask)),
      switch_(std::make_unique<ovn::LocalSwitch>(ovn::LocalSwitch::Options{.remote = options_.ovsdb})),
      thread_([this] { run(); }) {}

MetadataService::~MetadataService() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::string MetadataService::namespace_of(const NetworkId& network) const {
  return fmt::format("vmeta-{}-{}", network.str().substr(0, 8), options_.tag);
}

void MetadataService::want(std::vector<MetadataNetwork> networks) {
  {
    std::lock_guard lock(mutex_);
    if (networks == wanted_) return;
    wanted_ = std::move(networks);
    dirty_ = true;
  }
  changed_.notify_all();
}

void MetadataService::run() {
  std::unique_lock lock(mutex_);
  bool retry = false, first = true;
  while (!stopping_) {
    changed_.wait_for(lock, retry ? kRetry : kLook, [this] { return stopping_ || dirty_; });
    if (stopping_) break;
    const bool told = std::exchange(dirty_, false);
    const auto wanted = wanted_;
    lock.unlock();
    if (told || retry) retry = !sync(wanted);
    if (told && std::exchange(first, false)) remove_leftovers(wanted);
    remove_dead_ports();
    lock.lock();
  }
  lock.unlock();
  endpoints_.clear();
}

/// Namespaces that another agent of this host made, before it was killed.
void MetadataService::remove_leftovers(const std::vector<MetadataNetwork>& wanted) {
  const std::string end = "-" + options_.tag;
  for (const std::string& name : netns::list()) {
    const bool ours = name.rfind("vmeta-", 0) == 0 && name.size() == 14 + end.size() &&
                      name.compare(14, end.size(), end) == 0;
    const bool used = std::any_of(wanted.begin(), wanted.end(),
                                  [&](const auto& n) { return namespace_of(n.network) == name; });
    if (!ours || used) continue;
    try {
      netns::remove(name);  // and with it the pair of devices, so that its port is dead
    } catch (const Fault& fault) {
      log::warn("metadata: {}", fault.message);
    }
  }
}

void MetadataService::remove_dead_ports() {
  if (!switch_->wait_connected(std::chrono::milliseconds(0))) return;
  try {
    // A device is there before its port is added, so a port without one belongs to what is gone.
    const size_t count = switch_->delete_ports(options_.bridge, [](const std::string& name) {
      return is_our_port(name) && if_nametoindex(name.c_str()) == 0 && errno == ENODEV;
    });
    if (count) log::info("{} ports of {} whose devices are gone were removed", count, options_.bridge);
  } catch (const Fault& fault) {
    log::warn("{}: {}", options_.bridge, fault.message);
  }
}

bool is_our_port(const std::string& name) {
  const size_t start = name.rfind("tap", 0) == 0 ? 3 : name.rfind("vm", 0) == 0 ? 2 : 0;
  if (start == 0 || name.size() != start + 11 || name[start + 8] != '-') return false;
  return std::all_of(name.begin() + static_cast<long>(start), name.end(),
                     [](char c) { return c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool MetadataService::sync(const std::vector<MetadataNetwork>& wanted) {
  std::erase_if(endpoints_, [&](const auto& entry) {
    return std::find(wanted.begin(), wanted.end(), entry.second->network()) == wanted.end();
  });
  bool whole = true;
  if (!wanted.empty() && !switch_->wait_connected(std::chrono::seconds(1))) return false;
  for (const auto& network : wanted) {
    if (endpoints_.count(network.network)) continue;
    try {
      endpoints_[network.network] = std::make_unique<NetworkEndpoint>(network, namespace_of(network.network),
                                                                      *switch_, options_.bridge, ask_);
    } catch (const std::exception& e) {
      endpoints_.erase(network.network);
      log::warn("metadata: network {}: {}", network.network.str(), e.what());
      whole = false;
    }
  }
  return whole;
}

}  // namespace virga::host
