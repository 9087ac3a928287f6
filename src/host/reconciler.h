#pragma once
// Brings one server to its desired state: looks, plans, takes the steps, says what happened. Called on the
// server's serial queue, so never twice at once for the same server.

#include "host/api.h"
#include "host/departures.h"
#include "host/journal.h"
#include "host/plan.h"

namespace virga::host {

/// What the agent remembers of one server between attempts; losing it (a restart) only means to try at once.
struct Memory {
  int64_t generation = 0;  ///< that the rest is about
  int attempts = 0;
  bool failed = false, permanent = false;
  std::string cause, hint;
  std::optional<std::chrono::steady_clock::time_point> shutdown_since, shutdown_sent;
  std::map<OperationId, int> action_attempts;
};

struct Outcome {
  link::ObservedServer observed;
  std::vector<link::ActionReport> actions;
  std::optional<std::chrono::milliseconds> look_again;
  bool removed = false;  ///< a tombstone, done
};

class Reconciler {
 public:
  struct Hooks {
    FetchImage fetch;
    std::function<void(const ServerId&, int64_t disk, const std::function<void(std::string_view)>&)> fetch_disk;
    std::function<void(const ServerId&, const std::string& step)> on_step;  ///< for the watchdog
  };
  /// `host`: which one this is.
  Reconciler(const AgentOptions& options, HostId host, Hypervisor& hypervisor, Storage& storage, Journal& journal,
             Departures& departures, Clock& clock, Hooks hooks);

  Outcome work(const link::DesiredServer& desired, Memory& memory);
  /// A server of no assignment: only looked at.
  Outcome look(const ServerId& server, bool quarantined);
  /// What its domain is made of, once its images are here.
  DomainSpec spec_of(const link::DesiredServer& desired);

 private:
  Present observe(const link::DesiredServer& desired, const Memory& memory, Domain& domain);
  void bring_about(const link::DesiredServer& desired, const Present& present, Memory& memory,
                   Outcome& outcome);
  void act(const link::DesiredServer& desired, const Present& present, const Domain& domain, Memory& memory, Outcome& outcome);
  void act_once(const link::Action& action, const link::DesiredServer& desired, const Present& present,
                Memory& memory, Outcome& outcome);
  void take(Step step, const link::DesiredServer& desired, Outcome& outcome);
  void perform(Step step, const link::DesiredServer& desired);
  void fail(const Fault& fault, const link::DesiredServer& desired, Memory& memory, Outcome& outcome);
  void ask_to_power_off(const link::DesiredServer& desired, Memory& memory, Outcome& outcome);
  void depart(const link::Action& action, const link::DesiredServer& desired, const Domain& domain, Outcome& outcome);
  void copy_disk(const link::DesiredServer& desired);
  std::chrono::milliseconds backoff(int attempts) const;

  const AgentOptions& options_;
  const HostId host_;
  Hypervisor& hypervisor_;
  Storage& storage_;
  Journal& journal_;
  Departures& departures_;
  Clock& clock_;
  Hooks hooks_;
};

link::Power to_link(DomainPower power);

}  // namespace virga::host
