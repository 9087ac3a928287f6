#include "compute/name_pattern.h"

#include <gtest/gtest.h>

#include "base/fault.h"

namespace virga::compute {
namespace {

TEST(NamePattern, SaysWhatLikeCannot) {
  for (const char* plain : {"web", "^web", "web-.*$", "we.+b", "a\\.b", "50%_off"}) EXPECT_FALSE(needs_regex(plain)) << plain;
  for (const char* regex : {"[0-9]+", "web(1|2)", "we?b", "a+"}) EXPECT_TRUE(needs_regex(regex)) << regex;
}

TEST(NamePattern, MatchesAsTheDatabaseWould) {
  const NamePattern pattern("^.*\\-instance\\-[0-9]+$");
  EXPECT_TRUE(pattern.matches("tempest-instance-1234"));
  EXPECT_FALSE(pattern.matches("tempest-instance-12x"));
}

TEST(NamePattern, RefusesWhatCouldTakeForEver) {
  for (const char* text : {"(a{1,255}){1,255}", "(a*)\\1", "[0-9", "(a"}) EXPECT_THROW(NamePattern{text}, Fault) << text;
  EXPECT_THROW(NamePattern{std::string(256, 'a')}, Fault);
}

}  // namespace
}  // namespace virga::compute
