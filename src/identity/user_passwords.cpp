#include "identity/user_passwords.h"

#include <fmt/format.h>

#include "base/fault.h"

namespace virga::identity {
namespace {

using Days = std::chrono::days;

void check_age(const Core& core, const UserRow& user) {
  const Days least(core.options.security.minimum_password_age_days);
  if (least.count() <= 0 || !user.password_self_service || !user.password_created_at) return;
  const auto left = *user.password_created_at + least - core.clock.now();
  if (left.count() <= 0) return;
  throw Fault(
      FaultKind::bad_request,
      fmt::format("You cannot change your password at this time due to the minimum password age. Once you "
                  "change your password, it must be used for {} day(s) before it can be changed. Please try "
                  "again in {} day(s) or contact your administrator to reset your password.",
                  least.count(), std::chrono::floor<Days>(left).count()));
}

/// How many of the passwords before this one count.
int64_t kept(const Core& core) {
  return std::max(core.options.security.unique_last_password_count - 1, 0);
}

void check_history(Core& core, const UserRow& user, std::string_view password) {
  const int unique = core.options.security.unique_last_password_count;
  if (unique <= 0) return;
  std::vector<std::string> hashes{user.password_hash};
  core.database.read([&](db::Tx& tx) {
    hashes.resize(1);
    for (const auto& row : tx.query("SELECT password_hash FROM identity_password_history WHERE user_id = ? "
                                    "ORDER BY number DESC LIMIT ?",
                                    user.id, kept(core)))
      hashes.push_back(row.text(0));
  });
  for (const auto& hash : hashes)
    if (verify_password(password, hash))
      throw Fault(FaultKind::bad_request,
                  fmt::format("The new password cannot be identical to a previous password. The total number "
                              "which includes the new password must be unique is {}.",
                              unique));
}

}  // namespace

void check_own_change(Core& core, const UserRow& user, std::string_view password) {
  core.password_rules.check(password);
  if (find_bool(user.options, "lock_password"))
    throw Fault(FaultKind::bad_request,
                "You cannot change your password at this time due to password policy disallowing password "
                "changes. Please contact your administrator to reset your password.");
  check_age(core, user);
  check_history(core, user, password);
}

void set_password(const Core& core, UserRow& user, std::string hash, SetBy by) {
  const auto& rules = core.options.security;
  const Time now = core.clock.now(), second = std::chrono::floor<std::chrono::seconds>(now);
  user.password_hash = std::move(hash);
  user.password_created_at = now;
  user.password_self_service = by == SetBy::user;
  user.password_expires_at.reset();
  ++user.generation;
  if (user.password_hash.empty()) return;
  if (rules.password_expires_days > 0 && !find_bool(user.options, "ignore_password_expiry"))
    user.password_expires_at = second + Days(rules.password_expires_days);
  if (by == SetBy::admin && rules.change_password_upon_first_use &&
      !find_bool(user.options, "ignore_change_password_upon_first_use"))
    user.password_expires_at = now;
}

void remember_password(const Core& core, db::Tx& tx, const std::string& user_id,
                       const std::string& old_hash) {
  if (kept(core) > 0 && !old_hash.empty()) {
    const auto last =
        tx.first("SELECT MAX(number) FROM identity_password_history WHERE user_id = ?", user_id);
    tx.exec("INSERT INTO identity_password_history (user_id, number, password_hash) VALUES (?, ?, ?)",
            user_id, (last ? last->integer(0) : 0) + 1, old_hash);
  }
  const auto oldest = tx.query(
      "SELECT number FROM identity_password_history WHERE user_id = ? ORDER BY number DESC", user_id);
  if (oldest.size() > static_cast<size_t>(kept(core)))
    tx.exec("DELETE FROM identity_password_history WHERE user_id = ? AND number <= ?", user_id,
            oldest[static_cast<size_t>(kept(core))].integer(0));
}

}  // namespace virga::identity
