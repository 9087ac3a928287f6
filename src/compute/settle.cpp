#include "compute/settle.h"

#include "base/log.h"
#include "compute/materialise.h"
#include "compute/migrations.h"
#include "compute/quotas.h"

namespace virga::compute {
namespace {

Situation situation_of(Core& core, db::Tx& tx, const ServerRow& row,
                       const std::optional<operations::Operation>& operation) {
  Situation s;
  s.desired = row.desired_state;
  s.generation = row.generation;
  s.override_state = row.state_override;
  s.has_host = !row.host_id.empty();
  s.power = static_cast<link::Power>(row.seen_power);
  s.seen_generation = row.seen_generation;
  s.failed_generation = row.failed_generation;
  s.failed_permanently = row.failed_permanently != 0;
  s.launched = row.launched_at.has_value();
  s.move = row.move;
  if (operation) {
    s.operation = operation->kind;
    s.detail = operation->detail;
  }
  // Asked only where it decides something: the last step of a first boot.
  const bool matters = !s.launched && s.desired == "running" && s.power == link::Power::running &&
                       s.seen_generation >= s.generation;
  s.ports_active = !matters || core.networks.server_ports_active(tx, row.server_id());
  return s;
}

void save_state(db::Tx& tx, const ServerRow& row) {
  update_server(tx, row.id,
                {{"vm_state", row.vm_state},
                 {"task_state", row.task_state},
                 {"power_state", row.power_state},
                 {"desired_state", row.desired_state},
                 {"generation", row.generation},
                 {"fence", row.fence},
                 {"state_override", row.state_override},
                 {"seen_power", row.seen_power},
                 {"seen_generation", row.seen_generation},
                 {"failed_generation", row.failed_generation},
                 {"failed_permanently", row.failed_permanently},
                 {"cause", row.cause},
                 {"hint", row.hint},
                 {"fault_code", row.fault_code},
                 {"fault_message", row.fault_message},
                 {"fault_details", row.fault_details},
                 {"fault_at", row.fault_at},
                 {"updated_at", row.updated_at},
                 {"launched_at", row.launched_at},
                 {"terminated_at", row.terminated_at},
                 {"deleted", row.deleted},
                 {"tombstone", row.tombstone}});
}

void end_operation(Core& core, db::Tx& tx, const ServerRow& row, const operations::Operation& operation,
                   Materialised::Outcome outcome) {
  if (outcome == Materialised::Outcome::none) return;
  const bool ok = outcome == Materialised::Outcome::succeeded;
  operations::finish(tx, core.clock.now(), operation.id, ok, ok ? "" : row.fault_message, ok ? "" : row.hint);
  if (operation.kind == "evacuate") end_evacuation(tx, operation.id, row.id, ok, core.clock.now());
}

/// At most `bytes`, and not inside of a character.
size_t cut_at(const std::string& text, size_t bytes) {
  if (text.size() <= bytes) return text.size();
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return bytes;
}

}  // namespace

void set_fault(Core& core, ServerRow& row, int64_t code, const std::string& message,
               const std::string& details) {
  row.fault_code = code;
  row.fault_message = message.substr(0, cut_at(message, 255));
  row.fault_details = details;
  row.fault_at = to_db(core.clock.now());
}

void settle(Core& core, db::Tx& tx, ServerRow& row) { settle(core, tx, row, operations::running(tx, "server", row.id)); }

void settle(Core& core, db::Tx& tx, ServerRow& row, const std::optional<operations::Operation>& operation) {
  const Materialised m = materialise(situation_of(core, tx, row, operation));
  if (m.vm_state == "deleted") {
    release_server(core, tx, row, false);
    return;
  }
  if (m.stopped_by_itself) {
    log::info("server {} went off by itself; it stays off until it is started", row.id);
    row.desired_state = "stopped";
    ++row.generation;
  }
  if (m.vm_state == "error" && row.vm_state != "error" && !row.cause.empty())
    set_fault(core, row, 500, row.cause, row.hint);
  const bool shown_differs = row.vm_state != m.vm_state || row.task_state.value_or("") != m.task_state ||
                             row.power_state != m.power_state;
  row.vm_state = m.vm_state;
  row.task_state = m.task_state.empty() ? std::nullopt : std::optional(m.task_state);
  row.power_state = m.power_state;
  if (!row.launched_at && (m.vm_state == "active" || m.vm_state == "stopped"))
    row.launched_at = to_db(core.clock.now());
  if (shown_differs) row.updated_at = to_db(core.clock.now());
  save_state(tx, row);
  if (operation) end_operation(core, tx, row, *operation, m.outcome);
}

operations::Operation begin_operation(Core& core, db::Tx& tx, ServerRow& row, std::string_view kind,
                                      const operations::Origin& origin, std::string_view detail) {
  while (const auto before = operations::running(tx, "server", row.id))
    operations::finish(tx, core.clock.now(), before->id, false, fmt::format("Superseded by {}.", kind));
  auto operation = operations::begin(tx, core.clock.now(), kind, "server", row.id, origin, detail);
  row.fence = std::max(row.fence + 1, operation.fence);
  return operation;
}

void record_seen_steps(db::Tx& tx, const operations::Operation& operation, const std::string& host, const std::vector<link::StepReport>& steps) {
  std::vector<operations::Step> all;
  for (const auto& step : steps)
    all.push_back({.step = step.step,
                   .ok = step.ok,
                   .message = step.message,
                   .host = host,
                   .at = to_db(Time(std::chrono::microseconds(step.at_us))),
                   .took_us = step.took_us});
  operations::record_steps(tx, operation, all);
}

void release_server(Core& core, db::Tx& tx, ServerRow& row, bool tombstone) {
  if (!row.deleted) {
    give_back_quota(tx, row.project_id, {{"instances", 1}, {"cores", row.vcpus}, {"ram", row.memory_mb}});
    core.placement.release(tx, row.id);
    core.networks.release_server_ports(tx, row.server_id());
    row.terminated_at = to_db(core.clock.now());
    row.updated_at = *row.terminated_at;
  }
  row.vm_state = "deleted";
  row.task_state = std::nullopt;
  row.power_state = 0;
  row.desired_state = "absent";
  row.deleted = 1;
  row.tombstone = tombstone;
  save_state(tx, row);
  if (const auto operation = operations::running(tx, "server", row.id))
    operations::finish(tx, core.clock.now(), operation->id, true);
}

}  // namespace virga::compute
