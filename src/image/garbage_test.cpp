// What start-up removes from the image store, and what it does not believe.

#include <gtest/gtest.h>

#include "base/process.h"
#include "image/api.h"
#include "tests/support/api_client.h"

namespace virga::test {
namespace {

class Garbage : public ::testing::Test {
 protected:
  void start() {
    images_ = image::make_images({store_.path()}, cloud_.database(), cloud_.clock());
    images_->collect_garbage();
  }
  void set_epoch(int64_t epoch) {
    cloud_.database().write(
        [&](db::Tx& tx) { tx.exec("UPDATE compute_counters SET value = ? WHERE name = 'epoch'", epoch); });
  }
  bool has(const std::string& name) const { return std::filesystem::exists(store_.path() + "/" + name); }
  void put(const std::string& name) const { write_file(store_.path() + "/" + name, "bytes"); }

  TestCloud cloud_;
  ScratchDir store_;
  std::unique_ptr<image::Images> images_;
};

TEST_F(Garbage, WhatNoImageNamesGoes) {
  put("lost");
  put("cut-off.part");
  start();
  EXPECT_FALSE(has("lost"));
  EXPECT_FALSE(has("cut-off.part"));
}

TEST_F(Garbage, AnOlderDatabaseIsNotBelieved) {
  set_epoch(9);
  start();
  put("newer");
  set_epoch(8);
  start();
  EXPECT_TRUE(has("newer"));
  cloud_.database().write([](db::Tx& tx) { EXPECT_TRUE(db::accept_as_newest(tx)); });
  start();
  EXPECT_FALSE(has("newer"));
}

}  // namespace
}  // namespace virga::test
