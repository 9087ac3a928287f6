#pragma once
// What users see of a server (vm_state, task_state, power_state), as one pure function of what is wanted,
// what the agent saw, and what is under way. Nothing else in Virga decides these three; reconcilers never
// read them.

#include <cstdint>
#include <string>

#include "link/api.h"

namespace virga::compute {

// Whether a guest is there, as its host last said. "unknown" is neither.
constexpr bool is_on(link::Power power) { return power == link::Power::running || power == link::Power::paused; }
constexpr bool is_off(link::Power power) { return power == link::Power::shutoff || power == link::Power::crashed; }

struct Situation {
  // Desired.
  std::string desired;  ///< "running", "stopped", "absent"
  int64_t generation = 0;
  std::string override_state;  ///< reset-state: "", "active", "error"
  bool has_host = false;
  // Observed.
  link::Power power = link::Power::unknown;
  int64_t seen_generation = 0;
  int64_t failed_generation = 0;
  bool failed_permanently = false;
  bool ports_active = true;
  // Known of before.
  bool launched = false;  ///< it was ACTIVE once
  std::string operation;  ///< kind of the running operation, or ""
  std::string detail;     ///< its detail ("HARD")
  std::string move;       ///< where in a change of host or size it is (moves.h), or ""
};

struct Materialised {
  std::string vm_state;
  std::string task_state;  ///< "" = none
  int power_state = 0;     ///< nova's numbers
  enum class Outcome { none, succeeded, failed };
  Outcome outcome = Outcome::none;  ///< of the running operation
  bool stopped_by_itself = false;   ///< the guest went off: what is desired becomes "stopped", as nova does
  friend bool operator==(const Materialised&, const Materialised&) = default;
};

Materialised materialise(const Situation& s);
int nova_power_state(link::Power power);
/// nova's status for vm_state and task_state: "ACTIVE", "BUILD", "SHUTOFF", …
std::string server_status(const std::string& vm_state, const std::string& task_state);
/// (vm_states, task_states that turn it) for a status filter; empty if there is no such status.
struct StatusFilter {
  std::string vm_state;
  std::string task_state;  ///< "" = any that does not give another status
};
std::vector<StatusFilter> states_of_status(const std::string& status);
/// task_states that give the status another name than vm_state alone would.
std::vector<std::string> renaming_tasks(const std::string& vm_state);

}  // namespace virga::compute
