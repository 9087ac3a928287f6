#pragma once
// Finds a host for a server, and takes its room there: placement's candidates, emptiest first and a page at a
// time, judged by the scheduler, until one takes it. Only if none does is everybody asked why not.
//
// A cloud of thousands of hosts costs no more than its first page while the first page has a host that will
// do. Asking everybody costs what there are hosts, and a full cloud is asked often: so it is done in a read,
// while other writers go on. The write ends with NoHost, and is done once more with the reasons.

#include <exception>
#include <memory>

#include "compute/core.h"
#include "compute/flavors.h"
#include "compute/scheduler.h"
#include "compute/server_table.h"

namespace virga::compute {

struct Placing {
  Ask ask;
  placement::Demand demand;  ///< amounts and traits; what `ask` means for placement is added
  std::string server_id, project_id, user_id;
  std::shared_ptr<const Choice> why = nullptr;  ///< what why_not said just now, if it was asked
};

/// There is no host, and why was not asked yet.
struct NoHost : std::exception {
  explicit NoHost(Placing p) : placing(std::move(p)) {}
  const char* what() const noexcept override { return "No valid host was found."; }
  Placing placing;
};

struct Placed {
  std::string host_id, hostname, zone;  ///< "" if no host was found
  Choice choice;
};

/// What a flavor and an image ask of placement and of aggregates: amounts, resources:CLASS=N,
/// trait:NAME=required or forbidden, aggregate_instance_extra_specs:KEY.
void ask_flavor(const Flavor& flavor, Placing& placing);
/// trait:NAME=required of an image's properties.
void ask_image(const json::object& properties, Placing& placing);
/// The server group's policy, with its row locked: two boots of one group never choose at the same time.
/// Throws Fault(bad_request) if the caller may not know of it, Fault(forbidden) if it is full.
void ask_group(Core& core, db::Tx& tx, const api::Call& call, const std::string& group, Ask& ask);
/// The scheduler hints same_host and different_host.
void ask_hints(db::Tx& tx, const std::vector<std::string>& same_host,
               const std::vector<std::string>& different_host, Ask& ask);

/// What a server that is to go elsewhere, or to get another size, asks of the scheduler: its group's policy too. `host`: where it
/// must go, or "". Where it is now is not ruled out.
Placing placing_of_server(db::Tx& tx, const ServerRow& row, const Flavor& flavor, const std::string& host);

/// Takes the room in this transaction. Throws NoHost if there is no host and `why` is not given.
Placed place(Core& core, db::Tx& tx, const Placing& placing);
/// Why each host does not take it; those that would now are in `passing`. Only reads.
Choice why_not(Core& core, db::Tx& tx, const Placing& placing);
/// Runs a write that places servers. Throws Fault(bad_request) with each host's reason if nobody takes one.
template <class F>
auto place_or_say_why(Core& core, F write) {
  try {
    return core.database.write(write);
  } catch (const NoHost& none) {
    const Choice why = core.database.read([&](db::Tx& tx) { return why_not(core, tx, none.placing); });
    throw Fault(FaultKind::bad_request, why.message());
  }
}

}  // namespace virga::compute
