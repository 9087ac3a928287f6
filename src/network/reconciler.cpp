#include "network/reconciler.h"

#include <fmt/format.h>

#include "base/log.h"

namespace virga::network {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100}, kLongestPause{5000}, kConnectWait{2000};
constexpr size_t kPartLimit = 5000;  ///< more dirty things than this: looking at everything is cheaper
constexpr size_t kStatusBatch = 200;
constexpr std::string_view kLease = "network";
constexpr std::chrono::seconds kLeaseTime{10}, kRenewEvery{3}, kLookEvery{1};
constexpr std::chrono::seconds kDoorStays{5};     ///< after another has taken over
constexpr std::chrono::seconds kHostsCome{20};    ///< so long a port that is down may only wait for its host's ovn-controller
constexpr milliseconds kNorthdWait{10'000};

}  // namespace

Reconciler::Reconciler(NetworkService& service, Settings settings)
    : service_(service), settings_(std::move(settings)) {}

Reconciler::~Reconciler() {
  stop();
}

void Reconciler::start() {
  if (settings_.northbound.empty() || started_) return;
  started_ = true;
  stopping_ = false;
  pending_.everything = true;
  leads_ = !shared();
  if (!settings_.southbound.empty())
    southbound_ = std::make_unique<ovn::SouthboundWatcher>(ovn::SouthboundWatcher::Options{
        .remote = settings_.southbound, .on_port_up = {}, .on_port_down = {}, .on_chassis_change = [this] {
          const std::lock_guard lock(mutex_);
          look_at_chassis_ = true;
          wake_plans_.notify_one();
        }});
  ovn::NorthboundWriter::Options options;
  options.remote = settings_.northbound;
  options.on_port_status = [this](const std::string& port, bool up) {
    const std::lock_guard lock(mutex_);
    if (up)
      up_.insert(port);
    else
      up_.erase(port);
    news_.insert(port);
    wake_status_.notify_one();
  };
  options.on_state = [this](bool connected) {
    if (!connected) return;
    const std::lock_guard lock(mutex_);
    pending_.everything = true;
    wake_plans_.notify_one();
  };
  northbound_ = std::make_unique<ovn::NorthboundWriter>(std::move(options));
  plans_ = std::thread([this] { run_plans(); });
  status_ = std::thread([this] { run_status(); });
}

void Reconciler::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (!started_) return;
    stopping_ = true;
    wake_plans_.notify_all();
    wake_status_.notify_all();
  }
  if (plans_.joinable()) plans_.join();
  if (status_.joinable()) status_.join();
  northbound_.reset();
  southbound_.reset();
  started_ = false;
  if (std::exchange(leads_, false) && shared()) try {
      service_.database().write([&](db::Tx& tx) { controllers::give_lease(tx, kLease, settings_.holder); });
    } catch (const std::exception& e) {
      log::warn("network: the lease is not given back, and ends by itself: {}", e.what());
    }
}

void Reconciler::add(const Dirty& dirty) noexcept {
  if (settings_.northbound.empty()) return;
  try {
    const std::lock_guard lock(mutex_);
    pending_.dirty.add(dirty);
  } catch (const std::exception&) {
    const std::lock_guard lock(mutex_);
    pending_.everything = true;  // no memory to say what
  }
  wake_plans_.notify_one();
}

// ---- plans
// ------------------------------------------------------------------------------------------------------------

void Reconciler::run_plans() {
  for (;;) {
    const Work work = take_work();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    try {
      do_work(work);
      if (!work.rows.empty()) service_.database().write([&](db::Tx& tx) { dequeue(tx, work.rows); });
      pause_ = milliseconds(0);
      continue;
    } catch (const Fault& fault) {
      if (pause_ < kLongestPause)
        log::warn("network: OVN is not up to date, trying again: {}", fault.message);
      if (fault.kind != FaultKind::unavailable && fault.kind != FaultKind::timeout && work.dirty.size() > 1)
        do_each(work);
      else
        give_back(work);
    } catch (const std::exception& e) {
      log::error("network: cannot bring OVN up to date: {}", e.what());
      give_back(work);
    }
    if (!pause()) return;
  }
}

