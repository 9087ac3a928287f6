// The rows of operations and their timelines. A resource's fence is unique per operation, so two controllers
// that begin work on the same resource at once can never hold the same token: the second is refused by the
// key and re-run.

#include <algorithm>

#include "base/fault.h"
#include "operations/api.h"

namespace virga::operations {
namespace {

constexpr std::string_view kColumns =
    "id, kind, resource_type, resource_id, project_id, user_id, request_id, state, step, message, hint, "
    "host, attempt, "
    "fence, detail, started_at, finished_at, step_count";

Operation from_row(const db::Row& row) {
  Operation o;
  int i = 0;
  o.id = OperationId(row.text(i++));
  for (auto* field : {&o.kind, &o.resource_type, &o.resource_id, &o.project_id, &o.user_id, &o.request_id,
                      &o.state, &o.step, &o.message, &o.hint, &o.host})
    *field = row.text(i++);
  o.attempt = static_cast<int>(row.integer(i++));
  o.fence = row.integer(i++);
  for (auto* field : {&o.detail, &o.started_at, &o.finished_at}) *field = row.text(i++);
  o.step_count = row.integer(i++);
  return o;
}

std::string select(std::string_view rest) {
  return fmt::format("SELECT {} FROM operations {}", kColumns, rest);
}

std::string cut(std::string_view text, size_t most) {
  return std::string(text.substr(0, most));
}

std::vector<Operation> from_rows(const db::Rows& rows) {
  std::vector<Operation> all;
  for (const auto& row : rows) all.push_back(from_row(row));
  return all;
}

constexpr size_t kStepLength = 64, kMessageLength = 16000;

Operation started(Time now, std::string_view kind, std::string_view resource_type, std::string_view resource_id,
                  const Origin& origin) {
  Operation o;
  o.id = OperationId(new_uuid());
  o.kind = kind;
  o.resource_type = resource_type;
  o.resource_id = resource_id;
  o.project_id = origin.project_id;
  o.user_id = origin.user_id;
  o.request_id = origin.request_id;
  o.state = "running";
  o.attempt = 1;
  o.started_at = to_db(now);
  return o;
}

void insert(db::Tx& tx, const Operation& o, size_t steps) {
  tx.exec(
      "INSERT INTO operations (id, kind, resource_type, resource_id, project_id, user_id, request_id, state, "
      "step, "
      "step_count, message, hint, host, attempt, fence, detail, started_at, updated_at) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', ?, ?, ?, ?, ?, ?)",
      o.id, o.kind, o.resource_type, o.resource_id, o.project_id, o.user_id, o.request_id, o.state, o.step,
      steps, o.host, o.attempt, o.fence, o.detail, o.started_at, o.started_at);
}

/// Counts the steps, of an operation that has so many until now. False if there is none, or not with so many.
/// The counter row serialises writers, so that sequence numbers neither collide nor depend on what a snapshot sees.
bool count_steps(db::Tx& tx, const OperationId& id, const std::vector<Step>& steps, std::optional<int64_t> before) {
  std::string host;  // the last that is told
  for (const auto& step : steps)
    if (!step.host.empty()) host = step.host;
  return tx.exec("UPDATE operations SET step_count = step_count + ?, step = ?, host = CASE WHEN ? = '' THEN host ELSE ? END "
                 "WHERE id = ? AND step_count = COALESCE(?, step_count)",
                 steps.size(), cut(steps.back().step, kStepLength), host, host, id, before) == 1;
}

void insert_steps(db::Tx& tx, const OperationId& id, int64_t sequence, const std::vector<Step>& steps) {
  constexpr size_t kInOneStatement = 100;
  for (size_t from = 0; from < steps.size(); from += kInOneStatement) {
    std::string rows;
    std::vector<db::Value> values;
    for (size_t i = from; i < std::min(steps.size(), from + kInOneStatement); ++i) {
      const Step& step = steps[i];
      rows += rows.empty() ? "(?, ?, ?, ?, ?, ?, ?, ?)" : ", (?, ?, ?, ?, ?, ?, ?, ?)";
      values.insert(values.end(), {id, sequence++, cut(step.step, kStepLength), step.ok, cut(step.message, kMessageLength),
                                   step.host, step.at, step.took_us});
    }
    tx.exec("INSERT INTO operation_steps (operation_id, sequence, step, ok, message, host, at, took_us) VALUES " + rows, values);
  }
}

}  // namespace

Operation begin(db::Tx& tx, Time now, std::string_view kind, std::string_view resource_type,
                std::string_view resource_id, const Origin& origin, std::string_view detail) {
  const auto last = tx.first("SELECT MAX(fence) FROM operations WHERE resource_type = ? AND resource_id = ?",
                             resource_type, resource_id);
  Operation o = started(now, kind, resource_type, resource_id, origin);
  o.fence = (last ? last->integer(0) : 0) + 1;
  o.detail = detail;
  insert(tx, o, 0);
  return o;
}

Operation begin_first(db::Tx& tx, Time now, std::string_view kind, std::string_view resource_type,
                      std::string_view resource_id, const Origin& origin, const std::vector<Step>& done) {
  Operation o = started(now, kind, resource_type, resource_id, origin);
  o.fence = 1;
  for (const auto& step : done) {
    o.step = cut(step.step, kStepLength);
    if (!step.host.empty()) o.host = step.host;
  }
  insert(tx, o, done.size());
  insert_steps(tx, o.id, 1, done);
  return o;
}

std::optional<Operation> find(db::Tx& tx, const OperationId& id) {
  if (auto row = tx.first(select("WHERE id = ?"), id)) return from_row(*row);
  return std::nullopt;
}

std::vector<Operation> of_resource(db::Tx& tx, std::string_view resource_type, std::string_view resource_id) {
  return from_rows(tx.query(select("WHERE resource_type = ? AND resource_id = ? ORDER BY fence DESC"), resource_type,
                            resource_id));
}

std::vector<Operation> of_request(db::Tx& tx, std::string_view request_id) {
  return from_rows(tx.query(select("WHERE request_id = ? ORDER BY started_at, id"), request_id));
}

std::optional<Operation> running(db::Tx& tx, std::string_view resource_type, std::string_view resource_id) {
  if (auto row = tx.first(select("WHERE resource_type = ? AND resource_id = ? AND state = 'running' "
                                 "ORDER BY fence DESC LIMIT 1"),
                          resource_type, resource_id))
    return from_row(*row);
  return std::nullopt;
}

void record_steps(db::Tx& tx, const OperationId& id, const std::vector<Step>& steps) {
  if (steps.empty() || !count_steps(tx, id, steps, std::nullopt)) return;
  const int64_t last = tx.first("SELECT step_count FROM operations WHERE id = ?", id)->integer(0);
  insert_steps(tx, id, last - static_cast<int64_t>(steps.size()) + 1, steps);
}

void record_steps(db::Tx& tx, const Operation& operation, const std::vector<Step>& steps) {
  if (steps.empty()) return;
  if (!count_steps(tx, operation.id, steps, operation.step_count)) return record_steps(tx, operation.id, steps);
  insert_steps(tx, operation.id, operation.step_count + 1, steps);
}

std::vector<Step> steps(db::Tx& tx, const OperationId& id) {
  std::vector<Step> all;
  for (const auto& row :
       tx.query("SELECT sequence, step, ok, message, host, at, took_us FROM operation_steps "
                "WHERE operation_id = ? ORDER BY sequence",
                id))
    all.push_back(
        {row.integer(0), row.text(1), row.boolean(2), row.text(3), row.text(4), row.text(5), row.integer(6)});
  return all;
}

bool finish(db::Tx& tx, Time now, const OperationId& id, bool ok, std::string_view message,
            std::string_view hint) {
  return tx.exec(
             "UPDATE operations SET state = ?, message = ?, hint = ?, finished_at = ?, updated_at = ?, "
             "leased_until = NULL WHERE id = ? AND state = 'running'",
             ok ? "succeeded" : "failed", cut(message, kMessageLength), cut(hint, kMessageLength), now, now, id) == 1;
}

}  // namespace virga::operations
