#include "host/reconciler.h"

#include "base/kill_point.h"
#include "base/log.h"
#include "base/scope_exit.h"

namespace virga::host {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

link::Power to_link(DomainPower power) {
  switch (power) {
    case DomainPower::absent:
      return link::Power::absent;
    case DomainPower::shutoff:
      return link::Power::shutoff;
    case DomainPower::running:
      return link::Power::running;
    case DomainPower::paused:
      return link::Power::paused;
    case DomainPower::crashed:
      return link::Power::crashed;
    case DomainPower::arriving:
      return link::Power::absent;  // it is still the other host's
  }
  return link::Power::unknown;
}

namespace {

constexpr std::string_view kDepart = "migrate_live", kDepartAbort = "migrate_live_abort", kDepartForce = "migrate_live_force";

/// As nova counts it.
milliseconds departure_limit(const AgentOptions& options, const link::DesiredServer& desired) {
  const uint64_t gib = desired.root_disk.count + (desired.memory.count + 1023) / 1024;
  return options.departure_limit * static_cast<int64_t>(std::max<uint64_t>(2, gib));
}

/// After which steps a crash test may kill the agent.
const char* kill_point_of(Step step) {
  switch (step) {
    case Step::image:
      return "agent.after_image";
    case Step::disk:
      return "agent.after_disk";
    case Step::disk_copy:
      return "agent.after_disk_copy";
    case Step::old_disks:
      return "agent.after_old_disks";
    case Step::config_drive:
      return "agent.after_config_drive";
    case Step::define:
      return "agent.after_define";
    case Step::start:
      return "agent.after_start";
    case Step::destroy:
      return "agent.after_destroy";
    case Step::undefine:
      return "agent.after_undefine";
    case Step::pause:
      return "agent.after_pause";
    case Step::resume:
      return "agent.after_resume";
    case Step::remove_disk:
      return "agent.after_disk_removed";
    default:
      return "";
  }
}

}  // namespace

Reconciler::Reconciler(const AgentOptions& options, HostId host, Hypervisor& hypervisor, Storage& storage,
                       Journal& journal, Departures& departures, Clock& clock, Hooks hooks)
    : options_(options),
      host_(std::move(host)),
      hypervisor_(hypervisor),
      storage_(storage),
      journal_(journal),
      departures_(departures),
      clock_(clock),
      hooks_(std::move(hooks)) {}

milliseconds Reconciler::backoff(int attempts) const {
  return std::min(options_.retry_max, options_.retry_min * (1 << std::min(attempts - 1, 10)));
}

Outcome Reconciler::look(const ServerId& server, bool quarantined) {
  Outcome outcome;
  outcome.observed.id = server;
  hooks_.on_step(server, "observe");
  try {
    const auto domain = hypervisor_.find(server);
    const auto files = storage_.look(server);
    outcome.observed.power = to_link(domain.power);
    outcome.observed.generation = journal_.applied(server);
    const bool there = domain.power != DomainPower::absent || files.any;
    if (!quarantined || !there) return outcome;
    outcome.observed.quarantined = true;
    outcome.observed.cause = domain.power == DomainPower::absent
                                 ? "files of a server that is not assigned to this host"
                             : domain.ours ? "a domain of this cloud that is not assigned to this host"
                                           : "a domain that is not of this cloud";
    outcome.observed.hint = "Nothing was touched. Remove it by hand if nobody needs it.";
  } catch (const Fault& fault) {
    outcome.observed.cause = fault.message;
    outcome.look_again = options_.retry_min * 2;
  }
  return outcome;
}

Present Reconciler::observe(const link::DesiredServer& desired, const Memory& memory, Domain& domain) {
  hooks_.on_step(desired.id, "observe");
  domain = hypervisor_.find(desired.id);
  const auto files = storage_.look(desired.id, desired.disk);
  Present present;
  present.power = domain.power;
  present.ours = domain.ours || domain.power == DomainPower::absent;
  present.defined_generation = domain.generation;
  present.files = files.any;
  present.disk = files.disk;
  present.config_drive = files.config_drive;
  for (const int64_t disk : desired.old_disks) present.old_disks = present.old_disks || files.disks.contains(disk);
  present.applied = journal_.applied(desired.id);
  present.shutdown_overdue =
      memory.shutdown_since && Steady::now() - *memory.shutdown_since >= options_.shutdown_timeout;
  return present;
}

Outcome Reconciler::work(const link::DesiredServer& desired, Memory& memory) {
  if (memory.generation != desired.generation) memory = Memory{.generation = desired.generation};
  Outcome outcome;
  auto& o = outcome.observed;
  o.id = desired.id;
  Domain domain;
  try {
    auto present = observe(desired, memory, domain);
    if (!memory.permanent) bring_about(desired, present, memory, outcome);
    if (!desired.actions.empty()) {
      present = observe(desired, memory, domain);
      act(desired, present, domain, memory, outcome);
    }
    hooks_.on_step(desired.id, "observe");
    domain = hypervisor_.find(desired.id);
    o.power = to_link(domain.power);
  } catch (const Fault& fault) {
    fail(fault, desired, memory, outcome);
  } catch (const std::exception& e) {
    fail(Fault(FaultKind::internal, e.what()), desired, memory, outcome);
  }
  o.generation = journal_.applied(desired.id);
  if (memory.failed && o.generation < desired.generation) {
    o.failed_generation = desired.generation;
    o.cause = memory.cause;
    o.hint = memory.hint;
    o.permanent = memory.permanent;
  }
  return outcome;
}

void Reconciler::bring_about(const link::DesiredServer& desired, const Present& present, Memory& memory,
                             Outcome& outcome) {
  const auto next = plan(desired, present);
  if (!next.refusal.empty()) throw Fault(FaultKind::conflict, next.refusal, next.hint);
  if (next.waiting) return ask_to_power_off(desired, memory, outcome);
  for (const auto step : next.steps) take(step, desired, outcome);
  memory.failed = false;
  memory.attempts = 0;
  memory.shutdown_since.reset();
  if (next.applied) journal_.set_applied(desired.id, desired.generation);
  outcome.removed = desired.state == link::DesiredServer::State::absent;
}

void Reconciler::ask_to_power_off(const link::DesiredServer& desired, Memory& memory, Outcome& outcome) {
  const auto now = Steady::now();
  if (!memory.shutdown_since) {
    memory.shutdown_since = memory.shutdown_sent = now;
    take(Step::shutdown, desired, outcome);
  } else if (now - *memory.shutdown_sent >= options_.shutdown_repeat) {
    memory.shutdown_sent = now;
    perform(Step::shutdown, desired);
  }
  const auto left = *memory.shutdown_since + options_.shutdown_timeout - now;
  outcome.look_again =
      std::clamp(std::chrono::ceil<milliseconds>(left), milliseconds(10), options_.shutdown_repeat);
}

void Reconciler::fail(const Fault& fault, const link::DesiredServer& desired, Memory& memory,
                      Outcome& outcome) {
  ++memory.attempts;
  memory.failed = true;
  memory.cause = fault.message;
  memory.hint = fault.hint;
  const bool last = !may_heal(fault.kind) && memory.attempts >= options_.max_attempts;
  // A delete is never given up: leftovers would stay for ever.
  const bool deleting = desired.state == link::DesiredServer::State::absent;
  memory.permanent = !deleting && (!may_be_chance(fault.kind) || last);
  log::warn("server {}: {}{}", desired.id.str(), fault.message, memory.permanent ? " (given up)" : "");
  if (!memory.permanent) outcome.look_again = backoff(memory.attempts);
}

void Reconciler::act(const link::DesiredServer& desired, const Present& present, const Domain& domain, Memory& memory,
                     Outcome& outcome) {
  for (const auto& action : desired.actions) {
    if (action.kind.starts_with(kDepart)) {
      if (present.applied >= desired.generation) depart(action, desired, domain, outcome);
      continue;
    }
    if (const auto done = journal_.done(action.operation)) {
      outcome.actions.push_back(*done);
      continue;
    }
    if (!memory.permanent && present.applied < desired.generation)
      return;  // first the state, then the action
    act_once(action, desired, present, memory, outcome);
  }
}

void Reconciler::act_once(const link::Action& action, const link::DesiredServer& desired,
                          const Present& present, Memory& memory, Outcome& outcome) {
  link::ActionReport report{action.operation, action.fence, true, ""};
  try {
    if (memory.permanent) throw Fault(FaultKind::conflict, memory.cause, memory.hint);
    for (const auto step : plan_action(action, desired, present)) take(step, desired, outcome);
  } catch (const Fault& fault) {
    const int attempts = ++memory.action_attempts[action.operation];
    if (may_be_chance(fault.kind) && attempts < options_.max_attempts) {
      outcome.look_again = backoff(attempts);
      return;
    }
    report.ok = false;
    report.message = fault.hint.empty() ? fault.message : fault.message + ". " + fault.hint;
  }
  journal_.set_done(report);
  outcome.actions.push_back(std::move(report));
}

/// Begun once for each operation, also if the agent ends meanwhile: what there is on the other host then is not to be built upon.
void Reconciler::depart(const link::Action& action, const link::DesiredServer& desired, const Domain& domain, Outcome& outcome) {
  constexpr milliseconds kLookEvery{1000};
  const auto& id = desired.id;
  link::ActionReport report{action.operation, action.fence, false, ""};
  auto state = departures_.look(id, action.operation);
  if (!state) {
    if (const auto done = journal_.done(action.operation)) {
      report = *done;
      if (domain.departed) report.ok = true, report.message.clear();
      return outcome.actions.push_back(std::move(report));
    }
    if (action.kind == kDepartAbort) report.message = "It was aborted.";
    else if (domain.power != DomainPower::running && domain.power != DomainPower::paused) report.message = "The server does not run.";
    if (report.message.empty()) {
      report.message = "The agent of its host was started again meanwhile.";
      journal_.set_done(report, true);
      departures_.begin(id, desired.instance_name, action.operation);
      kill_point("agent.after_departure_begun");
      outcome.look_again = kLookEvery;
      return;
    }
    journal_.set_done(report);
    return outcome.actions.push_back(std::move(report));
  }
  if (!state->over) {
    const auto limit = departure_limit(options_, desired);
    if (action.kind == kDepartAbort) departures_.abort(id);
    else if (state->lasts > limit)
      departures_.abort(id, fmt::format("It did not end within {} s: its guest may change its memory faster than it can be sent.", limit.count() / 1000));
    if (action.kind == kDepartForce) departures_.hurry(id);
    outcome.observed.migration = state->progress;
    outcome.look_again = kLookEvery;
    return;
  }
  kill_point("agent.after_departure");
  report.ok = state->ok;
  report.message = state->hint.empty() ? state->cause : state->cause + ". " + state->hint;
  journal_.set_done(report);
  departures_.forget(id);
  outcome.actions.push_back(std::move(report));
}

void Reconciler::take(Step step, const link::DesiredServer& desired, Outcome& outcome) {
  hooks_.on_step(desired.id, name_of(step));
  link::StepReport report{name_of(step), true, "", clock_.now().time_since_epoch().count(), 0};
  const auto began = Steady::now();
  ScopeExit record([&] {
    report.took_us = std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - began).count();
    outcome.observed.steps.push_back(report);
  });
  try {
    perform(step, desired);
  } catch (const std::exception& e) {
    report.ok = false;
    report.message = e.what();
    throw;
  }
  kill_point(kill_point_of(step));
}