/// Waits for work and takes all there is: what came meanwhile is one change.
Reconciler::Work Reconciler::take_work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto something = [this] { return stopping_ || look_at_chassis_ || look_at_queue_ || (leads_ && !pending_.empty()); };
    if (shared()) wake_plans_.wait_for(lock, kLookEvery, something);
    else wake_plans_.wait(lock, something);
    if (stopping_) return {};
    if (shared()) {
      look_at_queue_ = false;
      lock.unlock();
      lead();
      Work queued;
      take_queued(queued);
      lock.lock();
      if (!leads_) {
        look_at_chassis_ = false;  // who takes over looks at everything
        continue;
      }
      pending_.dirty.add(queued.dirty);
      pending_.rows.insert(pending_.rows.end(), queued.rows.begin(), queued.rows.end());
    }
    const bool look = std::exchange(look_at_chassis_, false);
    if (look) {
      lock.unlock();
      const bool changed = update_chassis();
      lock.lock();
      pending_.everything |= changed;
    }
    if (!pending_.empty()) return std::exchange(pending_, {});
  }
}

/// Takes, renews or notices the loss of the lease.
void Reconciler::lead() {
  const auto now = std::chrono::steady_clock::now();
  bool leads = false;
  {
    const std::lock_guard lock(mutex_);
    leads = leads_ && now < leads_until_;
  }
  const bool was = leads;
  try {
    if (!northbound_->wait_connected(milliseconds(0))) {
      if (leads) service_.database().write([&](db::Tx& tx) { controllers::give_lease(tx, kLease, settings_.holder); });
      leads = false;
    } else if (!leads || now >= renew_at_) {
      leads = take_lead(now);
    }
  } catch (const std::exception& e) {
    log::warn("network: the lease cannot be looked at: {}", e.what());  // what is held ends by itself
  }
  // Who had the lease before may have been in the middle of a write: everything is looked at once more when that is over.
  if (leads && !was) look_once_more_ = now + kLeaseTime, filled_ = false;
  const bool again = leads && was && look_once_more_ != Steady{} && now >= look_once_more_;
  if (again) look_once_more_ = {};
  if (leads != was) log::info("network: this controller {} OVN up to date", leads ? "keeps" : "no longer keeps");
  look_at_door(now, leads);
  const std::lock_guard lock(mutex_);
  leads_ = leads;
  pending_.everything |= (leads && !was) || again;
  if (leads && !was) {
    doubt_until_ = now + kHostsCome;
    wake_status_.notify_one();
  }
}

bool Reconciler::take_lead(Steady now) {
  auto& database = service_.database();
  if (!settings_.stand_in && now >= renew_home_at_) {
    database.write([&](db::Tx& tx) { controllers::take_lease(tx, controllers::kHomeLease, settings_.holder, kLeaseTime); });
    renew_home_at_ = now + kRenewEvery;
  }
  std::string holder, home;
  bool known = false;
  database.read([&](db::Tx& tx) {
    holder = controllers::lease_holder(tx, kLease), home = controllers::lease_holder(tx, controllers::kHomeLease);
    known = controllers::is_lease_known(tx, controllers::kHomeLease);
  });
  // A first controller of an older version takes no such lease: it would not get the other back from a stand-in.
  const bool may = home == settings_.holder || (home.empty() && (known || !settings_.stand_in)), mine = holder == settings_.holder;
  if (!may && mine) database.write([&](db::Tx& tx) { controllers::give_lease(tx, kLease, settings_.holder); });
  if (!may || !(mine || holder.empty())) return false;
  if (!database.write([&](db::Tx& tx) { return controllers::take_lease(tx, kLease, settings_.holder, kLeaseTime); })) return false;
  leads_until_ = now + kLeaseTime, renew_at_ = now + kRenewEvery;
  return true;
}

