#include <gtest/gtest.h>

#include "qemu/api.h"

namespace virga::qemu {
namespace {

// Whatever this machine has, the answer comes in time and has a reason.
TEST(KvmProbe, AnswersWithinItsDeadline) {
  auto began = std::chrono::steady_clock::now();
  auto probe = probe_kvm(std::chrono::seconds(2));
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  EXPECT_FALSE(probe.reason.empty());
  EXPECT_LT(took.count(), 4000);
  fmt::print("usable={} ({}) in {} ms\n", probe.usable, probe.reason, took.count());
}

}  // namespace
}  // namespace virga::qemu
