#pragma once
// Passwords: bcrypt at rest; a verified one may be remembered in memory, as a keyed hash, for a short time.
//
// Threads: thread-safe.

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"

namespace virga::identity {

/// bcrypt looks at 72 bytes; a longer password is refused when set, rather than cut in silence.
constexpr size_t kMaxPasswordBytes = 72;

/// Throws Fault(bad_request) if it could not be hashed whole (too long, or with a zero byte).
void check_password(std::string_view password);
/// "$2b$…". Takes as long as the cost says.
std::string hash_password(std::string_view password, int cost);
/// Any hash libcrypt knows, so hashes taken over from keystone work. False for "" and for malformed hashes.
bool verify_password(std::string_view password, const std::string& hash);
/// How often this process has run bcrypt: what a login costs, told without a clock.
uint64_t password_hash_runs();

class Passwords {
 public:
  Passwords(int cost, std::chrono::seconds remember, const Clock& clock);
  /// Verifies against the user's hash as the database has it *now*: what was remembered belongs to one hash,
  /// so a changed password is never taken from memory. Pass hash "" for an unknown user: the same time
  /// passes.
  bool verify(const std::string& user_id, std::string_view password, const std::string& hash);
  std::string hash(std::string_view password) const { return hash_password(password, cost_); }

 private:
  std::string keyed(const std::string& user_id, std::string_view password, const std::string& hash) const;
  void remember(const std::string& user_id, std::string proof);

  struct Proof {
    std::string value;
    Time until;
  };
  int cost_;
  std::chrono::seconds remember_;
  const Clock& clock_;
  std::string key_;         ///< of this process only
  std::string dummy_hash_;  ///< what an unknown user's password is tried against
  std::mutex mutex_;
  std::unordered_map<std::string, Proof> proofs_;
};

}  // namespace virga::identity
