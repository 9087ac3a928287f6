#pragma once
// What to do next for one server: a pure function of what should be and what is. No clock, no I/O.

#include <string>
#include <vector>

#include "host/hypervisor.h"
#include "link/api.h"

namespace virga::host {

enum class Step {
  image,         ///< the base images are in the cache, whole
  disk,          ///< create the root disk
  disk_copy,     ///< make it from the one that its resize or move started from
  old_disks,     ///< remove those that a confirmed or reverted change has left
  config_drive,  ///< write it
  define,
  start,
  shutdown,  ///< ask the guest to power off
  destroy,   ///< power off
  undefine,
  pause,
  resume,
  remove_disk,  ///< the server's folder
  reboot_soft,
  reboot_hard,
};
const char* name_of(Step step);

/// One server as this host has it.
struct Present {
  DomainPower power = DomainPower::absent;
  bool ours = true;  ///< the domain carries our metadata
  int64_t defined_generation = 0;  ///< 0: none, or it came as it ran and has no definition here yet
  bool files = false;  ///< its folder is there
  bool disk = false;
  bool config_drive = false;
  bool old_disks = false;         ///< of those to be removed some are there
  int64_t applied = 0;            ///< the last generation that this host applied in full (journal)
  bool shutdown_overdue = false;  ///< the guest was asked to power off and had its time
};

struct Plan {
  std::vector<Step> steps;  ///< in this order; the first that fails ends the attempt
  bool waiting =
      false;  ///< steps taken so far need the guest's time: look again soon, nothing is applied yet
  bool applied = false;       ///< once the steps are done, the desired generation is applied
  std::string refusal, hint;  ///< a fault that no retry can heal
};

/// Rules: a generation is brought about once; afterwards a difference (the guest powered itself off) is
/// reported, not undone: the controller decides, with a new generation. Nothing is removed but by
/// State::absent.
Plan plan(const link::DesiredServer& desired, const Present& present);
/// The steps of an action of a server whose state is applied.
std::vector<Step> plan_action(const link::Action& action, const link::DesiredServer& desired,
                              const Present& present);

}  // namespace virga::host
