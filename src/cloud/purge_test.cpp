#include "cloud/purge.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace virga::cloud
