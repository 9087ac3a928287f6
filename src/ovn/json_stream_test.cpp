#include "ovn/json_stream.h"

#include <gtest/gtest.h>

#include "base/fault.h"

namespace virga::ovn {
namespace {

std::vector<std::string> split(std::string_view text, size_t piece, size_t limit = 1000) {
  std::vector<std::string> out;
  JsonStream stream(limit);
  for (size_t at = 0; at < text.size(); at += piece)
    stream.feed(text.substr(at, piece), [&](const json::object& m) { out.push_back(json::serialize(m)); });
  return out;
}

TEST(JsonStream, FindsTheEndsHoweverTheBytesWereCut) {
  const std::string text = R"({"a":"}{\""}{"b":[{}]} )"
                           "\n"
                           R"({"c":"é"})";
  for (size_t piece = 1; piece <= text.size(); ++piece)
    EXPECT_EQ(split(text, piece),
              (std::vector<std::string>{R"({"a":"}{\""})", R"({"b":[{}]})", R"({"c":"é"})"}))
        << piece;
}

TEST(JsonStream, RefusesWhatIsNotAnObject) {
  EXPECT_THROW(split("[1]", 10), Fault);
  EXPECT_THROW(split("{]", 10), Fault);
}

TEST(JsonStream, BoundsSizeAndDepth) {
  EXPECT_THROW(split(R"({"a":")" + std::string(2000, 'x'), 7), Fault);
  EXPECT_THROW(split(R"({"a":)" + std::string(100, '['), 7), Fault);
  EXPECT_EQ(split(R"({"a":")" + std::string(990, 'x') + R"("})", 64).size(), 1u);
}

}  // namespace
}  // namespace virga::ovn
