#include "host/plan.h"

#include <gtest/gtest.h>

namespace virga::host {
namespace {

using State = link::DesiredServer::State;

link::DesiredServer desired(State state, int64_t generation = 1) {
  link::DesiredServer d;
  d.id = ServerId("11111111-2222-4333-8444-555555555555");
  d.state = state;
  d.generation = generation;
  d.image = link::ImageRef{};
  d.config_drive = true;
  return d;
}

Present present(DomainPower power, int64_t defined = 0, int64_t applied = 0, bool files = true) {
  Present p;
  p.power = power;
  p.defined_generation = defined;
  p.applied = applied;
  p.files = p.disk = p.config_drive = files;
  return p;
}

std::string text(const Plan& plan) {
  std::string out;
  for (auto s : plan.steps) out += std::string(out.empty() ? "" : " ") + name_of(s);
  if (plan.waiting) out += " …";
  if (!plan.refusal.empty()) out += "REFUSED";
  return out;
}

struct Row {
  const char* what;
  link::DesiredServer desired;
  Present present;
  const char* expected;
  bool applied = true;
};

TEST(Plan, Table) {
  const auto on = DomainPower::running, off = DomainPower::shutoff, none = DomainPower::absent;
  auto overdue = present(on, 1, 1);
  overdue.shutdown_overdue = true;
  auto foreign = present(on, 0, 0);
  foreign.ours = false;
  auto no_image = desired(State::running);
  no_image.image.reset();
  no_image.config_drive = false;
  auto half = present(none, 0, 0, false);
  half.files = half.disk = true;
  auto resized = desired(State::running, 3);
  resized.disk = 1;
  resized.disk_source = link::DiskSource{HostId("h"), 0};
  auto kept_off = resized;
  kept_off.state = State::stopped;
  auto back_again = desired(State::running, 9);
  back_again.placed_generation = 8;
  auto copied = present(off, 1, 2);
  auto before_copy = copied;
  before_copy.disk = false;
  auto confirmed = desired(State::running, 3);
  confirmed.old_disks = {0};
  auto leftover = present(on, 3, 3);
  leftover.old_disks = true;
  auto leaving = leftover;
  leaving.applied = 2;
  const auto paused = DomainPower::paused, arriving = DomainPower::arriving;
  const Row rows[] = {
      {"comes as it runs: its files only", desired(State::incoming, 5), present(none, 0, 0, false), "image disk config_drive"},
      {"comes: what is left of an earlier stay goes first", desired(State::incoming, 5), present(off, 2, 2, false), "undefine image disk config_drive"},
      {"comes: ready", desired(State::incoming, 5), present(none, 0, 5), ""},
      {"comes: on its way", desired(State::incoming, 6), present(arriving, 0, 5), ""},
      {"comes: runs already, which nobody else has said yet", desired(State::incoming, 6), present(on, 0, 5), ""},
      {"came: it gets a definition", desired(State::running, 6), present(on, 0, 5), "define"},
      {"came, to stand still", desired(State::paused, 6), present(paused, 0, 5), "define"},
      {"does not come after all", desired(State::absent, 6), present(arriving, 0, 5), "destroy undefine disk_removed"},
      {"paused", desired(State::paused, 2), present(on, 1, 1), "pause"},
      {"paused, killed before it could say so", desired(State::paused, 2), present(paused, 1, 1), ""},
      {"paused, after the host was without power", desired(State::paused, 2), present(off, 1, 1), "image define start pause"},
      {"runs on", desired(State::running, 3), present(paused, 1, 2), "resume"},
      {"paused, to be stopped", desired(State::stopped, 3), present(paused, 1, 2), "destroy"},
      {"resized: its disk is to be copied", resized, before_copy, "image disk_copy define start"},
      {"resized, killed after the copy", resized, copied, "image define start"},
      {"resized, to stay off", kept_off, before_copy, "image disk_copy define"},
      {"moved in, without a domain", resized, present(none, 0, 0, false), "image disk_copy config_drive define start"},
      {"here once, and sent here again without a disk", back_again, present(none, 0, 4, false),
       "image disk config_drive define start"},
      {"confirmed: the disk before goes, whatever else there is", confirmed, leftover, "old_disks_removed"},
      {"confirmed, with a generation of its own", confirmed, leaving, "old_disks_removed"},
      {"new", desired(State::running), present(none, 0, 0, false), "image disk config_drive define start"},
      {"new, to stay off", desired(State::stopped), present(none, 0, 0, false),
       "image disk config_drive define"},
      {"killed after the disk", desired(State::running), half, "image config_drive define start"},
      {"killed after define", desired(State::running), present(off, 1), "image start"},
      {"killed after start", desired(State::running), present(on, 1), ""},
      {"boots from network only", no_image, present(none, 0, 0, false), "image define start"},
      {"applied", desired(State::running), present(on, 1, 1), ""},
      {"guest powered off", desired(State::running), present(off, 1, 1), ""},
      {"domain vanished", desired(State::running), present(none, 0, 1), ""},
      {"start", desired(State::running, 3), present(off, 1, 2), "image define start"},
      {"start, crashed", desired(State::running, 2), present(DomainPower::crashed, 1, 1),
       "destroy image define start"},
      {"start, disk lost", desired(State::running, 2), present(off, 1, 1, false), "REFUSED", false},
      {"stop", desired(State::stopped, 2), present(on, 1, 1), "shutdown …", false},
      {"stop, guest ignores it", desired(State::stopped, 2), overdue, "destroy"},
      {"stop, paused", desired(State::stopped, 2), present(DomainPower::paused, 1, 1), "destroy"},
      {"stop, off already", desired(State::stopped, 2), present(off, 1, 1), ""},
      {"somebody started it", desired(State::stopped, 2), present(on, 1, 2), ""},
      {"delete", desired(State::absent, 2), present(on, 1, 1), "destroy undefine disk_removed"},
      {"delete, off", desired(State::absent, 2), present(off, 1, 1), "undefine disk_removed"},
      {"delete, killed after undefine", desired(State::absent, 2), present(none, 0, 1), "disk_removed"},
      {"delete, gone", desired(State::absent, 2), present(none, 0, 1, false), ""},
      {"delete repeated", desired(State::absent, 2), present(on, 1, 2), "destroy undefine disk_removed"},
      {"not ours", desired(State::absent, 2), foreign, "REFUSED", false},
      {"not ours, running", desired(State::running, 2), foreign, "REFUSED", false},
  };
  for (const auto& row : rows) {
    const auto got = plan(row.desired, row.present);
    EXPECT_EQ(text(got), row.expected) << row.what;
    EXPECT_EQ(got.applied, row.applied) << row.what;
  }
}

std::string action(const char* kind, DomainPower power, State state = State::running) {
  Plan p;
  p.steps = plan_action({OperationId("o"), 1, kind}, desired(state, 1), present(power, 1, 1));
  return text(p);
}

TEST(Plan, Actions) {
  EXPECT_EQ(action("reboot_soft", DomainPower::running), "reboot_soft");
  EXPECT_EQ(action("reboot_hard", DomainPower::running), "reboot_hard");
  EXPECT_EQ(action("reboot_hard", DomainPower::shutoff), "image define start");
  EXPECT_EQ(action("reboot_hard", DomainPower::paused), "destroy image define start");
  EXPECT_EQ(action("reboot_soft", DomainPower::crashed), "destroy image define start");
  EXPECT_THROW(action("reboot_hard", DomainPower::running, State::stopped), Fault);
  EXPECT_THROW(action("migrate", DomainPower::running), Fault);
}

}  // namespace
}  // namespace virga::host
