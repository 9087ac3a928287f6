#include "compute/materialise.h"

#include "compute/server_table.h"

namespace virga::compute {

using link::Power;
using Outcome = Materialised::Outcome;

int nova_power_state(Power power) {
  switch (power) {
    case Power::running:
      return 1;
    case Power::paused:
      return 3;
    case Power::shutoff:
      return 4;
    case Power::crashed:
      return 6;
    case Power::unknown:
    case Power::absent:
      return 0;
  }
  return 0;
}

namespace {

/// The generation was brought about, and then the guest went off, or its host did: a later difference is told, not undone.
Materialised went_off(Materialised m) {
  m.vm_state = "stopped";
  m.task_state.clear();
  m.stopped_by_itself = true;
  return m;
}

Materialised first_boot(const Situation& s, Materialised m) {
  m.vm_state = "building";
  m.task_state = s.has_host ? "spawning" : "scheduling";
  if (s.seen_generation < s.generation) return m;
  const bool lost = s.desired == "running" && is_off(s.power);  // no port of it will come up any more
  const bool there = s.desired == "running" ? is_on(s.power) : is_off(s.power);
  if (!lost && (!there || !s.ports_active)) return m;
  m.outcome = Outcome::succeeded;
  if (lost) return went_off(m);
  m.vm_state = s.desired == "running" ? "active" : "stopped";
  m.task_state.clear();
  return m;
}

Materialised reverting(Materialised m) {
  m.vm_state = "resized";
  m.task_state = "resize_reverting";
  return m;
}

Materialised moving(const Situation& s, Materialised m) {
  m.vm_state = s.desired == "running" ? "active" : s.desired == "paused" ? "paused" : "stopped";
  if (s.move == kLive) {
    m.task_state = "migrating";
  } else if (s.move == kLeaving) {
    m.task_state = "resize_migrating";
  } else if (s.move == kArriving) {
    m.task_state = "resize_finish";
  } else if (s.move == kResized) {
    m.vm_state = "resized";
    if (s.operation == "resize" || s.operation == "migrate") m.outcome = Outcome::succeeded;
  } else if (s.operation == "revertResize") {
    return reverting(m);
  } else {
    m.task_state = "resize_reverting";  // by itself: it could not come up on its destination
  }
  return m;
}

Materialised want_running(const Situation& s, Materialised m) {
  const bool applied = s.seen_generation >= s.generation;
  m.vm_state = "active";
  if (s.operation == "reboot") {
    m.task_state = s.detail == "HARD" ? "rebooting_hard" : "rebooting";
    return m;  // its ActionReport ends it
  }
  if (s.operation == "unpause") {
    if (!applied) {
      m.vm_state = "paused";
      m.task_state = "unpausing";
      return m;
    }
    m.outcome = Outcome::succeeded;
  }
  const bool starts = s.operation == "start" || s.operation == "evacuate" || s.operation == "revertResize";
  if (starts) {
    if (!applied || !(is_on(s.power) || is_off(s.power))) {
      if (s.operation == "revertResize") return reverting(m);
      if (s.operation == "start") m.vm_state = "stopped";
      m.task_state = s.operation == "start" ? "powering-on" : "rebuilding";
      return m;
    }
    m.outcome = Outcome::succeeded;
  }
  return applied && is_off(s.power) ? went_off(m) : m;
}

Materialised want_paused(const Situation& s, Materialised m) {
  const bool applied = s.seen_generation >= s.generation;
  m.vm_state = "paused";
  if (s.operation == "pause") {
    if (!applied) {
      m.vm_state = "active";
      m.task_state = "pausing";
      return m;
    }
    m.outcome = Outcome::succeeded;
  }
  return applied && is_off(s.power) ? went_off(m) : m;
}

Materialised want_stopped(const Situation& s, Materialised m) {
  if (s.operation == "evacuate") {
    m.vm_state = "stopped";
    if (s.seen_generation >= s.generation && !is_on(s.power)) m.outcome = Outcome::succeeded;
    else m.task_state = "rebuilding";
    return m;
  }
  if (s.operation == "revertResize") {
    if (s.seen_generation < s.generation || is_on(s.power)) return reverting(m);
    m.vm_state = "stopped";
    m.outcome = Outcome::succeeded;
    return m;
  }
  if (s.operation != "stop") {
    m.vm_state = "stopped";
    return m;
  }
  if (s.seen_generation >= s.generation && !is_on(s.power)) {
    m.vm_state = "stopped";
    m.outcome = Outcome::succeeded;
  } else {
    m.vm_state = "active";
    m.task_state = "powering-off";
  }
  return m;
}

}  // namespace

Materialised materialise(const Situation& s) {
  Materialised m;
  m.power_state = nova_power_state(s.power);
  if (s.desired == "absent") {
    m.vm_state = s.launched ? "active" : "building";
    m.task_state = "deleting";
    if (s.power == Power::absent && s.seen_generation >= s.generation) {
      m.vm_state = "deleted";
      m.task_state.clear();
      m.outcome = Outcome::succeeded;
    }
    return m;
  }
  if (!s.move.empty()) return moving(s, m);
  if (s.override_state == "error" || !s.has_host ||
      (s.failed_permanently && s.failed_generation >= s.generation)) {
    m.vm_state = "error";
    m.outcome = Outcome::failed;
    return m;
  }
  if (!s.launched) return first_boot(s, m);
  m = s.desired == "running" ? want_running(s, m) : s.desired == "paused" ? want_paused(s, m) : want_stopped(s, m);
  // It is what it is from the confirmation on; the operation ends when its host has removed the disk of before.
  if (s.operation == "confirmResize" && s.seen_generation >= s.generation) m.outcome = Outcome::succeeded;
  return m;
}

namespace {

struct StatusRow {
  std::string_view vm_state, task_state, status;
};
// nova.api.openstack.common._STATE_MAP, for the states that exist here; the row without a task is the
// default.
constexpr StatusRow kStatuses[] = {
    {"active", "", "ACTIVE"},
    {"active", "rebooting", "REBOOT"},
    {"active", "rebooting_hard", "HARD_REBOOT"},
    {"active", "rebuilding", "REBUILD"},
    {"active", "migrating", "MIGRATING"},
    {"active", "resize_prep", "RESIZE"},
    {"active", "resize_migrating", "RESIZE"},
    {"active", "resize_finish", "RESIZE"},
    {"building", "", "BUILD"},
    {"stopped", "", "SHUTOFF"},
    {"stopped", "rebuilding", "REBUILD"},
    {"stopped", "resize_prep", "RESIZE"},
    {"stopped", "resize_migrating", "RESIZE"},
    {"stopped", "resize_finish", "RESIZE"},
    {"resized", "", "VERIFY_RESIZE"},
    {"resized", "resize_reverting", "REVERT_RESIZE"},
    {"paused", "", "PAUSED"},
    {"paused", "migrating", "MIGRATING"},
    {"suspended", "", "SUSPENDED"},
    {"rescued", "", "RESCUE"},
    {"error", "", "ERROR"},
    {"deleted", "", "DELETED"},
    {"soft-delete", "", "SOFT_DELETED"},
    {"shelved", "", "SHELVED"},
    {"shelved_offloaded", "", "SHELVED_OFFLOADED"},
};

}  // namespace

std::string server_status(const std::string& vm_state, const std::string& task_state) {
  std::string_view found = "UNKNOWN";
  for (const auto& row : kStatuses) {
    if (row.vm_state != vm_state) continue;
    if (row.task_state == task_state) return std::string(row.status);
    if (row.task_state.empty()) found = row.status;
  }
  return std::string(found);
}

std::vector<StatusFilter> states_of_status(const std::string& status) {
  std::vector<StatusFilter> all;
  for (const auto& row : kStatuses)
    if (row.status == status) all.push_back({std::string(row.vm_state), std::string(row.task_state)});
  return all;
}

std::vector<std::string> renaming_tasks(const std::string& vm_state) {
  std::vector<std::string> all;
  for (const auto& row : kStatuses)
    if (row.vm_state == vm_state && !row.task_state.empty()) all.emplace_back(row.task_state);
  return all;
}

}  // namespace virga::compute