void Reconciler::perform(Step step, const link::DesiredServer& desired) {
  const auto& id = desired.id;
  switch (step) {
    case Step::image:
      for (const auto* image : {&desired.image, &desired.kernel, &desired.ramdisk})
        if (*image) storage_.ensure_image(**image, hooks_.fetch);
      return;
    case Step::disk:
      return storage_.create_disk({id, desired.disk}, *desired.image, desired.root_disk);
    case Step::disk_copy:
      return copy_disk(desired);
    case Step::old_disks:
      for (const int64_t disk : desired.old_disks)
        if (disk != desired.disk) storage_.remove_disk({id, disk});
      return;
    case Step::config_drive:
      return storage_.write_config_drive(id, desired.config_drive_files);
    case Step::define:
      departures_.tidy(id, desired.instance_name);
      return hypervisor_.define(spec_of(desired));
    case Step::start:
      return hypervisor_.start(id);
    case Step::shutdown:
      return hypervisor_.shutdown(id);
    case Step::destroy:
      return hypervisor_.destroy(id);
    case Step::undefine:
      return hypervisor_.undefine(id);
    case Step::pause:
      return hypervisor_.pause(id);
    case Step::resume:
      return hypervisor_.resume(id);
    case Step::remove_disk:
      departures_.tidy(id, desired.instance_name);
      return storage_.remove(id);
    case Step::reboot_soft:
      return hypervisor_.reboot(id);
    case Step::reboot_hard:
      return hypervisor_.reset(id);
  }
}

