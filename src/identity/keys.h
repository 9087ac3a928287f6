#pragma once
// The keys that seal tokens, or stored credentials: numbered, as in keystone's Fernet repository. 0 is staged (it opens
// tokens already, so that another controller may rotate first), the highest number is primary (it seals), the others only
// open what they sealed until it expires. Kept in a KeyStore; this is the copy in memory.
//
// Threads: thread-safe.

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "identity/key_store.h"

namespace virga::identity {

class KeyRing {
 public:
  explicit KeyRing(std::unique_ptr<KeyStore> store);
  ~KeyRing();

  /// AES-256-GCM, as URL-safe base64: version, key's fingerprint, nonce, ciphertext, tag.
  std::string seal(std::string_view plain) const;
  /// Nullopt if the text is not of ours, was changed, its key is gone, or it is longer than `most`. Inside of a closure of the
  /// database give its `tx`: an unknown key is looked up there.
  std::optional<std::string> open(std::string_view sealed, size_t most = 512, db::Tx* tx = nullptr);

  /// Whether the key in use sealed this text. False too if it is no sealed text at all.
  bool is_current(std::string_view sealed) const;

  /// Staged becomes primary, a new key is staged; keys beyond `keep` go, the oldest first, but none that was in
  /// use less than `used` ago: what it sealed may still be held by someone. Returns how many keys there are now.
  size_t rotate(size_t keep, std::chrono::seconds used = std::chrono::seconds(0));
  /// Takes over what another controller has changed: a key that is gone opens nothing any more.
  void look(db::Tx* tx = nullptr);

 private:
  struct Key;
  using Keys =
      std::vector<std::shared_ptr<const Key>>;  ///< staged first, then ascending; the last is primary
  std::shared_ptr<const Keys> keys() const { return std::atomic_load(&keys_); }
  const Key* find(const Keys& keys, uint32_t fingerprint) const;

  const std::unique_ptr<KeyStore> store_;
  std::shared_ptr<const Keys> keys_;
  std::mutex installing_;  ///< never held while the database is asked
  std::atomic<int64_t> version_{0};
};

}  // namespace virga::identity
