#pragma once
// The keys that seal tokens, or stored credentials: a directory of numbered files, as keystone's Fernet
// repository. 0 is staged (it opens tokens already, so that another controller may rotate first), the highest
// number is primary (it seals), the others only open what they sealed until it expires.
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

namespace virga::identity {

class KeyRing {
 public:
  /// Creates the directory (0700) and the first two keys if there are none.
  explicit KeyRing(std::string directory);
  ~KeyRing();

  /// AES-256-GCM, as URL-safe base64: version, key's fingerprint, nonce, ciphertext, tag.
  std::string seal(std::string_view plain) const;
  /// Nullopt if the text is not of ours, was changed, its key is gone, or it is longer than `most`.
  std::optional<std::string> open(std::string_view sealed, size_t most = 512);

  /// Whether the key in use sealed this text. False too if it is no sealed text at all.
  bool is_current(std::string_view sealed) const;

  /// Staged becomes primary, a new key is staged; keys beyond `keep` go, the oldest first, but none that was in
  /// use less than `used` ago: what it sealed may still be held by someone. Each step leaves a set of keys that
  /// opens all that is about, so a crash between two of them costs at most one more rotation. Returns how many
  /// keys there are now.
  size_t rotate(size_t keep, std::chrono::seconds used = std::chrono::seconds(0));

 private:
  struct Key;
  using Keys =
      std::vector<std::shared_ptr<const Key>>;  ///< staged first, then ascending; the last is primary
  std::shared_ptr<const Keys> keys() const { return std::atomic_load(&keys_); }
  const Key* find(const Keys& keys, uint32_t fingerprint) const;
  void load();  ///< with loading_ held
  void load_if_changed();
  bool changed_on_disk();

  std::string directory_;
  std::shared_ptr<const Keys> keys_;
  std::mutex loading_;  ///< before the lock on the directory
  int64_t seen_mtime_ns_ = 0;
};

}  // namespace virga::identity
