#include "base/json.h"

#include <gtest/gtest.h>

#include "base/fault.h"

namespace virga {
namespace {

void expect_refused(std::string_view text) {
  try {
    parse_json(text);
    ADD_FAILURE() << text << " was taken";
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.status(), 400) << text;
    EXPECT_NE(fault.message.find("not JSON"), std::string::npos) << fault.message;
  }
}

TEST(Json, NumbersThatNoDoubleHoldsAreRefused) {
  expect_refused("1e400");
  expect_refused(R"({"a": [1, {"b": -1e999}]})");
  EXPECT_DOUBLE_EQ(parse_json("1e300").as_double(), 1e300);
}

TEST(Json, WhatIsNoJsonIsRefused) {
  for (const char* text : {"", "{", "nan", "{\"a\":1}x", "[1,]", "\"\xff\""}) expect_refused(text);
}

}  // namespace
}  // namespace virga