/// Hosts find in a stand-in's databases what they need before they are let in, and in the first controller's before a
/// stand-in puts them out.
void Reconciler::look_at_door(Steady now, bool leads) {
  if (leads) other_leads_since_ = {};
  else if (other_leads_since_ == Steady{}) other_leads_since_ = now;
  const bool open = leads && filled_, close = !leads && settings_.stand_in && now >= other_leads_since_ + kDoorStays;
  if (!settings_.serve_chassis || door_ == open || !(open || close)) return;
  try {
    settings_.serve_chassis(open);
    if (settings_.stand_in && (open || door_)) log::info("network: hosts {} OVN's databases here", open ? "may come to" : "are sent away from");
    door_ = open;
  } catch (const std::exception& e) {
    log::warn("network: OVN's southbound database cannot be {}: {}", open ? "opened to hosts" : "closed to hosts", e.what());
  }
}

void Reconciler::take_queued(Work& work) {
  {
    const std::lock_guard lock(mutex_);
    if (!leads_) return;
  }
  try {
    work.rows = service_.database().read([](db::Tx& tx) { return queued(tx, kPartLimit + 1); });
  } catch (const std::exception& e) {
    log::warn("network: what changed cannot be read, trying again: {}", e.what());
  }
  for (const auto& row : work.rows) work.dirty.add(row.dirty);
}

void Reconciler::look_again() noexcept {
  const std::lock_guard lock(mutex_);
  look_at_queue_ = true;
  wake_plans_.notify_one();
}

void Reconciler::give_back(const Work& work) {
  const std::lock_guard lock(mutex_);
  pending_.everything |= work.everything;
  pending_.dirty.add(work.dirty);
}

void Reconciler::do_work(const Work& work) {
  if (!northbound_->wait_connected(kConnectWait))
    throw Fault(FaultKind::unavailable, "OVN's northbound database does not answer.");
  compare_epochs();
  if (work.everything || work.dirty.size() > kPartLimit) return apply_everything();
  apply_part(work.dirty);
}

/// A database restored from a backup knows nothing of newer ports: guests would lose their network.
void Reconciler::compare_epochs() {
  const int64_t seen = northbound_->seen_epoch();
  auto& database = service_.database();
  const auto [epoch, older] = database.read(
      [](db::Tx& tx) { return std::pair(db::cloud_epoch(tx), db::is_known_older(tx)); });
  if (older || seen > epoch) {
    database.write([&, seen = seen](db::Tx& tx) { db::is_older_than(tx, seen); });
    throw Fault(FaultKind::unavailable,
                "REFUSED: the database is older than the cloud, as if restored from a backup. No network was touched; put the "
                "newer database back, or take this one for the truth with `virga db accept-restored`.");
  }
  if (seen < epoch) northbound_->see_epoch(epoch);
}

/// One refused thing must not hold up the others: each by itself, and what fails again comes again.
void Reconciler::do_each(const Work& work) {
  const auto attempt = [&](Dirty::Kind kind, const std::set<std::string>& ids) {
    for (const auto& id : ids) {
      Work one;
      one.dirty.add({kind, id});
      try {
        do_work(one);
      } catch (const std::exception& e) {
        log::warn("network: OVN refuses the rows of {}: {}", id, e.what());
        give_back(one);
      }
    }
  };
  attempt(Dirty::Kind::network, work.dirty.networks);
  attempt(Dirty::Kind::security_group, work.dirty.groups);
  attempt(Dirty::Kind::router, work.dirty.routers);
  attempt(Dirty::Kind::port, work.dirty.ports);
  if (work.everything) give_back({.everything = true, .dirty = {}});
}

void Reconciler::apply_everything() {
  // Without the list of hosts a plan would take every router's gateway away.
  if (southbound_ && !southbound_->wait_connected(kConnectWait))
    throw Fault(FaultKind::unavailable, "OVN's southbound database does not answer.");
  update_chassis();
  const Snapshot snapshot = service_.database().read(read_everything);
  const bool first = shared() && settings_.serve_chassis && !filled_;
  const auto result = northbound_->reconcile(plan(snapshot, plan_options()), first);
  if (first && !northbound_->wait_southbound(result.nb_cfg, kNorthdWait)) log::warn("network: ovn-northd takes its time");
  filled_ = true;
  dhcp_of_network_.clear();
  remember_dhcp(snapshot);
  if (result.operations > 0)
    log::info("network: brought OVN up to date with {} operations", result.operations);
  look_at_status(snapshot);
}

