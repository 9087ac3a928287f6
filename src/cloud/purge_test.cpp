#include "cloud/purge.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "base/fault.h"
#include "base/ids.h"
#include "base/process.h"

namespace virga::cloud {
namespace {

namespace fs = std::filesystem;

class ClaimedFolder : public testing::Test {
 protected:
  void TearDown() override { fs::remove_all(folder_); }
  const fs::path folder_ = fs::temp_directory_path() / ("virga-claim-" + new_hex_id().substr(0, 8));
};

TEST_F(ClaimedFolder, GoesWithAllThatIsInIt) {
  claim_folder(folder_, 0755);
  fs::create_directories(folder_ / "a/b");
  claim_folder(folder_, 0711);
  EXPECT_EQ(fs::status(folder_).permissions(), static_cast<fs::perms>(0711));
  remove_claimed_folder(folder_);
  remove_claimed_folder(folder_);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(ClaimedFolder, AnothersIsNeitherClaimedNorRemoved) {
  fs::create_directories(folder_);
  write_file(folder_ / "theirs", "");
  EXPECT_THROW(claim_folder(folder_, 0755), Fault);
  remove_claimed_folder(folder_);
  EXPECT_TRUE(fs::exists(folder_ / "theirs"));
}

TEST_F(ClaimedFolder, AClaimThatWasKilledIsTakenUp) {
  fs::create_directories(folder_);
  write_file(folder_ / ".virga.new-0123abcd", "This fol");
  claim_folder(folder_, 0755);
  remove_claimed_folder(folder_);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(ClaimedFolder, WhatAHostOfALabIsMountedOverStays) {
  Config config;
  config.cloud.state_dir = folder_ / "state";
  fs::create_directories(folder_ / "state");
  fs::create_directories(folder_ / "made");
  remember_made(config, "dir:" + (folder_ / "made").string());
  const int host = open((folder_ / "made").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(flock(host, LOCK_SH), 0);
  undo_made(config);
  EXPECT_TRUE(fs::exists(folder_ / "made"));
  close(host);
  undo_made(config);
  EXPECT_FALSE(fs::exists(folder_ / "made"));
}

}  // namespace
}  // namespace virga::cloud
