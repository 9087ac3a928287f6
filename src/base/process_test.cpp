#include "base/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/scope_exit.h"

namespace virga {
namespace {

/// Whether a child that runs `in_child` before its program has the descriptor.
bool child_has(int fd, std::function<void()> in_child) {
  Command command;
  command.argv = {"test", "-e", "/proc/self/fd/" + std::to_string(fd)};
  command.in_child = std::move(in_child);
  return run(command).ok();
}

TEST(Process, AChildHasNoDescriptorOfItsParentButWhatItIsGiven) {
  const int fd =
      fcntl(open("/dev/null", O_RDONLY), F_DUPFD, 200);  // not closed at exec, as a shell's or flock's
  ScopeExit closer([fd] { close(fd); });
  ASSERT_GE(fd, 200);
  EXPECT_FALSE(child_has(fd, {}));
  EXPECT_TRUE(child_has(fd, [fd] { fcntl(fd, F_SETFD, 0); }));
}

}  // namespace
}  // namespace virga
