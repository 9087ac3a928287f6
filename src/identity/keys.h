#pragma once
// The keys that seal tokens, or stored credentials: a directory of numbered files, as keystone's Fernet
// repository. 0 is staged (it opens tokens already, so that another controller may rotate first), the highest
// number is primary (it seals), the others only open what they sealed until it expires.
//
// Threads: thread-safe.

#include <atomic>
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

  /// Staged becomes primary, a new key is staged; keys beyond `keep` go, the oldest first.
  void rotate(size_t keep = 5);

 private:
  struct Key;
  using Keys =
      std::vector<std::shared_ptr<const Key>>;  ///< staged first, then ascending; the last is primary
  std::shared_ptr<const Keys> keys() const { return std::atomic_load(&keys_); }
  const Key* find(const Keys& keys, uint32_t fingerprint) const;
  void load();
  bool changed_on_disk();

  std::string directory_;
  std::mutex writing_;
  std::shared_ptr<const Keys> keys_;
  std::atomic<int64_t> seen_mtime_ns_{0};
};

}  // namespace virga::identity
