#include "identity/password.h"

#include <crypt.h>
#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <memory>

#include "base/crypto.h"
#include "base/fault.h"

namespace virga::identity {
namespace {

constexpr size_t kMaxRemembered = 100'000;

std::atomic<uint64_t> hash_runs{0};

std::string crypt_text(const std::string& password, const std::string& setting) {
  ++hash_runs;
  const auto data = std::make_unique<crypt_data>();  // 32 KiB: too much for a worker's stack
  const char* out = crypt_r(password.c_str(), setting.c_str(), data.get());
  std::string hash = out && out[0] != '*' ? out : "";
  explicit_bzero(data.get(), sizeof(crypt_data));
  return hash;
}

/// "$2b$12$" and a fresh salt.
std::string new_setting(int cost) {
  const std::string random = random_bytes(16);
  char setting[CRYPT_GENSALT_OUTPUT_SIZE];
  if (!crypt_gensalt_rn("$2b$", static_cast<unsigned long>(cost), random.data(),
                        static_cast<int>(random.size()), setting, sizeof setting))
    throw Fault(FaultKind::internal, fmt::format("bcrypt does not take cost {}.", cost), "Use 4 to 31.");
  return setting;
}

bool fits(std::string_view password) {
  return password.size() <= kMaxPasswordBytes && password.find('\0') == std::string_view::npos;
}

}  // namespace

void check_password(std::string_view password) {
  if (password.size() > kMaxPasswordBytes)
    throw Fault(FaultKind::bad_request,
                fmt::format("The password is longer than {} bytes.", kMaxPasswordBytes),
                "Choose a shorter one: bcrypt would ignore the rest.");
  if (password.find('\0') != std::string_view::npos)
    throw Fault(FaultKind::bad_request, "The password holds a zero byte.");
}

std::string hash_password(std::string_view password, int cost) {
  check_password(password);
  std::string hash = crypt_text(std::string(password), new_setting(cost));
  if (hash.empty()) throw Fault(FaultKind::internal, "libcrypt could not hash a password.");
  return hash;
}

uint64_t password_hash_runs() { return hash_runs; }

bool verify_password(std::string_view password, const std::string& hash) {
  if (hash.empty()) return false;
  const std::string again = crypt_text(std::string(fits(password) ? password : "x"), hash);
  return !again.empty() && equal_constant_time(again, hash) && fits(password);
}

Passwords::Passwords(int cost, std::chrono::seconds remember, const Clock& clock)
    : cost_(cost),
      remember_(remember),
      clock_(clock),
      key_(random_bytes(32)),
      dummy_hash_(new_setting(cost) + std::string(31, '.')) {}

std::string Passwords::keyed(const std::string& user_id, std::string_view password,
                             const std::string& hash) const {
  return hmac_sha256(key_, fmt::format("{}:{}{}:{}{}", user_id.size(), user_id, hash.size(), hash, password));
}

bool Passwords::verify(const std::string& user_id, std::string_view password, const std::string& hash) {
  const bool remembers = remember_.count() > 0 && !hash.empty() && fits(password);
  std::string proof;
  if (remembers) {
    proof = keyed(user_id, password, hash);
    const std::lock_guard guard(mutex_);
    const auto known = proofs_.find(user_id);
    if (known != proofs_.end() && known->second.until > clock_.now() &&
        equal_constant_time(known->second.value, proof))
      return true;
  }
  const bool right = verify_password(password, hash.empty() ? dummy_hash_ : hash) && !hash.empty();
  if (right && remembers) remember(user_id, std::move(proof));
  return right;
}

void Passwords::remember(const std::string& user_id, std::string proof) {
  const std::lock_guard guard(mutex_);
  const Time now = clock_.now();
  if (proofs_.size() >= kMaxRemembered)
    std::erase_if(proofs_, [&](const auto& p) { return p.second.until <= now; });
  if (proofs_.size() >= kMaxRemembered) proofs_.clear();
  proofs_[user_id] = {std::move(proof), now + remember_};
}

}  // namespace virga::identity