void Reconciler::apply_part(const DirtySet& dirty) {
  const Snapshot part = service_.database().read([&](db::Tx& tx) { return read_part(tx, dirty); });
  ovn::NorthboundChange change = plan_change(part, dirty, plan_options());
  for (const auto& id : dirty.networks)
    for (const auto& subnet : dhcp_of_network_[id])
      if (!part.subnets.contains(subnet)) change.remove.dhcp_options.push_back(subnet);
  northbound_->sync(change);
  for (const auto& id : dirty.networks) dhcp_of_network_.erase(id);
  remember_dhcp(part);
  look_at_status(part);
}

void Reconciler::remember_dhcp(const Snapshot& snapshot) {
  for (const auto& [id, subnet] : snapshot.subnets) dhcp_of_network_[subnet.network_id].insert(id);
}

/// True if gateways' hosts came or went. That all are gone is not believed: gateways stay where they are.
bool Reconciler::update_chassis() {
  if (!southbound_) return false;
  // Only who has a bridge to an external network can be a router's gateway.
  std::vector<std::string> names;
  for (const auto& c : southbound_->chassis())
    if (!c.physical_networks.empty()) names.push_back(c.name);
  if (names.empty() || names == chassis_) return false;
  chassis_ = std::move(names);
  return true;
}

PlanOptions Reconciler::plan_options() const {
  PlanOptions options = settings_.plan;
  options.chassis = chassis_;
  return options;
}

/// Waits longer each time; false if it is time to stop.
bool Reconciler::pause() {
  pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
  std::unique_lock lock(mutex_);
  return !wake_plans_.wait_for(lock, pause_, [this] { return stopping_; });
}

// ---- port status
// ------------------------------------------------------------------------------------------------------

/// A port that was bound while OVN had it up already brings no news of its own.
void Reconciler::look_at_status(const Snapshot& snapshot) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, port] : snapshot.ports)
    if (port.owner.rfind("network:", 0) != 0) news_.insert(id);
  wake_status_.notify_one();
}

void Reconciler::run_status() {
  for (;;) {
    std::map<std::string, bool> batch;
    {
      std::unique_lock lock(mutex_);
      const auto something = [this] { return stopping_ || (leads_ && !news_.empty()); };
      if (doubted_.empty()) wake_status_.wait(lock, something);
      else wake_status_.wait_until(lock, doubt_until_, something);
      if (stopping_) return;
      const bool doubt = std::chrono::steady_clock::now() < doubt_until_;
      if (!doubt) news_.merge(std::exchange(doubted_, {}));
      while (leads_ && !news_.empty() && batch.size() < kStatusBatch) {
        const std::string port = news_.extract(news_.begin()).value();
        const bool up = up_.contains(port);
        if (!up && doubt) doubted_.insert(port);
        else batch[port] = up;
      }
    }
    if (batch.empty()) continue;
    try {
      write_status(batch);
    } catch (const std::exception& e) {
      log::warn("network: cannot note port status, trying again: {}", e.what());
      std::unique_lock lock(mutex_);
      for (const auto& [port, up] : batch) news_.insert(port);
      if (wake_status_.wait_for(lock, kFirstPause * 5, [this] { return stopping_; })) return;
    }
  }
}

void Reconciler::write_status(const std::map<std::string, bool>& news) {
  std::map<std::string, bool> differ = service_.database().read([&](db::Tx& tx) {
    std::vector<db::Value> ids;
    for (const auto& [port, up] : news) ids.emplace_back(port);
    std::map<std::string, bool> out;
    for (const auto& r : tx.query(fmt::format("SELECT id, status FROM network_ports WHERE id IN ({})",
                                              db::placeholders(ids.size())),
                                  ids))
      if (const bool up = news.at(r.text(0)); (r.text(1) == "ACTIVE") != up) out[r.text(0)] = up;
    return out;
  });
  if (differ.empty()) return;
  const std::set<std::string> servers = service_.database().write([&](db::Tx& tx) {
    std::set<std::string> changed;
    for (const auto& [port, up] : differ)
      if (const std::string server = service_.set_port_up(tx, port, up); !server.empty())
        changed.insert(server);
    return changed;
  });
  if (settings_.on_server_port)
    for (const auto& server : servers) settings_.on_server_port(ServerId(server));
}

}  // namespace virga::network
