#include "host/plan.h"

#include <fmt/format.h>

namespace virga::host {

const char* name_of(Step step) {
  switch (step) {
    case Step::image:
      return "image";
    case Step::disk:
      return "disk";
    case Step::disk_copy:
      return "disk_copy";
    case Step::old_disks:
      return "old_disks_removed";
    case Step::config_drive:
      return "config_drive";
    case Step::define:
      return "define";
    case Step::start:
      return "start";
    case Step::shutdown:
      return "shutdown";
    case Step::destroy:
      return "destroy";
    case Step::undefine:
      return "undefine";
    case Step::pause:
      return "pause";
    case Step::resume:
      return "resume";
    case Step::remove_disk:
      return "disk_removed";
    case Step::reboot_soft:
      return "reboot_soft";
    case Step::reboot_hard:
      return "reboot_hard";
  }
  return "?";
}

namespace {

bool is_on(DomainPower power) {
  return power == DomainPower::running || power == DomainPower::paused;
}

/// There is a process to be ended.
bool holds_qemu(DomainPower power) {
  return is_on(power) || power == DomainPower::crashed || power == DomainPower::arriving;
}

Plan plan_absent(const Present& present) {
  Plan plan;
  plan.applied = true;
  if (holds_qemu(present.power)) plan.steps.push_back(Step::destroy);
  if (present.power != DomainPower::absent) plan.steps.push_back(Step::undefine);
  if (present.files) plan.steps.push_back(Step::remove_disk);
  return plan;
}

void prepare_files(Plan& plan, const link::DesiredServer& desired, const Present& present) {
  plan.steps.push_back(Step::image);
  if (desired.image && !present.disk) plan.steps.push_back(desired.disk_source ? Step::disk_copy : Step::disk);
  if (desired.config_drive && !present.config_drive) plan.steps.push_back(Step::config_drive);
}

/// Files and definition of a domain that is not running.
void prepare(Plan& plan, const link::DesiredServer& desired, const Present& present) {
  prepare_files(plan, desired, present);
  if (present.power == DomainPower::absent || present.defined_generation != desired.generation)
    plan.steps.push_back(Step::define);
}

bool disk_was_lost(const link::DesiredServer& desired, const Present& present) {
  const bool was_here = present.applied > 0 && present.applied >= desired.placed_generation;
  return was_here && desired.image && !present.disk && !desired.disk_source;
}

Plan lost_disk() {
  Plan plan;
  plan.refusal = "the server's root disk is missing on its host";
  plan.hint = "Restore the disk file and start the server again, or delete the server.";
  return plan;
}

/// Running, or paused.
Plan plan_on(const link::DesiredServer& desired, const Present& present) {
  Plan plan;
  plan.applied = true;
  const bool still = desired.state == link::DesiredServer::State::paused;
  if (is_on(present.power)) {
    if (present.defined_generation == 0) plan.steps.push_back(Step::define);
    if (still != (present.power == DomainPower::paused)) plan.steps.push_back(still ? Step::pause : Step::resume);
    return plan;
  }
  if (disk_was_lost(desired, present)) return lost_disk();
  if (holds_qemu(present.power)) plan.steps.push_back(Step::destroy);
  prepare(plan, desired, present);
  plan.steps.push_back(Step::start);
  if (still) plan.steps.push_back(Step::pause);
  return plan;
}

Plan plan_stopped(const link::DesiredServer& desired, const Present& present) {
  Plan plan;
  plan.applied = true;
  // A disk that is to come here is what this is about, whatever the domain is.
  const bool moves_in = desired.disk_source && !present.disk;
  if (is_on(present.power)) {
    plan.waiting = !present.shutdown_overdue && present.power == DomainPower::running;
    plan.applied = !plan.waiting;
    plan.steps.push_back(plan.waiting ? Step::shutdown : Step::destroy);
  } else if (holds_qemu(present.power)) {
    plan.steps.push_back(Step::destroy);
  } else if (present.power == DomainPower::absent || moves_in) {
    if (disk_was_lost(desired, present)) return lost_disk();
    prepare(plan, desired, present);
  }
  return plan;
}

/// The domain comes from another host. Here are only its files: an empty overlay, which the other hypervisor fills.
Plan plan_incoming(const link::DesiredServer& desired, const Present& present) {
  Plan plan;
  plan.applied = true;
  if (is_on(present.power) || present.power == DomainPower::arriving) return plan;
  if (present.power == DomainPower::crashed) plan.steps.push_back(Step::destroy);
  if (present.power != DomainPower::absent) plan.steps.push_back(Step::undefine);
  prepare_files(plan, desired, present);
  return plan;
}

}  // namespace

Plan plan(const link::DesiredServer& desired, const Present& present) {
  using State = link::DesiredServer::State;
  Plan plan;
  if (present.power != DomainPower::absent && !present.ours) {
    plan.refusal = "a domain with this server's id exists that is not of this cloud";
    plan.hint = "Look at it with `virga virsh dominfo`, and undefine it if nobody needs it.";
    return plan;
  }
  if (desired.state == State::absent) return plan_absent(present);
  plan.applied = true;
  if (present.applied < desired.generation)
    plan = desired.state == State::stopped    ? plan_stopped(desired, present)
           : desired.state == State::incoming ? plan_incoming(desired, present)
                                              : plan_on(desired, present);
  if (present.old_disks && plan.applied && plan.refusal.empty()) plan.steps.push_back(Step::old_disks);
  return plan;
}

std::vector<Step> plan_action(const link::Action& action, const link::DesiredServer& desired,
                              const Present& present) {
  if (desired.state != link::DesiredServer::State::running)
    throw Fault(FaultKind::conflict, "the server is not to run, so it cannot be rebooted");
  const bool on = is_on(present.power);
  if (action.kind == "reboot_soft" && present.power == DomainPower::running) return {Step::reboot_soft};
  if (action.kind == "reboot_hard" || action.kind == "reboot_soft") {
    if (present.power == DomainPower::running) return {Step::reboot_hard};
    if (desired.image && !present.disk) {
      const auto lost = lost_disk();
      throw Fault(FaultKind::conflict, lost.refusal, lost.hint);
    }
    // Off, paused or crashed: a hard reboot brings it up anew, from the files that are there.
    std::vector<Step> steps;
    if (on || present.power == DomainPower::crashed) steps.push_back(Step::destroy);
    steps.push_back(Step::image);
    if (desired.config_drive && !present.config_drive) steps.push_back(Step::config_drive);
    steps.push_back(Step::define);
    steps.push_back(Step::start);
    return steps;
  }
  throw Fault(FaultKind::not_implemented,
              fmt::format("this agent does not know the action '{}'", action.kind),
              "Upgrade the agent to the controller's version.");
}

}  // namespace virga::host
