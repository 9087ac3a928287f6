#include "host/traits.h"

#include <gtest/gtest.h>

namespace virga::host {
namespace {

TEST(Traits, OfAProcessorAreThoseOfItsFlags) {
  EXPECT_EQ(cpu_traits("processor\t: 0\nflags\t\t: fpu vmx sse sse4_1 pni\nbugs\t: x\nprocessor : 1\nflags : avx\n"),
            (std::vector<std::string>{"HW_CPU_X86_INTEL_VMX", "HW_CPU_X86_SSE", "HW_CPU_X86_SSE3", "HW_CPU_X86_SSE41", "HW_CPU_X86_VMX"}));
  EXPECT_TRUE(cpu_traits("processor : 0\nFeatures : fp asimd\n").empty());
  EXPECT_TRUE(cpu_traits("x\nflags").empty());
  EXPECT_EQ(cpu_traits("x\nflags: svm"), (std::vector<std::string>{"HW_CPU_X86_AMD_SVM", "HW_CPU_X86_SVM"}));
}

TEST(Traits, OfAHostNameItsArchitecture) {
  const auto all = compute_traits("x86_64");
  EXPECT_EQ(all.back(), "COMPUTE_ARCH_X86_64");
  EXPECT_EQ(compute_traits("riscv64").size() + 1, all.size());
}

}  // namespace
}  // namespace virga::host
