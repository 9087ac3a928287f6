#include "base/sealing.h"

#include <gtest/gtest.h>

#include "base/crypto.h"

namespace virga {
namespace {

TEST(Sealing, OpensWithItsKeyAndPurposeOnly) {
  const std::string key = random_bytes(32);
  const std::string sealed = seal(key, "a CA's key", "hosts-ca");
  EXPECT_EQ(unseal(key, sealed, "hosts-ca"), "a CA's key");
  EXPECT_EQ(unseal(key, sealed, "token-key"), std::nullopt);
  EXPECT_EQ(unseal(random_bytes(32), sealed, "hosts-ca"), std::nullopt);
  EXPECT_NE(seal(key, "a CA's key", "hosts-ca"), sealed);
  EXPECT_EQ(unseal(key, seal(key, "", "p"), "p"), "");
}

TEST(Sealing, ATextThatWasChangedDoesNotOpen) {
  const std::string key = random_bytes(32), sealed = seal(key, "secret", "p");
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    if (i + 1 == sealed.size()) continue;  // its last bits are padding
    EXPECT_EQ(unseal(key, changed, "p"), std::nullopt) << i;
  }
  EXPECT_EQ(unseal(key, sealed.substr(0, 20), "p"), std::nullopt);
  EXPECT_EQ(unseal(key, "?", "p"), std::nullopt);
}

}  // namespace
}  // namespace virga