void Reconciler::copy_disk(const link::DesiredServer& desired) {
  const DiskOf disk{desired.id, desired.disk};
  if (desired.disk_source->host == host_) return storage_.copy_disk(disk, desired.disk_source->disk, desired.root_disk);
  storage_.receive_disk(disk, *desired.image, desired.root_disk, [&](const auto& sink) {
    hooks_.fetch_disk(desired.id, desired.disk_source->disk, sink);
  });
}

DomainSpec Reconciler::spec_of(const link::DesiredServer& desired) {
  const auto paths = storage_.paths(desired.id, desired.disk);
  // In the cache already: the image step comes first. So this only names the file.
  const auto cached = [&](const std::optional<link::ImageRef>& image) {
    return image ? storage_.ensure_image(*image, hooks_.fetch) : std::string();
  };
  DomainSpec spec;
  spec.id = desired.id;
  spec.generation = desired.generation;
  spec.name = desired.instance_name;
  spec.title = desired.name;
  spec.project_id = desired.project_id;
  spec.user_id = desired.user_id;
  spec.flavor_name = desired.flavor_name;
  spec.vcpus = desired.vcpus;
  spec.memory = desired.memory;
  spec.kernel = cached(desired.kernel);
  spec.initrd = cached(desired.ramdisk);
  spec.command_line = desired.kernel_command_line;
  if (desired.image) spec.disks.push_back(DiskSpec{.path = paths.disk});
  if (desired.config_drive)
    spec.disks.push_back(DiskSpec{
        .path = paths.config_drive, .format = "raw", .bus = "ide", .device = "cdrom", .read_only = true});
  for (const auto& nic : desired.nics)
    spec.nics.push_back({nic.port, nic.mac, nic.mtu, options_.bridge, "tap" + nic.port.str().substr(0, 11)});
  spec.console_log = paths.console_log;
  spec.serial_socket = paths.serial_socket;
  return spec;
}

}  // namespace virga::host
