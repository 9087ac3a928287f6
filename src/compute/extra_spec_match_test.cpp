#include "compute/extra_spec_match.h"

#include <gtest/gtest.h>

namespace virga::compute {
namespace {

TEST(ExtraSpecMatch, EqualTextsMatch) {
  EXPECT_TRUE(extra_spec_matches("true", "true"));
  EXPECT_FALSE(extra_spec_matches("True", "true"));
  EXPECT_TRUE(extra_spec_matches("two words", "two words"));
  EXPECT_FALSE(extra_spec_matches("x", ""));
}

TEST(ExtraSpecMatch, NumbersCompareAsNumbers) {
  EXPECT_TRUE(extra_spec_matches("10", ">= 9"));
  EXPECT_FALSE(extra_spec_matches("10", "<= 9"));
  EXPECT_TRUE(extra_spec_matches("10", "= 9"));  // nova: at least
  EXPECT_TRUE(extra_spec_matches("2.0", "== 2"));
  EXPECT_TRUE(extra_spec_matches("3", "!= 2"));
  EXPECT_FALSE(extra_spec_matches("many", ">= 1"));
  EXPECT_FALSE(extra_spec_matches("3", ">="));
}

TEST(ExtraSpecMatch, TextsCompareAsTexts) {
  EXPECT_TRUE(extra_spec_matches("10", "s< 9"));
  EXPECT_TRUE(extra_spec_matches("b", "s>= b"));
  EXPECT_FALSE(extra_spec_matches("b", "s!= b"));
  EXPECT_TRUE(extra_spec_matches("a-long-one", "<in> long"));
  EXPECT_TRUE(extra_spec_matches("aes sse4", "<all-in> aes sse4"));
  EXPECT_FALSE(extra_spec_matches("aes", "<all-in> aes sse4"));
}

TEST(ExtraSpecMatch, OneOfSeveral) {
  EXPECT_TRUE(extra_spec_matches("nvme", "<or> ssd <or> nvme"));
  EXPECT_FALSE(extra_spec_matches("hdd", "<or> ssd <or> nvme"));
  EXPECT_FALSE(extra_spec_matches("<or>", "<or>"));
}

}  // namespace
}  // namespace virga::compute
