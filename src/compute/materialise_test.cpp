#include "compute/materialise.h"

#include <gtest/gtest.h>

namespace virga::compute {
namespace {

using link::Power;
using Outcome = Materialised::Outcome;

struct Case {
  const char* name;
  Situation given;
  const char *vm_state, *task_state;
  Outcome outcome = Outcome::none;
  bool stopped_by_itself = false;
};

TEST(Materialise, EverySituationHasOneAnswer) {
  const Case cases[] = {
      {"no host", {.desired = "running", .generation = 1}, "error", "", Outcome::failed},
      {"just booted",
       {.desired = "running", .generation = 1, .has_host = true, .operation = "create"},
       "building",
       "spawning"},
      {"runs, port down",
       {.desired = "running",
        .generation = 1,
        .has_host = true,
        .power = Power::running,
        .seen_generation = 1,
        .ports_active = false,
        .operation = "create"},
       "building",
       "spawning"},
      {"runs, port up",
       {.desired = "running",
        .generation = 1,
        .has_host = true,
        .power = Power::running,
        .seen_generation = 1,
        .operation = "create"},
       "active",
       "",
       Outcome::succeeded},
      {"old generation runs",
       {.desired = "running",
        .generation = 2,
        .has_host = true,
        .power = Power::running,
        .seen_generation = 1,
        .operation = "create"},
       "building",
       "spawning"},
      {"boot failed for good",
       {.desired = "running",
        .generation = 1,
        .has_host = true,
        .failed_generation = 1,
        .failed_permanently = true,
        .operation = "create"},
       "error",
       "",
       Outcome::failed},
      {"boot failed, retried",
       {.desired = "running",
        .generation = 1,
        .has_host = true,
        .failed_generation = 1,
        .operation = "create"},
       "building",
       "spawning"},
      {"stopping",
       {.desired = "stopped",
        .generation = 2,
        .has_host = true,
        .power = Power::running,
        .seen_generation = 1,
        .launched = true,
        .operation = "stop"},
       "active",
       "powering-off"},
      {"stopped",
       {.desired = "stopped",
        .generation = 2,
        .has_host = true,
        .power = Power::shutoff,
        .seen_generation = 2,
        .launched = true,
        .operation = "stop"},
       "stopped",
       "",
       Outcome::succeeded},
      {"starting",
       {.desired = "running",
        .generation = 3,
        .has_host = true,
        .power = Power::shutoff,
        .seen_generation = 2,
        .launched = true,
        .operation = "start"},
       "stopped",
       "powering-on"},
      {"started",
       {.desired = "running",
        .generation = 3,
        .has_host = true,
        .power = Power::running,
        .seen_generation = 3,
        .launched = true,
        .operation = "start"},
       "active",
       "",
       Outcome::succeeded},
      {"reboots",
       {.desired = "running",
        .generation = 1,
        .has_host = true,
        .power = Power::shutoff,
        .seen_generation = 1,
        .launched = true,
        .operation = "reboot",
        .detail = "HARD"},
       "active",
       "rebooting_hard"},
      {"went off by itself",
       {.desired = "running",
        .generation = 1,
        .has_host = true,
        .power = Power::shutoff,
        .seen_generation = 1,
        .launched = true},
       "stopped",
       "",
       Outcome::none,
       true},
      {"deleting",
       {.desired = "absent",
        .generation = 2,
        .has_host = true,
        .power = Power::running,
        .seen_generation = 1,
        .launched = true,
        .operation = "delete"},
       "active",
       "deleting"},
      {"an old absence is no deletion",
       {.desired = "absent",
        .generation = 2,
        .has_host = true,
        .power = Power::absent,
        .seen_generation = 1,
        .launched = true,
        .operation = "delete"},
       "active",
       "deleting"},
      {"deleted",
       {.desired = "absent",
        .generation = 2,
        .has_host = true,
        .power = Power::absent,
        .seen_generation = 2,
        .launched = true,
        .operation = "delete"},
       "deleted",
       "",
       Outcome::succeeded},
      {"reset to error",
       {.desired = "running",
        .generation = 1,
        .override_state = "error",
        .has_host = true,
        .power = Power::running,
        .seen_generation = 1,
        .launched = true},
       "error",
       "",
       Outcome::failed},
  };
  for (const auto& c : cases) {
    const auto m = materialise(c.given);
    EXPECT_EQ(m.vm_state, c.vm_state) << c.name;
    EXPECT_EQ(m.task_state, c.task_state) << c.name;
    EXPECT_EQ(m.outcome, c.outcome) << c.name;
    EXPECT_EQ(m.stopped_by_itself, c.stopped_by_itself) << c.name;
  }
}

TEST(Materialise, StatusFollowsVmAndTaskState) {
  EXPECT_EQ(server_status("active", "deleting"), "ACTIVE");
  EXPECT_EQ(server_status("active", "rebooting_hard"), "HARD_REBOOT");
  EXPECT_EQ(server_status("stopped", ""), "SHUTOFF");
  EXPECT_TRUE(states_of_status("NONSENSE").empty());
}

}  // namespace
}  // namespace virga::compute
