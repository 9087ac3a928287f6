// The agent's core: what it takes from an assignment, and what it makes of it per server.

#include "base/kill_point.h"
#include "base/log.h"
#include "host/agent_core.h"

namespace virga::host {

namespace {
/// A controller waits no longer for its database; what comes later is what an older database says.
constexpr std::chrono::seconds kLongestOnTheWay{60};

/// Nothing to tell: what was reported last still holds. (A hypervisor's event often follows our own step.)
bool same(const link::ObservedServer& a, const link::ObservedServer& b) {
  return a.power == b.power && a.generation == b.generation && a.failed_generation == b.failed_generation &&
         a.cause == b.cause && a.hint == b.hint && a.permanent == b.permanent &&
         a.quarantined == b.quarantined && a.migration == b.migration;
}
}  // namespace

void Agent::Core::take_inbox(std::vector<link::Assignment> inbox) {
  // One fsync for all that waits: checked and made durable first, acted upon after.
  std::vector<std::set<ServerId>> refused;
  Fences fences;
  int64_t epoch = journal_.epoch();
  std::erase_if(inbox, [&](const auto& assignment) { return !accept(assignment, epoch); });
  for (const auto& assignment : inbox) refused.push_back(check_fences(assignment, fences));
  if (!make_durable(epoch, fences)) {
    std::lock_guard lock(mutex_);
    stalled_.insert(stalled_.end(), inbox.begin(), inbox.end());
    return;
  }
  if (!fences.empty()) kill_point("agent.after_journal");

  std::set<ServerId> work;
  bool full = false;
  for (size_t i = 0; i < inbox.size(); ++i) {
    for (const auto& id : merge(inbox[i], refused[i])) work.insert(id);
    full = full || inbox[i].full;
  }
  for (const auto& assignment : inbox) prefetcher_->want(assignment.prefetches, assignment.full);
  want_metadata();
  for (const auto& id : work) queues_->post(id);
  if (full) queues_->post(ServerId("resync"));
}

/// The epoch grows while changes are on their way here, and a controller reads and sends several at once: a change may be overtaken by
/// one of a later epoch, or by the full assignment of a new connection. That is no older database.
bool Agent::Core::accept(const link::Assignment& assignment, int64_t& epoch) {
  std::lock_guard lock(mutex_);
  if (assignment.full) {
    full_epoch_.reset();
    if (assignment.epoch >= epoch) full_epoch_ = assignment.epoch;
    full_at_ = Steady::now();
  }
  const bool overtaken = !assignment.full && full_epoch_ && assignment.epoch < epoch;
  if (assignment.epoch >= epoch || (overtaken && assignment.epoch >= *full_epoch_)) {
    epoch = std::max(epoch, assignment.epoch);
    refused_.clear();
    return true;
  }
  // Read before the full assignment, which therefore has it.
  if (overtaken && Steady::now() - full_at_ < kLongestOnTheWay) {
    log::info("a change of epoch {} is ignored: all was assigned anew at {}", assignment.epoch, *full_epoch_);
    return false;
  }
  refused_ = fmt::format("the cloud's epoch went back from {} to {}: the database is older than this host's servers",
                         epoch, assignment.epoch);
  log::error("assignment REFUSED: {}. Nothing was touched; see `virga doctor`.", refused_);
  return false;
}

/// Returns the servers whose fence is too low; raises the others' in `fences`.
std::set<ServerId> Agent::Core::check_fences(const link::Assignment& assignment, Fences& fences) const {
  std::set<ServerId> refused;
  for (const auto& server : assignment.servers) {
    auto it = fences.find(server.id);
    const auto known = it != fences.end() ? it->second : journal_.fence(server.id);
    if (server.fence < known) {
      log::error("server {}: REFUSED, fence {} is below {} seen before", server.id.str(), server.fence, known);
      refused.insert(server.id);
    } else if (server.fence > known) {
      fences[server.id] = server.fence;
    }
  }
  return refused;
}

/// False if the state folder cannot be written: then nothing may be acted upon until it can.
bool Agent::Core::make_durable(int64_t epoch, const Fences& fences) {
  if (epoch == journal_.epoch() && fences.empty()) return true;
  try {
    journal_.raise(epoch, {fences.begin(), fences.end()});
    return true;
  } catch (const Fault& fault) {
    log::error("assignment not taken: {}", fault.message);
    std::lock_guard lock(mutex_);
    refused_ = fault.message;
    return false;
  }
}

std::vector<ServerId> Agent::Core::merge(const link::Assignment& assignment,
                                         const std::set<ServerId>& refused) {
  std::vector<ServerId> work;
  std::lock_guard lock(mutex_);
  std::set<ServerId> mentioned;
  for (const auto& server : assignment.servers) {
    mentioned.insert(server.id);
    if (refused.count(server.id)) {
      link::ObservedServer report = records_[server.id].observed;
      report.id = server.id;
      report.generation = journal_.applied(server.id);
      report.steps = {{"refused", false, fmt::format("fence {} is below one seen before", server.fence),
                       clock_.now().time_since_epoch().count(), 0}};
      reports_[server.id] = std::move(report);
      continue;
    }
    auto& record = records_[server.id];
    const auto& old = record.desired;
    const bool stale = old && old->fence == server.fence && old->generation > server.generation;
    if (stale) continue;
    record.desired = server;
    work.push_back(server.id);
  }
  if (!assignment.full) return work;
  full_seen_ = full_wanted_ = true;
  for (auto& [id, record] : records_) {
    if (!record.desired || mentioned.count(id)) continue;
    record.desired
        .reset();  // not mentioned any more: left alone, and reported as quarantined if it is still there
    work.push_back(id);
  }
  return work;
}

bool Agent::Core::quarantined(const ServerId& server) const {
  auto it = records_.find(server);
  return full_seen_ && (it == records_.end() || !it->second.desired);
}

void Agent::Core::work(const ServerId& server) {
  std::optional<link::DesiredServer> desired;
  std::shared_ptr<Memory> memory;
  bool stray = false;
  {
    std::lock_guard lock(mutex_);
    auto& record = records_[server];
    desired = record.desired;
    memory = record.memory;
    stray = quarantined(server);
  }
  publish(server, desired ? reconciler_.work(*desired, *memory) : reconciler_.look(server, stray));
}

/// The newest state counts, the steps add up.
void Agent::Core::tell(link::ObservedServer observed) {
  auto& report = reports_[observed.id];
  auto& steps = observed.steps;
  steps.insert(steps.begin(), report.steps.begin(), report.steps.end());
  report = std::move(observed);
}

void Agent::Core::publish(const ServerId& server, Outcome outcome) {
  std::lock_guard lock(mutex_);
  auto& record = records_[server];
  const bool news =
      record.stamp == 0 || !outcome.observed.steps.empty() || !same(record.observed, outcome.observed);
  record.stamp = ++stamps_;
  record.observed = outcome.observed;
  record.observed.steps.clear();
  if (news) tell(std::move(outcome.observed));
  for (auto& action : outcome.actions) action_reports_.push_back(std::move(action));
  if (outcome.look_again) wake_in(server, *outcome.look_again);
  const bool gone = record.observed.power == link::Power::absent && !record.observed.quarantined;
  const bool tombstone = record.desired && record.desired->state == link::DesiredServer::State::absent;
  // Forgotten once done; the journal keeps the fence. A newer desire that came meanwhile stays.
  if (gone && !outcome.look_again && (!record.desired || (outcome.removed && tombstone)))
    records_.erase(server);
  changed_.notify_all();
}

/// Compares everything on the host with what was last reported; at a new connection reports all of it.
void Agent::Core::resync() {
  uint64_t before = 0;
  bool full = false;
  {
    std::lock_guard lock(mutex_);
    before = stamps_;
    full = full_wanted_;
  }
  // Before the domains: a generation with the power from before it was applied would tell of a guest that went off.
  const std::map<ServerId, int64_t> applied = journal_.all_applied();
  std::map<ServerId, Domain> domains;
  std::set<ServerId> found, present;
  try {
    for (auto& domain : hypervisor_.list()) found.insert(domain.id), domains[domain.id] = domain;
    for (const auto& id : storage_.servers()) found.insert(id);
  } catch (const std::exception& e) {
    log::warn("cannot look at the host's domains: {}", e.what());
    std::lock_guard lock(mutex_);
    return wake_in(ServerId("resync"), std::chrono::seconds(1));
  }
  std::set<ServerId> differing;
  {
    std::lock_guard lock(mutex_);
    present = found;
    for (const auto& [id, record] : records_) present.insert(id);
    for (const auto& id : present) {
      auto& record = records_[id];
      auto it = domains.find(id);
      const auto power = it == domains.end() ? link::Power::absent : to_link(it->second.power);
      const bool newer = record.stamp > before;  // looked at since we listed: that is the truth
      if (!newer && (record.stamp == 0 || record.observed.power != power)) differing.insert(id);
      record.observed.id = id;
      if (!newer) {
        const auto known = applied.find(id);
        record.observed.power = power;
        record.observed.generation = known == applied.end() ? 0 : known->second;
      }
      // Somebody removed it by hand: its files bring no event.
      if (record.observed.quarantined && !found.count(id)) differing.insert(id);
      if (quarantined(id) && found.count(id)) record.observed.quarantined = true;
      if (full) tell(record.observed);
    }
    // Sent with the others' reports, so that it overtakes none: an older state would be taken for the newest.
    if (full) full_ready_ = true, full_wanted_ = false;
    changed_.notify_all();
  }
  for (const auto& id : differing) queues_->post(id);
}

}  // namespace virga::host
