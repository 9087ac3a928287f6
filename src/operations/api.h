#pragma once
// Operations: work that takes steps, as rows. Written in the transaction that accepts a request, leased by time,
// executed idempotently, resumed after a crash. The same rows are nova's os-instance-actions and what `virga explain`
// prints. Deliberately free of HTTP.
//
// Threads: the functions are stateless over a db::Tx; see db/api.h.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "db/api.h"

namespace virga::operations {

struct Operation {
  OperationId id;
  std::string kind;           ///< "create", "delete", "reboot_soft", …: nova's action names where it has one
  std::string resource_type;  ///< "server", "port", …
  std::string resource_id;
  std::string project_id, user_id, request_id;
  std::string state;          ///< "running", "succeeded", "failed"
  std::string step;           ///< last step reported
  std::string message;        ///< cause when failed
  std::string hint;
  std::string host;           ///< who executes it
  int attempt = 0;
  int64_t fence = 0;          ///< fencing token; executors refuse smaller ones
  std::string detail;         ///< JSON of the kind's own (requested reboot type, …)
  std::string started_at, finished_at;  ///< database time text
  int64_t step_count = 0;               ///< when it was read
};

struct Step {
  int64_t sequence = 0;
  std::string step;
  bool ok = true;
  std::string message;
  std::string host;
  std::string at;             ///< database time text
  int64_t took_us = 0;
};

/// Who asked, for the row.
struct Origin {
  std::string project_id, user_id, request_id;
};

/// Starts an operation (state running) and returns it. `now` is the caller's clock.
Operation begin(db::Tx& tx, Time now, std::string_view kind, std::string_view resource_type, std::string_view resource_id,
                const Origin& origin, std::string_view detail = {});
/// The same for a resource that this transaction makes, so that there was no operation of it before; with the steps that
/// are done already.
Operation begin_first(db::Tx& tx, Time now, std::string_view kind, std::string_view resource_type, std::string_view resource_id,
                      const Origin& origin, const std::vector<Step>& done);
std::optional<Operation> find(db::Tx& tx, const OperationId& id);
/// Newest first.
std::vector<Operation> of_resource(db::Tx& tx, std::string_view resource_type, std::string_view resource_id);
/// What one request began, in the order it did.
std::vector<Operation> of_request(db::Tx& tx, std::string_view request_id);
/// The running operation of a resource, if any (newest).
std::optional<Operation> running(db::Tx& tx, std::string_view resource_type, std::string_view resource_id);
/// Appends the outcomes of steps, in this order, to the timeline.
void record_steps(db::Tx& tx, const OperationId& id, const std::vector<Step>& steps);
/// The same where the operation was read in this transaction: one statement less, as long as nobody else records steps.
void record_steps(db::Tx& tx, const Operation& operation, const std::vector<Step>& steps);
inline void record_step(db::Tx& tx, const OperationId& id, const Step& step) { record_steps(tx, id, {step}); }
std::vector<Step> steps(db::Tx& tx, const OperationId& id);
/// Ends it. Ending an ended operation changes nothing (returns false).
bool finish(db::Tx& tx, Time now, const OperationId& id, bool ok, std::string_view message = {}, std::string_view hint = {});

}  // namespace virga::operations
