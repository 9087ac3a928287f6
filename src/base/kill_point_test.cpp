#include "base/kill_point.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

namespace virga {
namespace {

TEST(KillPoint, AnOrderKillsOnceWhomItNames) {
  char name[] = "/tmp/virga-kill-XXXXXX";
  close(mkstemp(name));
  ::setenv("VIRGA_KILL_POINT_FILE", name, 1);
  std::ofstream(name) << "agent.after_disk";
  kill_point("agent.after_start");
  kill_point("");
  EXPECT_EXIT(kill_point("agent.after_disk"), testing::ExitedWithCode(137), "");
  EXPECT_NE(::access(name, F_OK), 0) << "the order stands still";
  kill_point("agent.after_disk");
  ::unsetenv("VIRGA_KILL_POINT_FILE");
}

}  // namespace
}  // namespace virga
